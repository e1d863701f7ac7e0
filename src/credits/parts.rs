//! [`Parts`]: what threads hold of an account, so that requests on two threads write no memory that
//! both use.
//!
//! A part is taken out of what the account holds, and is spent by its thread alone. Parts are put in
//! place and taken back under the lock of the account's state, and before anything is done that
//! depends on what the account holds in all: no request is denied, no call of the store made and
//! nothing given back while a thread holds some. So a part is of the epoch that the account is of.

use crate::{key::KeyId, runtime::PerThread};

/// The parts of all threads.
#[derive(Default)]
pub(super) struct Parts(PerThread<Front>);

/// Parts that a thread can hold: in some 4 KiB.
const SETS: usize = 16;
const WAYS: usize = 4;

/// The parts of one thread.
#[derive(Default)]
struct Front {
    /// None until credits are first spent.
    sets: Vec<Set>,
}

#[derive(Clone, Default)]
struct Set {
    parts: [Option<Part>; WAYS],
    /// What was last looked for in vain. It gets a part when it comes again: among many keys that
    /// come once, none has one for nothing.
    missed: Option<KeyId>,
}

/// Credits of a lineage that a thread holds.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) lineage: KeyId,
    /// The latest epoch that the store was asked about.
    pub(super) epoch: u64,
    pub(super) left: u64,
    /// How many there were.
    pub(super) size: u64,
    /// The credits that were left elsewhere when the part was taken.
    pub(super) elsewhere: u64,
}

/// Nothing was spent by this thread alone.
#[derive(Clone, Copy)]
pub(super) struct Miss {
    /// The thread should hold some.
    pub(super) is_wanted: bool,
    /// A part that was used up had this size.
    pub(super) ended: u64,
    /// There is a part, and it is not enough, or of an earlier epoch.
    pub(super) is_held: bool,
}

/// What was taken back.
#[derive(Clone, Copy, Default)]
pub(super) struct Back {
    pub(super) left: u64,
    pub(super) size: u64,
}

impl Parts {
    /// Spends credits of the calling thread. Then so many remain, for all that it knows.
    #[inline]
    pub(super) fn spend(&self, lineage: KeyId, epoch: u64, cost: u64) -> Result<u64, Miss> {
        let mut front = self.0.mine();
        if let Some(set) = front.sets.get_mut(set(lineage))
            && let Some(part) = set.parts.iter_mut().flatten().find(|part| part.lineage == lineage)
            && part.epoch >= epoch
            && let Some(left) = part.left.checked_sub(cost)
        {
            part.left = left;
            return Ok(left.saturating_add(part.elsewhere));
        }
        Err(front.miss(lineage))
    }

    /// How many threads spend credits.
    pub(super) fn threads(&self) -> u64 {
        self.0.count().into()
    }

    /// Puts a part in its place. False if there is none for it.
    pub(super) fn put(&self, part: Part) -> bool {
        let mut front = self.0.mine();
        let Some(set) = front.sets.get_mut(set(part.lineage)) else { return false };
        if set.parts.iter().flatten().any(|other| other.lineage == part.lineage) {
            return false;
        }
        let place = set.parts.iter_mut().find(|place| place.is_none());
        place.is_some_and(|place| place.replace(part).is_none())
    }

    /// Takes all parts of a lineage.
    pub(super) fn take_back(&self, lineage: KeyId) -> Back {
        let mut back = Back::default();
        self.0.each(|front| {
            if let Some(part) = front.take(|part| part.lineage == lineage, lineage) {
                back.left = back.left.saturating_add(part.left);
                back.size = back.size.saturating_add(part.size);
            }
        });
        back
    }
}

#[inline]
fn set(lineage: KeyId) -> usize {
    // The last byte of an id is random.
    usize::from(lineage.as_bytes()[15]) % SETS
}

impl Front {
    fn take(&mut self, is_it: impl Fn(&Part) -> bool, lineage: KeyId) -> Option<Part> {
        let set = self.sets.get_mut(set(lineage))?;
        set.parts.iter_mut().find(|place| place.as_ref().is_some_and(&is_it))?.take()
    }

    fn miss(&mut self, lineage: KeyId) -> Miss {
        let is_empty = |part: &Part| part.lineage == lineage && part.left == 0;
        if let Some(part) = self.take(is_empty, lineage) {
            return Miss { is_wanted: true, ended: part.size, is_held: false };
        }
        if self.sets.is_empty() {
            self.sets.resize(SETS, Set::default());
        }
        let Some(set) = self.sets.get_mut(set(lineage)) else {
            return Miss { is_wanted: false, ended: 0, is_held: false };
        };
        let is_held = set.parts.iter().flatten().any(|part| part.lineage == lineage);
        let is_wanted = set.missed.replace(lineage) == Some(lineage) || is_held;
        Miss { is_wanted, ended: 0, is_held }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_thread_take_up_less_than_16_kib() {
        assert!(SETS * size_of::<Set>() < 16 * 1024);
    }
}
