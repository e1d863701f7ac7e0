//! Denials in the log: of each code ten a second, and how many others there were.

use std::{collections::HashMap, time::Duration};

use tracing_subscriber::filter::LevelFilter;

use crate::{
    denials::denied,
    secrets::{child, log::Log},
    support::{KEY, OTHER_KEY, send_waiting},
};

/// The lines that tell of a denial, by code: how many, and of how many others they tell.
fn told(lines: &[String]) -> HashMap<&str, (usize, usize)> {
    let mut told = HashMap::<_, (usize, usize)>::new();
    for line in lines.iter().filter(|line| line.contains("request denied")) {
        let field = |name: &str| line.split_once(&format!(" {name}=")).map(|(_, rest)| rest);
        let code = field("code").unwrap().split('"').nth(1).unwrap();
        let unlogged =
            field("unlogged").map_or(0, |rest| rest.split(' ').next().unwrap().parse().unwrap());
        let sum = told.entry(code).or_default();
        *sum = (sum.0 + 1, sum.1 + unlogged);
    }
    told
}

/// Sends each kind of request so often.
async fn send_all(times: usize) {
    for (_, layer, request) in denied() {
        for _ in 0..times {
            send_waiting(&layer, request.clone()).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_denials_does_not_flood_the_log() {
    // What is counted is of the process.
    if !child::is_child() {
        child::run("denial_log::a_flood_of_denials_does_not_flood_the_log", None);
        return;
    }
    let log = Log::default();
    let _guard = log.listen();
    let kinds = denied().len();

    send_all(1_000).await;
    let lines = log.take();
    let first = told(&lines);
    assert_eq!(first.len(), kinds, "{first:?}");
    assert!(first.values().all(|told| *told == (10, 0)), "{first:?}");

    // Less than a second later the log is still closed.
    tokio::time::advance(Duration::from_millis(999)).await;
    send_all(1).await;
    assert!(told(&log.take()).is_empty());

    tokio::time::advance(Duration::from_millis(1)).await;
    send_all(1).await;
    let lines = log.take();
    let next = told(&lines);
    assert_eq!(next.len(), kinds, "{next:?}");
    assert!(next.values().all(|told| *told == (1, 991)), "{next:?}");
    for line in &lines {
        assert!(!line.contains(KEY) && !line.contains(OTHER_KEY), "{line}");
    }
}

/// What nobody reads is not counted as left out: lines tell of what the log would have had.
#[tokio::test(start_paused = true)]
async fn denials_that_the_log_leaves_out_anyway_cost_it_no_line() {
    if !child::is_child() {
        child::run("denial_log::denials_that_the_log_leaves_out_anyway_cost_it_no_line", None);
        return;
    }
    let log = Log::default();
    let warnings = log.listen_from(LevelFilter::WARN);
    send_all(100).await;
    let lines = log.take();
    let codes = told(&lines);
    assert!(!codes.is_empty() && codes.values().all(|told| *told == (10, 0)), "{codes:?}");
    assert!(lines.iter().all(|line| line.contains("WARN")), "{lines:?}");
    drop(warnings);

    let _guard = log.listen();
    send_all(1).await;
    let lines = log.take();
    let rest = told(&lines);
    // Those of the service's own trouble had their lines.
    assert_eq!(rest.len() + codes.len(), denied().len(), "{rest:?}");
    assert!(rest.values().all(|told| *told == (1, 0)), "{rest:?}");
}
