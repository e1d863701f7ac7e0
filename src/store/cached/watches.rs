//! [`Watches`]: the keys of streams, apart from the cache. A key that leaves the cache for want of room is
//! watched all the same.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::oneshot;

use crate::{
    key::KeyDigest,
    runtime::{DigestMap, MapDigest, Mutex},
};

/// Those who wait for a change of a key.
#[derive(Default)]
pub(super) struct Watches {
    keys: Mutex<DigestMap<Vec<Waiting>>>,
    /// How many keys there are, for changes that nothing waits for.
    count: AtomicUsize,
    next_number: AtomicU64,
}

struct Waiting {
    number: u64,
    told: oneshot::Sender<()>,
}

impl Watches {
    /// Ends when this key is said to have changed, from now on.
    pub(super) fn watch(self: &Arc<Self>, digest: &KeyDigest) -> impl Future<Output = ()> + use<> {
        let digest = MapDigest::from(digest);
        let number = self.next_number.fetch_add(1, Relaxed);
        let (told, is_told) = oneshot::channel();
        let mut keys = self.keys.lock();
        keys.entry(digest).or_default().push(Waiting { number, told });
        self.count.store(keys.len(), Relaxed);
        drop(keys);
        let waiter = Waiter { watches: self.clone(), digest, number };
        async move {
            let _ = is_told.await;
            drop(waiter);
        }
    }

    /// These keys have changed.
    pub(super) fn tell<'d>(&self, digests: impl IntoIterator<Item = &'d KeyDigest>) {
        if self.count.load(Relaxed) == 0 {
            return;
        }
        let mut keys = self.keys.lock();
        for digest in digests {
            for waiting in keys.remove(&MapDigest::from(digest)).into_iter().flatten() {
                // An error says that it waits no longer.
                let _ = waiting.told.send(());
            }
        }
        self.count.store(keys.len(), Relaxed);
    }

    /// Any key may have changed.
    pub(super) fn tell_all(&self) {
        let mut keys = self.keys.lock();
        for waiting in keys.drain().flat_map(|(_, waiting)| waiting) {
            let _ = waiting.told.send(());
        }
        self.count.store(0, Relaxed);
    }
}

struct Waiter {
    watches: Arc<Watches>,
    digest: MapDigest,
    number: u64,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut keys = self.watches.keys.lock();
        if let Some(waiting) = keys.get_mut(&self.digest) {
            waiting.retain(|waiting| waiting.number != self.number);
            if waiting.is_empty() {
                keys.remove(&self.digest);
            }
        }
        self.watches.count.store(keys.len(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn digest(number: u8) -> KeyDigest {
        KeyDigest::from_bytes([number; 32])
    }

    #[test]
    fn all_who_wait_for_a_key_hear_of_its_change_and_no_others() {
        let watches = Arc::new(Watches::default());
        watches.tell([&digest(1)]);
        let (mut first, second) = (Box::pin(watches.watch(&digest(1))), watches.watch(&digest(1)));
        let mut other = Box::pin(watches.watch(&digest(2)));
        assert!((&mut first).now_or_never().is_none(), "that was before");
        watches.tell([&digest(1)]);
        assert!((&mut first).now_or_never().is_some());
        assert!(second.now_or_never().is_some(), "it was not polled before the change");
        assert!((&mut other).now_or_never().is_none());
        drop(other);
        assert_eq!(watches.keys.lock().len(), 0, "nothing is left behind");
        assert_eq!(watches.count.load(Relaxed), 0);
    }
}
