//! A campaign of many runs, each by its seed.

use std::{
    collections::BTreeMap,
    env,
    io::{Write, stderr},
    ops::Range,
    panic::{RefUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// What became of a run.
pub(crate) struct Ran {
    pub(crate) violations: Vec<String>,
    pub(crate) simulated: Duration,
    pub(crate) requests: usize,
    /// What has happened in it, and how often.
    pub(crate) seen: BTreeMap<&'static str, u64>,
}

/// Runs 200 seeds, or those of the environment. None may violate anything, and nothing may happen that is not in
/// the list of what happens `sometimes`. In a campaign of 200 seeds, all of that must; what is seen `rarely`, in one
/// of 1,000.
pub(crate) fn hold(sometimes: &[&str], rarely: &[&str], run: impl Fn(u64) -> Ran + RefUnwindSafe) {
    let seeds = seeds();
    let (began, mut simulated, mut requests) = (Instant::now(), Duration::ZERO, 0);
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let ran = catch_unwind(|| run(seed)).unwrap_or_else(|_| panic!("SEED={seed} panicked"));
        assert!(
            ran.violations.is_empty(),
            "SEED={seed}: {} violations, the first: {}",
            ran.violations.len(),
            ran.violations[0]
        );
        simulated += ran.simulated;
        requests += ran.requests;
        for (what, times) in ran.seen {
            *seen.entry(what).or_default() += times;
        }
    }
    let took = began.elapsed();
    let hours = simulated.as_secs_f64() / 3_600.0;
    let _ = writeln!(
        stderr(),
        "{count} seeds, {hours:.1} simulated hours and {requests} requests in {took:.1?}: {:.1} ms a seed, \
         {:.0} simulated hours an hour",
        took.as_secs_f64() * 1_000.0 / count as f64,
        hours / (took.as_secs_f64() / 3_600.0),
    );
    for (what, times) in &seen {
        let _ = writeln!(stderr(), "{times:9}  {what}");
    }
    if count >= 200 {
        let is_due = |what: &&&str| count >= 1_000 || !rarely.contains(*what);
        let never = sometimes.iter().filter(|what| !seen.contains_key(*what)).filter(is_due);
        let never: Vec<_> = never.collect();
        assert!(never.is_empty(), "these never happened: {never:#?}");
    }
    let unlisted: Vec<_> = seen.keys().filter(|what| !sometimes.contains(what)).collect();
    assert!(unlisted.is_empty(), "these are not in the list: {unlisted:#?}");
}

fn seeds() -> Range<u64> {
    let number = |text: &str| text.trim().parse().expect("a number");
    if let Ok(seed) = env::var("SEED") {
        return number(&seed)..number(&seed) + 1;
    }
    let seeds = env::var("SEEDS").unwrap_or_else(|_| "0..200".to_owned());
    let (from, to) = seeds.split_once("..").expect("a range of seeds");
    number(from)..number(to)
}
