//! Digests that the filter takes for known, and the store has denied.

use std::{
    collections::{HashSet, VecDeque},
    hash::BuildHasher,
    time::Duration,
};

use crate::{
    clock::Timestamp,
    key::KeyDigest,
    runtime::{DigestHash, MapDigest, Mutex},
};

/// For an hour each, so that it is of no use to collect them.
///
/// A digest is its hash of 64 bits here: should another have the same, that one ranks lower than it
/// could for an hour, which matters in a flood alone.
#[derive(Default)]
pub(super) struct Denied {
    state: Mutex<State>,
    hash: DigestHash,
}

#[derive(Default)]
struct State {
    hashes: HashSet<u64>,
    /// The same, and perhaps some that are no longer among them, the oldest first.
    order: VecDeque<(u64, Timestamp)>,
}

const HOUR: Duration = Duration::from_hours(1);

/// Then the oldest makes way: 4 MB.
const MAX: usize = 100_000;

impl Denied {
    pub(super) fn insert(&self, digest: &KeyDigest, now: Timestamp) {
        let hash = self.hash(digest);
        let mut state = self.state.lock();
        state.expire(now);
        if state.hashes.insert(hash) {
            if state.order.len() >= MAX {
                state.forget_oldest();
            }
            state.order.push_back((hash, now));
        }
    }

    pub(super) fn contains(&self, digest: &KeyDigest, now: Timestamp) -> bool {
        let hash = self.hash(digest);
        let mut state = self.state.lock();
        state.expire(now);
        state.hashes.contains(&hash)
    }

    /// There are such keys after all.
    pub(super) fn forgive<'d>(&self, digests: impl IntoIterator<Item = &'d KeyDigest>) {
        let mut state = self.state.lock();
        if !state.hashes.is_empty() {
            for digest in digests {
                state.hashes.remove(&self.hash(digest));
            }
        }
    }

    fn hash(&self, digest: &KeyDigest) -> u64 {
        self.hash.hash_one(MapDigest::from(digest))
    }
}

impl State {
    fn expire(&mut self, now: Timestamp) {
        // Further ahead than now, if the clock was set back.
        let is_over = |at: Timestamp| now.saturating_since(at) >= HOUR || at > now;
        while self.order.front().is_some_and(|(_, at)| is_over(*at)) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((hash, _)) = self.order.pop_front() {
            self.hashes.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: usize) -> KeyDigest {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        KeyDigest::from_bytes(bytes)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(seconds * 1_000)
    }

    #[test]
    fn for_an_hour_each() {
        let denied = Denied::default();
        denied.insert(&digest(1), at(0));
        denied.insert(&digest(2), at(1_800));
        assert!(denied.contains(&digest(1), at(3_599)) && !denied.contains(&digest(3), at(3_599)));
        assert!(!denied.contains(&digest(1), at(3_600)) && denied.contains(&digest(2), at(5_399)));
        denied.forgive([&digest(2), &digest(4)]);
        assert!(!denied.contains(&digest(2), at(5_399)));
    }

    #[test]
    fn no_more_than_there_is_room_for() {
        let denied = Denied::default();
        for number in 0..3 * MAX {
            denied.insert(&digest(number), at(0));
            denied.forgive([&digest(number / 2)]);
        }
        let state = denied.state.lock();
        assert!(state.order.len() <= MAX && state.hashes.len() <= MAX);
        drop(state);
        assert!(denied.contains(&digest(3 * MAX - 1), at(0)));
        assert!(!denied.contains(&digest(MAX), at(0)));
    }

    #[test]
    fn a_clock_that_is_set_back_ends_it() {
        let denied = Denied::default();
        denied.insert(&digest(1), at(9_000));
        assert!(!denied.contains(&digest(1), at(0)));
    }
}
