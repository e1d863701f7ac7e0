//! Keys that are revoked by the time of their creation, on a node that hears of it and reads from a replica
//! which does not have it yet.

use std::time::Duration;

use tokio::time::sleep;
use tower_api_key::{
    NewKey, Timestamp,
    manage::{IssuedKey, KeySet},
    store::{Announcement, Invalidations, KeyStore, Watermark},
};

use crate::{
    barrier::{LAG_BOUND, LATER, Nodes},
    support::{NOW, TTL, until},
};

fn after(time: Duration) -> Timestamp {
    NOW.saturating_add(time)
}

/// After the keys of the tests were created.
const SOON: Duration = Duration::from_millis(1);

impl Nodes {
    pub(crate) async fn known_of(&self, owner: &str) -> IssuedKey {
        let new = NewKey { owner: Some(owner.into()), ..NewKey::named("k") };
        let key = self.manager.create(new).await.unwrap();
        self.store.replicate(&key.record.digest).await;
        self.is_good(&key).await;
        sleep(LATER).await;
        key
    }

    async fn is_forgotten(&self, key: &IssuedKey) {
        until(|| self.cache.find_now(&key.record.digest).is_none()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lags_revives_no_key() {
    let nodes = Nodes::new().await;
    let keys = [nodes.known().await, nodes.known().await];
    nodes.clock.advance(SOON);
    nodes.manager.revoke_issued_before(after(SOON), None).await.unwrap();
    for key in &keys {
        nodes.is_forgotten(key).await;
        let before = nodes.store.asked();
        nodes.is_revoked(key).await;
        let [replica, primary] = nodes.store.asked();
        assert_eq!([replica, primary], [before[0] + 1, before[1] + 1], "the replica is doubted");
        nodes.clock.advance(TTL);
        nodes.is_revoked(key).await;
    }
    // Keys that are created from then on are good at once, whatever the replica says.
    let new = nodes.create().await;
    nodes.is_good(&new).await;
}

#[tokio::test(start_paused = true)]
async fn keys_of_other_owners_stay_in_memory() {
    let nodes = Nodes::new().await;
    let (mine, other) = (nodes.known_of("user-1").await, nodes.known_of("user-2").await);
    let nobodys = nodes.known().await;
    nodes.clock.advance(SOON);
    let set = KeySet::of_owner("user-1").issued_before(after(SOON));
    nodes.manager.revoke_all(set, None).await.unwrap();
    nodes.is_forgotten(&mine).await;
    let before = nodes.store.asked();
    for key in [&other, &nobodys] {
        nodes.is_good(key).await;
    }
    assert_eq!(nodes.store.asked(), before);
    nodes.is_revoked(&mine).await;
}

/// What was last known of it does not help: it was forgotten.
#[tokio::test(start_paused = true)]
async fn a_covered_key_is_neither_good_nor_bad_while_the_authority_is_silent() {
    let nodes = Nodes::new().await;
    let key = nodes.known().await;
    nodes.clock.advance(SOON);
    nodes.manager.revoke_issued_before(after(SOON), None).await.unwrap();
    nodes.is_forgotten(&key).await;
    nodes.is_undecided_while_the_authority_is_silent(&key).await;
}

/// A lookup is under way when the announcement comes.
#[tokio::test(start_paused = true)]
async fn what_a_replica_said_before_the_announcement_is_not_kept() {
    let nodes = Nodes::new().await;
    let mut moment = SOON;
    for _ in 0..3 {
        let key = nodes.known().await;
        nodes.clock.set(after(moment));
        nodes.clock.advance(TTL);
        moment += TTL;
        let revoke = nodes.manager.revoke_issued_before(after(moment), None);
        let (found, revoked) = tokio::join!(nodes.find(&key), revoke);
        found.unwrap();
        assert_eq!(revoked.unwrap().changed, [key.record.id]);
        sleep(Duration::from_millis(1)).await;
        nodes.is_revoked(&key).await;
        moment += SOON;
        nodes.clock.set(after(moment));
    }
}

/// Whatever can write to the channel makes no key unusable with it: the authority is asked, and says that there
/// is no such thing.
#[tokio::test(start_paused = true)]
async fn one_that_was_made_up_revokes_nothing() {
    let nodes = Nodes::new().await;
    let (key, other) = (nodes.known().await, nodes.known().await);
    let made_up = Watermark::new(after(SOON));
    nodes.bus.publish(&Announcement::default().with_watermarks([made_up])).await.unwrap();
    nodes.is_forgotten(&key).await;
    nodes.is_good(&key).await;
    nodes.is_good(&other).await;
}

/// A clock far ahead makes no key unusable: only the authority is asked, and it is believed.
#[tokio::test(start_paused = true)]
async fn a_time_that_is_far_ahead_is_no_watermark() {
    let nodes = Nodes::new().await;
    let key = nodes.known().await;
    let ahead = Watermark::new(after(LAG_BOUND + SOON));
    nodes.bus.publish(&Announcement::default().with_watermarks([ahead])).await.unwrap();
    nodes.is_forgotten(&key).await;
    let before = nodes.store.asked();
    nodes.is_good(&key).await;
    let [replica, primary] = nodes.store.asked();
    assert_eq!([replica, primary], [before[0], before[1] + 1]);
}

/// More of them than are kept: the time in which only the authority is asked takes the place of those that are
/// too many.
#[tokio::test(start_paused = true)]
async fn many_at_once_are_all_heeded() {
    let nodes = Nodes::new().await;
    let mut keys = Vec::new();
    for number in 0..70 {
        keys.push((nodes.known_of(&format!("user-{number}")).await, format!("user-{number}")));
    }
    nodes.clock.advance(SOON);
    for (_, owner) in &keys {
        let set = KeySet::of_owner(&**owner).issued_before(after(SOON));
        nodes.manager.revoke_all(set, None).await.unwrap();
    }
    // What comes at once is swept together.
    sleep(Duration::from_millis(50)).await;
    for (key, _) in &keys {
        nodes.is_forgotten(key).await;
        nodes.is_revoked(key).await;
    }
}
