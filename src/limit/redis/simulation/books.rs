//! What the nodes of a run let in, denied and took, held against the documentation of
//! [`RedisLimiter`](super::super::RedisLimiter).
//!
//! - No stretch of time has more than a quota lets in, by all nodes together. What was given back does not
//!   count, but for the part of it that melted on its way to the server. This is the debt of GCRA, which is
//!   within the burst if and only if all stretches are.
//! - A node lets in from memory what was lent to it, in the time of the lease, and what it gives back it lets
//!   in no more. A request that the server let in, and that is given back while the node has a lease, is lent to it.
//! - A request is denied from memory no longer than the server said, or than it takes until asking is worth
//!   it, and a lease's time at the most.
//! - An error is one of the way to the server.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Write, stderr},
    sync::Arc,
    time::Duration,
};

use super::{
    scripts::{Kind, numbers},
    server::{Call, Executed, Life, Moment, moment},
};
use crate::{clock::nanos, key::Limits};

/// When requests were let in, how much each is charged, and how much may be owed after it.
type Requests = Vec<(Moment, u64, u64)>;

/// A request that was let in.
#[derive(Clone, Debug)]
pub(super) struct Admitted {
    pub(super) life: Life,
    pub(super) bucket: usize,
    pub(super) key: String,
    pub(super) limits: Arc<Limits>,
    pub(super) cost: u32,
    /// When it was counted: by the server, or by a lease.
    pub(super) at: Moment,
    pub(super) is_leased: bool,
    /// When its caller heard that.
    pub(super) heard: Moment,
    /// When it was given back.
    pub(super) back: Option<Moment>,
}

impl Admitted {
    /// What its node may let in for it, if one of these leases took it back. The server had let it in.
    fn taken_back_by(&self, grants: &[Grant]) -> Option<Grant> {
        let heard = self.back?;
        let open = grants.iter().filter(|grant| grant.heard <= heard && heard < grant.ends);
        let ends = open.map(|grant| grant.ends).max()?;
        Some(Grant { heard, ends, left: self.cost.into() })
    }
}

/// A request that was denied from memory.
#[derive(Clone, Debug)]
pub(super) struct Denied {
    pub(super) life: Life,
    pub(super) key: String,
    pub(super) cost: u32,
    pub(super) at: Moment,
}

/// A request whose limits could not be counted.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) life: Life,
    pub(super) began: Moment,
    pub(super) at: Moment,
}

#[derive(Default)]
pub(super) struct Books {
    pub(super) admitted: Vec<Admitted>,
    pub(super) denied: Vec<Denied>,
    pub(super) failed: Vec<Failed>,
    /// How long the leases of each node are; none, if it is exact.
    pub(super) lives: BTreeMap<Life, Option<Duration>>,
    pub(super) crashed: BTreeMap<Life, Moment>,
    pub(super) calls: Vec<Call>,
    pub(super) executed: Vec<Executed>,
    pub(super) seen: BTreeSet<&'static str>,
}

/// What has taken a request back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// The server did, at this moment.
    Server(Moment),
    /// The lease of the node did, if there was one; without one, the request comes back with time.
    Lease,
}

/// Requests that were lent to a node.
struct Grant {
    heard: Moment,
    ends: Moment,
    left: i64,
}

impl Books {
    pub(super) fn violations(&mut self) -> Vec<String> {
        let returned = self.returned();
        let mut found = self.beyond_quotas(&returned);
        let mut nodes: BTreeMap<(Life, &str), OfNode<'_>> = BTreeMap::new();
        for call in &self.calls {
            nodes.entry((call.life, &call.key)).or_default().calls.push(call);
        }
        for executed in &self.executed {
            nodes.entry((executed.life, &executed.key)).or_default().executed.push(executed);
        }
        for admitted in self.admitted.iter().filter(|admitted| admitted.is_leased) {
            nodes.entry((admitted.life, &admitted.key)).or_default().admitted.push(admitted);
        }
        for (admitted, _) in returned.iter().filter(|(_, by)| *by == By::Lease) {
            nodes.entry((admitted.life, &admitted.key)).or_default().returned.push(admitted);
        }
        for denied in &self.denied {
            nodes.entry((denied.life, &denied.key)).or_default().denied.push(denied);
        }
        let mut seen = BTreeSet::new();
        for ((life, _), node) in &nodes {
            if let Some(time) = self.lives[life] {
                let crashed = self.crashed.get(life).copied();
                found.extend(node.beyond_leases(nanos(time), crashed, &mut seen));
                found.extend(node.denied_for_too_long(nanos(time)));
            }
        }
        found.extend(
            self.failed
                .iter()
                .filter(|failed| !self.is_explained(failed))
                .map(|failed| format!("{failed:?}, and no call of the node failed meanwhile")),
        );
        self.seen.append(&mut seen);
        found
    }

    /// What was given back, but for what a lease had let in and took back.
    fn returned(&self) -> Vec<(&Admitted, By)> {
        let mut returned = Vec::new();
        let is_return = |executed: &&Executed| executed.kind == Kind::GiveBack;
        let mut executed: Vec<_> = self.executed.iter().filter(is_return).collect();
        for admitted in &self.admitted {
            let Some(back) = admitted.back else { continue };
            let after = back - admitted.heard;
            let limit = admitted.limits.iter().next().unwrap();
            let charge = limit.quota().charge(admitted.cost);
            let told = charge.saturating_sub(after).to_string();
            let found = executed.iter().position(|executed| {
                executed.life == admitted.life
                    && executed.key == admitted.key
                    && executed.at >= back
                    && executed.args[1] == told
            });
            if let Some(found) = found {
                returned.push((admitted, By::Server(executed.remove(found).at)));
            } else if !admitted.is_leased && self.lives[&admitted.life].is_some() {
                returned.push((admitted, By::Lease));
            }
        }
        returned
    }

    fn beyond_quotas(&self, returned: &[(&Admitted, By)]) -> Vec<String> {
        // When it was there again, and how long it was on its way, there and back. So much more of its charge has
        // melted than its limiter was told.
        let mut returns: BTreeMap<&str, Vec<(Moment, u64)>> = BTreeMap::new();
        for (admitted, by) in returned {
            let back = admitted.back.unwrap();
            let at = match *by {
                By::Server(at) => at,
                By::Lease => back,
            };
            let way = (at - admitted.at) - (back - admitted.heard);
            returns.entry(&admitted.key).or_default().push((at, way));
        }
        let mut counted: BTreeMap<(&str, &str), Requests> = BTreeMap::new();
        for admitted in self.admitted.iter().filter(|admitted| admitted.back.is_none()) {
            for limit in &*admitted.limits {
                let charge = limit.quota().charge(admitted.cost);
                let room = limit.quota().room().max(charge);
                let each = counted.entry((&admitted.key, limit.name())).or_default();
                each.push((admitted.at, charge, room));
            }
        }
        let mut found = Vec::new();
        for ((key, name), mut requests) in counted {
            requests.sort_unstable();
            // What a small quota lets in is no more than that, whatever a larger one lets in beside it.
            let rooms: BTreeSet<_> = requests.iter().map(|(.., room)| *room).collect();
            for room in rooms {
                let (mut owed, mut last, mut since) = (0_u64, 0, 0);
                for (at, charge, _) in requests.iter().filter(|(.., own)| *own <= room) {
                    owed = owed.saturating_sub(at - last);
                    if owed == 0 {
                        since = *at;
                    }
                    (owed, last) = (owed + charge, *at);
                    let returns = returns.get(key).into_iter().flatten();
                    let returns = returns.filter(|(back, _)| (since..=*at).contains(back));
                    let ways: u64 = returns.map(|(_, way)| way).sum();
                    if owed > room + ways {
                        found.push(format!("{owed} ns owed of {room} to {name} of {key} at {at}"));
                        break;
                    }
                }
            }
        }
        found
    }

    /// Everything that happened, in order.
    pub(super) fn tell(&self) {
        let executed = self.executed.iter().map(|one| {
            let what = format!("{:?} of {} {:?}", one.kind, one.key, one.args);
            (one.at, one.life, format!("{what}: {:?}", one.answer))
        });
        let admitted = self.admitted.iter().map(|one| {
            let back = one.back.map_or(String::new(), |at| format!(", given back at {at}"));
            let by = if one.is_leased { "a lease" } else { "the server" };
            (one.at, one.life, format!("{} of {} let in by {by}{back}", one.cost, one.key))
        });
        let denied = self.denied.iter().map(|one| {
            (one.at, one.life, format!("{} of {} denied from memory", one.cost, one.key))
        });
        let mut all: Vec<_> = executed.chain(admitted).chain(denied).collect();
        all.sort_by_key(|(at, ..)| *at);
        for (at, life, what) in all {
            let _ = writeln!(stderr(), "{at:>15} node {life}: {what}");
        }
    }

    fn is_explained(&self, failed: &Failed) -> bool {
        self.calls.iter().any(|call| {
            call.life == failed.life
                && call.answer.is_err()
                && (failed.began..=failed.at).contains(&call.ended)
        })
    }
}

/// What a node did with one bucket.
#[derive(Default)]
struct OfNode<'b> {
    calls: Vec<&'b Call>,
    executed: Vec<&'b Executed>,
    /// From memory, like those below.
    admitted: Vec<&'b Admitted>,
    denied: Vec<&'b Denied>,
    /// Let in by the server, and given back to a lease, if there was one.
    returned: Vec<&'b Admitted>,
}

impl OfNode<'_> {
    /// Whether a node let in what was not lent to it, or not any more.
    fn beyond_leases(
        &self,
        time: u64,
        crashed: Option<Moment>,
        seen: &mut BTreeSet<&'static str>,
    ) -> Vec<String> {
        let mut grants = self.grants(time, seen);
        let mut found = Vec::new();
        for executed in self.executed.iter().filter(|executed| executed.kind == Kind::Lease) {
            let head = numbers(&executed.args[..7], 1, 0);
            if head[4] > 0 {
                match grants.get_mut(&head[5]) {
                    Some(grant) if grant.left >= head[4] => grant.left -= head[4],
                    _ => found.push(format!(
                        "node {} gives back {} that were not lent, at {}",
                        executed.life, head[4], executed.at
                    )),
                }
            }
        }
        let mut grants: Vec<_> = grants.into_values().collect();
        let returned: Vec<_> =
            self.returned.iter().filter_map(|one| one.taken_back_by(&grants)).collect();
        if !returned.is_empty() {
            seen.insert("a lease took back what the server had let in");
        }
        grants.extend(returned);
        grants.sort_by_key(|grant| grant.ends);
        for admitted in self.admitted.iter().filter(|admitted| admitted.back.is_none()) {
            let mut cost = i64::from(admitted.cost);
            let at = admitted.at;
            // Of the one that ends first.
            for grant in grants.iter_mut().filter(|grant| grant.heard <= at && at < grant.ends) {
                let some = cost.min(grant.left);
                (grant.left, cost) = (grant.left - some, cost - some);
            }
            if cost > 0 {
                found.push(format!(
                    "{cost} of {} that node {} let in at {at} were not lent",
                    admitted.cost, admitted.life
                ));
            }
        }
        if crashed.is_some_and(|at| grants.iter().any(|one| one.left > 0 && one.ends > at)) {
            seen.insert("a lease was lost in a crash");
        }
        found
    }

    /// By when the server lent them.
    fn grants(&self, time: u64, seen: &mut BTreeSet<&'static str>) -> BTreeMap<i64, Grant> {
        let mut grants: BTreeMap<i64, Grant> = BTreeMap::new();
        for call in self.calls.iter().filter(|call| call.kind == Kind::Lease) {
            let Ok(Some(answer)) = &call.answer else { continue };
            let (lent, since) = (answer[0], answer[1]);
            if lent == 0 {
                continue;
            }
            let ends = moment(since) + time;
            if call.ended >= ends {
                seen.insert("a lease had ended when its answer came");
            } else if call.ended > call.began + time / 2 {
                seen.insert("half of a lease had passed when its answer came");
            }
            if grants.values().any(|grant| grant.ends > call.ended) {
                seen.insert("a batch was there when the next one came");
            }
            let grant = grants.entry(since).or_insert(Grant { heard: call.ended, ends, left: 0 });
            grant.left += lent;
        }
        grants
    }

    fn denied_for_too_long(&self, time: u64) -> Vec<String> {
        // From when, until when and at which cost a node may deny.
        let mut closed: Vec<(Moment, Moment, i64)> = Vec::new();
        let mut pause = 0;
        for call in &self.calls {
            let Ok(Some(answer)) = &call.answer else { continue };
            match call.kind {
                Kind::Take if answer[0] == 0 => {
                    let charges = numbers(&call.args, 3, 1);
                    let wait = longest_wait(answer.get(1..), &charges, &numbers(&call.args, 3, 2));
                    closed.push((call.ended, call.ended + wait.min(time), 1));
                }
                Kind::Lease => {
                    let (head, limits) = call.args.split_at(7);
                    let head = numbers(head, 1, 0);
                    let (need, want, lent) = (head[1], head[2], answer[0]);
                    if want == 0 {
                        continue;
                    }
                    if lent == want {
                        pause /= 2;
                        continue;
                    }
                    pause = match lent {
                        ..64 => pause * 2,
                        64..128 => pause,
                        _ => pause / 2,
                    };
                    pause = pause.clamp(time / 8, time);
                    let need = if lent == 0 { need } else { 1 };
                    let charges: Vec<_> =
                        numbers(limits, 3, 1).iter().map(|charge| charge * need).collect();
                    let owed: Vec<_> = answer[2..]
                        .iter()
                        .map(|owed| (*owed).max(i64::try_from(time).unwrap()))
                        .collect();
                    let until = longest_wait(Some(&owed), &charges, &numbers(limits, 3, 2));
                    let until = call.began + until.min(time).max(pause);
                    closed.push((call.ended, until, need));
                }
                _ => {}
            }
        }
        let is_wrong = |denied: &&&Denied| {
            !closed.iter().any(|(from, until, cost)| {
                (from..until).contains(&&denied.at) && i64::from(denied.cost) >= *cost
            })
        };
        let wrong = self.denied.iter().filter(is_wrong);
        wrong.map(|denied| format!("{denied:?} for no reason that was heard")).collect()
    }
}

/// Until all limits have room.
fn longest_wait(owed: Option<&[i64]>, charges: &[i64], rooms: &[i64]) -> u64 {
    let each = owed.unwrap_or_default().iter().zip(charges).zip(rooms);
    let waits = each.map(|((owed, charge), room)| (owed + charge - room).max(0));
    u64::try_from(waits.max().unwrap_or_default()).unwrap()
}
