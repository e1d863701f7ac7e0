//! Requests of all ranks look up keys, under a budget half of which is for listed keys: those are
//! always found, whatever others do, one that is listed while it waits included, and the source is not
//! asked for more unlisted keys than their half.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
};

use tokio::task::{spawn, yield_now};

use crate::{
    clock::{SettableClock, Timestamp},
    key::KeyDigest,
    runtime::MapDigest,
    store::{
        StoreError, StoreErrorKind,
        cache::{Answer, Cache, Claim, Rank, Settings},
    },
};

const TOKENS: u32 = 4;

/// Exists, and is listed.
const GOOD: u8 = 0;
/// Exists, and is listed late.
const LATE: u8 = 1;
/// Those from here on do not exist.
const BAD: u8 = 2;

#[derive(Clone)]
struct Node {
    cache: Arc<Cache<MapDigest, u8, StoreError>>,
    in_vain: Arc<AtomicU32>,
    is_listed: Arc<AtomicBool>,
}

pub(crate) fn have_ranks() {
    shuttle::future::block_on(async {
        let settings = Settings {
            capacity: 8,
            lookups_per_second: NonZeroU32::new(TOKENS),
            // It stands still, so that no token comes with time.
            clock: Arc::new(SettableClock::new(Timestamp::UNIX_EPOCH)),
            ..Settings::default()
        };
        let node = Node {
            cache: Arc::new(Cache::new(settings)),
            in_vain: Arc::default(),
            is_listed: Arc::default(),
        };
        let keys = [BAD, LATE, BAD + 1, GOOD, BAD + 2];
        let requests: Vec<_> = keys.map(|key| spawn(node.clone().find(key))).into();
        let listing = spawn(node.clone().list());
        for request in requests.into_iter().chain([listing]) {
            request.await.unwrap();
        }
        crate::no_other_holds(&node.cache).await;
        let in_vain = node.in_vain.load(SeqCst);
        assert!(in_vain <= TOKENS / 2, "{in_vain} lookups of unlisted keys");
    });
}

impl Node {
    /// From now on the key is listed, and it is asked for again.
    async fn list(self) {
        yield_now().await;
        self.is_listed.store(true, SeqCst);
        self.find(LATE).await;
    }

    async fn find(self, key: u8) {
        let is_listed = || key == GOOD || (key == LATE && self.is_listed.load(SeqCst));
        let was_listed = is_listed();
        let claim = || Claim {
            rank: if is_listed() { Rank::Listed } else { Rank::Unlisted },
            network: Some(key.into()),
        };
        let ask = || {
            let in_vain = self.in_vain.clone();
            async move {
                yield_now().await;
                if key >= BAD {
                    in_vain.fetch_add(1, SeqCst);
                }
                Answer::Ok((key < BAD).then_some(key))
            }
        };
        let digest = MapDigest::from(&KeyDigest::from_bytes([key; 32]));
        match self.cache.look_up(&digest, claim, ask).await {
            Ok(found) => assert_eq!(found, (key < BAD).then_some(key)),
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Overloaded);
                assert!(!was_listed, "a listed key is refused");
            }
        }
    }
}
