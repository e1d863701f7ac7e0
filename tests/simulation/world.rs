//! What all nodes of a run share: time, chance, and the history that is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    future::pending,
    io::{Write, stderr},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicI64, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    task::yield_now,
    time::{Instant, sleep},
};
use tower_api_key::{
    KeyId, OwnerId, RejectionKind, Timestamp,
    clock::Clock,
    key::{KeyDigest, KeyHasher, KeyRecord},
    store::Watermark,
};

use crate::{
    history::{
        History, Life, Moment, Span, Verdict, Version,
        denials::Restore,
        watermarks::{Covered, Created, Mark, MarkAct, Successor, is_meant},
    },
    random::Random,
};

/// When runs take place: 2026-11-23T00:00:00Z.
const BEGIN: Timestamp = Timestamp::from_unix_millis(1_795_392_000_000);

/// Clones are the same.
#[derive(Clone)]
pub(crate) struct World(Arc<State>);

struct State {
    seed: u64,
    began: Instant,
    random: Mutex<Random>,
    history: Mutex<History>,
    /// The revision of each version in the history, to find it by its announcement.
    revisions: Mutex<BTreeMap<(usize, u64), usize>>,
    keys: Mutex<Keys>,
    /// Which of the nodes with a number it is: those before it have crashed.
    lives: Mutex<BTreeMap<usize, usize>>,
    /// How many credits the last top-up added: none adds as many as another.
    amount: AtomicU64,
    /// Watermarks that were announced, and that there are none of.
    made_up: Mutex<Vec<(Moment, Watermark)>>,
    traces: bool,
    /// How often each thing happened that must happen sometimes.
    seen: Mutex<BTreeMap<&'static str, u64>>,
}

/// The keys of a run, by their numbers. Rotations add some.
#[derive(Default)]
struct Keys {
    all: Vec<Key>,
    numbers: BTreeMap<[u8; 32], usize>,
    ids: BTreeMap<KeyId, usize>,
    /// When the key of each number was created by the clock of its node, and its owner.
    created: BTreeMap<usize, (Timestamp, Option<OwnerId>)>,
    /// The lineages that there were.
    lineages: BTreeSet<KeyId>,
    slots: Vec<Slot>,
}

#[derive(Clone)]
struct Key {
    /// None: the caller of the rotation that made it never heard of it.
    text: Option<String>,
    digest: KeyDigest,
    slot: usize,
}

/// One key and those that take its place.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    /// The number of the key that clients have by now.
    pub(crate) current: usize,
    /// The one before it.
    pub(crate) former: Option<usize>,
    /// The one that is made when it has come to its end. Clients may try it before there is one.
    pub(crate) next: usize,
}

impl Keys {
    /// Adds a key that clients will have.
    fn add_next(&mut self, seed: u64, slot: usize) -> usize {
        let text = format!("simulated-key-{seed:016x}-{slot:02}-{:04}", self.all.len());
        let digest = digest_of(&text);
        self.add(slot, Some(text), digest)
    }

    fn add(&mut self, slot: usize, text: Option<String>, digest: KeyDigest) -> usize {
        let number = self.all.len();
        self.numbers.insert(*digest.as_bytes(), number);
        self.all.push(Key { text, digest, slot });
        number
    }
}

/// A key before there is one.
const NOTHING: Version = Version {
    committed: Moment::ZERO,
    verdict: Verdict::Refused(RejectionKind::Unknown),
    returned: None,
    announced: None,
    is_acknowledged: false,
    is_announced_as_sure: false,
};

impl World {
    pub(crate) fn new(seed: u64, slots: usize) -> Self {
        let mut keys = Keys::default();
        for slot in 0..slots {
            let (current, next) = (keys.add_next(seed, slot), keys.add_next(seed, slot));
            keys.slots.push(Slot { current, former: None, next });
        }
        let history = History {
            keys: (0..2 * slots).map(|key| (key, vec![NOTHING])).collect(),
            skew: Duration::from_millis(SKEW as u64),
            asked: Some(BTreeMap::new()),
            attempts: Some(BTreeMap::new()),
            ..History::default()
        };
        Self(Arc::new(State {
            seed,
            began: Instant::now(),
            random: Mutex::new(Random::new(seed)),
            history: Mutex::new(history),
            revisions: Mutex::default(),
            keys: Mutex::new(keys),
            lives: Mutex::default(),
            amount: AtomicU64::new(10),
            made_up: Mutex::default(),
            traces: env::var_os("TRACE").is_some(),
            seen: Mutex::default(),
        }))
    }

    pub(crate) fn now(&self) -> Moment {
        self.0.began.elapsed()
    }

    pub(crate) fn random(&self) -> MutexGuard<'_, Random> {
        self.0.random.lock().unwrap()
    }

    pub(crate) fn chance(&self, in_thousand: usize) -> bool {
        self.random().chance(in_thousand)
    }

    pub(crate) fn below(&self, end: usize) -> usize {
        self.random().below(end)
    }

    pub(crate) async fn pause(&self, longest: Duration) {
        let time = self.random().time(longest);
        // Others have their turn also where it takes no time, and a caller may go away.
        if time.is_zero() {
            yield_now().await;
        } else {
            sleep(time).await;
        }
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.0.history.lock().unwrap()
    }

    /// Tells what happens, where `TRACE` is set.
    pub(crate) fn trace(&self, what: impl FnOnce() -> String) {
        if self.0.traces {
            let _ = writeln!(stderr(), "{:9.3} {}", self.now().as_secs_f64(), what());
        }
    }

    /// Notes that something happened which must happen in some runs.
    pub(crate) fn saw(&self, what: &'static str) {
        *self.0.seen.lock().unwrap().entry(what).or_default() += 1;
    }

    pub(crate) fn seen(&self) -> BTreeMap<&'static str, u64> {
        self.0.seen.lock().unwrap().clone()
    }

    /// The key with this number, and its digest. Of some, clients never heard.
    pub(crate) fn key(&self, number: usize) -> (Option<String>, KeyDigest) {
        let keys = self.0.keys.lock().unwrap();
        (keys.all[number].text.clone(), keys.all[number].digest)
    }

    pub(crate) fn slot(&self, slot: usize) -> Slot {
        self.0.keys.lock().unwrap().slots[slot]
    }

    /// A key takes the place of the one that clients had.
    pub(crate) fn takes_place(&self, slot: usize, text: &str) -> usize {
        let mut keys = self.0.keys.lock().unwrap();
        let number = keys.numbers[digest_of(text).as_bytes()];
        keys.all[number].text = Some(text.to_owned());
        let slot = &mut keys.slots[slot];
        (slot.current, slot.former) = (number, Some(slot.current));
        number
    }

    /// The next key takes the place of the one that clients had.
    pub(crate) fn moves_on(&self, slot: usize) {
        let mut keys = self.0.keys.lock().unwrap();
        let next = keys.add_next(self.0.seed, slot);
        self.history().keys.insert(next, vec![NOTHING]);
        let slot = &mut keys.slots[slot];
        *slot = Slot { current: slot.next, former: Some(slot.current), next };
    }

    /// The numbers of all keys that clients have or had.
    pub(crate) fn known_keys(&self) -> Vec<usize> {
        let keys = self.0.keys.lock().unwrap();
        let known = keys.all.iter().enumerate().filter(|(_, key)| key.text.is_some());
        known.map(|(number, _)| number).collect()
    }

    pub(crate) fn ids(&self) -> Vec<KeyId> {
        self.0.keys.lock().unwrap().ids.keys().copied().collect()
    }

    /// The id of the key that a digest led to last.
    pub(crate) fn id(&self, digest: &KeyDigest) -> Option<KeyId> {
        let number = self.number(digest)?;
        let keys = self.0.keys.lock().unwrap();
        keys.ids.iter().rev().find(|(_, of)| **of == number).map(|(id, _)| *id)
    }

    pub(crate) fn lineages(&self) -> Vec<KeyId> {
        self.0.keys.lock().unwrap().lineages.iter().copied().collect()
    }

    pub(crate) fn next_amount(&self) -> u64 {
        self.0.amount.fetch_add(1, SeqCst) + 1
    }

    pub(crate) fn number(&self, digest: &KeyDigest) -> Option<usize> {
        self.0.keys.lock().unwrap().numbers.get(digest.as_bytes()).copied()
    }

    /// The number of a key that is written. A new one takes the place of another.
    /// Also whether it is new.
    fn number_of(&self, record: &KeyRecord) -> Option<(usize, bool)> {
        let mut keys = self.0.keys.lock().unwrap();
        let known = keys.numbers.get(record.digest.as_bytes()).copied();
        let number = if let Some(number) = known {
            number
        } else {
            let from = *keys.ids.get(&record.details.rotation.from?)?;
            let slot = keys.all[from].slot;
            let number = keys.add(slot, None, record.digest);
            let mut history = self.history();
            let former = history.keys[&from].last().unwrap().verdict;
            history.marks.successors.push(Successor { key: number, former });
            history.keys.insert(number, vec![NOTHING]);
            number
        };
        let is_new = keys.ids.insert(record.id, number).is_none();
        keys.created.insert(number, (record.created_at, record.owner.clone()));
        keys.lineages.insert(record.lineage());
        Some((number, is_new))
    }

    /// The authority has this from now on.
    pub(crate) fn committed(&self, record: &KeyRecord, by: Option<Life>) {
        let Some((key, is_new)) = self.number_of(record) else { return };
        let verdict = verdict_of(record);
        self.trace(|| format!("key {key} is {verdict:?} from revision {} on", record.revision));
        let committed = self.now();
        let mut history = self.history();
        let mut revisions = self.0.revisions.lock().unwrap();
        let last = history.keys[&key].len() - 1;
        let covered = history.marks.covered.get_mut(&(key, last));
        // One that is made anew comes after another that was purged.
        if let Some(covered) = covered.filter(|_| !is_new) {
            covered.row.get_or_insert(committed);
            if verdict == Verdict::Refused(RejectionKind::Revoked) {
                // As it was before.
                revisions.insert((key, record.revision), last);
                return;
            }
        }
        let versions = history.keys.get_mut(&key).unwrap();
        versions.push(Version { committed, verdict, ..NOTHING });
        let place = versions.len() - 1;
        if let (Verdict::Accepted, Some(end)) = (verdict, record.ends_at()) {
            history.ends.insert((key, place), moment_of(end));
        }
        if let Some(by) = by {
            history.writers.insert((key, place), by);
        }
        revisions.insert((key, record.revision), place);
        if is_new {
            history.marks.made_anew.insert((key, place));
            let dated = moment_of(record.created_at);
            history.marks.created.push(Created { key, dated, committed });
        }
        // A new one may be covered from its beginning.
        let covering = history.marks.covering(record.created_at, record.owner.as_ref());
        if let Some(mark) = covering.filter(|_| !has_ended(verdict)) {
            self.saw("a key was created while a watermark covered it");
            cover(&mut history, key, mark, committed);
        }
    }

    /// The authority has this watermark from now on.
    pub(crate) fn marked(&self, watermark: &Watermark, by: Option<Life>) {
        let keys = self.0.keys.lock().unwrap();
        let mut history = self.history();
        // It stands already.
        if history.marks.current().any(|(_, mark)| mark == watermark) {
            return;
        }
        let committed = self.now();
        self.trace(|| format!("{watermark:?} is written"));
        self.saw(match watermark.owner {
            None => "keys were revoked by the time of their creation",
            Some(_) => "keys of an owner were revoked by the time of their creation",
        });
        let mark = history.marks.all.len();
        let watermark = watermark.clone();
        for (key, (created, owner)) in &keys.created {
            let is_meant = is_meant(&watermark, *created, owner.as_ref());
            if is_meant && !has_ended(history.keys[key].last().unwrap().verdict) {
                let place = cover(&mut history, *key, mark, committed);
                if let Some(by) = by {
                    history.writers.insert((*key, place), by);
                }
            }
        }
        history.marks.all.push(Mark { watermark, committed, removed: None });
    }

    /// The authority has it no longer.
    pub(crate) fn unmarked(&self, watermark: &Watermark) {
        self.trace(|| format!("{watermark:?} is removed"));
        let now = self.now();
        let mut history = self.history();
        let stands = |mark: &&mut Mark| mark.removed.is_none() && mark.watermark == *watermark;
        for mark in history.marks.all.iter_mut().filter(stands) {
            mark.removed = Some(now);
        }
    }

    /// The keys, and the places of their versions, that a watermark made.
    fn made_by(history: &History, watermark: &Watermark) -> Vec<(usize, usize)> {
        let marks = &history.marks;
        let is_it = |covered: &Covered| marks.all[covered.mark].watermark == *watermark;
        let made = marks.covered.iter().filter(|(_, covered)| is_it(covered));
        made.map(|(place, _)| *place).collect()
    }

    /// A node is about to announce a watermark.
    pub(crate) fn attempts_watermark(&self, watermark: &Watermark) {
        let now = self.now();
        let mut history = self.history();
        for (key, _) in Self::made_by(&history, watermark) {
            if let Some(attempts) = &mut history.attempts {
                attempts.entry(key).or_default().push(now);
            }
        }
    }

    /// The bus has taken the announcement of a watermark.
    pub(crate) fn announced_watermark(&self, watermark: &Watermark) {
        self.trace(|| format!("{watermark:?} is announced"));
        let now = self.now();
        let mut history = self.history();
        let made = Self::made_by(&history, watermark);
        for (key, place) in made {
            let version = &mut history.keys.get_mut(&key).unwrap()[place];
            if version.announced.is_none() {
                (version.announced, version.is_announced_as_sure) = (Some(now), true);
            }
        }
        if history.marks.all.iter().all(|mark| mark.watermark != *watermark) {
            drop(history);
            self.makes_up(watermark);
        }
    }

    /// There is no such watermark, and nodes hear of it.
    fn makes_up(&self, watermark: &Watermark) {
        let now = self.now();
        self.0.made_up.lock().unwrap().push((now, watermark.clone()));
    }

    /// Whether nodes have lately heard of a watermark which means this key, and of which there is none.
    pub(crate) fn is_made_up_for(&self, record: &KeyRecord) -> bool {
        let since = self.now().saturating_sub(Duration::from_secs(20));
        let made_up = self.0.made_up.lock().unwrap();
        made_up.iter().any(|(at, mark)| {
            *at > since && is_meant(mark, record.created_at, record.owner.as_ref())
        })
    }

    /// An act with this watermark has returned, and says whether it is done.
    pub(crate) fn mark_returned(&self, watermark: &Watermark, began: Moment, is_done: bool) {
        let returned = self.now();
        let mut history = self.history();
        for (key, place) in Self::made_by(&history, watermark) {
            let version = &mut history.keys.get_mut(&key).unwrap()[place];
            if version.returned.is_none() {
                (version.returned, version.is_acknowledged) = (Some(returned), is_done);
            }
        }
        if is_done {
            let watermark = watermark.clone();
            history.marks.acts.push(MarkAct { watermark, began, returned });
        }
    }

    /// Whether a key is revoked and its row does not say so yet.
    pub(crate) fn is_unwritten(&self, key: usize) -> bool {
        let history = self.history();
        let last = history.keys[&key].len() - 1;
        history.marks.covered.get(&(key, last)).is_some_and(|covered| covered.row.is_none())
    }

    /// The node that revoked this key by a watermark, if its row does not say so yet.
    pub(crate) fn marked_by(&self, key: usize) -> Option<Life> {
        let is_unwritten = self.is_unwritten(key);
        let history = self.history();
        let place = (key, history.keys[&key].len() - 1);
        history.writers.get(&place).copied().filter(|_| is_unwritten)
    }

    /// A node that reads rows alone.
    pub(crate) fn reads_rows(&self, life: Life) {
        self.history().marks.read_rows.insert(life);
    }

    /// A node reads what the store says of a key.
    pub(crate) fn asks(&self, digest: &KeyDigest, life: Option<Life>) {
        let (Some(key), Some(life)) = (self.number(digest), life) else { return };
        let now = self.now();
        if let Some(asked) = &mut self.history().asked {
            asked.entry((life.node, key)).or_default().push(now);
        }
    }

    /// A node is about to announce a change of a key.
    pub(crate) fn attempts(&self, digest: &KeyDigest) {
        let Some(key) = self.number(digest) else { return };
        let now = self.now();
        if let Some(attempts) = &mut self.history().attempts {
            attempts.entry(key).or_default().push(now);
        }
    }

    /// A change that no administrator waits for is written.
    pub(crate) fn is_written_back(&self, record: &KeyRecord) {
        let Some(key) = self.number(&record.digest) else { return };
        let place = self.0.revisions.lock().unwrap().get(&(key, record.revision)).copied();
        let now = self.now();
        if let Some(place) = place {
            let mut history = self.history();
            let version = &mut history.keys.get_mut(&key).unwrap()[place];
            (version.returned, version.is_acknowledged) = (Some(now), true);
        }
    }

    /// The bus has taken an announcement of this revision, or of a later one.
    pub(crate) fn announced(&self, digest: &KeyDigest, revision: Option<u64>, is_sure: bool) {
        let Some(key) = self.number(digest) else { return };
        self.trace(|| format!("key {key} is announced with revision {revision:?}"));
        let now = self.now();
        let mut history = self.history();
        if !is_sure {
            history.unsure.entry(key).or_default().push(now);
        }
        let versions = history.keys.get_mut(&key).unwrap();
        let revisions = self.0.revisions.lock().unwrap();
        for ((_, written), place) in revisions.range((key, 0)..=(key, u64::MAX)) {
            if revision.is_none_or(|announced| announced <= *written) {
                let version = &mut versions[*place];
                if version.announced.is_none() {
                    (version.announced, version.is_announced_as_sure) = (Some(now), is_sure);
                }
            }
        }
    }

    /// An act on the keys of this slot has returned, and says whether it is done.
    pub(crate) fn returned(&self, slot: usize, is_done: bool) {
        let now = self.now();
        let keys = self.0.keys.lock().unwrap();
        let of_slot = keys.all.iter().enumerate().filter(|(_, key)| key.slot == slot);
        let numbers: Vec<usize> = of_slot.map(|(number, _)| number).collect();
        drop(keys);
        let history = &mut *self.history();
        for number in numbers {
            let versions = history.keys.get_mut(&number).unwrap().iter_mut().enumerate();
            // Of a watermark, another act returns.
            let covered = &history.marks.covered;
            let own = versions.filter(|(place, _)| !covered.contains_key(&(number, *place)));
            for (_, version) in own {
                if version.returned.is_none() {
                    (version.returned, version.is_acknowledged) = (Some(now), is_done);
                }
            }
        }
    }

    pub(crate) fn store_fails(&self, time: Duration) {
        // A cache goes on without the store for a while after it has failed.
        let span = Span { began: self.now(), ended: self.now() + time + Duration::from_secs(15) };
        self.history().store_fails.push(span);
    }

    /// A node starts, and does not listen yet.
    pub(crate) fn starts(&self, node: usize) {
        let now = self.now();
        self.history().starts.entry(node).or_default().push(now);
        self.deaf(node, now, Moment::MAX);
        *self.0.lives.lock().unwrap().entry(node).or_default() += 1;
    }

    /// The node that has this number now.
    pub(crate) fn life(&self, node: usize) -> Life {
        let life = self.0.lives.lock().unwrap().get(&node).copied().unwrap_or_default();
        Life { node, life }
    }

    /// Never returns to a node that has crashed: what goes on in it does so no longer.
    pub(crate) async fn is_alive(&self, life: Life) {
        if self.has_ended(life) {
            pending::<()>().await;
        }
    }

    pub(crate) fn has_ended(&self, life: Life) -> bool {
        self.life(life.node) != life || self.history().crashed.contains_key(&life)
    }

    /// A node crashes at this very point, unless all is quiet. Another takes its place soon.
    pub(crate) fn crashes(&self, life: Life) {
        let now = self.now();
        let mut history = self.history();
        if history.quiet_since.is_none() {
            self.saw("a node crashed once it had written a watermark");
            history.crashed.insert(life, now);
        }
    }

    /// Everything is in order from now on.
    pub(crate) fn is_quiet(&self) {
        let now = self.now();
        self.history().quiet_since = Some(now);
    }

    /// A node that has crashed by itself since this was asked last.
    pub(crate) fn crashed(&self) -> Option<usize> {
        let history = self.history();
        let crashed = history.crashed.keys().find(|life| self.life(life.node) == **life);
        crashed.map(|life| life.node)
    }

    /// Requests may be denied for now, for so long.
    pub(crate) fn troubles(&self, time: Duration) {
        let span = Span { began: self.now(), ended: self.now() + time };
        if let Some(denials) = &mut self.history().denials {
            denials.troubles.push(span);
        }
    }

    /// A key was restored from a backup, as its last version says.
    pub(crate) fn restored(&self, digest: &KeyDigest) {
        let Some(key) = self.number(digest) else { return };
        let at = self.now();
        self.history().restores.push(Restore { key, at, reset: None, again: None });
    }

    /// The bus has taken the announcement of a reset.
    pub(crate) fn announced_reset(&self) {
        self.trace(|| "a reset is announced".to_owned());
        let now = self.now();
        let History { restores, keys, .. } = &mut *self.history();
        for restore in restores.iter_mut().filter(|restore| restore.reset.is_some()) {
            restore.again = Some(now);
        }
        for restore in restores.iter_mut().filter(|restore| restore.reset.is_none()) {
            restore.reset = Some(now);
            let versions = keys.get_mut(&restore.key).unwrap();
            for version in versions.iter_mut().filter(|version| version.committed == restore.at) {
                (version.announced, version.is_announced_as_sure) = (Some(now), true);
            }
        }
    }

    /// Whether a backup was restored within this time.
    pub(crate) fn was_restored(&self, ago: Duration) -> bool {
        let since = self.now().saturating_sub(ago);
        self.history().restores.iter().any(|restore| since <= restore.at)
    }

    /// Whether the last change of a key was that it was restored.
    pub(crate) fn is_restored(&self, key: usize) -> bool {
        let history = self.history();
        let last = history.keys[&key].last().unwrap().committed;
        history.restores.iter().any(|restore| restore.key == key && restore.at == last)
    }

    /// Whether nothing was said of a key for so long, and no watermark ever covered it: that is not put back.
    pub(crate) fn rests_for(&self, digest: &KeyDigest, time: Duration) -> bool {
        let Some(key) = self.number(digest) else { return false };
        let (since, history) = (self.now().saturating_sub(time), self.history());
        if history.marks.covered.range((key, 0)..=(key, usize::MAX)).next().is_some() {
            return false;
        }
        let attempts = history.attempts.as_ref().and_then(|attempts| attempts.get(&key)?.last());
        let written = history.keys[&key].last().unwrap().committed;
        attempts.is_none_or(|at| *at < since) && written < since
    }

    /// Whether a key can be made with this digest: not sooner after another was purged than clocks differ, or its
    /// revision would be less. Nodes that heard of the end of that one may still remember it.
    pub(crate) fn may_be_made(&self, digest: &KeyDigest) -> bool {
        let Some(key) = self.number(digest) else { return false };
        let since = self.now().saturating_sub(Duration::from_millis(2 * SKEW as u64));
        let history = self.history();
        let versions = &history.keys[&key];
        versions.len() == 1 || versions.last().unwrap().committed < since
    }

    /// The authority is behind for so long.
    pub(crate) fn is_behind(&self, time: Duration) {
        let span = Span { began: self.now(), ended: self.now() + time + Duration::from_secs(15) };
        self.history().behind.push(span);
    }

    pub(crate) fn deaf(&self, node: usize, began: Moment, ended: Moment) {
        self.history().deaf.entry(node).or_default().push(Span { began, ended });
    }

    /// A clock of a node, which runs faster or slower than others.
    pub(crate) fn clock(&self) -> NodeClock {
        let drift = i64::try_from(self.below(2 * DRIFT as usize + 1)).unwrap() - DRIFT;
        NodeClock { world: self.clone(), began: self.now(), drift, offset: Arc::default() }
    }

    /// A clock that is right.
    pub(crate) fn true_clock(&self) -> NodeClock {
        NodeClock { world: self.clone(), began: self.now(), drift: 0, offset: Arc::default() }
    }
}

/// Whether a key has come to an end that no watermark changes.
fn has_ended(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Refused(RejectionKind::Revoked | RejectionKind::Unknown))
}

/// A watermark revokes this key, which is a version of its own.
fn cover(history: &mut History, key: usize, mark: usize, committed: Moment) -> usize {
    let versions = history.keys.get_mut(&key).unwrap();
    let verdict = Verdict::Refused(RejectionKind::Revoked);
    versions.push(Version { committed, verdict, ..NOTHING });
    let place = versions.len() - 1;
    history.marks.covered.insert((key, place), Covered { mark, row: None });
    place
}

fn digest_of(text: &str) -> KeyDigest {
    KeyHasher::sha256().digest(text)
}

/// When it is this time by a clock that is right.
pub(crate) fn moment_of(time: Timestamp) -> Moment {
    time.saturating_since(BEGIN)
}

/// The answer that a record asks for.
pub(crate) fn verdict_of(record: &KeyRecord) -> Verdict {
    let kind = if record.is_deleted() {
        RejectionKind::Unknown
    } else if record.details.revoked_at.is_some() {
        RejectionKind::Revoked
    } else if record.disabled {
        RejectionKind::Disabled
    } else {
        return Verdict::Accepted;
    };
    Verdict::Refused(kind)
}

/// Clocks of nodes differ from the true time by so much at most, in milliseconds.
pub(crate) const SKEW: i64 = 30_000;

/// Clocks run faster or slower by up to so much, in millionths.
pub(crate) const DRIFT: i64 = 2_000;

/// Shows another time than those of other nodes. Clones are the same clock.
#[derive(Clone)]
pub(crate) struct NodeClock {
    world: World,
    began: Moment,
    /// In millionths.
    drift: i64,
    offset: Arc<AtomicI64>,
}

impl NodeClock {
    /// By so many milliseconds, as long as it does not differ from the true time by too much.
    pub(crate) fn jump(&self, by: i64) {
        // It may drift by the rest until the end of the run.
        if (self.ahead() + by).abs() < SKEW - 5_000 {
            self.offset.fetch_add(by, SeqCst);
        }
    }

    /// How far it is ahead of the true time, in milliseconds.
    fn ahead(&self) -> i64 {
        let runs = i64::try_from(self.world.now().saturating_sub(self.began).as_millis()).unwrap();
        self.offset.load(SeqCst) + runs * self.drift / 1_000_000
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.world.now().as_millis()).unwrap();
        Timestamp::from_unix_millis(BEGIN.as_unix_millis() + passed + self.ahead())
    }
}
