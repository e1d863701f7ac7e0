//! What the crate tells `tracing` and `metrics`. Without those features, nothing. Never a key and
//! never a digest.

#![cfg_attr(
    not(all(feature = "tracing", feature = "metrics")),
    allow(unused_variables, reason = "values for telemetry that is off")
)]

#[cfg(feature = "metrics")]
mod described;
mod durations;
mod requests;
#[cfg(feature = "tracing")]
mod sampled;
#[cfg(feature = "metrics")]
mod sources;
mod spans;

use std::error::Error;
use std::{fmt::Display, path::Path, time::Duration};

use http::StatusCode;

#[cfg(all(feature = "cache", feature = "metrics"))]
pub(crate) use self::sources::CacheFigures;
#[cfg(feature = "metrics")]
pub(crate) use self::{
    described::{METRICS, MetricKind},
    sources::{FigureSource, Told, register},
};
pub(crate) use self::{
    durations::Began,
    requests::{Decided, decided},
    spans::{Decision, DecisionSpan, wants_decisions},
};
use crate::{
    clock::Timestamp,
    error::BackEnd,
    key::{KeyId, Needs, RejectionKind, Scopes},
    runtime::Change,
};

/// What went wrong, for the log.
type Cause<'e> = &'e (dyn Error + 'static);

/// Tells the recorder what is counted elsewhere.
#[cfg(feature = "metrics")]
pub(crate) fn publish() {
    requests::publish();
    sources::publish();
}

/// A request was denied. The service's own trouble is a warning; a caller's is for debugging. Of one
/// code, at most ten a second are logged, and the next line says how many others there were.
pub(crate) fn denied(kind: RejectionKind, key: Option<KeyId>, cause: Option<Cause<'_>>) {
    #[cfg(feature = "tracing")]
    log_denial(kind, key, cause);
    #[cfg(feature = "metrics")]
    count_denial(kind);
}

#[cfg(feature = "tracing")]
fn log_denial(kind: RejectionKind, key: Option<KeyId>, cause: Option<Cause<'_>>) {
    use self::sampled::Sampled;

    static DENIALS: [Sampled; RejectionKind::COUNT] =
        [const { Sampled::new() }; RejectionKind::COUNT];

    let is_ours = kind.status().is_server_error();
    if !is_ours && !tracing::event_enabled!(tracing::Level::DEBUG) {
        return;
    }
    let Some(unlogged) = DENIALS[kind as usize].next(sampled::now()) else { return };
    let (code, unlogged) = (kind.code(), (unlogged > 0).then_some(unlogged));
    if is_ours {
        let cause = chain(cause);
        tracing::warn!(code, cause, unlogged, "request denied");
    } else {
        let key = key.map(tracing::field::display);
        tracing::debug!(code, key, unlogged, "request denied");
    }
}

/// A request would have been denied by a layer in shadow.
pub(crate) fn would_deny(
    kind: RejectionKind,
    key: Option<KeyId>,
    missing: Option<&Scopes>,
    limit: Option<&str>,
) {
    let code = kind.code();
    #[cfg(feature = "tracing")]
    {
        let key = key.map(tracing::field::display);
        let missing = missing.map(Scopes::as_str);
        tracing::info!(target: SHADOW, code, key, missing, limit, "would deny");
    }
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_would_deny_total", "code" => code).increment(1);
}

/// The target of events of layers in shadow, so that they can be chosen apart from others.
#[cfg(feature = "tracing")]
const SHADOW: &str = "tower_api_key::shadow";

/// A request went on before a layer in shadow had decided.
#[cold]
pub(crate) fn undecided() {
    #[cfg(feature = "tracing")]
    tracing::info!(target: SHADOW, "undecided");
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_shadow_undecided_total").increment(1);
}

/// A layer in shadow and the check that is in place do not answer a request alike. `code` says how; `ours` is
/// the layer's denial, if it is one, and `status` the answer, unless the check failed with an error.
#[cold]
pub(crate) fn verifiers_differ(
    difference: &'static str,
    ours: Option<RejectionKind>,
    status: Option<StatusCode>,
    key: Option<KeyId>,
) {
    #[cfg(feature = "tracing")]
    {
        let (code, key) = (ours.map(RejectionKind::code), key.map(tracing::field::display));
        let status = status.map(|status| status.as_u16());
        tracing::info!(target: SHADOW, difference, code, key, status, "answers differ");
    }
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_shadow_differences_total", "difference" => difference)
        .increment(1);
}

/// One layer more is in shadow, or one less.
#[cold]
pub(crate) fn shadow_layers(is_more: bool) {
    #[cfg(feature = "metrics")]
    change("tower_api_key_shadow_layers", 1, is_more);
}

/// A layer lets requests on that it would deny. Told again every hour.
#[cold]
pub(crate) fn in_shadow(layer: &'static str, until: Timestamp) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: SHADOW, layer, %until, "in shadow: the layer lets on what it would deny");
}

/// A layer denies from now on.
#[cold]
pub(crate) fn out_of_shadow(layer: &'static str) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: SHADOW, layer, "the shadow has ended: the layer enforces");
}

/// With keys that are made once: `counter!` would allocate one for each denial.
#[cfg(feature = "metrics")]
fn count_denial(kind: RejectionKind) {
    use std::sync::LazyLock;

    use metrics::{Key, Label, Level, Metadata, with_recorder};

    static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
        let key = |kind: RejectionKind| {
            let code = Label::from_static_parts("code", kind.code());
            Key::from_parts("tower_api_key_denied_total", vec![code])
        };
        RejectionKind::all().map(key).collect()
    });
    static METADATA: Metadata<'static> =
        Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

    // `RejectionKind::all` is in the order of the discriminants.
    if let Some(key) = KEYS.get(kind as usize) {
        with_recorder(|recorder| recorder.register_counter(key, &METADATA)).increment(1);
    }
}

/// A layer has its first waiting request, and this bound of them; or the layer is gone.
pub(crate) fn waiting_limit(requests: usize, bytes: usize, is_new: bool) {
    #[cfg(feature = "metrics")]
    {
        change("tower_api_key_waiting_requests_limit", requests, is_new);
        change("tower_api_key_waiting_bytes_limit", bytes, is_new);
    }
}

/// A request of this size begins to wait, or has waited.
pub(crate) fn request_waits(bytes: usize, begins: bool) {
    #[cfg(feature = "metrics")]
    {
        change("tower_api_key_waiting_requests", 1, begins);
        change("tower_api_key_waiting_bytes", bytes, begins);
    }
}

/// Adds to a gauge, or takes away from it.
#[cfg(feature = "metrics")]
#[expect(clippy::cast_precision_loss, reason = "no gauge shows 2⁵² of anything")]
fn change(name: &'static str, amount: usize, is_more: bool) {
    let (gauge, amount) = (metrics::gauge!(name), amount as f64);
    if is_more { gauge.increment(amount) } else { gauge.decrement(amount) }
}

/// A request was denied because so many wait, which is news if there was much room before.
pub(crate) fn request_shed(waiting: usize, bytes: usize, is_news: bool) {
    #[cfg(feature = "tracing")]
    if is_news {
        tracing::warn!(waiting, bytes, "too many requests wait; further ones are denied");
    }
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_requests_shed_total").increment(1);
}

/// A key was refused because this layer cannot enforce one of its restrictions. It is a mistake in
/// the wiring or an old program, so it is an error; at most one in ten seconds, since every request
/// with such a key comes here.
pub(crate) fn unenforceable(key: KeyId, needs: Needs) {
    #[cfg(feature = "tracing")]
    {
        use std::sync::atomic::{AtomicU64, Ordering};
        use std::time::SystemTime;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs());
        let due = |next| (next <= now || next > now + 10).then_some(now + 10);
        if NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok() {
            tracing::error!(
                %key,
                %needs,
                "a key has a restriction that this layer does not enforce, and is refused; give the \
                 layer RateLimits or Credits, or say `ignoring_limits` or `ignoring_credits`"
            );
        }
    }
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_unenforceable_total").increment(1);
}

/// Keys could not be read or written for a caller who manages them.
pub(crate) fn management_failed(error: Cause<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(cause = chain(Some(error)), "managing keys failed");
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_management_failed_total").increment(1);
}

/// What the use of a key changed about it could not be written.
pub(crate) fn write_back_failed(key: KeyId, error: Cause<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(%key, cause = chain(Some(error)), "what a use changed was not written; the next use tries again");
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_write_back_failed_total").increment(1);
}

/// A slow hash is computed.
#[cfg(feature = "legacy-hashes")]
pub(crate) fn legacy_verification() {
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_legacy_verifications_total").increment(1);
}

/// A key of another system was used for the first time, and is one like all others from now on.
#[cfg(feature = "legacy-hashes")]
pub(crate) fn legacy_upgraded(key: KeyId) {
    #[cfg(feature = "tracing")]
    tracing::debug!(%key, "key of another system stored under its digest");
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_legacy_upgrades_total").increment(1);
}

/// A key of another system was let in, but its digest could not be stored.
#[cfg(feature = "legacy-hashes")]
pub(crate) fn legacy_not_upgraded(key: KeyId, error: Cause<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(%key, cause = chain(Some(error)), "digest not stored; its next use tries again");
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_legacy_upgrades_failed_total").increment(1);
}

/// The index of keys of another system could not be read.
#[cfg(feature = "legacy-hashes")]
pub(crate) fn legacy_not_loaded(error: Cause<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(cause = chain(Some(error)), "keys of another system could not be listed");
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_legacy_loads_failed_total").increment(1);
}

/// Some keys of another system can never be found.
#[cfg(feature = "legacy-hashes")]
pub(crate) fn legacy_unusable(keys: usize, one: KeyId) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        keys,
        key = %one,
        "keys of another system cannot be used: a start of less than 4 characters, or a hash that \
         is unknown or costs too much"
    );
}

/// More keys of another system begin alike than are tried.
#[cfg(feature = "legacy-hashes")]
pub(crate) fn legacy_alike(keys: usize, max_candidates: usize) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        keys,
        max_candidates,
        "keys of another system have the same start, more than are tried for a key: requests with \
         them get 503"
    );
}

/// A change could not be announced to other nodes.
pub(crate) fn not_announced(error: Cause<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        cause = chain(Some(error)),
        "change not announced; other nodes learn of it when their cache expires"
    );
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_announcements_failed_total").increment(1);
}

/// A lookup failed that no request answers for: a cache's, or that of a stream's key.
pub(crate) fn lookup_failed(error: Cause<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(cause = chain(Some(error)), "lookup failed; known keys go on for a while");
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_lookups_failed_total").increment(1);
}

/// A cache refused a lookup, or let it wait for the budget in vain.
#[cfg(feature = "cache")]
pub(crate) fn lookup_shed(rank: &'static str) {
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_lookups_shed_total", "rank" => rank).increment(1);
}

/// The filter of known keys is loaded.
#[cfg(feature = "cache")]
#[cfg_attr(
    feature = "metrics",
    expect(clippy::cast_precision_loss, reason = "no filter holds 2⁵² of anything")
)]
pub(crate) fn filter_loaded(keys: u64, bytes: usize) {
    #[cfg(feature = "metrics")]
    {
        metrics::gauge!("tower_api_key_filter_keys").set(keys as f64);
        metrics::gauge!("tower_api_key_filter_bytes").set(bytes as f64);
    }
    #[cfg(feature = "tracing")]
    tracing::debug!(keys, bytes, "the filter of known keys is loaded");
}

/// The filter of known keys could not be loaded, or brought up to date.
#[cfg(feature = "cache")]
pub(crate) fn filter_not_loaded(error: Cause<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        cause = chain(Some(error)),
        "the digests of keys could not be listed; lookups are ranked without them, or with those of before"
    );
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_filter_loads_failed_total").increment(1);
}

/// A breaker has found that a back end has fallen silent, so that callers go on without it, or that it
/// has answered again.
///
/// Several breakers may watch one back end, as a cache's and its store's: it is down as long as one of
/// them finds it so, and its outage is told once.
pub(crate) fn back_end(back_end: BackEnd, change: Change) {
    use std::sync::atomic::{AtomicUsize, Ordering::AcqRel};

    static DOWN: [AtomicUsize; BackEnd::COUNT] = [const { AtomicUsize::new(0) }; BackEnd::COUNT];

    let down = &DOWN[back_end as usize];
    let is_news = match change {
        Change::Down => down.fetch_add(1, AcqRel) == 0,
        Change::Up | Change::Unknown => down.fetch_sub(1, AcqRel) == 1,
    };
    if is_news {
        back_end_changed(back_end, change);
    }
}

fn back_end_changed(back_end: BackEnd, change: Change) {
    #[cfg(feature = "tracing")]
    match change {
        Change::Down => {
            tracing::warn!(
                "{back_end} does not answer; until it does, callers go on without it where they can"
            );
        }
        Change::Up => tracing::info!("{back_end} answers again"),
        Change::Unknown => {}
    }
    #[cfg(feature = "metrics")]
    {
        let label = back_end.label();
        let is_up = change != Change::Down;
        let up = metrics::gauge!("tower_api_key_backend_up", "backend" => label);
        up.set(f64::from(u8::from(is_up)));
        if !is_up {
            metrics::counter!("tower_api_key_backend_outages_total", "backend" => label)
                .increment(1);
        }
    }
}

/// A replica is asked for keys from now on, or no longer.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) fn replica(number: usize, is_fresh: bool, error: Option<Cause<'_>>) {
    #[cfg(feature = "tracing")]
    if is_fresh {
        tracing::info!(
            replica = number,
            "a replica has shown that it is not far behind, and is asked"
        );
    } else {
        tracing::warn!(
            replica = number,
            cause = chain(error),
            "a replica is not asked: it does not answer, or not show that it is not far behind"
        );
    }
}

/// One replica more is asked for keys, or one less.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) fn fresh_replicas(is_more: bool) {
    #[cfg(feature = "metrics")]
    change("tower_api_key_replicas_fresh", 1, is_more);
}

/// The beat by which replicas show how far behind they are could not be read or written.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) fn no_heartbeat(error: Cause<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        cause = chain(Some(error)),
        "the heartbeat of the store stands still; soon no replica is asked any more"
    );
}

/// A request's owner was not resolved. The denial says why.
pub(crate) fn owner_not_resolved() {
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_owners_not_resolved_total").increment(1);
}

/// A cache's call of the resolver of owners failed.
#[cfg(feature = "cache")]
pub(crate) fn owner_lookup_failed(error: Cause<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        cause = chain(Some(error)),
        "owner not resolved; known owners go on for a while"
    );
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_owner_lookups_failed_total").increment(1);
}

/// A cache hears what other nodes change.
#[cfg(feature = "cache")]
pub(crate) fn listening() {
    #[cfg(feature = "tracing")]
    tracing::info!("listening for changed keys; what is cached is looked up anew");
    #[cfg(feature = "metrics")]
    metrics::gauge!("tower_api_key_listening").set(1.0);
}

/// A cache does not hear what other nodes change.
#[cfg(feature = "cache")]
pub(crate) fn not_listening(error: Cause<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        cause = chain(Some(error)),
        "not listening for changed keys; until then they live as long as their time to live says"
    );
    #[cfg(feature = "metrics")]
    metrics::gauge!("tower_api_key_listening").set(0.0);
}

/// It did before.
#[cfg(feature = "cache")]
pub(crate) fn subscription_lost() {
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_subscriptions_lost_total").increment(1);
}

/// A message about changed keys cannot be read: any key may have changed.
#[cfg(feature = "cache")]
pub(crate) fn message_unreadable() {
    #[cfg(feature = "tracing")]
    tracing::warn!("a message about changed keys cannot be read; all keys are looked up again");
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_messages_unreadable_total").increment(1);
}

/// A file of keys was loaded.
#[cfg(feature = "file")]
pub(crate) fn file_loaded(path: &Path, keys: usize) {
    #[cfg(feature = "tracing")]
    tracing::info!(path = %path.display(), keys, "keys loaded from their file");
    #[cfg(feature = "metrics")]
    metrics::gauge!("tower_api_key_file_current", "path" => path.display().to_string()).set(1.0);
}

/// A file of keys has changed and cannot be used.
#[cfg(feature = "file")]
pub(crate) fn file_not_loaded(path: &Path, error: Cause<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(%error, "keys not loaded from their file; those of the last good one stay");
    #[cfg(feature = "metrics")]
    {
        let path = path.display().to_string();
        metrics::gauge!("tower_api_key_file_current", "path" => path.clone()).set(0.0);
        metrics::counter!("tower_api_key_file_loads_failed_total", "path" => path).increment(1);
    }
}

/// The key of a client was read from its file.
pub(crate) fn client_key_loaded(path: &Path) {
    #[cfg(feature = "tracing")]
    tracing::info!(path = %path.display(), "the key of a client is read from its file");
    #[cfg(feature = "metrics")]
    {
        let path = path.display().to_string();
        metrics::gauge!("tower_api_key_client_key_current", "path" => path).set(1.0);
    }
}

/// The file with the key of a client has changed and cannot be used.
pub(crate) fn client_key_kept(path: &Path, error: Cause<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(%error, "the key of a client is not read from its file; the last good one stays");
    #[cfg(feature = "metrics")]
    {
        let path = path.display().to_string();
        metrics::gauge!("tower_api_key_client_key_current", "path" => path.clone()).set(0.0);
        metrics::counter!("tower_api_key_client_key_loads_failed_total", "path" => path)
            .increment(1);
    }
}

/// A server says that the key of a client will end.
pub(crate) fn client_key_ends(
    origin: &dyn Display,
    deprecation: Option<&dyn Display>,
    sunset: Option<&dyn Display>,
) {
    #[cfg(feature = "tracing")]
    {
        let (deprecation, sunset) =
            (deprecation.map(tracing::field::display), sunset.map(tracing::field::display));
        tracing::warn!(
            %origin, deprecation, sunset,
            "the server says that the key of this client, or what it asks for, is going to end"
        );
    }
}

/// A server has asked a client for a pause.
pub(crate) fn client_pauses(
    origin: &dyn Display,
    asked: Duration,
    wait: Duration,
    is_warning: bool,
) {
    #[cfg(feature = "tracing")]
    {
        const HELD: &str = "the server asks for a pause; requests are held back";
        if is_warning {
            tracing::warn!(%origin, ?asked, ?wait, "{HELD}");
        } else {
            tracing::debug!(%origin, ?asked, ?wait, "{HELD}");
        }
    }
}

/// A client's request names no origin.
pub(crate) fn client_request_without_origin() {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        "a request has no key, since its URI names no origin; a client that is connected to one \
         server needs `with_default_origin`"
    );
}

/// A rate limiter did not answer a request, which is news if it had answered the one before.
pub(crate) fn limiter_out(error: Cause<'_>, is_news: bool) {
    #[cfg(feature = "tracing")]
    if is_news {
        tracing::warn!(cause = chain(Some(error)), "the rate limiter does not answer");
    }
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_limiter_failures_total").increment(1);
}

/// Counts of uses could not be written.
pub(crate) fn uses_not_written(error: Cause<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(cause = chain(Some(error)), "uses not written; they are kept and tried again");
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_use_flushes_failed_total").increment(1);
}

/// The last counts of uses could not be written before the program's end.
pub(crate) fn uses_lost(error: Cause<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(cause = chain(Some(error)), "uses not written at shutdown; they are lost");
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_use_flushes_failed_total").increment(1);
}

/// What was taken of a shared limit and not used stays taken.
#[cfg(feature = "redis")]
pub(crate) fn not_given_back(error: Cause<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(cause = chain(Some(error)), "unused permits not given back; they are lost");
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_give_backs_failed_total").increment(1);
}

/// Credits could not be taken from the store.
pub(crate) fn credits_not_taken(lineage: KeyId, lost: u64, error: Cause<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(%lineage, lost, cause = chain(Some(error)), "credits not taken");
    count_lost_credits(lost);
}

/// Credits could not be given back to the store.
pub(crate) fn credits_not_given_back(lineage: KeyId, lost: u64, error: Cause<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(%lineage, lost, cause = chain(Some(error)), "credits not given back");
    count_lost_credits(lost);
}

fn count_lost_credits(lost: u64) {
    #[cfg(feature = "metrics")]
    {
        metrics::counter!("tower_api_key_credit_leases_failed_total").increment(1);
        metrics::counter!("tower_api_key_credits_lost_total").increment(lost);
    }
}

/// Counts by hour waited to be written, and there were too many.
pub(crate) fn usage_details_dropped(counts: usize) {
    #[cfg(feature = "tracing")]
    tracing::warn!(counts, "counts of uses by hour dropped; the totals lack nothing");
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_usage_details_dropped_total").increment(counts as u64);
}

/// Old counts by hour could not be removed.
pub(crate) fn usage_not_forgotten(error: Cause<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        cause = chain(Some(error)),
        "old counts of uses not removed; they stay for now and it is tried again"
    );
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_api_key_usage_removals_failed_total").increment(1);
}

/// An error and its sources in a line. Many errors end with the text of their source: it is told
/// once.
#[cfg(feature = "tracing")]
fn chain(error: Option<Cause<'_>>) -> String {
    let mut text = String::new();
    for link in std::iter::successors(error, |link| (*link).source()) {
        let link = link.to_string();
        if text.is_empty() {
            text = link;
        } else if !text.ends_with(&link) {
            text = format!("{text}: {link}");
        }
    }
    text
}
