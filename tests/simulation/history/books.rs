//! What requests use up: rate limits, credits, and the uses that are counted.
//!
//! The bounds are those of the documentation:
//!
//! - A limiter in memory lets in what its quota says, on each node from its start on; a shared one, for all
//!   nodes together. While that is out, each node counts for itself as well
//!   (`OutagePolicy::LocalFallback`).
//! - Credits are never spent twice, and none of a balance that was set anew. A node that crashes loses what
//!   it holds, a lease at most and what its callers wait for; what was on its way to or from a store that did
//!   not say what became of it is lost as well; nothing else is (`Credits`).
//! - A refill comes once for each period of the store's time, and a top-up once for each id of a request.
//! - A use that was counted before a flush is written. A write that fails without saying so is repeated, so
//!   that a count may be too high by it, and never too low (`UsageRecorder`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tower_api_key::{KeyId, limit::Quota};

use super::{Life, Moment, Span};

/// A request that was let in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admitted {
    pub(crate) life: Life,
    pub(crate) key: KeyId,
    pub(crate) lineage: KeyId,
    pub(crate) began: Moment,
    pub(crate) ended: Moment,
    /// What its lineage may use, if it has a limit.
    pub(crate) quota: Option<Quota>,
    /// The epoch of the credits that the record of its key tells of, if it spends any, and how many it cost.
    pub(crate) credits: Option<(u64, u64)>,
}

/// A change of the balance of a lineage, as the store was told to make it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) at: Moment,
    /// The node that wrote it.
    pub(crate) by: Option<Life>,
    pub(crate) lineage: KeyId,
    pub(crate) epoch: u64,
    /// The revision of the balance: those of a lineage are written in this order.
    pub(crate) revision: u64,
    pub(crate) change: Change,
    /// The refill that came with it.
    pub(crate) refill: Option<Refilled>,
    /// Whether the balance has refills: what a node holds ends when the next one is due.
    pub(crate) has_refills: bool,
    /// Whether the store has made it.
    pub(crate) is_made: bool,
    /// How many requests had been let in when the store made it.
    pub(crate) made_after: usize,
    /// And when the node heard what became of it, if it did.
    pub(crate) heard_after: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The balance was set.
    Set(u64),
    /// A node took so many out, to spend them.
    Taken(u64),
    /// A node gave so many back.
    GivenBack(u64),
    /// The number tells top-ups apart: no two are of as many.
    ToppedUp(u64),
}

/// Credits that came back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refilled {
    /// How many.
    pub(crate) raise: u64,
    /// The number of the period, and when it began.
    pub(crate) period: i64,
    pub(crate) begins: Moment,
}

/// A top-up that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopUp {
    pub(crate) lineage: KeyId,
    pub(crate) amount: u64,
}

/// Uses that were written as far as they were counted when this began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flush {
    pub(crate) life: Life,
    pub(crate) began: Moment,
}

/// What the store says of the uses of a key in the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    pub(crate) count: u64,
    /// By clocks that may be wrong.
    pub(crate) last_used: Option<Moment>,
}

/// Everything that was used up and given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    pub(crate) admitted: Vec<Admitted>,
    /// Whether one limiter counts for all nodes.
    pub(crate) is_limiter_shared: bool,
    /// When it did not answer, and its nodes counted.
    pub(crate) limiter_fails: Vec<Span>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) top_ups: Vec<TopUp>,
    /// The credits that each node holds at most of a lineage.
    pub(crate) lease: u64,
    /// How many nodes ended without giving back what they held.
    pub(crate) crashes: u64,
    /// And which ones.
    pub(crate) crashed: BTreeSet<Life>,
    /// The balances in the end.
    pub(crate) balances: BTreeMap<KeyId, u64>,
    pub(crate) flushes: Vec<Flush>,
    /// Uses that were written without the node hearing of it, and that it writes again.
    pub(crate) repeated: BTreeMap<KeyId, u64>,
    /// Requests whose clients did not wait for the answer: they may count.
    pub(crate) unseen: u64,
    pub(crate) recorded: BTreeMap<KeyId, Recorded>,
    /// By how much clocks of nodes may differ from the true time.
    pub(crate) skew: Duration,
}

/// A limiter counts by a clock of milliseconds.
const TICK: Duration = Duration::from_millis(2);

impl Books {
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut found = self.beyond_limits();
        for lineage in self.entries.iter().map(|entry| entry.lineage).collect::<BTreeSet<_>>() {
            let ledger = Ledger::of(self, lineage);
            found.extend(ledger.overspent());
            found.extend(ledger.kept());
            found.extend(ledger.given_twice());
            found.extend(ledger.vanished());
        }
        found.extend(self.top_ups.iter().filter_map(|top_up| self.lost(top_up)));
        found.extend(self.miscounted());
        found
    }

    /// More than a quota lets in within some stretch of time.
    fn beyond_limits(&self) -> Vec<String> {
        let mut counted: BTreeMap<_, Vec<&Admitted>> = BTreeMap::new();
        for admitted in self.admitted.iter().filter(|admitted| admitted.quota.is_some()) {
            let life = (!self.is_limiter_shared).then_some(admitted.life);
            counted.entry((admitted.lineage, life)).or_default().push(admitted);
        }
        counted.values().filter_map(|admitted| self.beyond_limit(admitted)).collect()
    }

    fn beyond_limit(&self, admitted: &[&Admitted]) -> Option<String> {
        let mut by_end = admitted.to_vec();
        by_end.sort_by_key(|admitted| admitted.ended);
        for first in admitted {
            let (from, quota) = (first.began, first.quota?);
            let mut lives = BTreeSet::new();
            let mut count = 0;
            for request in by_end.iter().filter(|request| from <= request.began) {
                count += 1;
                lives.insert(request.life);
                let to = request.ended;
                let each = quota.most_within(to.saturating_sub(from) + TICK);
                let is_out = self.limiter_fails.iter().any(|span| span.overlaps(from, to));
                // The shared count, and that of each node.
                let counters = if is_out { 1 + lives.len() as u64 } else { 1 };
                if count > each * counters {
                    return Some(format!(
                        "{count} requests of {} in place of {each} from {from:?} to {to:?}",
                        first.lineage
                    ));
                }
            }
        }
        None
    }

    /// A top-up that was acknowledged, and is not there.
    fn lost(&self, top_up: &TopUp) -> Option<String> {
        let is_there = self.is_topped_up(top_up.lineage, top_up.amount);
        (!is_there).then(|| format!("{top_up:?} was acknowledged, and is not there"))
    }

    pub(crate) fn is_topped_up(&self, lineage: KeyId, amount: u64) -> bool {
        let is_it =
            |entry: &Entry| entry.lineage == lineage && entry.change == Change::ToppedUp(amount);
        self.entries.iter().any(|entry| entry.is_made && is_it(entry))
    }

    /// The epoch of the credits of a lineage that a node took last, and knows of.
    pub(crate) fn taken_last(&self, life: Life, lineage: KeyId) -> Option<u64> {
        let is_it = |entry: &&Entry| {
            entry.by == Some(life)
                && entry.lineage == lineage
                && entry.heard_after.is_some()
                && matches!(entry.change, Change::Taken(_))
        };
        self.entries.iter().rev().find(is_it).map(|entry| entry.epoch)
    }

    /// Uses that are missing, and that there never were.
    fn miscounted(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (key, recorded) in &self.recorded {
            let all: Vec<_> = self.admitted.iter().filter(|used| used.key == *key).collect();
            let is_flushed = |used: &Admitted| {
                self.flushes.iter().any(|flush| flush.life == used.life && used.ended < flush.began)
            };
            let flushed: Vec<_> = all.iter().filter(|used| is_flushed(used)).collect();
            let fewest = flushed.len() as u64;
            let repeated = self.repeated.get(key).copied().unwrap_or_default();
            let most = all.len() as u64 + repeated + self.unseen;
            if !(fewest..=most).contains(&recorded.count) {
                found.push(format!(
                    "{} uses of {key} in place of {fewest} to {most}",
                    recorded.count
                ));
            }
            let last = flushed.iter().map(|used| used.ended).max();
            if last.is_some_and(|last| recorded.last_used.is_none_or(|at| at + self.skew < last)) {
                found
                    .push(format!("{key} was last used at {:?}, not {last:?}", recorded.last_used));
            }
        }
        found
    }
}

/// The books of one lineage.
struct Ledger<'b> {
    books: &'b Books,
    lineage: KeyId,
    entries: Vec<&'b Entry>,
    spent: Vec<&'b Admitted>,
}

impl<'b> Ledger<'b> {
    fn of(books: &'b Books, lineage: KeyId) -> Self {
        let of_lineage = books.entries.iter().filter(|entry| entry.lineage == lineage);
        let mut entries: Vec<_> = of_lineage.collect();
        entries.sort_by_key(|entry| entry.revision);
        let spends = |used: &&Admitted| used.lineage == lineage && used.credits.is_some();
        let mut spent: Vec<_> = books.admitted.iter().filter(spends).collect();
        spent.sort_by_key(|used| used.ended);
        Self { books, lineage, entries, spent }
    }

    fn made(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().copied().filter(|entry| entry.is_made)
    }

    fn epochs(&self) -> BTreeSet<u64> {
        self.made().map(|entry| entry.epoch).collect()
    }

    /// More was spent than nodes had taken by then, or of a balance that had been set anew.
    fn overspent(&self) -> Vec<String> {
        let overspent = self.epochs().into_iter().filter_map(|epoch| {
            // An older epoch in a record tells nothing new, so that its requests spend of a later balance.
            let mut spent = 0;
            for used in self.spent.iter().filter(|used| used.credits.unwrap().0 >= epoch) {
                spent += used.credits.unwrap().1;
                let until = |entry: &&Entry| entry.epoch >= epoch && entry.at <= used.ended;
                let taken: i128 = self.made().filter(until).map(taken).sum();
                if i128::from(spent) > taken {
                    return Some(format!(
                        "{spent} credits of {} and epoch {epoch} were spent, of {taken}, by {:?}",
                        self.lineage, used.ended
                    ));
                }
            }
            None
        });
        overspent.collect()
    }

    /// A node held on to credits of a balance that was set anew, once it had taken some of the new one:
    /// from then on it spent, or gave back, more than those.
    fn kept(&self) -> Vec<String> {
        let mut first: BTreeMap<(Life, u64), usize> = BTreeMap::new();
        for entry in self.made() {
            if let (Change::Taken(_), Some(by), Some(heard)) =
                (entry.change, entry.by, entry.heard_after)
            {
                let first = first.entry((by, entry.epoch)).or_insert(heard);
                *first = heard.min(*first);
            }
        }
        let kept = first.into_iter().filter_map(|((life, epoch), first)| {
            let of_balance = |entry: &&Entry| entry.by == Some(life) && entry.epoch >= epoch;
            let entries: Vec<_> = self.made().filter(of_balance).collect();
            let admitted = self.books.admitted.iter().enumerate().skip(first);
            // Whatever epoch their records tell of: there is nothing else to spend.
            let costs = admitted
                .filter(|(_, used)| used.life == life && used.lineage == self.lineage)
                .filter_map(|(place, used)| Some((place, used.credits?.1)));
            let mut spent = 0;
            // And in the end, when what is left was given back.
            costs.chain([(self.books.admitted.len(), 0)]).find_map(|(place, cost)| {
                spent += cost;
                let until = entries.iter().filter(|entry| entry.made_after <= place);
                let taken: i128 = until.map(|entry| taken(entry)).sum();
                (i128::from(spent) > taken).then(|| {
                    let lineage = self.lineage;
                    format!(
                        "{life:?} kept {spent} credits of {lineage} and epoch {epoch}, of {taken}"
                    )
                })
            })
        });
        kept.collect()
    }

    /// Credits that came from nowhere: that were given back without being taken, or by a refill or a top-up
    /// that came twice.
    fn given_twice(&self) -> Vec<String> {
        let mut found = Vec::new();
        // Each node gives back what it took itself.
        let mut held: BTreeMap<_, i128> = BTreeMap::new();
        for entry in self.made() {
            let held = held.entry((entry.epoch, entry.by)).or_default();
            *held += taken(entry);
            if *held < 0 {
                found.push(format!("more was given back than taken: {entry:?}"));
                break;
            }
        }
        let mut top_ups = BTreeSet::new();
        let mut last = None;
        for entry in self.made() {
            if let Change::ToppedUp(amount) = entry.change
                && !top_ups.insert(amount)
            {
                found.push(format!("it was topped up twice: {entry:?}"));
            }
            if let Some(refilled) = entry.refill {
                if refilled.begins > entry.at || last.is_some_and(|last| refilled.period <= last) {
                    found.push(format!("it was refilled too soon: {entry:?}"));
                }
                last = Some(refilled.period);
            }
        }
        found
    }

    /// Credits that were lost without a reason. Refills end what is held, and so does a balance that is set
    /// anew: then nothing is said.
    fn vanished(&self) -> Vec<String> {
        let Books { balances, lease, crashes, .. } = self.books;
        let Some(left) = balances.get(&self.lineage) else { return Vec::new() };
        let mut found = Vec::new();
        if self.epochs().len() == 1 {
            let given = self.made().map(|entry| -taken(entry) + i128::from(given(entry)));
            let expected: i128 = given.sum();
            if expected != i128::from(*left) {
                found.push(format!("{} has {left} credits left, not {expected}", self.lineage));
            }
        }
        if self.epochs().len() == 1 && !self.entries.iter().any(|entry| entry.has_refills) {
            let allowed = crashes * (lease + MOST_WANTED);
            // What a node holds, and what callers may have waited for.
            found.extend(self.missing(|_| true, allowed));
            let lives: BTreeSet<_> = self.made().filter_map(|entry| entry.by).collect();
            // One that has given back what it held has lost nothing.
            for life in lives.difference(&self.books.crashed) {
                found.extend(self.missing(|by| by == *life, 0));
            }
        }
        found
    }

    /// Credits that these nodes have taken and not spent, beyond those that were lost on the way and so many.
    fn missing(&self, is_meant: impl Fn(Life) -> bool, allowed: u64) -> Option<String> {
        let by = |entry: &&Entry| entry.by.is_some_and(&is_meant);
        let taken: i128 = self.made().filter(by).map(taken).sum();
        let used = self.spent.iter().filter(|used| is_meant(used.life));
        let spent: u64 = used.map(|used| used.credits.unwrap().1).sum();
        let entries = self.entries.iter().copied().filter(by);
        let allowed = allowed + entries.map(lost).sum::<u64>();
        (taken - i128::from(spent) > i128::from(allowed)).then(|| {
            format!(
                "of {taken} credits of {} that were taken, {spent} were spent and {allowed} may be lost",
                self.lineage
            )
        })
    }
}

/// Callers of one node do not wait for more at a time.
const MOST_WANTED: u64 = 30;

/// How many credits nodes had more afterwards.
fn taken(entry: &Entry) -> i128 {
    match entry.change {
        Change::Taken(amount) => i128::from(amount),
        Change::GivenBack(amount) => -i128::from(amount),
        Change::Set(_) | Change::ToppedUp(_) => 0,
    }
}

/// How many credits there were more afterwards, in the store and at nodes.
fn given(entry: &Entry) -> u64 {
    let raise = entry.refill.map_or(0, |refilled| refilled.raise);
    match entry.change {
        Change::Set(amount) | Change::ToppedUp(amount) => amount + raise,
        Change::Taken(_) | Change::GivenBack(_) => raise,
    }
}

/// How many credits were lost on the way.
fn lost(entry: &Entry) -> u64 {
    match entry.change {
        Change::Taken(amount) if entry.is_made && entry.heard_after.is_none() => amount,
        Change::GivenBack(amount) if !entry.is_made && entry.heard_after.is_none() => amount,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use tower_api_key::nonzero;

    use super::*;

    const LIFE: Life = Life { node: 0, life: 1 };
    const OTHER: Life = Life { node: 1, life: 1 };

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn id(number: u8) -> KeyId {
        KeyId::from_bytes([number; 16])
    }

    fn request(life: Life, millis: u64) -> Admitted {
        let (began, ended) = (at(millis), at(millis + 1));
        let (key, lineage) = (id(1), id(1));
        Admitted { life, key, lineage, began, ended, quota: None, credits: None }
    }

    fn is_legal(books: &Books) -> bool {
        books.violations().is_empty()
    }

    /// Five a second, and three at once.
    fn limited(requests: &[(Life, u64)], is_limiter_shared: bool) -> Books {
        let quota = Some(Quota::per_second(nonzero!(5)).with_burst(nonzero!(3)));
        let request = |(life, at): &(Life, u64)| Admitted { quota, ..request(*life, *at) };
        let admitted = requests.iter().map(request).collect();
        Books { admitted, is_limiter_shared, ..Books::default() }
    }

    #[test]
    fn a_quota_is_the_most_in_any_stretch_of_time() {
        let burst = [(LIFE, 0), (LIFE, 10), (LIFE, 20)];
        for (next, expected) in [(100, false), (190, false), (210, true)] {
            let requests = [&burst[..], &[(LIFE, next)]].concat();
            assert_eq!(is_legal(&limited(&requests, false)), expected, "{next}");
            assert_eq!(is_legal(&limited(&requests, true)), expected, "{next}");
        }
        // Not only from the first one on.
        let later = [(LIFE, 0), (LIFE, 5_000), (LIFE, 5_001), (LIFE, 5_002), (LIFE, 5_003)];
        assert!(!is_legal(&limited(&later, false)));
    }

    #[test]
    fn nodes_count_together_or_each_for_itself() {
        let requests = [(LIFE, 0), (OTHER, 10), (LIFE, 20), (OTHER, 30)];
        assert!(is_legal(&limited(&requests, false)));
        assert!(!is_legal(&limited(&requests, true)));
        // A node that has started again begins anew.
        let again = Life { life: 2, ..LIFE };
        let requests = [(LIFE, 0), (LIFE, 10), (LIFE, 20), (again, 30), (again, 40), (again, 50)];
        assert!(is_legal(&limited(&requests, false)));
    }

    #[test]
    fn while_the_limiter_is_out_each_node_counts_as_well() {
        let requests: Vec<_> = (0..7).map(|number| (LIFE, number * 10)).collect();
        for (count, expected) in [(6, true), (7, false)] {
            let mut books = limited(&requests[..count], true);
            assert!(!is_legal(&books));
            books.limiter_fails.push(Span { began: at(0), ended: at(50) });
            assert_eq!(is_legal(&books), expected);
        }
    }

    fn entry(millis: u64, epoch: u64, change: Change) -> Entry {
        let (at, lineage, revision) = (at(millis), id(1), millis);
        let (by, is_made, heard_after) = (Some(LIFE), true, Some(0));
        Entry {
            at,
            by,
            lineage,
            epoch,
            revision,
            change,
            refill: None,
            has_refills: false,
            is_made,
            made_after: 0,
            heard_after,
        }
    }

    /// A balance of 100, of which 10 are taken after a second.
    fn credits(entries: &[Entry], spent: &[(u64, u64, u64)]) -> Books {
        let begin = [entry(0, 0, Change::Set(100)), entry(1_000, 0, Change::Taken(10))];
        let request = |(millis, epoch, cost): &(u64, u64, u64)| Admitted {
            credits: Some((*epoch, *cost)),
            ..request(LIFE, *millis)
        };
        let admitted: Vec<_> = spent.iter().map(request).collect();
        let mut entries = [&begin, entries].concat();
        for entry in &mut entries {
            entry.made_after = admitted.iter().filter(|used| used.began < entry.at).count();
            entry.heard_after = entry.heard_after.map(|_| entry.made_after);
        }
        Books { admitted, entries, lease: 10, ..Books::default() }
    }

    #[test]
    fn no_more_is_spent_than_was_taken() {
        assert!(is_legal(&credits(&[], &[(1_001, 0, 4), (1_002, 0, 6)])));
        assert!(!is_legal(&credits(&[], &[(1_001, 0, 4), (1_002, 0, 7)])));
        assert!(!is_legal(&credits(&[], &[(900, 0, 1)])), "before it was taken");
        let given = entry(2_000, 0, Change::GivenBack(5));
        assert!(is_legal(&credits(&[given], &[(1_500, 0, 5)])));
        assert!(!is_legal(&credits(&[given], &[(1_500, 0, 5), (2_500, 0, 1)])), "it is given back");
        let unmade = Entry { is_made: false, ..entry(2_000, 0, Change::Taken(5)) };
        assert!(!is_legal(&credits(&[unmade], &[(2_500, 0, 11)])), "it was never written");
    }

    #[test]
    fn a_balance_that_is_set_anew_ends_the_one_before() {
        let set = entry(2_000, 1, Change::Set(7));
        assert!(!is_legal(&credits(&[set], &[(2_500, 1, 1)])), "nothing was taken of it");
        assert!(is_legal(&credits(&[set], &[(2_500, 0, 1)])), "it has not heard of it");
        let taken = entry(2_100, 1, Change::Taken(7));
        assert!(is_legal(&credits(&[set, taken], &[(2_500, 1, 7)])));
        assert!(!is_legal(&credits(&[set, taken], &[(2_500, 1, 8)])));
    }

    #[test]
    fn what_was_held_of_the_balance_before_ends_with_the_first_that_is_taken_of_the_new_one() {
        // Of ten, four were spent.
        let (set, taken) = (entry(2_000, 1, Change::Set(7)), entry(2_100, 1, Change::Taken(3)));
        let back = |amount| entry(3_000, 1, Change::GivenBack(amount));
        let books = |entries: &[Entry], spent: &[(u64, u64, u64)]| {
            let spent = [&[(1_100, 0, 4)], spent].concat();
            is_legal(&credits(&[&[set], entries].concat(), &spent))
        };
        assert!(books(&[taken], &[(2_050, 0, 6), (2_500, 0, 3)]), "it has not heard of it yet");
        assert!(!books(&[taken], &[(2_500, 0, 4)]), "it has");
        assert!(!books(&[taken], &[(2_500, 0, 1), (2_600, 1, 3)]));
        assert!(books(&[taken, back(2)], &[(2_500, 0, 1)]));
        assert!(!books(&[taken, back(3)], &[(2_500, 0, 1)]), "it gives it back");
        let unheard = Entry { heard_after: None, ..taken };
        assert!(books(&[unheard], &[(2_500, 0, 6)]), "the answer was lost");
        let of_another = Entry { by: Some(OTHER), ..taken };
        assert!(books(&[of_another], &[(2_500, 0, 6)]), "another node has heard of it");
    }

    #[test]
    fn nothing_is_given_twice() {
        let back = |amount| entry(2_000, 0, Change::GivenBack(amount));
        assert!(is_legal(&credits(&[back(10)], &[])));
        assert!(!is_legal(&credits(&[back(11)], &[])));
        assert!(!is_legal(&credits(&[back(10), back(1)], &[])));
        let by_another = Entry { by: Some(OTHER), ..back(10) };
        assert!(!is_legal(&credits(&[by_another], &[])), "another node took them");
        let set = entry(1_500, 1, Change::Set(7));
        let of_another = Entry { epoch: 1, ..back(10) };
        assert!(!is_legal(&credits(&[set, of_another], &[])), "it is of the balance before");
        let top_up = |amount| entry(3_000, 0, Change::ToppedUp(amount));
        assert!(is_legal(&credits(&[top_up(5), top_up(6)], &[(1_100, 0, 10)])));
        assert!(!is_legal(&credits(&[top_up(5), top_up(5)], &[(1_100, 0, 10)])));
    }

    #[test]
    fn a_period_has_one_refill_and_not_before_it_begins() {
        let refill = |millis, period: i64| Entry {
            refill: Some(Refilled { raise: 5, period, begins: at(10_000 * period.unsigned_abs()) }),
            ..entry(millis, 0, Change::Taken(0))
        };
        assert!(is_legal(&credits(&[refill(10_000, 1), refill(20_001, 2)], &[])));
        assert!(!is_legal(&credits(&[refill(10_000, 1), refill(10_001, 1)], &[])));
        assert!(!is_legal(&credits(&[refill(9_999, 1)], &[])));
    }

    #[test]
    fn a_top_up_that_was_acknowledged_is_there() {
        for (amount, is_made, expected) in [(5, true, true), (6, true, false), (5, false, false)] {
            let entry = Entry { is_made, ..entry(3_000, 0, Change::ToppedUp(5)) };
            let mut books = credits(&[entry], &[(1_100, 0, 10)]);
            books.top_ups.push(TopUp { lineage: id(1), amount });
            assert_eq!(is_legal(&books), expected);
        }
    }

    #[test]
    fn credits_are_lost_by_crashes_and_unheard_answers_alone() {
        let books = |crashes, entries: &[Entry], left| {
            let mut books = credits(entries, &[(1_100, 0, 4)]);
            (books.crashes, books.balances) = (crashes, BTreeMap::from([(id(1), left)]));
            let is_safe = is_legal(&books);
            books.crashed.extend((crashes > 0).then_some(LIFE));
            assert!(crashes == 0 || !is_safe, "another node has crashed");
            is_legal(&books)
        };
        let back = entry(2_000, 0, Change::GivenBack(6));
        assert!(books(0, &[back], 96));
        assert!(!books(0, &[back], 95) && !books(0, &[back], 97), "the store has lost some");
        assert!(!books(0, &[], 90), "the node has");
        assert!(books(1, &[], 90));
        let of_refills = Entry { has_refills: true, ..entry(2_000, 0, Change::Taken(0)) };
        assert!(books(0, &[of_refills], 90), "it has ended with the refill");
        let unheard = Entry { is_made: false, heard_after: None, ..back };
        assert!(books(0, &[unheard], 90));
        assert!(!books(0, &[Entry { heard_after: Some(0), ..unheard }], 90), "it has them still");
        let taken = entry(3_000, 0, Change::Taken(9));
        assert!(books(0, &[back, Entry { heard_after: None, ..taken }], 87));
        assert!(!books(0, &[back, taken], 87));
    }

    /// Three uses, of which the last one is after a flush.
    fn used(count: u64, last_used: u64) -> Books {
        let recorded = Recorded { count, last_used: Some(at(last_used)) };
        Books {
            admitted: [1_000, 2_000, 3_000].map(|millis| request(LIFE, millis)).to_vec(),
            flushes: vec![Flush { life: LIFE, began: at(2_500) }],
            recorded: BTreeMap::from([(id(1), recorded)]),
            skew: Duration::from_millis(100),
            ..Books::default()
        }
    }

    #[test]
    fn uses_before_a_flush_are_written_and_no_others_but_those_that_were() {
        for (count, expected) in [(1, false), (2, true), (3, true), (4, false)] {
            assert_eq!(is_legal(&used(count, 2_000)), expected, "{count}");
        }
        let mut repeated = used(4, 2_000);
        repeated.repeated.insert(id(1), 1);
        assert!(is_legal(&repeated));
        let unseen = Books { unseen: 1, ..used(4, 2_000) };
        assert!(is_legal(&unseen));
        let mut other = used(1, 2_000);
        other.flushes[0].life = OTHER;
        assert!(is_legal(&other), "that node has crashed");
    }

    #[test]
    fn the_last_use_is_not_older_than_those_that_are_written() {
        assert!(is_legal(&used(3, 1_901)) && !is_legal(&used(3, 1_900)));
        let mut never = used(3, 0);
        never.recorded.get_mut(&id(1)).unwrap().last_used = None;
        assert!(!is_legal(&never));
    }
}
