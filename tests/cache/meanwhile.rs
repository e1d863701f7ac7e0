//! What is announced of a key while the authority is asked about it.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::JoinHandle, time::sleep};
use tower_api_key::{
    KeyPatch,
    key::KeyRecord,
    manage::IssuedKey,
    store::{
        AnnouncedKey, AnnouncedState, Announcement, Invalidations, KeyStore, StoreErrorKind,
        Watermark,
    },
};

use crate::{
    barrier::Nodes,
    support::{NOW, until},
};

type Finding = JoinHandle<Result<Option<Arc<KeyRecord>>, StoreErrorKind>>;

/// A lookup of which the primary has taken its answer, and not given it yet.
struct UnderWay<'n> {
    nodes: &'n Nodes,
    held: Arc<Semaphore>,
    finding: Finding,
    asked: usize,
}

impl<'n> UnderWay<'n> {
    /// The authority has to be asked, since something was announced.
    async fn of(nodes: &'n Nodes, key: &IssuedKey) -> Self {
        let digest = key.record.digest;
        announce(nodes, &made_up(1)).await;
        until(|| nodes.cache.find_now(&digest).is_none()).await;
        let (held, asked) = (nodes.store.hold(), nodes.store.asked()[1]);
        let cache = nodes.cache.clone();
        let find = async move { cache.find(&digest).await.map_err(|error| error.kind()) };
        let under_way = Self { nodes, held, finding: tokio::spawn(find), asked };
        under_way.is_asked(1).await;
        under_way
    }

    /// The authority was asked so often.
    async fn is_asked(&self, times: usize) {
        until(|| self.nodes.store.asked()[1] == self.asked + times).await;
        sleep(Duration::from_millis(1)).await;
        assert_eq!(self.nodes.store.asked()[1], self.asked + times);
    }

    async fn answer(self) -> Result<Option<Arc<KeyRecord>>, StoreErrorKind> {
        self.held.add_permits(1);
        self.finding.await.unwrap()
    }
}

/// A watermark that was never written: another each time.
fn made_up(number: u64) -> Announcement {
    let time = NOW.saturating_add(Duration::from_millis(number));
    Announcement::default().with_watermarks([Watermark::new(time)])
}

async fn announce(nodes: &Nodes, announcement: &Announcement) {
    nodes.bus.publish(announcement).await.unwrap();
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn of_a_watermark_that_was_made_up_it_is_asked_again() {
    let nodes = Nodes::new().await;
    let key = nodes.known().await;
    let under_way = UnderWay::of(&nodes, &key).await;
    announce(&nodes, &made_up(2)).await;
    under_way.held.add_permits(1);
    under_way.is_asked(2).await;
    let found = under_way.answer().await.unwrap().expect("it exists");
    assert!(found.details.revoked_at.is_none());
}

/// Whatever can write to the channel cannot have it asked for ever.
#[tokio::test(start_paused = true)]
async fn it_is_asked_three_times() {
    let nodes = Nodes::new().await;
    let key = nodes.known().await;
    let under_way = UnderWay::of(&nodes, &key).await;
    for number in 2..4 {
        announce(&nodes, &made_up(number)).await;
        under_way.held.add_permits(1);
        under_way.is_asked(usize::try_from(number).unwrap()).await;
    }
    announce(&nodes, &made_up(4)).await;
    let asked = under_way.asked;
    assert_eq!(under_way.answer().await, Err(StoreErrorKind::Behind));
    assert_eq!(nodes.store.asked()[1], asked + 3);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_found() {
    let nodes = Nodes::new().await;
    let key = nodes.known().await;
    let under_way = UnderWay::of(&nodes, &key).await;
    nodes.clock.advance(Duration::from_millis(3));
    let patch = KeyPatch { name: Some("other".into()), ..KeyPatch::default() };
    nodes.manager.update(key.record.id, patch).await.unwrap();
    under_way.is_asked(2).await;
    under_way.held.add_permits(1);
    assert_eq!(&*under_way.answer().await.unwrap().expect("it exists").name, "other");
}

#[tokio::test(start_paused = true)]
async fn an_end_is_found() {
    let nodes = Nodes::new().await;
    let key = nodes.known().await;
    let under_way = UnderWay::of(&nodes, &key).await;
    nodes.manager.revoke(key.record.id, None).await.unwrap();
    under_way.is_asked(2).await;
    under_way.held.add_permits(1);
    let found = under_way.answer().await.unwrap().expect("it exists");
    assert!(found.details.revoked_at.is_some());
}

/// It is behind, and asking again makes no difference.
#[tokio::test(start_paused = true)]
async fn of_what_was_announced_before_it_is_not_asked_again() {
    let nodes = Nodes::new().await;
    let key = nodes.known().await;
    let revision = key.record.revision + 1;
    let lost = AnnouncedKey::new(key.record.digest).with_change(revision, AnnouncedState::Revoked);
    announce(&nodes, &Announcement::new([lost])).await;
    let under_way = UnderWay::of(&nodes, &key).await;
    let asked = under_way.asked;
    assert_eq!(under_way.answer().await, Err(StoreErrorKind::Behind));
    assert_eq!(nodes.store.asked()[1], asked + 1);
}
