//! [`FailureThrottle`]: callers with too many failures wait.

mod debtors;
mod debts;
mod guess;
mod settings;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    hash::RandomState,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub(crate) use self::guess::{Guess, NotNow};
pub use self::settings::FailureThrottleBuilder;
use self::{debtors::Debtors, debts::Debts, settings::Settings};
use crate::{
    clock::{TICK, Timestamp, nanos},
    key::{Quota, RejectionKind},
    runtime::{Apart, Bounds, KeyedSemaphore},
};

/// Throttles clients that failed too often: those that guess keys, and those that go on sending a
/// revoked key.
///
/// Failures are credentials that are no key, or an unknown, revoked, disabled, expired or not yet
/// valid one, and good ones from an address that they may not be used from. They are counted twice:
///
/// - by client address, of IPv6 by /64, which is what one customer of a provider has at least; also by
///   /56 and by /48, which are what it may have, with larger quotas;
/// - by address and the start of the credential, with a smaller quota. So a client with a dead key
///   is slowed before its neighbours behind the same address are, and neither does it use up what
///   they may fail.
///
/// A client that failed as often as a quota admits waits until it admits one more. Until then every
/// request with a credential from this address, or with one that begins like this from there, is
/// [`TooManyFailures`](RejectionKind::TooManyFailures), whatever its credential is worth, and without
/// a lookup. Only a key of a [prefixed](crate::KeyFormat::new) format that the store has in memory as a
/// good one is let in all the same: other people behind the same address go on with their keys, and a
/// page that has their browsers send bad ones does not lock them out. A request that is refused costs
/// nothing, so no client waits longer for having asked; neither do requests that are let in, which pay
/// nothing off either.
///
/// # Keys that have to be looked up
///
/// The lookup decides whether it was a failure, and it goes on if the client hangs up: a guess costs
/// the guesser the same in either case. A lookup that fails, or takes too long, is no failure.
///
/// Until a lookup is over it is pending. Where the store [can tell](crate::store::KeyStore::may_exist)
/// that a key most probably does not exist, so many of an address may be
/// [pending](FailureThrottleBuilder::with_pending), of IPv6 of a /48. Further ones wait for one of them
/// to end, up to 256 of an address, and are then judged by what the client owes by that time. One for
/// which there is no room, or that waits longer than a lookup may take, is
/// [`Overloaded`](RejectionKind::Overloaded). Keys that may exist do not wait.
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
    /// Of addresses, and of the networks of IPv6 around them.
    addresses: Debts,
    starts: Debts,
    pending: KeyedSemaphore,
    /// Until when a client has to wait; 0: none does. A service in which no client fails looks no
    /// further.
    until: AtomicU64,
    apart: Apart<FailureThrottle>,
}

/// What may be owed beyond the quota, by requests that were judged at the same time: an hour.
const MOST_BEYOND: u64 = 3_600 * 1_000_000_000;

/// Lookups that wait for others of the same client, and of all clients. One takes about a kilobyte.
const MAX_WAITING_OF_CLIENT: usize = 256;
const MAX_WAITING: usize = 10_000;

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
        let debts = || Debts::new(settings.capacity);
        let bounds = Bounds {
            permits: settings.pending,
            waiting_per_key: MAX_WAITING_OF_CLIENT,
            waiting: MAX_WAITING,
        };
        Self(Arc::new(Inner {
            hasher: RandomState::new(),
            made_at: settings.clock.now(),
            addresses: debts(),
            starts: debts(),
            pending: KeyedSemaphore::new(bounds),
            until: AtomicU64::new(0),
            apart: Apart::default(),
            settings,
        }))
    }

    /// One with the same settings, to which no client owes anything yet.
    pub(crate) fn apart(&self) -> &Self {
        self.0.apart.get_or_make(|| Self::with_settings(self.0.settings.clone()))
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
        self.0.charge(&Debtors::new(&self.0.hasher, address, key));
    }

    /// How many debts are kept, of addresses, networks and starts together, those that are paid off
    /// included. Counts them one by one.
    pub fn debts(&self) -> usize {
        self.0.addresses.len() + self.0.starts.len()
    }
}

/// What one group owes, and the quota for it.
struct Account<'t> {
    quota: Quota,
    debts: &'t Debts,
    debtor: u64,
}

impl Account<'_> {
    fn most(&self) -> u64 {
        self.quota.room().saturating_add(MOST_BEYOND)
    }

    /// For how long no failure is admitted any more.
    fn wait(&self, now: u64) -> Option<u64> {
        // Where the clock has been set back, no more is owed than can be.
        let owed = self.debts.paid_at(self.debtor).saturating_sub(now).min(self.most());
        self.wait_for(owed)
    }

    /// Adds a failure, also beyond what the quota admits: of many requests that are judged at the
    /// same time, each is a guess. Until when no other is admitted then; 0 if one is.
    fn charge(&self, now: u64) -> u64 {
        let owed = self.debts.add(self.debtor, now, self.quota.charge(1), self.most());
        self.wait_for(owed).map_or(0, |wait| now.saturating_add(wait))
    }

    fn wait_for(&self, owed: u64) -> Option<u64> {
        let wait = self.quota.admit(owed, self.quota.charge(1)).err();
        // Less than a tick is none: a client that comes back when told must not be too early.
        wait.filter(|wait| *wait >= nanos(TICK))
    }
}

impl Inner {
    fn now(&self) -> u64 {
        nanos(self.settings.clock.now().saturating_since(self.made_at))
    }

    #[cold]
    fn wait(&self, until: u64, address: IpAddr, key: &[u8]) -> Option<Duration> {
        let now = self.now();
        if now >= until {
            // Unless another client has to wait by now.
            let _ = self.until.compare_exchange(until, 0, Ordering::AcqRel, Ordering::Relaxed);
            return None;
        }
        self.longest_wait(&Debtors::new(&self.hasher, address, key), now)
    }

    fn wait_of(&self, debtors: &Debtors) -> Option<Duration> {
        match self.until.load(Ordering::Acquire) {
            0 => None,
            _ => self.longest_wait(debtors, self.now()),
        }
    }

    fn longest_wait(&self, debtors: &Debtors, now: u64) -> Option<Duration> {
        let waits = self.accounts(debtors).filter_map(|account| account.wait(now));
        waits.max().map(Duration::from_nanos)
    }

    fn charge(&self, debtors: &Debtors) {
        let now = self.now();
        let until = self.accounts(debtors).map(|account| account.charge(now)).max();
        self.until.fetch_max(until.unwrap_or(0), Ordering::Release);
    }

    fn accounts(&self, debtors: &Debtors) -> impl Iterator<Item = Account<'_>> {
        let Settings { per_address, per_start, per_56, per_48, .. } = &self.settings;
        let address = |quota, debtor| Account { quota, debts: &self.addresses, debtor };
        let start = Account { quota: *per_start, debts: &self.starts, debtor: debtors.start };
        let around = debtors
            .around
            .map(|around| [address(*per_56, around.of_56), address(*per_48, around.of_48)]);
        [address(*per_address, debtors.address), start]
            .into_iter()
            .chain(around.into_iter().flatten())
    }
}

impl fmt::Debug for FailureThrottle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailureThrottle")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}
