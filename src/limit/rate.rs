//! [`RateLimits`]: which limits a request has, and which limiter counts it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

use super::{
    headers::{Fields, LimitReport},
    limiter::{LimitCheck, LimitDecision, LimitSubject, RateLimiter},
    local::LocalLimiter,
    tier::Tiers,
};
use crate::{
    error::{BackEnd, StoreError},
    key::{KeyRecord, Limits},
    observe,
    rejection::Rejection,
    request::{Hook, RequestHead},
    runtime::{Apart, Circuit, PAUSE, Turn},
    text::Text,
};

/// The rate limits of keys, for [`ApiKeyLayer::with_rate_limits`].
///
/// A key's limits are its [own](crate::key::KeyDetails::limits), or else those of its tier. They
/// count the requests of its lineage, so that a rotation does not begin anew, or those of its
/// owner. What any earlier step denies is not counted, nor what one of several limits denies.
///
/// Responses say how the limit stands that is nearest to exhaustion, in the fields `RateLimit` and
/// `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers). A denial says when to try again, in
/// `Retry-After`, and which limit it was, in the problem's member `limit`.
///
/// A clone shares the counts.
///
/// ```
/// use tower_api_key::{
///     KeyManager, RateLimits,
///     limit::{Limit, Limits, LocalLimiter, Quota, Tiers},
///     nonzero,
///     store::MemoryStore,
/// };
///
/// let minute = |requests| Limits::new([Limit::new("minute", Quota::per_minute(requests))?]);
/// let tiers = Tiers::new()
///     .with_tier("basic", minute(nonzero!(100))?)
///     .with_tier("pro", minute(nonzero!(1_000))?);
/// let limits = RateLimits::new(LocalLimiter::new())
///     .with_tiers(tiers)
///     .with_cost(|request| if request.uri.path() == "/export" { 10 } else { 1 });
/// let layer = KeyManager::new(MemoryStore::new()).layer().with_rate_limits(limits);
/// # let _ = layer;
/// # Ok::<(), tower_api_key::ConfigError>(())
/// ```
///
/// [`ApiKeyLayer::with_rate_limits`]: crate::ApiKeyLayer::with_rate_limits
#[derive(Clone)]
#[must_use]
pub struct RateLimits(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    limiter: Arc<dyn RateLimiter>,
    tiers: Tiers,
    by_owner: bool,
    cost: Option<Hook<u32>>,
    outage: OutagePolicy,
    /// Counts while the limiter cannot.
    fallback: LocalLimiter,
    timeout: Duration,
    fields: Fields,
    /// Whether the limiter is waited for.
    circuit: Arc<Circuit>,
    /// Whether the limiter did not answer when it was last waited for.
    is_out: Arc<AtomicBool>,
    apart: Apart<RateLimits>,
}

/// How requests are judged while the limiter does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutagePolicy {
    /// This process counts them, each node for itself: together they may let in as many times the
    /// quota as there are nodes.
    #[default]
    LocalFallback,
    /// They are let in, also beyond their quota. This process counts them, and callers that keep to it
    /// are told what is left.
    FailOpen,
    /// They are denied as [`LimiterUnavailable`](crate::RejectionKind::LimiterUnavailable): 503
    /// `limiter_unavailable`, with `Retry-After`.
    FailClosed,
}

/// How long the limiter is waited for: many times what an answer takes, and little enough for a
/// caller not to mind.
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(250);

/// What the limits of a key say about a request.
pub(crate) enum Limited {
    /// It is let in.
    Admitted(Rated),
    Denied(Rejection),
    /// The limiter must be waited for.
    Waiting(LimitFuture),
}

/// How a request was let in.
#[derive(Default)]
pub(crate) struct Rated {
    /// There is one if there is anything to tell the caller.
    pub(crate) report: Option<LimitReport>,
    counted_by: CountedBy,
}

/// The limiter that has counted a request, and takes it back.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum CountedBy {
    #[default]
    None,
    Limiter,
    Fallback,
}

/// Ends with anything but waiting.
pub(crate) type LimitFuture = Pin<Box<dyn Future<Output = Limited> + Send>>;

impl RateLimits {
    /// Limits that are counted by `limiter`.
    pub fn new(limiter: impl RateLimiter) -> Self {
        Self(Arc::new(Inner {
            limiter: Arc::new(limiter),
            tiers: Tiers::default(),
            by_owner: false,
            cost: None,
            outage: OutagePolicy::default(),
            fallback: LocalLimiter::new(),
            timeout: DEFAULT_TIMEOUT,
            fields: Fields::Draft,
            circuit: circuit(DEFAULT_TIMEOUT),
            is_out: Arc::default(),
            apart: Apart::default(),
        }))
    }

    /// The same limits, counted apart and in this process.
    pub(crate) fn apart(&self) -> &Self {
        self.0.apart.get_or_make(|| {
            let inner = Inner::clone(&self.0);
            Self(Arc::new(Inner { limiter: Arc::new(self.0.limiter.apart()), ..inner }))
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        change(inner);
        inner.apart = Apart::default();
        self
    }

    /// Whether the other, of a layer further out, has counted a request already: it is the same, or counts
    /// in earnest where this one counts apart.
    pub(crate) fn is_counted_by(&self, outer: &Self) -> bool {
        let is = |other: &Self| Arc::ptr_eq(&self.0, &other.0);
        is(outer) || outer.0.apart.get().is_some_and(is)
    }

    /// The limits of keys that have none of their own.
    pub fn with_tiers(self, tiers: Tiers) -> Self {
        self.with(|inner| inner.tiers = tiers)
    }

    /// Counts the requests of all keys of an owner together. Keys without an owner count for
    /// themselves.
    pub fn per_owner(self) -> Self {
        self.with(|inner| inner.by_owner = true)
    }

    /// How many requests a request counts for; 0 for not at all. Without this, each counts for
    /// one. A [`ExtraCostLayer`](crate::extra_cost::ExtraCostLayer) on a route adds to it.
    pub fn with_cost(self, cost: impl Fn(&RequestHead<'_>) -> u32 + Send + Sync + 'static) -> Self {
        self.with(|inner| inner.cost = Some(Arc::new(cost)))
    }

    /// Sets how requests are judged while the limiter does not answer.
    pub fn with_outage(self, outage: OutagePolicy) -> Self {
        self.with(|inner| inner.outage = outage)
    }

    /// How long the limiter is waited for, a quarter of a second by default. Then it is
    /// [out](Self::with_outage), for this request.
    ///
    /// Where it says nothing for half of that, it is out for all requests, which do not wait for it
    /// any more. Once a second, one of them asks it in the background, and with the first answer it is
    /// used again.
    ///
    /// The wait uses tokio's timer, so a limiter that has to be waited for needs a tokio runtime
    /// with time enabled.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        self.with(|inner| {
            inner.timeout = timeout.min(Duration::from_hours(1));
            inner.circuit = circuit(inner.timeout);
        })
    }

    /// Adds `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset` (in seconds from
    /// now) for clients that know nothing else.
    pub fn with_legacy_headers(self) -> Self {
        self.with(|inner| inner.fields = Fields::DraftAndLegacy)
    }

    /// Says nothing on responses but `Retry-After` on denials.
    ///
    /// The fields cost one allocation, and room for them in the response.
    pub fn without_headers(self) -> Self {
        self.with(|inner| inner.fields = Fields::None)
    }

    /// Gives back what this node has taken from a shared limiter and not used, before the program
    /// ends.
    pub async fn close(&self) {
        self.0.limiter.close().await;
    }

    /// Whether requests are denied while the limiter does not answer.
    #[cfg(feature = "openapi")]
    pub(crate) fn fails_closed(&self) -> bool {
        self.0.outage == OutagePolicy::FailClosed
    }

    /// Checks and counts a request with this key.
    #[inline]
    pub(crate) fn check(&self, request: &RequestHead<'_>, record: &Arc<KeyRecord>) -> Limited {
        self.charge(record, self.0.cost_of(request))
    }

    /// The same with a cost that is known.
    #[inline]
    pub(crate) fn charge(&self, record: &Arc<KeyRecord>, cost: u32) -> Limited {
        let inner = &*self.0;
        let limits = inner.tiers.limits(record);
        if limits.is_empty() || cost == 0 {
            return Limited::Admitted(Rated::default());
        }
        let check = inner.question(record, limits, cost);
        match inner.limiter.check_now(&check) {
            Some(decision) => inner.decided(record, limits, decision, CountedBy::Limiter),
            None => self.ask(record, &check),
        }
    }

    /// Asks a limiter that has to be waited for, unless it is known to be silent.
    fn ask(&self, record: &Arc<KeyRecord>, check: &LimitCheck<'_>) -> Limited {
        let inner = &self.0;
        match inner.circuit.turn() {
            Turn::Probe if self.probe(record, check.cost) => {}
            Turn::Up | Turn::Probe => return Limited::Waiting(self.wait(record, check.cost)),
            Turn::Down => {}
        }
        inner.out(record, check, inner.circuit.down())
    }

    /// Finds out in the background whether the limiter answers again; false without a runtime. The
    /// request does not wait for that, and is counted elsewhere.
    fn probe(&self, record: &Arc<KeyRecord>, cost: u32) -> bool {
        let Ok(runtime) = Handle::try_current() else { return false };
        let (inner, record) = (self.0.clone(), record.clone());
        runtime.spawn(async move {
            let check = inner.question(&record, inner.tiers.limits(&record), cost);
            let began = Instant::now();
            // So long that a connection that is dead is noticed by then, and replaced.
            if let Ok(LimitDecision::Allow(_)) = inner.answer(&check, PAUSE).await {
                inner.limiter.give_back(&check, began.elapsed());
            }
        });
        true
    }

    /// The answer of a limiter that has to be waited for, or what is done without.
    fn wait(&self, record: &Arc<KeyRecord>, cost: u32) -> LimitFuture {
        let (inner, record) = (self.0.clone(), record.clone());
        Box::pin(async move {
            let limits = inner.tiers.limits(&record);
            let check = inner.question(&record, limits, cost);
            match inner.answer(&check, inner.timeout).await {
                Ok(decision) => inner.decided(&record, limits, decision, CountedBy::Limiter),
                Err(error) => inner.out(&record, &check, error),
            }
        })
    }

    /// A request that was let in was then denied for another reason. What has counted it takes it
    /// back: the other limiter knows nothing of it.
    #[cold]
    pub(crate) fn give_back(
        &self,
        request: &RequestHead<'_>,
        record: &KeyRecord,
        rated: &Rated,
        after: Duration,
    ) {
        if rated.counted_by == CountedBy::None {
            return;
        }
        let inner = &*self.0;
        let cost = inner.cost_of(request);
        let limits = inner.tiers.limits(record);
        if cost > 0 && !limits.is_empty() {
            let check = inner.question(record, limits, cost);
            match rated.counted_by {
                CountedBy::Fallback => inner.fallback.give_back(&check, after),
                _ => inner.limiter.give_back(&check, after),
            }
        }
    }
}

/// The circuit of a limiter that requests wait for no longer than this.
fn circuit(timeout: Duration) -> Arc<Circuit> {
    Arc::new(Circuit::new(BackEnd::RateLimiter, observe::back_end, timeout / 2))
}

impl Inner {
    /// The answer of a limiter that has to be waited for.
    async fn answer(
        &self,
        check: &LimitCheck<'_>,
        within: Duration,
    ) -> Result<LimitDecision, StoreError> {
        let answer = self.circuit.watch(async {
            let answer = timeout(within, self.limiter.check(check)).await;
            answer.unwrap_or_else(|_| Err(StoreError::timeout()))
        });
        let answer = answer.await?;
        if self.is_out.load(Relaxed) {
            self.is_out.store(false, Relaxed);
        }
        Ok(answer)
    }

    /// How many requests this one counts for.
    #[inline]
    fn cost_of(&self, request: &RequestHead<'_>) -> u32 {
        self.cost.as_ref().map_or(1, |cost| cost(request))
    }

    #[inline]
    fn question<'c>(&self, record: &'c KeyRecord, limits: &'c Limits, cost: u32) -> LimitCheck<'c> {
        let subject = match &record.owner {
            Some(owner) if self.by_owner => LimitSubject::Owner(owner),
            _ => LimitSubject::Lineage(record.lineage()),
        };
        LimitCheck::new(subject, limits).with_cost(cost)
    }

    #[inline]
    fn decided(
        &self,
        record: &Arc<KeyRecord>,
        limits: &Limits,
        decision: LimitDecision,
        counted_by: CountedBy,
    ) -> Limited {
        match decision {
            LimitDecision::Allow(state) => {
                let report = LimitReport::new(limits, state, self.fields);
                Limited::Admitted(Rated { report, counted_by })
            }
            LimitDecision::Deny { state, retry_after } => {
                let report = LimitReport::new(limits, state, self.fields);
                let name = limits.get(state.limit).map(|limit| Text::from(limit.name()));
                let fields = report.map(|report| report.fields()).unwrap_or_default();
                let rejection = Rejection::rate_limited(name, fields, retry_after);
                Limited::Denied(rejection.with_record(record))
            }
        }
    }

    #[cold]
    fn out(&self, record: &Arc<KeyRecord>, check: &LimitCheck<'_>, error: StoreError) -> Limited {
        let error = error.of(BackEnd::RateLimiter);
        // Said once: there may be thousands of requests a second.
        let is_news = !self.is_out.swap(true, Relaxed);
        observe::limiter_out(&error, is_news);
        if self.outage == OutagePolicy::FailClosed {
            return Limited::Denied(Rejection::from_store_error(error).with_record(record));
        }
        let decision = self.fallback.decide(check);
        let is_allowed = matches!(decision, LimitDecision::Allow(_));
        if self.outage == OutagePolicy::FailOpen && !is_allowed {
            return Limited::Admitted(Rated::default());
        }
        self.decided(record, check.limits, decision, CountedBy::Fallback)
    }
}

impl fmt::Debug for RateLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { tiers, by_owner, cost, outage, timeout, fields, .. } = &*self.0;
        f.debug_struct("RateLimits")
            .field("tiers", tiers)
            .field("per_owner", by_owner)
            .field("cost", &cost.is_some())
            .field("outage", outage)
            .field("timeout", timeout)
            .field("headers", fields)
            .finish_non_exhaustive()
    }
}
