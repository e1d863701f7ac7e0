//! [`TaskSlot`]: a background task of which one runs at a time, and that another can take over.

use super::sync::{
    Arc,
    atomic::{
        AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
};

/// The slot of a background task. It holds the number of the last task, twice, and 1 while that runs.
///
/// Unlike with a [`Background`](super::Background), a task that stands still keeps no other from its
/// work: its runtime may not be driven.
#[derive(Default)]
pub(crate) struct TaskSlot(Arc<AtomicU64>);

const RUNS: u64 = 1;

impl TaskSlot {
    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        self.0.load(Relaxed) & RUNS != 0
    }

    /// For the caller that starts a task; `None` if one runs.
    pub(crate) fn begin(&self) -> Option<TaskLease> {
        if self.is_running() { None } else { self.take_over() }
    }

    /// The same, also if one runs: that one is to end. `None` if another caller is faster.
    pub(crate) fn take_over(&self) -> Option<TaskLease> {
        let last = self.0.load(Acquire);
        let next = (last | RUNS) + 2;
        self.0.compare_exchange(last, next, AcqRel, Relaxed).ok()?;
        Some(TaskLease { slot: self.0.clone(), number: next })
    }
}

/// The slot is a task's, until this is dropped or another takes over.
pub(crate) struct TaskLease {
    slot: Arc<AtomicU64>,
    number: u64,
}

impl TaskLease {
    /// Whether no other task has taken over.
    pub(crate) fn is_current(&self) -> bool {
        self.slot.load(Relaxed) == self.number
    }
}

impl Drop for TaskLease {
    fn drop(&mut self) {
        // A task that panics would do so again at once: it is taken for one that stands still.
        if !std::thread::panicking() {
            let _ = self.slot.compare_exchange(self.number, self.number & !RUNS, AcqRel, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_runs_until_it_ends() {
        let slot = TaskSlot::default();
        let first = slot.begin().expect("none runs");
        assert!(slot.is_running() && first.is_current() && slot.begin().is_none());
        drop(first);
        assert!(!slot.is_running());
        drop(slot.begin().expect("it has ended"));
        assert!(!slot.is_running());
    }

    #[test]
    fn one_that_was_taken_over_leaves_the_other_alone() {
        let slot = TaskSlot::default();
        let first = slot.begin().expect("none runs");
        let second = slot.take_over().expect("no other caller");
        assert!(!first.is_current() && second.is_current());
        drop(first);
        assert!(slot.is_running() && second.is_current());
        drop(second);
        assert!(!slot.is_running());
    }
}
