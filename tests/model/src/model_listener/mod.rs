//! A cache listens to a bus while a key is changed: a lookup that begins after the cache has heard of the
//! change, or after it has made up for a lost subscription, never has the older row.
//!
//! No timeout ends in a run, so a listener never does the work on all keys that it puts off for a while: a
//! run has no more than one message with such work.

mod bus;
mod rows;

use std::{sync::Arc, time::Duration};

use shuttle::rand::{Rng, thread_rng};
use tokio::task::{spawn, yield_now};

use self::{
    bus::Bus,
    rows::{CREATED_AT, DIGEST, Rows, Store, Version},
};
use crate::{
    clock::SettableClock,
    key::KeyDigest,
    store::{
        AnnouncedKey, AnnouncedState, Announcement, CachedStore, Invalidations, KeyStore, Lookup,
        StoreError, StoreErrorKind, Watermark,
    },
};

/// Announced without a revision, and by a message that cannot be read.
pub(crate) fn forgets() {
    run(Rows::new(false), LAGS, async |node| {
        let changes = [Announcement::new([AnnouncedKey::new(DIGEST)]), Announcement::parse(b"?")];
        for (version, announcement) in (2..).zip(changes) {
            node.change(version).await;
            node.announce(version, &announcement).await;
        }
    });
}

/// Changes are announced while there is no subscription, or are lost with it.
pub(crate) fn misses_changes() {
    run(Rows::new(false), LAGS, async |node| lose_changes(node, false).await);
}

/// The same, with a replica that may not have what was missed.
pub(crate) fn misses_changes_of_a_replica() {
    run(Rows::new(true), LAGS, async |node| lose_changes(node, false).await);
}

/// The same, with one that has it by the time of the next subscription, and not before.
pub(crate) fn asks_no_replica_in_a_gap() {
    run(Rows::new(true), LAGS_NOT, async |node| lose_changes(node, true).await);
}

async fn lose_changes(node: &Node, replica_follows: bool) {
    for version in 2..4 {
        let is_early = thread_rng().r#gen();
        if is_early {
            node.bus.lose();
            pause().await;
        }
        node.change(version).await;
        node.bus.publish(&changed(version)).await.unwrap();
        if !is_early {
            node.bus.lose();
        }
        pause().await;
        if replica_follows {
            node.rows.replicate();
        }
        node.bus.repair();
        node.rows.told_of(version).await;
    }
}

/// A replica has the change later than it was heard.
pub(crate) fn outruns_a_replica() {
    run(Rows::new(true), LAGS_NOT, async |node| {
        let replica = spawn(replicate(node.rows.clone()));
        for version in 2..4 {
            node.change(version).await;
            node.announce(version, &changed(version)).await;
        }
        replica.await.unwrap();
    });
}

/// The authority is set back after the change was heard, as when a standby takes over: there is an error,
/// and not the older row.
pub(crate) fn outruns_the_authority() {
    run(Rows::new(false), LAGS_NOT, async |node| {
        for version in 2..4 {
            node.change(version).await;
            node.announce(version, &changed(version)).await;
            node.rows.set_back(version - 1);
            pause().await;
            node.rows.change(version);
        }
    });
}

/// A backup brings the first row back, and an operator announces the reset: what was announced, and what was read
/// before, denies the key no longer.
pub(crate) fn hears_a_reset() {
    run(Rows::restored(false), LAGS, restore);
}

/// The same, where only the authority is asked, as a replica may lag.
pub(crate) fn hears_a_reset_beside_a_replica() {
    run(Rows::restored(true), LAGS, restore);
}

async fn restore(node: &Node) {
    // A reset that is announced before the cache listens is missed.
    node.rows.told_of(1).await;
    node.change(2).await;
    node.announce(2, &changed(2)).await;
    // What is known is looked up again, also while the backup comes and the reset is heard.
    node.announce(2, &Announcement::parse(b"?")).await;
    node.rows.change(3);
    pause().await;
    node.announce(3, &Announcement::reset()).await;
}

/// The key is revoked by a watermark.
pub(crate) fn hears_a_watermark() {
    run(Rows::below_a_watermark(false), LAGS_NOT, raise_watermark);
}

/// The same, and a replica has it later than it was heard.
pub(crate) fn hears_a_watermark_early() {
    run(Rows::below_a_watermark(true), LAGS_NOT, async |node| {
        let replica = spawn(replicate(node.rows.clone()));
        raise_watermark(node).await;
        replica.await.unwrap();
    });
}

async fn raise_watermark(node: &Node) {
    let all = Watermark::new(CREATED_AT.saturating_add(Duration::from_millis(1)));
    let of = |owner: &str| Watermark { owner: Some(owner.into()), ..all.clone() };
    let watermarks = [of("anna"), of("berta"), of("carla"), all.clone()];
    node.change(2).await;
    node.announce(2, &Announcement::default().with_watermarks(watermarks)).await;
}

/// Has the replica follow twice, at any time: most often it lags.
async fn replicate(rows: Arc<Rows>) {
    for _ in 0..2 {
        pause().await;
        rows.replicate();
    }
}

/// Our key, and others in the same message.
fn changed(version: Version) -> Announcement {
    let others = [2, 3, 4].map(|number| KeyDigest::from_bytes([number; 32]));
    let keys = [DIGEST].into_iter().chain(others);
    Announcement::new(
        keys.map(|key| AnnouncedKey::new(key).with_change(version, AnnouncedState::Live)),
    )
}

/// Lets others go on for a while, or not at all.
async fn pause() {
    for _ in 0..thread_rng().gen_range(0..8) {
        yield_now().await;
    }
}

/// By so much a replica may lag: longer than a run takes.
const LAGS: Duration = Duration::from_mins(1);

/// No change that was made before a subscription is missing in a replica.
const LAGS_NOT: Duration = Duration::ZERO;

/// A cache, the store behind it and the bus that it listens to.
#[derive(Clone)]
struct Node {
    cache: CachedStore<Store>,
    rows: Arc<Rows>,
    bus: Arc<Bus>,
}

/// Makes changes while tasks look up the key.
fn run(rows: Arc<Rows>, lag_bound: Duration, changes: impl AsyncFnOnce(&Node)) {
    shuttle::future::block_on(async move {
        let bus = Arc::new(Bus::new(rows.clone()));
        let cache = CachedStore::builder(Store(rows.clone()))
            .with_capacity(8)
            .with_lag_bound(lag_bound)
            // It stands still: nothing is looked up again for its age.
            .with_clock(SettableClock::new(CREATED_AT))
            .with_invalidations(bus.clone())
            .build();
        let node = Node { cache, rows, bus };
        let lookups = [(); 2].map(|()| spawn(node.clone().look_up_until_the_end()));
        if lag_bound == LAGS_NOT || thread_rng().r#gen() {
            // Until the cache listens.
            node.rows.told_of(1).await;
        }
        changes(&node).await;
        node.rows.told_of(node.rows.newest()).await;
        node.rows.end();
        for lookup in lookups {
            lookup.await.unwrap();
        }
        node.rows.is_quiet();
        node.clone().look_up().await;
        let rows = node.rows.clone();
        // The listener ends with the cache.
        drop(node);
        crate::no_other_holds(&rows).await;
    });
}

impl Node {
    /// Changes the row, while the cache knows of it or has yet to look it up.
    async fn change(&self, version: Version) {
        if thread_rng().r#gen() {
            self.cache.clear();
        }
        pause().await;
        self.rows.change(version);
        pause().await;
    }

    async fn announce(&self, version: Version, announcement: &Announcement) {
        self.bus.publish(announcement).await.unwrap();
        if thread_rng().r#gen() {
            self.rows.told_of(version).await;
            pause().await;
        }
    }

    /// In one task after the other: each has a front that is empty.
    async fn look_up_until_the_end(self) {
        while !self.rows.is_at_the_end() {
            spawn(self.clone().look_up()).await.unwrap();
        }
    }

    async fn look_up(self) {
        for _ in 0..3 {
            let least = self.rows.told();
            match self.find().await {
                Ok(found) => assert!(found >= least, "version {found}, when {least} was heard of"),
                Err(error) => {
                    assert!(self.rows.may_be_behind(), "{error}, when {least} was heard of");
                    assert_eq!(error.kind(), StoreErrorKind::Behind);
                }
            }
            yield_now().await;
        }
    }

    /// As a request does: what the thread's front has, then what the cache has, then the store.
    async fn find(&self) -> Result<Version, StoreError> {
        Ok(match self.cache.find_shared(&DIGEST) {
            Some(Lookup::Found(record)) => self.rows.version(&record),
            Some(Lookup::NotFound) => panic!("the key is there"),
            None => {
                let found = self.cache.find(&DIGEST).await?;
                self.rows.version(&found.expect("the key is there"))
            }
        })
    }
}
