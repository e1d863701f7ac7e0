//! What the driver knows of a run, and the history that it makes of that.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tower_api_key::{KeyFormat, KeyHasher, RejectionKind};

use crate::{
    clock::now,
    history::{History, Moment, Request, Span, Verdict, Version},
    node::{Event, KEEP_ALIVE, Published},
    random::Random,
};

pub(crate) const UNKNOWN: Verdict = Verdict::Refused(RejectionKind::Unknown);

/// How long a node takes for what has come in while it was stopped, or cut off for a moment.
const CATCH_UP: Duration = Duration::from_secs(1);

/// A cache goes on without the store for a while after it has failed.
const STORE_RECOVERS: Duration = Duration::from_secs(15);

/// All keys that never were, together.
const NO_KEY: usize = 0;

pub(crate) struct Key {
    pub(crate) secret: String,
    pub(crate) id: String,
    digest: String,
    pub(crate) changes: Vec<Change>,
    is_busy: bool,
    /// An act on it said nothing, so that no further one is begun.
    pub(crate) is_unsure: bool,
}

/// A change of a key.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    began: Moment,
    pub(crate) verdict: Verdict,
    /// When it was acknowledged.
    pub(crate) returned: Option<Moment>,
    /// Where the acknowledgement says it.
    revision: Option<u64>,
}

impl Change {
    /// Whether an announcement is that of this change.
    fn is_announced_by(&self, at: Moment, published: &Published) -> bool {
        let state = match self.verdict {
            Verdict::Accepted => "live",
            UNKNOWN => "deleted",
            Verdict::Refused(RejectionKind::Revoked) => "revoked",
            Verdict::Refused(RejectionKind::Disabled) => "disabled",
            Verdict::Refused(_) => "expired",
        };
        self.began <= at
            && match self.revision {
                Some(revision) => revision == published.revision,
                None => state == published.state || published.state == "unsure",
            }
    }
}

#[derive(Default)]
struct Known {
    /// The first stands for all that never were.
    keys: Vec<Key>,
    /// Those of which not all is over.
    live: Vec<usize>,
    /// Those that were changed last.
    recent: VecDeque<usize>,
    requests: Vec<Request>,
    starts: Vec<(usize, Moment)>,
    store_faults: Vec<Span>,
    /// Those of a node's connection to the bus, or of the bus itself.
    bus_faults: Vec<(Option<usize>, Span)>,
    events: Vec<(usize, Event)>,
}

pub(crate) struct Record(Mutex<Known>);

/// An act that goes on.
pub(crate) struct Act {
    pub(crate) path: String,
    /// Of the key that it changes, if it does not make one.
    key: Option<usize>,
    began: Moment,
}

impl Record {
    pub(crate) fn new() -> Self {
        let mut known = Known::default();
        known.keys.push(Key {
            secret: String::new(),
            id: String::new(),
            digest: String::new(),
            changes: Vec::new(),
            is_busy: true,
            is_unsure: true,
        });
        Self(Mutex::new(known))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap()
    }

    /// The key of the next request: half of them are with those that were changed last.
    pub(crate) fn choose(&self, random: &mut Random) -> (usize, String) {
        let known = self.known();
        let number = match random.below(100) {
            0..15 => NO_KEY,
            15..65 if !known.recent.is_empty() => known.recent[random.below(known.recent.len())],
            _ => known.keys.len() - 1 - random.below(known.keys.len().min(150)),
        };
        if number == NO_KEY {
            drop(known);
            return (
                NO_KEY,
                KeyFormat::new("key").unwrap().generate().unwrap().expose().to_owned(),
            );
        }
        (number, known.keys[number].secret.clone())
    }

    pub(crate) fn asked(&self, node: usize, key: usize, began: Moment, verdict: Verdict) {
        let request = Request { node, key, began, ended: now(), verdict };
        self.known().requests.push(request);
    }

    /// Begins to make a key.
    pub(crate) fn begin_creation() -> Act {
        Act { path: "/create".to_owned(), key: None, began: now() }
    }

    /// Begins an act by chance, on a key that no other act changes.
    pub(crate) fn begin(&self, random: &mut Random, live: usize) -> Act {
        let mut known = self.known();
        let choice = random.below(100);
        if known.live.len() < live || choice < 20 {
            return Self::begin_creation();
        }
        let place = random.below(known.live.len());
        let number = known.live[place];
        let key = &known.keys[number];
        if key.is_busy {
            return Self::begin_creation();
        }
        let is_disabled = key.changes.last().unwrap().verdict != Verdict::Accepted;
        let (act, kind) = match choice {
            20..45 => ("revoke", RejectionKind::Revoked),
            45..55 => ("delete", RejectionKind::Unknown),
            55..70 if !is_disabled => ("rotate", RejectionKind::Expired),
            _ if is_disabled => return known.begin("enable", number, Verdict::Accepted),
            _ => ("disable", RejectionKind::Disabled),
        };
        known.begin(act, number, Verdict::Refused(kind))
    }

    /// Begins to revoke this key.
    pub(crate) fn begin_revocation(&self, number: usize) -> Act {
        self.known().begin("revoke", number, Verdict::Refused(RejectionKind::Revoked))
    }

    /// It is done. Returns the key that it has made.
    pub(crate) fn acknowledged(&self, act: &Act, answer: &serde_json::Value) -> Option<usize> {
        let mut known = self.known();
        let returned = Some(now());
        let revision = answer["revision"].as_u64();
        let made = answer["key"].as_str().map(|secret| {
            let change =
                Change { began: act.began, verdict: Verdict::Accepted, returned, revision };
            known.keys.push(Key {
                secret: secret.to_owned(),
                id: answer["id"].as_str().unwrap().to_owned(),
                digest: KeyHasher::sha256().digest(secret).to_hex(),
                changes: vec![change],
                is_busy: false,
                is_unsure: false,
            });
            let number = known.keys.len() - 1;
            known.live.push(number);
            known.is_recent(number);
            number
        });
        if let Some(number) = act.key {
            let key = &mut known.keys[number];
            key.is_busy = false;
            let change = key.changes.last_mut().unwrap();
            change.returned = returned;
            // That of a rotation is of the new key.
            if made.is_none() {
                change.revision = revision;
            }
            let is_over = !matches!(
                change.verdict,
                Verdict::Accepted | Verdict::Refused(RejectionKind::Disabled)
            );
            if is_over {
                known.live.retain(|live| *live != number);
            }
        }
        made
    }

    /// It may have been done or not, for ever.
    pub(crate) fn is_unsure(&self, act: &Act) {
        let mut known = self.known();
        if let Some(number) = act.key {
            known.keys[number].is_unsure = true;
            known.live.retain(|live| *live != number);
        }
    }

    pub(crate) fn was_not_begun(&self, act: &Act) {
        if let Some(number) = act.key {
            let mut known = self.known();
            let key = &mut known.keys[number];
            key.is_busy = false;
            key.changes.pop();
        }
    }

    pub(crate) fn node_starts(&self, node: usize) {
        self.known().starts.push((node, now()));
    }

    /// Of a node that is about to end.
    pub(crate) fn node_said(&self, node: usize, text: &str) {
        let events = text.lines().filter_map(Event::parse).map(|event| (node, event));
        self.known().events.extend(events);
    }

    pub(crate) fn store_failed(&self, began: Moment) {
        self.known().store_faults.push(Span { began, ended: now() + STORE_RECOVERS });
    }

    pub(crate) fn bus_failed(&self, node: Option<usize>, began: Moment) {
        self.known().bus_faults.push((node, Span { began, ended: now() }));
    }

    pub(crate) fn with_keys<T>(&self, look: impl FnOnce(&[Key]) -> T) -> T {
        look(&self.known().keys[1..])
    }

    pub(crate) fn secret(&self, number: usize) -> String {
        self.known().keys[number].secret.clone()
    }

    /// When the last change was acknowledged. An error: it never will be.
    pub(crate) fn changed(&self, number: usize) -> Result<Option<Moment>, ()> {
        let known = self.known();
        let key = &known.keys[number];
        if key.is_unsure { Err(()) } else { Ok(key.changes.last().and_then(|last| last.returned)) }
    }

    /// What happened, and how many subscriptions were lost without a fault of ours.
    pub(crate) fn history(&self) -> (History, usize) {
        let known = self.known();
        let mut history = History { requests: known.requests.clone(), ..History::default() };
        let nothing = Version {
            committed: Moment::ZERO,
            verdict: UNKNOWN,
            returned: None,
            announced: None,
            is_acknowledged: false,
            is_announced_as_sure: false,
        };
        let by_digest = known.published();
        for (number, key) in known.keys.iter().enumerate() {
            let published = by_digest.get(key.digest.as_str()).map_or(&[][..], |of| of);
            let versions = key.changes.iter().map(|change| {
                let first = published.iter().find(|(at, of)| change.is_announced_by(*at, of));
                Version {
                    // Not before that.
                    committed: change.began,
                    verdict: change.verdict,
                    returned: change.returned,
                    announced: first.map(|(at, _)| *at),
                    is_acknowledged: change.returned.is_some(),
                    is_announced_as_sure: first.is_some_and(|(_, of)| of.state != "unsure"),
                }
            });
            history.keys.insert(number, [nothing].into_iter().chain(versions).collect());
            let unsure = published.iter().filter(|(_, of)| of.state == "unsure");
            history.unsure.insert(number, unsure.map(|(at, _)| *at).collect());
        }
        for (node, at) in &known.starts {
            history.starts.entry(*node).or_default().push(*at);
        }
        let unexplained = known.deaf(&mut history.deaf);
        history.store_fails.clone_from(&known.store_faults);
        (history, unexplained)
    }
}

impl Known {
    fn begin(&mut self, act: &str, number: usize, verdict: Verdict) -> Act {
        let began = now();
        let key = &mut self.keys[number];
        key.is_busy = true;
        key.changes.push(Change { began, verdict, returned: None, revision: None });
        let path = format!("/{act}/{}", key.id);
        self.is_recent(number);
        Act { path, key: Some(number), began }
    }

    fn is_recent(&mut self, number: usize) {
        self.recent.push_back(number);
        if self.recent.len() > 12 {
            self.recent.pop_front();
        }
    }

    /// What was announced of each digest, in its order.
    fn published(&self) -> HashMap<&str, Vec<(Moment, &Published)>> {
        let mut by_digest: HashMap<&str, Vec<(Moment, &Published)>> = HashMap::new();
        for (_, event) in &self.events {
            if let Event::Published(at, published) = event {
                for of in published {
                    by_digest.entry(&of.digest).or_default().push((*at, of));
                }
            }
        }
        for published in by_digest.values_mut() {
            published.sort_by_key(|(at, _)| *at);
        }
        by_digest
    }

    /// When each node may have missed announcements. Returns how many subscriptions were lost while nothing
    /// was wrong.
    fn deaf(&self, deaf: &mut BTreeMap<usize, Vec<Span>>) -> usize {
        let mut unexplained = 0;
        let listens = |node: usize, since: Moment| {
            let events = self.events.iter().filter(|(of, _)| *of == node);
            let listens = events.filter_map(|(_, event)| match event {
                Event::Listens(at) if *at >= since => Some(*at),
                _ => None,
            });
            listens.min().unwrap_or(Moment::MAX)
        };
        for (node, at) in &self.starts {
            let span = Span { began: *at, ended: listens(*node, *at) };
            deaf.entry(*node).or_default().push(span);
        }
        for (node, spans) in deaf.iter_mut() {
            let faults = self.bus_faults.iter().filter(|(of, _)| of.is_none_or(|of| of == *node));
            spans.extend(faults.map(|(_, span)| Span { ended: span.ended + CATCH_UP, ..*span }));
        }
        let found_out = KEEP_ALIVE.0 + KEEP_ALIVE.1 + CATCH_UP;
        for (node, event) in &self.events {
            let Event::Lost(at) = event else { continue };
            let faults = self.bus_faults.iter().filter(|(of, _)| of.is_none_or(|of| of == *node));
            let faults =
                faults.filter(|(_, span)| span.began <= *at && *at <= span.ended + found_out);
            let since = faults.map(|(_, span)| span.began).min().unwrap_or_else(|| {
                unexplained += 1;
                at.saturating_sub(found_out)
            });
            let span = Span { began: since, ended: listens(*node, *at) };
            deaf.entry(*node).or_default().push(span);
        }
        unexplained
    }
}
