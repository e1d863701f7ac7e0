//! The decision order, top to bottom. Every step of a request stands here, in the order in which it
//! happens; the crate's documentation numbers the same steps.
//!
//! Most requests are decided by [`authenticate`] without waiting. One that has to wait, for the
//! store or for its limits, comes back through [`resume`], which goes on at the next step with the
//! same code. What is known of the request travels along, as an [`Attempt`] up to step 6 and as a
//! [`Found`] from there.
//!
//! The other files of this folder find values and decide nothing.

mod attach;
mod limits;
mod lookup;
mod peppers;
#[cfg(feature = "legacy-hashes")]
mod slow_hash;
mod throttled;

use std::{future::Future, mem, pin::Pin, sync::Arc, time::Duration};

use http::Request;
use ipnet::IpNet;
use tokio::time::Instant;

use self::{attach::attach, limits::Spend, peppers::InMemory};
use super::{
    authenticated::AuthenticatedKey,
    config::Config,
    counted::Counters,
    decision::{self, Waited},
    extract::{self, Credential},
    response_plan::ResponsePlan,
    waiting_limit::{WaitingLimit, WaitingPermit},
};
use crate::{
    credits::Credits,
    error::StoreError,
    key::{self, KeyDigest, KeyRecord, RejectionKind, Shape},
    limit::{Consumption, Limited, Rated},
    observe::Began,
    rejection::Rejection,
    request::RequestHead,
    runtime::unwrapped,
    store::{Lookup, SharedRecord},
};

/// The outcome of a request.
pub(crate) enum Outcome {
    /// On to the inner service.
    Admit(Admission),
    /// Back to the caller.
    Reject(Rejection),
    /// Something must be waited for; then [`resume`].
    Wait(Waiting),
    /// The program is put together in a way in which no request can be judged: 500, and this text.
    Mistake(&'static str),
}

/// How a request is let in.
pub(crate) enum Admission {
    /// Past the layer: no key was looked for.
    PassBy,
    /// Past the layer as a CORS preflight, where that was asked for.
    Preflight,
    /// Without a credential, where that is allowed.
    Anonymous,
    /// With a good key.
    Authenticated {
        key: AuthenticatedKey,
        /// Index of the source that held it.
        source: u16,
        /// Whether its header is marked already.
        is_marked: bool,
        /// Whether a layer further out counts its use.
        is_used_outside: bool,
        /// What its response tells of its limits.
        consumed: Consumption,
    },
}

/// What a request waits for.
pub(crate) type Waiting = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What a request has waited for, and what was known of it by then.
pub(crate) enum Answer {
    /// In step 6, the record of the key.
    Lookup(Attempt, LookupResult),
    /// In step 6, whether the lookup may begin: it may not, for so long.
    Throttled(Duration),
    /// After step 9, whether the key is judged any further.
    Good(Found),
    /// In step 10, whether the rate limits of the key let it in.
    Limited(Found, Limited),
    /// In step 10, how the rate limits let it in, and whether the key had enough credits.
    Paid(Found, Rated, Spend),
}

pub(crate) type LookupResult = Result<Option<Arc<KeyRecord>>, StoreError>;

/// What is known of a request with a key up to step 6. The key itself is not: it stays in the
/// request.
#[derive(Clone, Copy)]
pub(crate) struct Attempt {
    digest: KeyDigest,
    /// Index of the source that holds the key.
    source: u16,
    marked: Marked,
    checksum: Checksum,
    /// Which pepper's turn it is: 0 is the current one's, then come the next one's and the retired
    /// ones'.
    turn: u32,
    /// Until when the store is waited for, however often it has to be asked. Set by the first
    /// wait.
    deadline: Option<Instant>,
    /// The request has waited: it may wait again, however many others do.
    has_waited: bool,
    /// Whether the throttle knows already that there is no such key.
    is_settled: bool,
}

/// Whether the header that holds the key is marked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Marked {
    Not,
    InPassing,
}

/// What is left to be asked about the checksum of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checksum {
    /// Nothing: the form of the key has none, or it was asked for.
    None,
    NotAsked,
}

/// What is known from step 6 on.
pub(crate) struct Found {
    attempt: Attempt,
    record: SharedRecord,
    /// From step 10 on.
    counted_outside: Counters,
}

impl Found {
    pub(crate) fn record(&self) -> &KeyRecord {
        &self.record
    }
}

impl Attempt {
    #[inline]
    const fn new(digest: KeyDigest, source: u16, marked: Marked) -> Self {
        Self {
            digest,
            source,
            marked,
            checksum: Checksum::None,
            turn: 0,
            deadline: None,
            has_waited: false,
            is_settled: false,
        }
    }

    #[inline]
    fn found(self, record: impl Into<SharedRecord>) -> Found {
        Found { attempt: self, record: record.into(), counted_outside: Counters::default() }
    }

    /// The permit to wait: the first time, if `admit` gives one.
    fn may_wait(
        &mut self,
        config: &Config,
        request: &RequestHead<'_>,
        admit: fn(&WaitingLimit, &RequestHead<'_>) -> Result<WaitingPermit, StoreError>,
    ) -> Result<WaitingPermit, StoreError> {
        if mem::replace(&mut self.has_waited, true) {
            return Ok(config.waiting.admit_again(request));
        }
        admit(&config.waiting, request)
    }

    fn set_deadline(&mut self, config: &Config) -> Instant {
        *self.deadline.get_or_insert_with(|| Instant::now() + config.lookup_timeout)
    }
}

/// The decision on a request before a credential is looked for, if there is one then.
#[inline]
pub(crate) fn decide_early(config: &Config, request: &RequestHead<'_>) -> Option<Outcome> {
    // 1. Pass by.
    if config.bypass.as_ref().is_some_and(|bypass| bypass(request)) {
        return Some(Outcome::Admit(Admission::PassBy));
    }
    // 2. Transport.
    if config.secure_transport.as_ref().is_some_and(|is_secure| !is_secure(request)) {
        return Some(reject(RejectionKind::InsecureTransport));
    }
    if config.reads_path && request.is_inside_router() {
        return Some(Outcome::Mistake(PATH_INSIDE_ROUTER));
    }
    None
}

/// The decision on a request that is left as it is, where it is not waited for.
pub(crate) fn inspect(config: &Config, request: &RequestHead<'_>) -> Outcome {
    decide_early(config, request).unwrap_or_else(|| read(config, request))
}

/// Steps 1 to 5, and the rest when the store answers without waiting.
#[inline]
pub(crate) fn authenticate<B>(config: &Config, request: &mut Request<B>) -> Outcome {
    let head = RequestHead::from(&*request);
    if let Some(outcome) = decide_early(config, &head) {
        return outcome;
    }
    if !config.reads_in_passing(&head) {
        return read(config, &head);
    }
    // 3. Extract; 4. Parse; 5. Digest: all at once, with the header marked in passing.
    let read = |key: &[u8]| digest(config, key);
    match extract::read_and_mark(&config.sources, request.headers_mut(), read) {
        Ok(Some((source, Some((digest, checksum))))) => {
            let attempt = Attempt { checksum, ..Attempt::new(digest, source, Marked::InPassing) };
            look_up(config, &RequestHead::from(&*request), attempt)
        }
        Ok(Some((_, None))) => reject(RejectionKind::Malformed),
        Ok(None) if config.allow_anonymous => Outcome::Admit(Admission::Anonymous),
        Ok(None) => reject(RejectionKind::Missing),
        Err(kind) => reject(kind),
    }
}

/// 4. Parse, but for the checksum; 5. Digest.
#[inline]
fn digest(config: &Config, key: &[u8]) -> Option<(KeyDigest, Checksum)> {
    let checksum = match key::shape(&config.formats, key) {
        Shape::Refused => return None,
        Shape::Accepted => Checksum::None,
        Shape::WithChecksum => Checksum::NotAsked,
    };
    Some((config.hasher.digest(key), checksum))
}

/// Steps 3 to 5, one after the other.
fn read(config: &Config, request: &RequestHead<'_>) -> Outcome {
    // 3. Extract.
    let credential = match extract::find(&config.sources, config.precedence, request) {
        Ok(Some(credential)) if credential.is_forced(&config.sources, request) => {
            return reject(RejectionKind::CrossSite);
        }
        Ok(Some(credential)) => credential,
        Ok(None) if config.allow_anonymous => return Outcome::Admit(Admission::Anonymous),
        Ok(None) => return reject(RejectionKind::Missing),
        Err(kind) => return reject(kind),
    };
    // 4. Parse, unless the caller has failed too often and has to wait; 5. Digest.
    if let Some(rejection) = config.throttled(request, &credential) {
        return throttled(config, request, &credential, rejection);
    }
    match credential.with_key(|key| digest(config, key)).flatten() {
        Some((digest, checksum)) => {
            let attempt = Attempt::new(digest, credential.source, Marked::Not);
            look_up(config, request, Attempt { checksum, ..attempt })
        }
        None => reject(RejectionKind::Malformed),
    }
}

const PATH_INSIDE_ROUTER: &str = "`KeySource::path_segment` reads the whole path of a request: put the \
    `tower_api_key::ApiKeyLayer` around the whole router, with `layer.layer(router)`, in place of \
    `Router::layer`.\n";

/// 4. Parse: a caller that has to wait, unless its key is known already.
#[cold]
fn throttled(
    config: &Config,
    request: &RequestHead<'_>,
    credential: &Credential<'_>,
    rejection: Rejection,
) -> Outcome {
    match throttled::known_key(config, request, credential) {
        Some(found) => judge(config, request, found),
        None => Outcome::Reject(rejection),
    }
}

/// What is left of the steps, with the answer that was waited for.
pub(crate) fn resume(config: &Config, request: &RequestHead<'_>, answer: Answer) -> Outcome {
    match answer {
        Answer::Lookup(attempt, Ok(Some(record))) => judge(config, request, attempt.found(record)),
        Answer::Lookup(attempt, Ok(None)) => {
            let rejection = Rejection::new(RejectionKind::Unknown);
            let is_settled = attempt.is_settled;
            Outcome::Reject(if is_settled { rejection.counted() } else { rejection })
        }
        Answer::Throttled(wait) => Outcome::Reject(Rejection::too_many_failures(wait)),
        Answer::Good(found) => count(config, request, found),
        Answer::Lookup(_, Err(error)) => Outcome::Reject(Rejection::from_store_error(error)),
        Answer::Limited(found, limited) => limited_to(config, request, found, limited),
        Answer::Paid(found, rated, spend) => paid(config, request, found, rated, spend),
    }
}

/// 6. Look up.
#[inline]
fn look_up(config: &Config, request: &RequestHead<'_>, attempt: Attempt) -> Outcome {
    match config.store.find_shared(&attempt.digest) {
        Some(Lookup::Found(record)) => judge(config, request, attempt.found(record)),
        // 4. Parse, what is left of it.
        _ if attempt.checksum == Checksum::NotAsked
            && !config.has_checksum(request, attempt.source) =>
        {
            reject(RejectionKind::Malformed)
        }
        answer if config.hasher.other_count() > 0 => {
            look_up_under_others(config, request, attempt, answer.is_some())
        }
        Some(Lookup::NotFound) => unknown(config, request, attempt),
        None => ask_store(config, request, attempt),
    }
}

/// 6. Look up, where memory cannot tell.
#[cold]
fn ask_store(config: &Config, request: &RequestHead<'_>, attempt: Attempt) -> Outcome {
    let (store, hint) = (config.store.clone(), lookup::hint(config, request, &attempt));
    let may_exist = || config.store.may_exist(&attempt.digest);
    let lookup = async move { (attempt, store.find_for(&attempt.digest, hint).await) };
    lookup::wait(config, request, attempt, may_exist, lookup)
}

/// 6. Look up, while other peppers than the current one are accepted.
#[cold]
fn look_up_under_others(
    config: &Config,
    request: &RequestHead<'_>,
    mut attempt: Attempt,
    is_unknown: bool,
) -> Outcome {
    match peppers::find_in_memory(config, request, attempt, is_unknown) {
        InMemory::Found(attempt, record) => judge(config, request, attempt.found(record)),
        InMemory::Unknown => unknown(config, request, attempt),
        InMemory::AskStore(turns) => {
            let deadline = attempt.set_deadline(config);
            let digests: Vec<_> = turns.iter().map(|turn| turn.digest).collect();
            let may_exist = || digests.iter().any(|digest| config.store.may_exist(digest));
            let lookups = peppers::find_in_turn(config, request, attempt, turns, deadline);
            lookup::wait(config, request, attempt, may_exist, lookups)
        }
    }
}

/// 6. Look up, where memory says that no store knows it: a key that may have a slow hash.
#[cold]
#[cfg_attr(
    not(feature = "legacy-hashes"),
    expect(unused_variables, reason = "without slow hashes there is nothing to find out")
)]
fn unknown(config: &Config, request: &RequestHead<'_>, attempt: Attempt) -> Outcome {
    #[cfg(feature = "legacy-hashes")]
    if slow_hash::SlowHash::may_exist(config, request, &attempt) {
        // No store is asked, so there are no lookups to bound.
        let lookup = std::future::ready((attempt, Ok(None)));
        return lookup::wait(config, request, attempt, || true, lookup);
    }
    reject(RejectionKind::Unknown)
}

/// Steps 7 to 10, which need the record.
#[inline]
fn judge(config: &Config, request: &RequestHead<'_>, found: Found) -> Outcome {
    let record = &found.record;
    match fault(config, request, &found.attempt.digest, record) {
        Some(RejectionKind::Unknown) => return reject(RejectionKind::Unknown),
        Some(kind) => return reject_key(kind, record),
        None => {}
    }
    // 10. Limits. A key with one that this layer cannot count is not let in without it.
    if let Some(details) = record.details.get()
        && !details.needs().without(config.enforced).is_empty()
    {
        return Outcome::Reject(limits::unenforceable(config, record));
    }
    if !config.has_step_10 {
        return admit(config, request, found, Consumption::default());
    }
    if config.pauses {
        return pause(found);
    }
    count(config, request, found)
}

/// A good key, of which the caller says how it is judged further.
#[cold]
fn pause(found: Found) -> Outcome {
    Outcome::Wait(Box::pin(std::future::ready(Answer::Good(found))))
}

/// 10. Limits, but for those that a layer further out has counted.
#[inline]
fn count(config: &Config, request: &RequestHead<'_>, mut found: Found) -> Outcome {
    found.counted_outside = Counters::used_outside(config, request.extensions, found.record.id);
    if config.rate_limits.is_some() || config.credits.is_some() {
        return limit(config, request, found);
    }
    admit(config, request, found, Consumption::default())
}

/// Steps 7 to 9: why the key is not good for this request, if it is not.
#[inline]
fn fault(
    config: &Config,
    request: &RequestHead<'_>,
    digest: &KeyDigest,
    record: &KeyRecord,
) -> Option<RejectionKind> {
    // 7. Compare: whatever a store with a sloppy collation found, it must be this very key.
    if record.digest != *digest || record.is_deleted() {
        return Some(RejectionKind::Unknown);
    }
    // 8. Status. Reading the clock costs more than all the rest of this, and most keys need none.
    if let Some(kind) = record.status_by(|| config.clock.now()).rejection() {
        return Some(kind);
    }
    // 9. Address.
    let allowed = record.details.get().map_or(&[][..], |details| &details.allowed_addresses);
    let is_allowed = allowed.is_empty() || is_address_allowed(config, request, allowed);
    (!is_allowed).then_some(RejectionKind::AddressNotAllowed)
}

/// 10. Limits, where the layer counts any.
#[inline]
fn limit(config: &Config, request: &RequestHead<'_>, found: Found) -> Outcome {
    match &config.rate_limits {
        None => pay(config, request, found, Rated::default()),
        Some(_) if found.counted_outside.limits => pay(config, request, found, Rated::default()),
        Some(limits) => match limits.check(request, &found.record) {
            Limited::Admitted(rated) => pay(config, request, found, rated),
            limited => limited_to(config, request, found, limited),
        },
    }
}

/// Step 10, rate limits. What was denied before has consumed nothing, and what is denied here
/// consumes nothing either.
fn limited_to(
    config: &Config,
    request: &RequestHead<'_>,
    mut found: Found,
    limited: Limited,
) -> Outcome {
    match limited {
        Limited::Admitted(rated) => pay(config, request, found, rated),
        Limited::Denied(rejection) => Outcome::Reject(rejection),
        Limited::Waiting(limited) => {
            match found.attempt.may_wait(config, request, WaitingLimit::admit_known) {
                Ok(permit) => Outcome::Wait(Box::pin(async move {
                    let began = Began::now();
                    let limited = limited.await;
                    began.limits();
                    drop(permit);
                    Answer::Limited(found, limited)
                })),
                Err(error) => {
                    let rejection = Rejection::from_store_error(error).with_record(&found.record);
                    Outcome::Reject(rejection)
                }
            }
        }
    }
}

/// 10. Limits: then credits, if the key has any to spend.
#[inline]
fn pay(config: &Config, request: &RequestHead<'_>, found: Found, rated: Rated) -> Outcome {
    let is_paid_outside = found.counted_outside.credits;
    match limits::price(config, request, &found.record).filter(|_| !is_paid_outside) {
        None => admit(config, request, found, Consumption::new(rated.report, None)),
        Some(price) => spend(config, request, found, rated, price),
    }
}

/// 10. Limits: the credits that a request costs.
fn spend(
    config: &Config,
    request: &RequestHead<'_>,
    mut found: Found,
    rated: Rated,
    (credits, cost): (&Credits, u64),
) -> Outcome {
    if let Some(spend) = credits.spend_now(&found.record, cost) {
        return paid(config, request, found, rated, Spend::at_once(Ok(spend)));
    }
    let permit = match found.attempt.may_wait(config, request, WaitingLimit::admit_known) {
        Ok(permit) => permit,
        Err(error) => return paid(config, request, found, rated, Spend::at_once(Err(error))),
    };
    let spend = limits::spend(config, credits, found.record.clone().into(), cost);
    Outcome::Wait(Box::pin(async move {
        let spend = spend.await;
        drop(permit);
        Answer::Paid(found, rated, spend)
    }))
}

/// 10. Limits: once the credits are spent, or are not.
fn paid(
    config: &Config,
    request: &RequestHead<'_>,
    found: Found,
    rated: Rated,
    spend: Spend,
) -> Outcome {
    match limits::remaining(config, request, &found.record, &rated, spend) {
        Ok(remaining) => {
            admit(config, request, found, Consumption::new(rated.report, Some(remaining)))
        }
        Err(rejection) => Outcome::Reject(rejection),
    }
}

/// The request is let in, whatever the inner service says.
#[inline]
fn admit(
    config: &Config,
    request: &RequestHead<'_>,
    found: Found,
    consumed: Consumption,
) -> Outcome {
    let Found { attempt, record, counted_outside } = found;
    let is_awaited = record.details.get().is_some_and(|details| details.rotation.is_awaited);
    if attempt.turn > 0 || is_awaited {
        peppers::write_back(config, request, attempt.turn, &record);
    }
    let key = AuthenticatedKey::new(record, config.id);
    let is_marked = attempt.marked == Marked::InPassing;
    let is_used_outside = counted_outside.usage;
    let source = attempt.source;
    Outcome::Admit(Admission::Authenticated { key, source, is_marked, is_used_outside, consumed })
}

/// Step 11, attach. Then comes step 12, the inner service, whose response the plan
/// [finishes](ResponsePlan::finish).
#[inline]
pub(crate) fn let_in<B>(
    config: &Config,
    request: &mut Request<B>,
    admission: Admission,
) -> ResponsePlan {
    admission.observe(config);
    pass_on(config, request, admission)
}

/// The same, of a request that has waited.
pub(crate) fn let_in_after<B>(
    config: &Config,
    request: &mut Request<B>,
    admission: Admission,
    waited: &Waited,
) -> ResponsePlan {
    admission.observe_after(config, waited);
    pass_on(config, request, admission)
}

/// A request without a key of ours goes on, to a layer that judges it.
pub(crate) fn leave_to_other<B>(config: &Config, request: &mut Request<B>) -> ResponsePlan {
    decision::observe_elsewhere();
    pass_on(config, request, Admission::Anonymous)
}

#[inline]
fn pass_on<B>(config: &Config, request: &mut Request<B>, mut admission: Admission) -> ResponsePlan {
    let plan = ResponsePlan::new(config, request, &mut admission);
    attach(config, request, admission);
    plan
}

/// Fails closed: an address that cannot be told is not an allowed one.
#[cold]
fn is_address_allowed(config: &Config, request: &RequestHead<'_>, allowed: &[IpNet]) -> bool {
    let is_in = |address| allowed.iter().any(|network| unwrapped(*network).contains(&address));
    config.address(request).is_some_and(is_in)
}

#[inline]
fn reject(kind: RejectionKind) -> Outcome {
    Outcome::Reject(Rejection::new(kind))
}

fn reject_key(kind: RejectionKind, record: &Arc<KeyRecord>) -> Outcome {
    Outcome::Reject(Rejection::new(kind).with_record(record))
}
