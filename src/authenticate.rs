//! The decision order, top to bottom. Everything a request goes through stands here, in the order
//! in which it happens; the crate's documentation numbers the same steps.
//!
//! Most requests are decided by [`authenticate`] without waiting. One that has to wait, for the
//! store or for what counts its limits, comes back through [`resume`], which goes on at the next
//! step with the same code.

use std::{future::Future, net::IpAddr, pin::Pin, sync::Arc};

use http::{Method, Request, header};
use ipnet::IpNet;
use tokio::time::Instant;

use crate::{
    AuthenticatedKey, KeyDigest, KeyRecord, Rejection, RejectionKind, RequestHead,
    authenticated::Unauthenticated,
    config::Config,
    extract::{self, Credential, Place},
    key,
    limit::{LimitReport, Limited},
    store::{Lookup, StoreError},
};
#[cfg(feature = "legacy-hashes")]
use crate::{LegacyHashes, SecretKey};

/// What became of a request.
pub(crate) enum Outcome {
    /// On to the inner service.
    Admit(Admission),
    /// Back to the caller.
    Reject(Rejection),
    /// Something must be waited for; then [`resume`]. Boxed, to keep the others small.
    Wait(Box<Waiting>),
}

/// How a request is let in.
pub(crate) enum Admission {
    /// Past the layer: nobody asked who it is.
    PassBy,
    /// Without a credential, where that is allowed.
    Anonymous,
    /// With a good key.
    Authenticated {
        key: AuthenticatedKey,
        place: Place,
        /// How its rate limit stands.
        report: Option<LimitReport>,
    },
}

/// A request that waits.
pub(crate) struct Waiting {
    pub(crate) attempt: Attempt,
    pub(crate) answer: Pin<Box<dyn Future<Output = Answer> + Send>>,
}

/// What a request has waited for, and what was known of it by then.
pub(crate) enum Answer {
    /// Between steps 6 and 7.
    Lookup(LookupResult),
    /// In step 10, whether the rate limits of this key let it in.
    Limited(Arc<KeyRecord>, Limited),
}

pub(crate) type LookupResult = Result<Option<Arc<KeyRecord>>, StoreError>;

/// What is known about every request with a key. The key itself is not: it stays in the request.
#[derive(Clone, Copy)]
pub(crate) struct Attempt {
    place: Place,
    digest: KeyDigest,
    /// Which pepper's turn it is: 0 is the current one's, then come the retired ones', and then
    /// the current one's again. And last, slow hashes'.
    turn: u32,
    /// Until when the store is waited for, however often it has to be asked. Set by the first
    /// wait.
    deadline: Option<Instant>,
}

/// The turn of hashes that another system kept: nobody else knows the key.
#[cfg(feature = "legacy-hashes")]
const LEGACY_TURN: u32 = u32::MAX;

/// Steps 1 to 5, and the rest when the store answers without waiting.
#[inline]
pub(crate) fn authenticate(config: &Config, request: &RequestHead<'_>) -> Outcome {
    // 1. Pass by.
    if is_preflight(request) || config.bypass.as_ref().is_some_and(|bypass| bypass(request)) {
        return Outcome::Admit(Admission::PassBy);
    }
    // 2. Transport.
    if config.secure_transport.as_ref().is_some_and(|is_secure| !is_secure(request)) {
        return reject(RejectionKind::InsecureTransport);
    }
    // 3. Extract.
    let credential = match extract::find(&config.sources, config.precedence, request) {
        Ok(Some(credential)) => credential,
        Ok(None) if config.allow_anonymous => return Outcome::Admit(Admission::Anonymous),
        Ok(None) => return reject(RejectionKind::Missing),
        Err(kind) => return reject(kind),
    };
    // 4. Parse, 5. Digest.
    match with_key(config, &credential, |key| config.hasher.digest(key)) {
        Some(digest) => {
            let attempt = Attempt { place: credential.place, digest, turn: 0, deadline: None };
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
        Answer::Lookup(Ok(None)) => match with_next_pepper(config, request, attempt) {
            Some(attempt) => look_up(config, request, attempt),
            None => unknown(config, request, attempt),
        },
        Answer::Lookup(Err(error)) => Outcome::Reject(Rejection::from_store_error(error)),
        Answer::Limited(record, limited) => count(config, request, attempt, record, limited),
    }
}

/// A true CORS preflight (Fetch standard, "CORS-preflight request"): browsers send it without
/// credentials, and it asks only whether the real request may be made. OPTIONS alone is not one.
#[inline]
fn is_preflight(request: &RequestHead<'_>) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(header::ORIGIN)
        && request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// 4. Parse: gives the key to `digest` if it is one of an accepted format.
#[inline]
fn with_key<T>(
    config: &Config,
    credential: &Credential<'_>,
    digest: impl Fn(&[u8]) -> T,
) -> Option<T> {
    credential.with_key(|key| key::is_accepted(&config.formats, key).then(|| digest(key)))?
}

/// 6. Look up.
#[inline]
fn look_up(config: &Config, request: &RequestHead<'_>, mut attempt: Attempt) -> Outcome {
    loop {
        match config.store.find_now(&attempt.digest) {
            Some(Lookup::Found(record)) => return judge(config, request, attempt, record),
            Some(Lookup::NotFound) => match with_next_pepper(config, request, attempt) {
                Some(next) => attempt = next,
                None => return unknown(config, request, attempt),
            },
            None => {
                let (store, digest) = (config.store.clone(), attempt.digest);
                return wait(config, attempt, async move { store.find(&digest).await });
            }
        }
    }
}

fn wait(
    config: &Config,
    mut attempt: Attempt,
    answer: impl Future<Output = LookupResult> + Send + 'static,
) -> Outcome {
    let deadline = Instant::now() + config.lookup_timeout;
    let deadline = *attempt.deadline.get_or_insert(deadline);
    let answer = Box::pin(async move {
        let answer = tokio::time::timeout_at(deadline, answer).await;
        Answer::Lookup(answer.unwrap_or_else(|_| Err(StoreError::timeout())))
    });
    Outcome::Wait(Box::new(Waiting { attempt, answer }))
}

/// A key that is not known under one pepper may be known under the one before it. After the last,
/// the current one has another turn: meanwhile another request may have renewed the digest, and a
/// good key must not be called unknown for that.
///
/// The key is read from the request again, which costs less than keeping copies of it.
fn with_next_pepper(
    config: &Config,
    request: &RequestHead<'_>,
    attempt: Attempt,
) -> Option<Attempt> {
    let retired = config.hasher.retired_count();
    let turn = attempt.turn as usize;
    if retired == 0 || turn > retired {
        return None;
    }
    let credential = extract::find(&config.sources, config.precedence, request).ok()??;
    let next = |key: &[u8]| match config.hasher.retired_digest(key, turn) {
        Some(retired) => retired,
        None => config.hasher.digest(key),
    };
    let digest = with_key(config, &credential, next)?;
    Some(Attempt { digest, turn: attempt.turn + 1, ..attempt })
}

/// No store knows the key. It may be another system's, which kept a slow hash of it.
#[cold]
#[cfg_attr(
    not(feature = "legacy-hashes"),
    allow(unused_variables, reason = "without slow hashes there is nothing to find out")
)]
fn unknown(config: &Config, request: &RequestHead<'_>, attempt: Attempt) -> Outcome {
    #[cfg(feature = "legacy-hashes")]
    if let Some(legacy) = &config.legacy
        && attempt.turn != LEGACY_TURN
        && let Some(key) = legacy_key(config, request, legacy, &attempt)
    {
        // The last turn was the current pepper's: the digest is the one to be stored.
        let find = legacy.clone().find(attempt.digest, key);
        return wait(config, Attempt { turn: LEGACY_TURN, ..attempt }, find);
    }
    reject(RejectionKind::Unknown)
}

/// A copy of the key, for other threads to hash; none if it need not be hashed.
#[cfg(feature = "legacy-hashes")]
fn legacy_key(
    config: &Config,
    request: &RequestHead<'_>,
    legacy: &LegacyHashes,
    attempt: &Attempt,
) -> Option<SecretKey> {
    let credential = extract::find(&config.sources, config.precedence, request).ok()??;
    let copy = |key: &[u8]| {
        let key = str::from_utf8(key).ok()?;
        legacy.may_hold(&attempt.digest, key).then(|| SecretKey::new(key))
    };
    with_key(config, &credential, copy)?
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
    match &config.rate_limits {
        None => admit(config, request, attempt, record, None),
        Some(limits) => {
            let limited = limits.check(request, &record);
            count(config, request, attempt, record, limited)
        }
    }
}

/// 10. Limits: what was denied before has consumed nothing.
#[inline]
fn count(
    config: &Config,
    request: &RequestHead<'_>,
    attempt: Attempt,
    record: Arc<KeyRecord>,
    limited: Limited,
) -> Outcome {
    match limited {
        Limited::Admitted(report) => admit(config, request, attempt, record, report),
        Limited::Denied(rejection) => Outcome::Reject(rejection),
        Limited::Waiting(limited) => {
            let answer = Box::pin(async move { Answer::Limited(record, limited.await) });
            Outcome::Wait(Box::new(Waiting { attempt, answer }))
        }
    }
}

/// The request is let in, whatever the inner service says.
#[inline]
fn admit(
    config: &Config,
    request: &RequestHead<'_>,
    attempt: Attempt,
    record: Arc<KeyRecord>,
    report: Option<LimitReport>,
) -> Outcome {
    if attempt.turn > 0 {
        renew_digest(config, request, &record);
    }
    if record.details.get().is_some_and(|details| details.rotation.is_awaited)
        && let Some(upkeep) = &config.upkeep
    {
        upkeep.start_grace(record.id, config.clock.now());
    }
    let key = AuthenticatedKey::new(record);
    Outcome::Admit(Admission::Authenticated { key, place: attempt.place, report })
}

/// Fails closed: an address that nobody can tell is not an allowed one.
#[cold]
fn is_address_allowed(config: &Config, request: &RequestHead<'_>, allowed: &[IpNet]) -> bool {
    let address = config.client_address.as_ref().and_then(|address| address(request));
    // A dual-stack socket shows IPv4 clients as `::ffff:a.b.c.d`.
    let address = address.as_ref().map(IpAddr::to_canonical);
    address.is_some_and(|address| allowed.iter().any(|net| net.contains(&address)))
}

/// A key that was found under a retired pepper is stored anew under the current one.
#[cold]
fn renew_digest(config: &Config, request: &RequestHead<'_>, record: &Arc<KeyRecord>) {
    let Some(upkeep) = &config.upkeep else { return };
    if let Ok(Some(credential)) = extract::find(&config.sources, config.precedence, request)
        && let Some(renewed) = with_key(config, &credential, |key| config.hasher.digest(key))
        && record.digest != renewed
    {
        upkeep.renew_digest(record.clone(), renewed);
    }
}

/// 11. Attach.
#[inline]
pub(crate) fn attach<B>(config: &Config, request: &mut Request<B>, admission: Admission) {
    match admission {
        Admission::PassBy | Admission::Anonymous => {
            request.extensions_mut().insert(Unauthenticated);
        }
        Admission::Authenticated { key, place, report: _ } => {
            if config.hide_credentials {
                let mut uri = request.uri().clone();
                extract::hide(place, &config.sources, request.headers_mut(), &mut uri);
                *request.uri_mut() = uri;
            } else {
                extract::mark_sensitive(place, &config.sources, request.headers_mut());
            }
            if let Some(usage) = &config.usage {
                usage.count(key.record());
            }
            request.extensions_mut().insert(key);
        }
    }
}

#[inline]
fn reject(kind: RejectionKind) -> Outcome {
    Outcome::Reject(Rejection::new(kind))
}

fn reject_key(kind: RejectionKind, record: &Arc<KeyRecord>) -> Outcome {
    Outcome::Reject(Rejection::new(kind).with_record(record))
}
