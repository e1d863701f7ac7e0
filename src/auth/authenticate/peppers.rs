//! 6. Look up: a key that is not in memory by its current digest, while other peppers are accepted.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use tokio::time::{Instant, timeout, timeout_at};

use super::{Answer, Attempt, LookupResult, Outcome, reject, resume, with_key};
#[cfg(feature = "legacy-hashes")]
use super::{LEGACY_TURN, wait};
use crate::{
    auth::{config::Config, extract},
    error::StoreError,
    key::{KeyRecord, RejectionKind},
    request::RequestHead,
    store::{KeyStore, Lookup},
};
#[cfg(feature = "legacy-hashes")]
use crate::{key::SecretKey, legacy::LegacyHashes};

/// Memory is asked for the digests under all accepted peppers before any is waited for: in a flood
/// or an outage, a key that is known under one of them goes on like any known key.
///
/// By its current digest, the key is unknown to memory, or memory cannot tell. It is read from the
/// request again, which costs less than keeping copies of it.
#[cold]
pub(super) fn look_up(
    config: &Config,
    request: &RequestHead<'_>,
    attempt: Attempt,
    is_unknown: bool,
) -> Outcome {
    let mut waiting = Vec::new();
    if !is_unknown {
        waiting.push(attempt);
    }
    let in_memory = |key: &[u8]| {
        for index in 0..config.hasher.other_count() {
            if !config.hasher.accepts_other(index, || config.clock.now()) {
                continue;
            }
            let digest = config.hasher.other_digest(key, index)?;
            let other = Attempt { digest, turn: u32::try_from(index + 1).ok()?, ..attempt };
            match config.store.find_now(&digest) {
                Some(Lookup::Found(record)) => return Some((other, record)),
                Some(Lookup::NotFound) => {}
                None => waiting.push(other),
            }
        }
        None
    };
    if let Ok(Some(credential)) = extract::find(&config.sources, config.precedence, request)
        && let Some(Some((other, record))) = with_key(config, &credential, in_memory)
    {
        return resume(config, request, other, Answer::Lookup(Ok(Some(record))));
    }
    if waiting.is_empty()
        && let Some(lookup) = config.store.find_now(&attempt.digest)
    {
        let found = match lookup {
            Lookup::Found(record) => Some(record),
            Lookup::NotFound => None,
        };
        return resume(config, request, attempt, Answer::Lookup(Ok(found)));
    }
    wait_in_turn(config, attempt, waiting)
}

/// Asks the store for what memory could not tell.
fn wait_in_turn(config: &Config, mut attempt: Attempt, turns: Vec<Attempt>) -> Outcome {
    let deadline = attempt.set_deadline(config);
    #[cfg(feature = "cache")]
    let digests = turns.len() + 1;
    let lookups = look_up_in_turn(config.store.clone(), attempt, turns, deadline);
    #[cfg(feature = "cache")]
    let lookups = crate::store::cache::of_one_key(digests, lookups);
    Outcome::Wait(Box::pin(async move {
        let (attempt, answer) = lookups.await;
        (attempt, Answer::Lookup(answer))
    }))
}

/// One lookup after the other, until one finds the key. One that fails, or takes more than its
/// share of the time, leaves the others their turn. A key is unknown only if none has failed.
///
/// After the last, the current pepper has another turn: meanwhile another request may have renewed
/// the digest, and a good key must not be called unknown for that.
async fn look_up_in_turn(
    store: Arc<dyn KeyStore>,
    current: Attempt,
    turns: Vec<Attempt>,
    deadline: Instant,
) -> (Attempt, LookupResult) {
    let mut turns = turns.into_iter();
    let mut under_way = Vec::new();
    let mut failed = None;
    loop {
        match turns.next() {
            Some(turn) => under_way.push(find(store.clone(), turn)),
            None if under_way.is_empty() => break,
            None => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let shares = u32::try_from(turns.len() + 1).unwrap_or(u32::MAX);
        match timeout(left / shares, first(&mut under_way)).await {
            Ok((turn, Ok(Some(record)))) => return (turn, Ok(Some(record))),
            Ok((_, Ok(None))) => {}
            Ok((_, Err(error))) => failed = failed.or(Some(error)),
            Err(_) if turns.len() > 0 => {}
            Err(_) => return (current, Err(failed.unwrap_or_else(StoreError::timeout))),
        }
    }
    if let Some(error) = failed {
        return (current, Err(error));
    }
    let timeout = (current, Err(StoreError::timeout()));
    timeout_at(deadline, find(store, current)).await.unwrap_or(timeout)
}

type Finding = Pin<Box<dyn Future<Output = (Attempt, LookupResult)> + Send>>;

fn find(store: Arc<dyn KeyStore>, attempt: Attempt) -> Finding {
    Box::pin(async move { (attempt, store.find(&attempt.digest).await) })
}

/// Waits for the first of these that ends, and takes it out.
async fn first(findings: &mut Vec<Finding>) -> (Attempt, LookupResult) {
    poll_fn(|cx| {
        let ended = findings.iter_mut().enumerate().find_map(|(index, finding)| {
            match finding.as_mut().poll(cx) {
                Poll::Ready(answer) => Some((index, answer)),
                Poll::Pending => None,
            }
        });
        let Some((index, answer)) = ended else { return Poll::Pending };
        drop(findings.swap_remove(index));
        Poll::Ready(answer)
    })
    .await
}

/// No store knows the key. It may be another system's, which kept a slow hash of it.
#[cold]
#[cfg_attr(
    not(feature = "legacy-hashes"),
    allow(unused_variables, reason = "without slow hashes there is nothing to find out")
)]
pub(super) fn unknown(config: &Config, request: &RequestHead<'_>, attempt: Attempt) -> Outcome {
    #[cfg(feature = "legacy-hashes")]
    if let Some(legacy) = &config.legacy
        && attempt.turn != LEGACY_TURN
        && let Some(key) = legacy_key(config, request, legacy, &attempt)
    {
        // Of the current pepper: the digest is the one to be stored.
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

/// A key that was found under a retired pepper, in this turn, is stored anew under the current one.
#[cold]
pub(super) fn renew_digest(
    config: &Config,
    request: &RequestHead<'_>,
    turn: u32,
    record: &Arc<KeyRecord>,
) {
    let Some(upkeep) = &config.upkeep else { return };
    if config.hasher.is_next(turn as usize - 1) {
        return;
    }
    if let Ok(Some(credential)) = extract::find(&config.sources, config.precedence, request)
        && let Some(renewed) = with_key(config, &credential, |key| config.hasher.digest(key))
        && record.digest != renewed
    {
        upkeep.renew_digest(record.clone(), renewed);
    }
}
