//! Token buckets that hold a second's worth, by the generic cell rate algorithm.
//!
//! A bucket is the moment at which it will be full again if nothing is spent (the "theoretical
//! arrival time"), in nanoseconds since the Unix epoch.

use std::num::NonZeroU32;

/// How fast a bucket fills.
#[derive(Clone, Copy)]
pub(super) struct Rate {
    nanos_per_token: i64,
    /// How far ahead the moment is when the bucket is empty.
    nanos_when_empty: i64,
}

const SECOND: i64 = 1_000_000_000;

impl Rate {
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        let per_second = i64::from(per_second.get());
        // Rounded up: rather a hair less than was allowed than a hair more.
        let nanos_per_token = (SECOND - 1) / per_second + 1;
        Self { nanos_per_token, nanos_when_empty: nanos_per_token * per_second }
    }

    /// How many tokens a full bucket holds.
    const fn capacity(self) -> i64 {
        self.nanos_when_empty / self.nanos_per_token
    }

    /// How many tokens so many lookups take: no more than a full bucket holds.
    fn tokens(self, lookups: u32) -> i64 {
        i64::from(lookups).min(self.capacity())
    }

    fn full_at(self, full_at: i64, now: i64) -> i64 {
        // No spending goes as far ahead as this: the clock was set back, and the bucket must not
        // stay closed until it has caught up. A thread that read the clock just before another one
        // is not mistaken for that.
        let set_back = full_at - now > self.nanos_when_empty + SECOND;
        if set_back { now } else { full_at }
    }

    /// How many tokens are left.
    fn left(self, full_at: i64, now: i64) -> i64 {
        let spent = (self.full_at(full_at, now) - now).max(0);
        (self.nanos_when_empty - spent) / self.nanos_per_token
    }

    /// Whether there are tokens for so many lookups.
    pub(super) fn has(self, full_at: i64, lookups: u32, now: i64) -> bool {
        self.left(full_at, now) >= self.tokens(lookups)
    }

    /// When the bucket will be full after so many lookups.
    pub(super) fn after(self, full_at: i64, lookups: u32, now: i64) -> i64 {
        self.full_at(full_at, now).max(now) + self.tokens(lookups) * self.nanos_per_token
    }

    /// When it will be full if of so many lookups no more than these have taken tokens.
    pub(super) fn without(self, full_at: i64, lookups: u32, spent: u32) -> i64 {
        full_at - (self.tokens(lookups) - self.tokens(spent)) * self.nanos_per_token
    }
}

/// A bucket whose tokens may be held, until it is known whether they are spent.
pub(super) struct Bucket {
    rate: Rate,
    full_at: i64,
    /// Tokens that are held by lookups under way.
    reserved: i64,
}

/// The room that is left in a bucket, the most first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Room {
    Free,
    /// So many tokens are held, and may come back.
    Held,
    /// There are not so many tokens.
    Spent,
}

impl Bucket {
    pub(super) const fn new(rate: Rate) -> Self {
        Self { rate, full_at: 0, reserved: 0 }
    }

    pub(super) fn room(&self, lookups: u32, now: i64) -> Room {
        let (left, tokens) = (self.rate.left(self.full_at, now), self.rate.tokens(lookups));
        if left >= self.reserved + tokens {
            Room::Free
        } else if left >= tokens {
            Room::Held
        } else {
            Room::Spent
        }
    }

    /// Whether half of the bucket is left after so many lookups.
    pub(super) fn has_half(&self, lookups: u32, now: i64) -> bool {
        let left = self.rate.left(self.full_at, now) - self.reserved - self.rate.tokens(lookups);
        left >= self.rate.capacity() / 2
    }

    pub(super) fn reserve(&mut self, lookups: u32) {
        self.reserved += self.rate.tokens(lookups);
    }

    /// Ends a reservation of which so many tokens are spent.
    pub(super) fn release(&mut self, lookups: u32, spent: u32, now: i64) {
        self.reserved -= self.rate.tokens(lookups);
        if spent > 0 {
            self.full_at = self.rate.after(self.full_at, spent, now);
        }
    }

    /// How long it is until time brings the tokens for so many lookups; none if too many are held.
    pub(super) fn due(&self, lookups: u32, now: i64) -> Option<i64> {
        let Rate { nanos_per_token, nanos_when_empty } = self.rate;
        let left = nanos_when_empty - (self.reserved + self.rate.tokens(lookups)) * nanos_per_token;
        (left >= 0).then(|| self.rate.full_at(self.full_at, now) - left - now)
    }
}
