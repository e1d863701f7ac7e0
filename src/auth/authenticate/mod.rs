//! The decision order, top to bottom. Everything a request goes through stands here, in the order
//! in which it happens; the crate's documentation numbers the same steps.
//!
//! Most requests are decided by [`authenticate`] without waiting. One that has to wait, for the
//! store or for what counts its limits, comes back through [`resume`], which goes on at the next
//! step with the same code.

mod attach;
mod limits;
mod peppers;

use std::{future::Future, pin::Pin, sync::Arc};

use ipnet::IpNet;
use tokio::time::Instant;

pub(crate) use self::attach::attach;
use super::{
    authenticated::AuthenticatedKey,
    config::Config,
    extract::{self, Credential},
};
use crate::{
    credits::SpendOutcome,
    error::StoreError,
    key::{self, KeyDigest, KeyRecord, RejectionKind},
    limit::{Consumption, LimitReport, Limited},
    rejection::Rejection,
    request::RequestHead,
    store::Lookup,
};

/// What became of a request.
pub(crate) enum Outcome {
    /// On to the inner service.
    Admit(Admission),
    /// Back to the caller.
    Reject(Rejection),
    /// Something must be waited for; then [`resume`].
    Wait(Waiting),
}

/// How a request is let in.
pub(crate) enum Admission {
    /// Past the layer: nobody asked who it is.
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
        /// What its response tells of its limits, if anything.
        consumed: Option<Box<Consumption>>,
    },
}

/// What a request waits for.
pub(crate) type Waiting = Pin<Box<dyn Future<Output = (Attempt, Answer)> + Send>>;

/// What a request has waited for, and what was known of it by then.
pub(crate) enum Answer {
    /// Between steps 6 and 7.
    Lookup(LookupResult),
    /// In step 10, whether the rate limits of this key let it in.
    Limited(Arc<KeyRecord>, Limited),
    /// In step 10, whether this key had enough credits.
    Paid(Arc<KeyRecord>, Option<LimitReport>, Result<SpendOutcome, StoreError>),
}

pub(crate) type LookupResult = Result<Option<Arc<KeyRecord>>, StoreError>;

/// What is known about every request with a key. The key itself is not: it stays in the request.
#[derive(Clone, Copy)]
pub(crate) struct Attempt {
    digest: KeyDigest,
    /// Index of the source that holds the key.
    source: u16,
    /// Which pepper's turn it is: 0 is the current one's, then come the next one's and the retired
    /// ones'. And last, slow hashes'.
    turn: u32,
    /// Until when the store is waited for, however often it has to be asked. Set by the first
    /// wait.
    deadline: Option<Instant>,
}

impl Attempt {
    fn set_deadline(&mut self, config: &Config) -> Instant {
        *self.deadline.get_or_insert_with(|| Instant::now() + config.lookup_timeout)
    }
}

/// The turn of hashes that another system kept: nobody else knows the key.
#[cfg(feature = "legacy-hashes")]
const LEGACY_TURN: u32 = u32::MAX;

/// Steps 1 to 5, and the rest when the store answers without waiting.
#[inline]
pub(crate) fn authenticate(config: &Config, request: &RequestHead<'_>) -> Outcome {
    // 1. Pass by.
    if config.bypass.as_ref().is_some_and(|bypass| bypass(request)) {
        return Outcome::Admit(Admission::PassBy);
    }
    // 2. Transport.
    if config.secure_transport.as_ref().is_some_and(|is_secure| !is_secure(request)) {
        return reject(RejectionKind::InsecureTransport);
    }
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
        return Outcome::Reject(rejection);
    }
    match with_key(config, &credential, |key| config.hasher.digest(key)) {
        Some(digest) => {
            let attempt = Attempt { digest, source: credential.source, turn: 0, deadline: None };
            look_up(config, request, attempt)
        }
        None => reject(RejectionKind::Malformed),
    }
}

/// What is left of the steps, with the answer that was waited for.
pub(crate) fn resume(
    config: &Config,
    request: &RequestHead<'_>,
    attempt: Attempt,
    answer: Answer,
) -> Outcome {
    match answer {
        Answer::Lookup(Ok(Some(record))) => judge(config, request, attempt, record),
        Answer::Lookup(Ok(None)) => peppers::unknown(config, request, attempt),
        Answer::Lookup(Err(error)) => Outcome::Reject(Rejection::from_store_error(error)),
        Answer::Limited(record, limited) => {
            limits::counted(config, request, attempt, record, limited)
        }
        Answer::Paid(record, rate, spend) => {
            limits::paid(config, request, attempt, record, rate, spend)
        }
    }
}

/// 4. Parse: gives the key to `digest` if it is one of an accepted format.
#[inline]
fn with_key<T>(
    config: &Config,
    credential: &Credential<'_>,
    digest: impl FnOnce(&[u8]) -> T,
) -> Option<T> {
    credential.with_key(|key| key::is_accepted(&config.formats, key).then(|| digest(key)))?
}

/// 6. Look up.
#[inline]
fn look_up(config: &Config, request: &RequestHead<'_>, attempt: Attempt) -> Outcome {
    match config.store.find_now(&attempt.digest) {
        Some(Lookup::Found(record)) => judge(config, request, attempt, record),
        answer if config.hasher.other_count() > 0 => {
            peppers::look_up(config, request, attempt, answer.is_some())
        }
        Some(Lookup::NotFound) => peppers::unknown(config, request, attempt),
        None => {
            let (store, digest) = (config.store.clone(), attempt.digest);
            wait(config, attempt, async move { store.find(&digest).await })
        }
    }
}

fn wait(
    config: &Config,
    mut attempt: Attempt,
    answer: impl Future<Output = LookupResult> + Send + 'static,
) -> Outcome {
    let deadline = attempt.set_deadline(config);
    Outcome::Wait(Box::pin(async move {
        let answer = tokio::time::timeout_at(deadline, answer).await;
        (attempt, Answer::Lookup(answer.unwrap_or_else(|_| Err(StoreError::timeout()))))
    }))
}

/// Steps 7 to 9, which need the record.
#[inline]
fn judge(
    config: &Config,
    request: &RequestHead<'_>,
    attempt: Attempt,
    record: Arc<KeyRecord>,
) -> Outcome {
    // 7. Compare: whatever a store with a sloppy collation found, it must be this very key.
    if record.digest != attempt.digest || record.is_deleted() {
        return reject(RejectionKind::Unknown);
    }
    // 8. Status. Reading the clock costs more than all the rest of this, and most keys need none.
    if let Some(kind) = record.status_by(|| config.clock.now()).rejection() {
        return reject_key(kind, &record);
    }
    // 9. Address.
    let details = record.details.get();
    if let Some(details) = details
        && !details.allowed_addresses.is_empty()
        && !is_address_allowed(config, request, &details.allowed_addresses)
    {
        return reject_key(RejectionKind::AddressNotAllowed, &record);
    }
    // 10. Limits. A key with one that this layer cannot count is not let in without it.
    if let Some(details) = details
        && !details.needs().without(config.enforced).is_empty()
    {
        return limits::unenforceable(config, &record);
    }
    if config.rate_limits.is_some() || config.credits.is_some() {
        return limits::check(config, request, attempt, record);
    }
    admit(config, request, attempt, record, None)
}

/// The request is let in, whatever the inner service says.
#[inline]
fn admit(
    config: &Config,
    request: &RequestHead<'_>,
    attempt: Attempt,
    record: Arc<KeyRecord>,
    consumed: Option<Box<Consumption>>,
) -> Outcome {
    let is_awaited = record.details.get().is_some_and(|details| details.rotation.is_awaited);
    if attempt.turn > 0 || is_awaited {
        look_after(config, request, attempt, &record);
    }
    let key = AuthenticatedKey::new(record, config.id);
    Outcome::Admit(Admission::Authenticated { key, source: attempt.source, consumed })
}

/// What this use changes about the key.
#[cold]
fn look_after(
    config: &Config,
    request: &RequestHead<'_>,
    attempt: Attempt,
    record: &Arc<KeyRecord>,
) {
    if attempt.turn > 0 {
        peppers::renew_digest(config, request, attempt.turn, record);
    }
    if record.details.rotation.is_awaited
        && let Some(upkeep) = &config.upkeep
    {
        upkeep.start_grace(record.id, config.clock.now());
    }
}

/// Fails closed: an address that nobody can tell is not an allowed one.
#[cold]
fn is_address_allowed(config: &Config, request: &RequestHead<'_>, allowed: &[IpNet]) -> bool {
    config.address(request).is_some_and(|address| allowed.iter().any(|net| net.contains(&address)))
}

#[inline]
fn reject(kind: RejectionKind) -> Outcome {
    Outcome::Reject(Rejection::new(kind))
}

fn reject_key(kind: RejectionKind, record: &Arc<KeyRecord>) -> Outcome {
    Outcome::Reject(Rejection::new(kind).with_record(record))
}
