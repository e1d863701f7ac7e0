//! What the server takes of the machine.

use std::{
    fmt, fs,
    time::{Duration, Instant},
};

use tokio::time::sleep;

/// The time in which the server fills its caches, as a part of the whole: 3 minutes of 10.
const WARM_UP: f64 = 0.3;
/// How far memory may be from its median afterwards.
const FLAT: f64 = 0.05;

/// Resident memory in bytes, and since when.
#[derive(Default)]
pub(crate) struct Samples(Vec<(Duration, u64)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    pub(crate) sockets: usize,
    /// Of the database: its pool opens more when there is more to do, and keeps them.
    pub(crate) database: usize,
    pub(crate) others: usize,
}

/// Those that are open.
pub(crate) fn descriptors(process: u32) -> Descriptors {
    let links = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    // One that is closed meanwhile has no target.
    let targets: Vec<_> = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok()).collect();
    let with = |part: &str| {
        targets.iter().filter(|target| target.to_string_lossy().contains(part)).count()
    };
    let (sockets, database) = (with("socket:"), with("keys.db"));
    Descriptors { sockets, database, others: targets.len() - sockets - database }
}

/// Those that are open when the server has taken note that all clients are gone, or after a long time.
pub(crate) async fn descriptors_in_the_end(process: u32, expected: usize) -> Descriptors {
    let give_up = Instant::now() + Duration::from_mins(1);
    loop {
        let descriptors = descriptors(process);
        if descriptors.sockets <= expected || Instant::now() > give_up {
            return descriptors;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

impl Samples {
    pub(crate) fn take(&mut self, process: u32, at: Duration) {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        self.0.push((at, kibibytes * 1_024));
    }

    /// Those after the warm-up, from the least to the most.
    fn warm(&self) -> Vec<u64> {
        let last = self.0.last().map_or(Duration::ZERO, |(at, _)| *at);
        let begin = last.mul_f64(WARM_UP);
        let mut warm: Vec<_> =
            self.0.iter().filter(|(at, _)| *at >= begin).map(|(_, bytes)| *bytes).collect();
        warm.sort_unstable();
        warm
    }

    pub(crate) fn must_be_flat(&self) {
        let warm = self.warm();
        let median = warm[warm.len() / 2] as f64;
        for bytes in [warm[0], warm[warm.len() - 1]] {
            let away = (bytes as f64 / median - 1.0).abs();
            assert!(away <= FLAT, "memory is not flat: {:.1} % off\n{self}", away * 100.0);
        }
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        // Ten of them, one after the other.
        let few = self.0.iter().step_by(self.0.len().div_ceil(10).max(1));
        write!(f, "memory, MiB:")?;
        few.into_iter().try_for_each(|(_, bytes)| write!(f, " {:.1}", mebibytes(*bytes)))?;
        let warm = self.warm();
        writeln!(
            f,
            "; after the warm-up {:.1} to {:.1}, median {:.1}",
            mebibytes(warm[0]),
            mebibytes(warm[warm.len() - 1]),
            mebibytes(warm[warm.len() / 2])
        )
    }
}
