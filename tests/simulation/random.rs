//! Chance that a seed repeats.

use std::time::Duration;

/// `SplitMix64`.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `end`, without that.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// True so often in a thousand.
    pub(crate) fn chance(&mut self, in_thousand: usize) -> bool {
        self.below(1_000) < in_thousand
    }

    /// In milliseconds, up to `longest`. Most are short.
    #[allow(dead_code, reason = "not every test binary draws times")]
    pub(crate) fn time(&mut self, longest: Duration) -> Duration {
        let longest = usize::try_from(longest.as_millis()).unwrap() + 1;
        let bound = if self.chance(100) { longest } else { longest.div_ceil(10) };
        Duration::from_millis(self.below(bound) as u64)
    }
}
