//! [`Sampled`]: lines of one kind, of which only so many a second are logged. A client that is denied
//! as fast as it can send must not fill the log.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::time::Instant;

use crate::{clock::nanos, runtime::Mutex};

/// In no second are more lines of one kind logged.
pub(super) const LINES_A_SECOND: usize = 10;

const A_SECOND: u64 = 1_000_000_000;

/// The lines of one kind.
pub(super) struct Sampled {
    /// Nothing is logged before this time. Read first: most lines of a flood go no further.
    closed_until: AtomicU64,
    /// Not logged since the last line that was.
    unlogged: AtomicU64,
    last: Mutex<Last>,
}

/// When the last lines were logged, in a ring.
struct Last {
    /// From when on a line may take this place.
    free_from: [u64; LINES_A_SECOND],
    oldest: usize,
}

impl Sampled {
    pub(super) const fn new() -> Self {
        let last = Last { free_from: [0; LINES_A_SECOND], oldest: 0 };
        Self {
            closed_until: AtomicU64::new(0),
            unlogged: AtomicU64::new(0),
            last: Mutex::new(last),
        }
    }

    /// Whether a line is logged now; then, of how many since the one before nothing was.
    pub(super) fn next(&self, now: u64) -> Option<u64> {
        if !self.is_due(now) {
            self.unlogged.fetch_add(1, Relaxed);
            return None;
        }
        Some(self.unlogged.swap(0, Relaxed))
    }

    /// The same, but the others are not counted: threads only read what they share.
    pub(super) fn is_due(&self, now: u64) -> bool {
        let closed_until = &self.closed_until;
        now >= closed_until.load(Relaxed) && self.last.lock().take(now, closed_until)
    }
}

impl Last {
    fn take(&mut self, now: u64, closed_until: &AtomicU64) -> bool {
        if now < self.free_from[self.oldest] {
            return false;
        }
        self.free_from[self.oldest] = now + A_SECOND;
        self.oldest = (self.oldest + 1) % LINES_A_SECOND;
        closed_until.store(self.free_from[self.oldest], Relaxed);
        true
    }
}

/// Nanoseconds since the first use. Tests set the clock of `tokio`.
pub(super) fn now() -> u64 {
    use std::sync::LazyLock;

    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    nanos(Instant::now().saturating_duration_since(*START))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: u64 = LINES_A_SECOND as u64;

    /// The times of the lines that are logged, with what each tells of others.
    fn logged(times: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
        let sampled = Sampled::new();
        times.into_iter().filter_map(|now| Some((now, sampled.next(now)?))).collect()
    }

    #[test]
    fn a_flood_has_so_many_lines_in_any_second() {
        // A thousand a second, and bursts with pauses of several lengths.
        let steady: Vec<u64> = (0..10_000).map(|n| n * A_SECOND / 1_000).collect();
        let bursts: Vec<u64> = (0..100).flat_map(|n| vec![n * n * A_SECOND / 300; 25]).collect();
        for times in [steady, bursts] {
            let lines = logged(times.iter().copied());
            for (start, _) in &lines {
                let within =
                    lines.iter().filter(|(at, _)| (0..A_SECOND).contains(&at.wrapping_sub(*start)));
                assert!(within.count() <= LINES_A_SECOND, "from {start}");
            }
            // As many as may be: none is held back without need.
            let full = times.last().unwrap() / A_SECOND;
            assert!(lines.len() as u64 >= full.min(9) * LINES, "{}", lines.len());
        }
    }

    #[test]
    fn each_line_tells_of_those_that_were_left_out_before_it() {
        let lines = logged((0..100).chain([A_SECOND, A_SECOND + 1, 5 * A_SECOND]));
        let expected = (0..LINES).map(|at| (at, 0)).chain([
            (A_SECOND, 90),
            (A_SECOND + 1, 0),
            (5 * A_SECOND, 0),
        ]);
        assert_eq!(lines, expected.collect::<Vec<_>>());
    }

    #[test]
    fn few_lines_are_all_logged() {
        let times = (0..100).map(|n| n * A_SECOND / LINES);
        assert!(logged(times).iter().all(|(_, unlogged)| *unlogged == 0));
    }

    /// Threads at once: each line is logged or counted, and none twice.
    #[test]
    fn no_line_is_lost_between_threads() {
        let sampled = Sampled::new();
        let sum = |now: u64| {
            let told = (0..1_000).filter_map(|_| sampled.next(now).map(|unlogged| unlogged + 1));
            told.sum::<u64>()
        };
        let told: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| sum(7))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(told + sampled.next(2 * A_SECOND).unwrap(), 4_000);
    }
}
