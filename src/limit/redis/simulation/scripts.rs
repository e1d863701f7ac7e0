//! The scripts, read once more: what each does with a bucket at a time that the test says.

use std::collections::BTreeMap;

/// Which of the scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::limit::redis) enum Kind {
    Take,
    GiveBack,
    Lease,
}

/// What is owed to each limit by now, and whether the clock was set back.
struct Debts {
    names: Vec<String>,
    owed: Vec<i64>,
    is_early: bool,
}

/// The hash of one bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    /// What was owed (nanoseconds), and when (microseconds).
    debts: BTreeMap<String, (i64, i64)>,
    /// How long the longest lease is (nanoseconds), and when all have ended (microseconds).
    leases: (i64, i64),
    /// When it is forgotten (milliseconds).
    ends: Option<i64>,
}

impl Bucket {
    /// Runs a script. Returns nothing where that says no more than that it is done.
    pub(super) fn run(&mut self, kind: Kind, args: &[String], now: i64) -> Option<Vec<i64>> {
        if self.is_forgotten(now) {
            *self = Self::default();
        }
        match kind {
            Kind::Take => Some(self.take(args, now)),
            Kind::GiveBack => {
                self.give_back(args, now);
                None
            }
            Kind::Lease => Some(self.lease(args, now)),
        }
    }

    /// Whether there was something in it that is forgotten at this time.
    pub(super) fn is_forgotten(&self, now: i64) -> bool {
        self.ends.is_some_and(|ends| now / 1_000 > ends)
    }

    /// What its hash has in each field.
    pub(super) fn fields(&self) -> BTreeMap<String, String> {
        let text = |(one, other): &(i64, i64)| format!("{one} {other}");
        let mut fields: BTreeMap<_, _> =
            self.debts.iter().map(|(name, debt)| (name.clone(), text(debt))).collect();
        if self.leases != (0, 0) {
            fields.insert(":lease".to_owned(), text(&self.leases));
        }
        fields
    }

    /// The longest lease that may be out.
    pub(super) fn longest(&self, now: i64) -> i64 {
        let (longest, over) = self.leases;
        if over < now { 0 } else { longest }
    }

    fn read(&self, args: &[String], step: usize, now: i64) -> Debts {
        let names: Vec<_> = args.iter().step_by(step).cloned().collect();
        let mut is_early = false;
        let owed = names.iter().map(|name| {
            let (debt, at) = self.debts.get(name).copied().unwrap_or((0, now));
            is_early |= at > now;
            (debt - (now - at).max(0) * 1_000).max(0)
        });
        Debts { owed: owed.collect(), names, is_early }
    }

    fn write(&mut self, debts: &Debts, now: i64) {
        for (name, owed) in debts.names.iter().zip(&debts.owed) {
            self.debts.insert(name.clone(), (*owed, now));
        }
        let longest = debts.owed.iter().copied().max().unwrap_or_default();
        let after = longest.div_euclid(1_000_000) + i64::from(longest % 1_000_000 > 0) + 1;
        let ends = now / 1_000 + after;
        self.ends = Some(self.ends.map_or(ends, |before| before.max(ends)));
    }

    fn take(&mut self, args: &[String], now: i64) -> Vec<i64> {
        let mut debts = self.read(args, 3, now);
        let charges = numbers(args, 3, 1);
        let rooms = numbers(args, 3, 2);
        let mut each = debts.owed.iter().zip(&charges).zip(&rooms);
        let is_allowed = each.all(|((debt, charge), room)| debt + charge <= *room);
        if is_allowed {
            debts.owed.iter_mut().zip(&charges).for_each(|(debt, charge)| *debt += charge);
        }
        if is_allowed || debts.is_early {
            self.write(&debts, now);
        }
        [i64::from(is_allowed)].into_iter().chain(debts.owed).collect()
    }

    fn give_back(&mut self, args: &[String], now: i64) {
        let mut debts = self.read(args, 2, now);
        let longest = self.longest(now);
        let is_owed = debts.owed.iter().any(|debt| *debt > 0);
        for (debt, back) in debts.owed.iter_mut().zip(numbers(args, 2, 1)) {
            *debt = (*debt - (back - longest).max(0)).max(0);
        }
        if is_owed {
            self.write(&debts, now);
        }
    }

    fn lease(&mut self, args: &[String], now: i64) -> Vec<i64> {
        let (head, limits) = args.split_at(7);
        let head = numbers(head, 1, 0);
        let [time, need, want, fair, unused, since, last] = head[..] else { panic!("{head:?}") };
        let mut debts = self.read(limits, 3, now);
        let (charges, rooms) = (numbers(limits, 3, 1), numbers(limits, 3, 2));
        let longest = self.longest(now);
        let mut free = i64::MAX;
        for ((debt, charge), room) in debts.owed.iter_mut().zip(&charges).zip(&rooms) {
            if unused > 0 && now >= since {
                let gone = (now - since) * 1_000 + (longest - last).max(0);
                *debt = (*debt - (unused * charge - gone).max(0)).max(0);
            }
            free = free.min((room - (*debt).max(time)).div_euclid(*charge));
        }
        let mut lent = 0;
        if free >= need {
            let some = want.min(fair.max(free / 4 * 3 + free % 4 * 3 / 4));
            lent = need.max(some).min(free);
            for (debt, charge) in debts.owed.iter_mut().zip(&charges) {
                *debt = (*debt).max(time) + lent * charge;
            }
        }
        if lent > 0 || unused > 0 || debts.is_early {
            self.write(&debts, now);
        }
        if lent > 0 {
            let (longest, over) = if self.longest(now) > 0 { self.leases } else { (0, 0) };
            let end = now + time.div_euclid(1_000) + i64::from(time % 1_000 > 0);
            self.leases = (longest.max(time), over.max(end));
        }
        [lent, now].into_iter().chain(debts.owed).collect()
    }
}

/// Of each `step` arguments, the one at this place.
pub(super) fn numbers(args: &[String], step: usize, place: usize) -> Vec<i64> {
    args.iter().skip(place).step_by(step).map(|arg| arg.parse().unwrap()).collect()
}
