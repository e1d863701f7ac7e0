//! 6. Look up: a key that is not in memory by its current digest, while other peppers are accepted.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use tokio::time::{Instant, timeout, timeout_at};

use super::{Attempt, LookupResult, lookup};
use crate::{
    auth::{config::Config, extract},
    error::StoreError,
    key::KeyRecord,
    request::RequestHead,
    store::{KeyStore, Lookup, LookupHint, WriteBack},
};

/// What memory says of a key.
pub(super) enum InMemory {
    /// It holds the record, under the digest of this attempt.
    Found(Attempt, Arc<KeyRecord>),
    /// There is none under any digest.
    Unknown,
    /// It cannot tell for these: the store must be asked.
    AskStore(Vec<Attempt>),
}

/// Memory is asked for the digests under all accepted peppers before any is waited for: in a flood
/// or an outage, a key that is known under one of them goes on like any known key.
///
/// By its current digest, the key is unknown to memory, or memory cannot tell. It is read from the
/// request again, which costs less than keeping copies of it.
pub(super) fn find_in_memory(
    config: &Config,
    request: &RequestHead<'_>,
    attempt: Attempt,
    is_unknown: bool,
) -> InMemory {
    let mut waiting = Vec::new();
    if !is_unknown {
        waiting.push(attempt);
    }
    let in_memory = |key: &[u8]| {
        others(config, key, attempt).find_map(|other| match config.store.find_now(&other.digest) {
            Some(Lookup::Found(record)) => Some((other, record)),
            Some(Lookup::NotFound) => None,
            None => {
                waiting.push(other);
                None
            }
        })
    };
    if let Ok(Some(credential)) = extract::find(&config.sources, config.precedence, request)
        && let Some(Some((other, record))) = config.with_key(&credential, in_memory)
    {
        return InMemory::Found(other, record);
    }
    if !waiting.is_empty() {
        return InMemory::AskStore(waiting);
    }
    // Meanwhile another request may have renewed the digest.
    match config.store.find_now(&attempt.digest) {
        Some(Lookup::Found(record)) => InMemory::Found(attempt, record),
        Some(Lookup::NotFound) => InMemory::Unknown,
        None => InMemory::AskStore(waiting),
    }
}

/// The key under the other peppers that are accepted, each in its turn.
pub(super) fn others(
    config: &Config,
    key: &[u8],
    current: Attempt,
) -> impl Iterator<Item = Attempt> {
    let hasher = &config.hasher;
    let accepted = (0..hasher.other_count())
        .filter(|index| hasher.accepts_other(*index, || config.clock.now()));
    accepted.filter_map(move |index| {
        let (digest, turn) = (hasher.other_digest(key, index)?, u32::try_from(index + 1).ok()?);
        Some(Attempt { digest, turn, ..current })
    })
}

/// Asks the store for what memory could not tell.
pub(super) fn find_in_turn(
    config: &Config,
    request: &RequestHead<'_>,
    current: Attempt,
    turns: Vec<Attempt>,
    deadline: Instant,
) -> impl Future<Output = (Attempt, LookupResult)> + Send + use<> {
    let asked =
        Asked { store: config.store.clone(), hint: lookup::hint(config, request, &current) };
    #[cfg(feature = "cache")]
    let digests = turns.len() + 1;
    let lookups = look_up_in_turn(asked, current, groups(config, turns), deadline);
    #[cfg(feature = "cache")]
    let lookups = crate::store::cache::of_one_key(digests, lookups);
    lookups
}

/// The lookups that are made together. Digests that may exist are asked for one after the other: most
/// often the first finds the key. Those that most probably do not are asked for last, at once: none of
/// them is expected to end the search.
fn groups(config: &Config, turns: Vec<Attempt>) -> Vec<Vec<Attempt>> {
    let may_exist = |turn: &Attempt| config.store.may_exist(&turn.digest);
    let (first, last): (Vec<_>, Vec<_>) = turns.into_iter().partition(may_exist);
    let last = Some(last).filter(|last| !last.is_empty());
    first.into_iter().map(|turn| vec![turn]).chain(last).collect()
}

/// One group of lookups after the other, until one finds the key. One that fails, or takes more than
/// its share of the time, leaves the others their turn. A key is unknown only if none has failed.
///
/// After the last, the current pepper has another turn: meanwhile another request may have renewed
/// the digest, and a good key must not be called unknown for that.
async fn look_up_in_turn(
    asked: Asked,
    current: Attempt,
    groups: Vec<Vec<Attempt>>,
    deadline: Instant,
) -> (Attempt, LookupResult) {
    let mut groups = groups.into_iter();
    let mut under_way = Vec::new();
    let mut failed = None;
    loop {
        match groups.next() {
            Some(group) => under_way.extend(group.into_iter().map(|turn| asked.find(turn))),
            None if under_way.is_empty() => break,
            None => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let shares = u32::try_from(groups.len() + 1).unwrap_or(u32::MAX);
        match timeout(left / shares, first(&mut under_way)).await {
            Ok((turn, Ok(Some(record)))) => return (turn, Ok(Some(record))),
            Ok((_, Ok(None))) => {}
            Ok((_, Err(error))) => failed = failed.or(Some(error)),
            Err(_) if groups.len() > 0 => {}
            Err(_) => return (current, Err(failed.unwrap_or_else(StoreError::timeout))),
        }
    }
    if let Some(error) = failed {
        return (current, Err(error));
    }
    let timeout = (current, Err(StoreError::timeout()));
    timeout_at(deadline, asked.find(current)).await.unwrap_or(timeout)
}

type Finding = Pin<Box<dyn Future<Output = (Attempt, LookupResult)> + Send>>;

/// The store, and what it is told of the request.
struct Asked {
    store: Arc<dyn KeyStore>,
    hint: LookupHint,
}

impl Asked {
    fn find(&self, attempt: Attempt) -> Finding {
        let (store, hint) = (self.store.clone(), self.hint);
        Box::pin(async move { (attempt, store.find_for(&attempt.digest, hint).await) })
    }
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

/// Writes back what this use changes about the key.
#[cold]
pub(super) fn write_back(
    config: &Config,
    request: &RequestHead<'_>,
    turn: u32,
    record: &Arc<KeyRecord>,
) {
    let Some(write_back) = &config.write_back else { return };
    if turn > 0 {
        renew_digest(config, write_back, request, turn, record);
    }
    if record.details.rotation.is_awaited {
        write_back.start_grace(record.id, config.clock.now());
    }
}

/// A key that was found under a retired pepper, in this turn, is stored anew under the current one.
fn renew_digest(
    config: &Config,
    write_back: &WriteBack,
    request: &RequestHead<'_>,
    turn: u32,
    record: &Arc<KeyRecord>,
) {
    if config.hasher.is_next(turn as usize - 1) {
        return;
    }
    if let Ok(Some(credential)) = extract::find(&config.sources, config.precedence, request)
        && let Some(renewed) = config.with_key(&credential, |key| config.hasher.digest(key))
        && record.digest != renewed
    {
        write_back.renew_digest(record.clone(), renewed);
    }
}
