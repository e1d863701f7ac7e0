//! How much of the budget each network has had.
//!
//! A table of buckets, without the names of their networks: its size is fixed, and two networks in
//! one place share a share. The place follows from a seed that is drawn for each table, so that no
//! client can choose one.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
};

use super::bucket::Rate;

/// 32 KiB.
const PLACES: usize = 4_096;

/// Of the tokens for unlisted lookups.
const SHARE: u32 = 8;

pub(super) struct Networks {
    rate: Rate,
    /// When each bucket will be full.
    full_at: Box<[i64]>,
    seed: RandomState,
}

impl Networks {
    /// Each with an eighth of so many lookups a second, but one at least.
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        let share = NonZeroU32::new(per_second.get() / SHARE).unwrap_or(NonZeroU32::MIN);
        let full_at = vec![0; PLACES].into_boxed_slice();
        Self { rate: Rate::new(share), full_at, seed: RandomState::new() }
    }

    #[expect(clippy::cast_possible_truncation, reason = "some of the bits are enough")]
    fn place(&self, network: u64) -> usize {
        self.seed.hash_one(network) as usize % PLACES
    }

    /// Whether a network has so many lookups left.
    pub(super) fn have(&self, network: u64, lookups: u32, now: i64) -> bool {
        self.rate.has(self.full_at[self.place(network)], lookups, now)
    }

    pub(super) fn charge(&mut self, network: u64, lookups: u32, now: i64) {
        let place = self.place(network);
        self.full_at[place] = self.rate.after(self.full_at[place], lookups, now);
    }

    /// Of so many lookups, no more than these have spent anything.
    pub(super) fn refund(&mut self, network: u64, lookups: u32, spent: u32) {
        let place = self.place(network);
        self.full_at[place] = self.rate.without(self.full_at[place], lookups, spent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_networks_take_no_more_room_than_one() {
        let mut networks = Networks::new(NonZeroU32::new(800).unwrap());
        let mut charged = 0;
        for network in 0..1_000_000 {
            if networks.have(network, 1, 0) {
                networks.charge(network, 1, 0);
                charged += 1;
            }
        }
        assert_eq!(size_of_val(&*networks.full_at), 32 * 1_024);
        // In all places: each has had its share, of a hundred lookups.
        assert_eq!(charged, 100 * PLACES);
    }

    #[test]
    fn each_has_its_share() {
        let mut networks = Networks::new(NonZeroU32::new(800).unwrap());
        for used in 0..100 {
            assert!(networks.have(7, 1, 0), "{used}");
            networks.charge(7, 1, 0);
        }
        assert!(!networks.have(7, 1, 0) && networks.have(7, 1, 10_000_000));
        networks.refund(7, 3, 1);
        assert!(networks.have(7, 2, 0) && !networks.have(7, 3, 0));
        assert!(networks.have(8, 100, 0) || networks.place(7) == networks.place(8));
    }

    /// A share is one lookup a second at least.
    #[test]
    fn a_small_budget_leaves_each_network_something() {
        let networks = Networks::new(NonZeroU32::new(3).unwrap());
        assert!(networks.have(1, 1, 0) && networks.have(1, 5, 0));
    }
}
