//! What the server takes of the machine.

use std::{
    fmt, fs,
    time::{Duration, Instant},
};

use tokio::time::sleep;

/// The random keys that the server remembers as unknown, and a few more: by then that memory is full.
const WARM_UP: u64 = 110_000;
/// How far memory may be from its median afterwards.
const FLAT: f64 = 0.05;

/// Resident memory in bytes, and how many random keys had been refused by then.
#[derive(Default)]
pub(crate) struct Samples(Vec<(u64, u64)>);

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
    pub(crate) fn take(&mut self, process: u32, refused: u64) {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        self.0.push((refused, kibibytes * 1_024));
    }

    /// Those after the warm-up, from the least to the most.
    fn warm(&self) -> Vec<u64> {
        let warm = self.0.iter().filter(|(refused, _)| *refused >= WARM_UP);
        let mut warm: Vec<_> = warm.map(|(_, bytes)| *bytes).collect();
        warm.sort_unstable();
        warm
    }

    pub(crate) fn must_be_flat(&self) {
        let warm = self.warm();
        assert!(!warm.is_empty(), "too short: the memory of unknown keys never was full");
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
        let (Some(least), Some(most)) = (warm.first(), warm.last()) else { return writeln!(f) };
        writeln!(
            f,
            "; {} s after the warm-up {:.1} to {:.1}, median {:.1}",
            warm.len(),
            mebibytes(*least),
            mebibytes(*most),
            mebibytes(warm[warm.len() / 2])
        )
    }
}
