//! [`FailureThrottle`]: callers with too many failures wait.

mod debts;
mod settings;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use self::settings::FailureThrottleBuilder;
use self::{debts::Debts, settings::Settings};
use crate::{
    clock::Timestamp,
    key::{Quota, RejectionKind},
};

/// Throttles clients that failed too often: those that guess keys, and those that go on sending a
/// revoked key.
///
/// Failures are credentials that are no key, or an unknown, revoked, disabled, expired or not yet
/// valid one, and good ones from an address that they may not be used from. They are counted twice:
///
/// - by client address, of IPv6 by /64, which is what one customer of a provider has;
/// - by address and the start of the credential, with a smaller quota. So a client with a dead key
///   is slowed before its neighbours behind the same address are, and neither does it use up what
///   they may fail.
///
/// A client that failed as often as a quota admits waits until it admits one more. Until then every
/// request with a credential from this address, or with one that begins like this from there, is
/// [`TooManyFailures`](RejectionKind::TooManyFailures), whatever its credential is worth: it is
/// not looked at. A request that is refused like this costs nothing, so no client waits longer
/// for having asked; neither do requests that are let in, which pay nothing off either.
///
/// All clients behind one address share its quota, good keys included. Choose one that a whole
/// office with a bad day does not use up. No client waits longer than an hour, and until one more
/// comes back.
///
/// # Memory
///
/// Bounded, and little before a client fails; see
/// [`with_capacity`](FailureThrottleBuilder::with_capacity). When it is full, clients that have
/// paid off what they owed make way, then those that are nearest to it. To be forgotten, a waiting
/// guesser needs other addresses that owe as much: for a chance of one in a hundred half as many as
/// there is room for, for an even one as many. With these it may guess far more often than it
/// could with what that gains.
///
/// Addresses and credentials are not kept: of both there is a hash, with a secret that is drawn at
/// start. Of a credential at most one half goes into it.
///
/// ```
/// use tower_api_key::{auth::FailureThrottle, limit::Quota, nonzero};
///
/// // Twenty at once, and then one every three seconds.
/// let throttle = FailureThrottle::new(Quota::per_minute(nonzero!(20)));
/// # let _ = throttle;
/// ```
#[derive(Clone)]
pub struct FailureThrottle(Arc<Inner>);

struct Inner {
    settings: Settings,
    hasher: RandomState,
    /// Times are nanoseconds after this.
    made_at: Timestamp,
    addresses: Account,
    starts: Account,
    /// Until when a client has to wait; 0: none does. A service in which no client fails looks no
    /// further.
    until: AtomicU64,
}

/// What may be owed beyond the quota, by requests that were judged at the same time: an hour.
const MOST_BEYOND: u64 = 3_600 * 1_000_000_000;

/// A wait of less than a tick is none. Clocks may be late by one, and a client that comes back
/// when told must not be too early.
const TICK: u64 = 10_000_000;

/// The longest prefix, what stands behind it, and four characters: what people recognise a key by.
const LONGEST_START: usize = 24 + 1 + 4;

impl FailureThrottle {
    /// Lets as many failures happen from one address as this quota admits requests.
    ///
    /// Of them, a quarter may be with credentials that begin alike.
    pub fn new(per_address: Quota) -> Self {
        Self::builder(per_address).build()
    }

    /// Like [`new`](Self::new), with other settings than the defaults.
    ///
    /// ```
    /// use tower_api_key::{auth::FailureThrottle, limit::Quota, nonzero};
    ///
    /// let throttle = FailureThrottle::builder(Quota::per_minute(nonzero!(20)))
    ///     .with_per_start(Quota::per_minute(nonzero!(2)))
    ///     .with_capacity(10_000)
    ///     .build();
    /// # let _ = throttle;
    /// ```
    pub fn builder(per_address: Quota) -> FailureThrottleBuilder {
        FailureThrottleBuilder::new(per_address)
    }

    fn with_settings(settings: Settings) -> Self {
        let account = |quota| Account { quota, debts: Debts::new(settings.capacity) };
        Self(Arc::new(Inner {
            hasher: RandomState::new(),
            made_at: settings.clock.now(),
            addresses: account(settings.per_address),
            starts: account(settings.per_start),
            until: AtomicU64::new(0),
            settings,
        }))
    }

    /// Whether a denial for this reason is a failure.
    pub(crate) const fn is_failure(kind: RejectionKind) -> bool {
        use RejectionKind as K;
        matches!(
            kind,
            K::Malformed
                | K::Unknown
                | K::Revoked
                | K::Disabled
                | K::NotYetValid
                | K::Expired
                | K::AddressNotAllowed
        )
    }

    /// Whether any client may have to wait.
    #[inline]
    pub(crate) fn is_busy(&self) -> bool {
        self.0.until.load(Ordering::Acquire) > 0
    }

    /// How long a request from this address with this credential has to wait, if it has to.
    #[inline]
    pub(crate) fn must_wait(&self, address: IpAddr, key: &[u8]) -> Option<Duration> {
        match self.0.until.load(Ordering::Acquire) {
            0 => None,
            until => self.0.wait(until, address, key),
        }
    }

    /// Counts a failure.
    #[cold]
    pub(crate) fn failed(&self, address: IpAddr, key: &[u8]) {
        let now = self.0.now();
        let (address, start) = self.0.who(address, key);
        let until = self.0.addresses.charge(address, now).max(self.0.starts.charge(start, now));
        self.0.until.fetch_max(until, Ordering::Release);
    }

    /// How many debts are kept, of addresses and of starts together, those that are paid off
    /// included. Counts them one by one.
    pub fn debts(&self) -> usize {
        self.0.addresses.debts.len() + self.0.starts.debts.len()
    }
}

/// One quota, and how much of it each debtor owes.
struct Account {
    quota: Quota,
    debts: Debts,
}

impl Account {
    fn most(&self) -> u64 {
        self.quota.room().saturating_add(MOST_BEYOND)
    }

    /// For how long no failure is admitted any more.
    fn wait(&self, who: u64, now: u64) -> Option<u64> {
        // Where the clock has been set back, no more is owed than can be.
        let owed = self.debts.paid_at(who).saturating_sub(now).min(self.most());
        self.wait_for(owed)
    }

    /// Adds a failure, also beyond what the quota admits: of many requests that are judged at the
    /// same time, each is a guess. Until when no other is admitted then; 0 if one is.
    fn charge(&self, who: u64, now: u64) -> u64 {
        let owed = self.debts.add(who, now, self.quota.charge(1), self.most());
        self.wait_for(owed).map_or(0, |wait| now.saturating_add(wait))
    }

    fn wait_for(&self, owed: u64) -> Option<u64> {
        let wait = self.quota.admit(owed, self.quota.charge(1)).err();
        wait.filter(|wait| *wait >= TICK)
    }
}

impl Inner {
    fn now(&self) -> u64 {
        let passed = self.settings.clock.now().saturating_since(self.made_at);
        u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
    }

    #[cold]
    fn wait(&self, until: u64, address: IpAddr, key: &[u8]) -> Option<Duration> {
        let now = self.now();
        if now >= until {
            // Unless another client has to wait by now.
            let _ = self.until.compare_exchange(until, 0, Ordering::AcqRel, Ordering::Relaxed);
            return None;
        }
        let (address, start) = self.who(address, key);
        let wait = self.addresses.wait(address, now).max(self.starts.wait(start, now));
        wait.map(Duration::from_nanos)
    }

    /// The groups whose failures are counted together: an address, and a start from there.
    fn who(&self, address: IpAddr, key: &[u8]) -> (u64, u64) {
        let client = Client::from(address);
        let start = &key[..LONGEST_START.min(key.len() / 2)];
        (self.hasher.hash_one(client), self.hasher.hash_one((client, start)))
    }
}

#[derive(Clone, Copy, Hash)]
enum Client {
    V4(u32),
    /// The network. A client that has an address has the rest of it, too.
    V6(u64),
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        // A dual-stack socket shows IPv4 clients as `::ffff:a.b.c.d`.
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

impl fmt::Debug for FailureThrottle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailureThrottle")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}
