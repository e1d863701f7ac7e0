//! Requests look up keys by two digests each, under a budget for lookups that find nothing: no request
//! waits for tokens that it holds itself. That the source is asked for no more than the budget is
//! asserted as well, but was not seen to fail; the tests of the budget count that.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use shuttle::rand::{Rng, thread_rng};
use tokio::task::{spawn, yield_now};

use crate::{
    clock::{SettableClock, Timestamp},
    key::KeyDigest,
    runtime::MapDigest,
    store::{
        StoreError, StoreErrorKind,
        cache::{Answer, Cache, Claim, Settings, of_one_key},
    },
};

const TOKENS: u32 = 3;

pub(crate) fn share_tokens() {
    shuttle::future::block_on(async {
        let settings = Settings {
            capacity: 8,
            lookups_per_second: NonZeroU32::new(TOKENS),
            // It stands still, so that no token comes with time.
            clock: Arc::new(SettableClock::new(Timestamp::UNIX_EPOCH)),
            ..Settings::default()
        };
        let cache: Arc<Cache<MapDigest, u8, StoreError>> = Arc::new(Cache::new(settings));
        let in_vain = Arc::new(AtomicU32::new(0));
        let requests: Vec<_> =
            (0..4).map(|_| spawn(request(cache.clone(), in_vain.clone()))).collect();
        for request in requests {
            request.await.unwrap();
        }
        crate::no_other_holds(&cache).await;
        let in_vain = in_vain.load(SeqCst);
        assert!(in_vain <= TOKENS, "{in_vain} lookups for {TOKENS} tokens");
    });
}

/// Key 0 is found by its second digest, key 1 by none.
async fn request(cache: Arc<Cache<MapDigest, u8, StoreError>>, in_vain: Arc<AtomicU32>) {
    let key: u8 = thread_rng().gen_range(0..2);
    let mut digests = [0, 1];
    if thread_rng().r#gen() {
        digests.reverse();
    }
    let lookups = async {
        for digest in digests {
            let ask = || {
                let in_vain = in_vain.clone();
                async move {
                    yield_now().await;
                    if key == 1 {
                        in_vain.fetch_add(1, SeqCst);
                    }
                    Answer::Ok((key == 0 && digest == 1).then_some(key))
                }
            };
            let digest = MapDigest::from(&KeyDigest::from_bytes([2 * key + digest; 32]));
            let answer = match cache.find_now(&digest, ask) {
                Some(found) => Ok(found),
                None => cache.look_up(&digest, Claim::default, ask).await.map(Into::into),
            };
            match answer {
                Ok(crate::store::Lookup::Found(found)) => return ((), Ok(Some(found))),
                Ok(crate::store::Lookup::NotFound) => {}
                Err(error) => return ((), Err(error)),
            }
        }
        ((), Ok(None))
    };
    match of_one_key(2, lookups).await.1 {
        Ok(found) => assert_eq!(found, (key == 0).then_some(0)),
        Err(error) => assert_eq!(error.kind(), StoreErrorKind::Overloaded),
    }
}
