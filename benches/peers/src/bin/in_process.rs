//! Time for each request through each stack, and what a second thread brings.
//!
//! ```text
//! in_process [--short] [--large] [--rounds N] [--json FILE] [--stacks NAME,NAME…]
//! ```
//!
//! Stacks take turns within each round. `--short` sends one burst of each kind, and shows that the
//! answers are right. `--large` also has ten million keys, which takes 20 GB.

use std::{
    fs,
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use peers::{
    arguments,
    drive::{Driven, Driver, Pattern, Requests, driver},
    keys::Keys,
    ours,
    stack::{Outcome, Stack},
    statistics::median,
};
use serde_json::{Value, json};
use tower_api_key::KeyFormat;

/// How long a stack is measured each time it has its turn.
const TURN: Duration = Duration::from_millis(8);
/// The same for two threads, which need time to begin together.
const TURN_OF_TWO: Duration = Duration::from_millis(24);
/// How often such a turn is tried.
const TRIES: usize = 4;

fn main() {
    let is_short = arguments::flag("--short");
    let rounds = if is_short { 1 } else { arguments::number("--rounds").unwrap_or(15) };
    let wanted = arguments::option("--stacks");
    let wants = |stack: Stack| {
        let mut names = wanted.as_deref().unwrap_or_default().split(',');
        wanted.is_none() || stack.base() == stack || names.any(|name| name == stack.name())
    };
    let stacks: Vec<_> = Stack::all().filter(|stack| wants(*stack)).collect();
    let mut sizes = if is_short { vec![10] } else { vec![1, 1_000, 100_000] };
    if arguments::flag("--large") {
        sizes.push(10_000_000);
    }

    let mut cells = Vec::new();
    let mut threads = Vec::new();
    for size in sizes {
        let keys = Keys::new(size);
        // Ten million keys a second and third time would not fit.
        let large =
            [Stack::Bare, Stack::FloorCompare, Stack::SameWork, Stack::Defaults, Stack::Cached];
        let fits = |stack: &Stack| size < 1_000_000 || large.contains(stack);
        let stacks: Vec<_> = stacks.iter().copied().filter(fits).collect();
        let mut stacks: Vec<_> =
            stacks.into_iter().filter_map(|stack| Some((stack, driver(stack, &keys)?))).collect();
        let outcomes = is_short || size == 1_000;
        cells.extend(times(&keys, size, &mut stacks, rounds, outcomes, is_short));
        if is_short || size == 1_000 || size == 100_000 {
            threads.extend(second_thread(&keys, size, &mut stacks, rounds, is_short));
        }
    }
    let parsed = parsing(rounds, is_short);
    if let Some(file) = arguments::option("--json") {
        let report = json!({
            "rounds": rounds, "cells": cells, "threads": threads, "parsed": parsed,
        });
        let text = serde_json::to_string_pretty(&report).expect("JSON");
        fs::write(&file, text).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    if is_short {
        println!(
            "{} stacks and {} kinds of requests answer as they should",
            stacks.len(),
            cells.len()
        );
    }
}

/// The time to tell a key's shape, which is one step of the layer.
fn parsing(rounds: usize, is_short: bool) -> Vec<Value> {
    let plain = KeyFormat::new("key").expect("a prefix");
    let key = |format: &KeyFormat| format.generate().expect("random bytes").expose().to_owned();
    let (one, three) = (ours::sealed_format(1), ours::sealed_format(3));
    let mut cases = [
        ("checksum", true, key(&plain), plain, Vec::new()),
        ("seal", true, key(&one), one.clone(), Vec::new()),
        ("forged seal", false, ours::forged(), one, Vec::new()),
        ("forged seal, three secrets", false, ours::forged(), three, Vec::new()),
    ];
    let times = if is_short { 1 } else { 10_000 };
    for round in 0..=rounds {
        for (_, is_ours, key, format, found) in &mut cases {
            let start = Instant::now();
            for _ in 0..times {
                assert_eq!(black_box(&*format).recognizes(black_box(key)), *is_ours);
            }
            if round > 0 {
                found.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(times));
            }
        }
    }
    let mut values = Vec::new();
    for (name, .., found) in cases {
        let ns = median(found);
        if !is_short {
            println!("to parse: {name:28} {ns:8.0} ns");
        }
        values.push(json!({ "case": name, "ns": ns }));
    }
    values
}

/// A stack's requests of one kind, and the nanoseconds that one took, by round.
struct Cell {
    stack: Stack,
    index: usize,
    outcome: Outcome,
    pattern: Pattern,
    requests: Requests,
    times: Vec<f64>,
}

fn times(
    keys: &Keys,
    size: usize,
    stacks: &mut [(Stack, Driven)],
    rounds: usize,
    all_outcomes: bool,
    is_short: bool,
) -> Vec<Value> {
    let mut cells = Vec::new();
    for (index, (stack, driven)) in stacks.iter().enumerate() {
        let stack = *stack;
        for outcome in Outcome::ALL.into_iter().filter(|outcome| stack.has(*outcome)) {
            for pattern in patterns(stack, outcome, size) {
                if all_outcomes || outcome == Outcome::Valid && pattern != Pattern::Freed {
                    let requests = driven.requests(keys, outcome, pattern, 0);
                    cells.push(Cell { stack, index, outcome, pattern, requests, times: vec![] });
                }
            }
        }
    }
    // Of each key whatever is loaded at first: a credit account, a counter of uses.
    for cell in cells.iter_mut().filter(|cell| cell.pattern == Pattern::Many) {
        for _ in 0..=keys.sent().len() / 64 {
            stacks[cell.index].1.driver.burst(&mut cell.requests);
        }
    }
    for round in 0..=rounds {
        for cell in &mut cells {
            let driver = &mut stacks[cell.index].1.driver;
            let turn = if is_short { Duration::ZERO } else { TURN };
            let time = take_turn(&mut **driver, &mut cell.requests, turn);
            // The first round is for what is loaded at first.
            if round > 0 {
                cell.times.push(time);
            }
        }
    }
    let base = |cell: &Cell| {
        let is_base = |other: &&Cell| {
            other.stack == cell.stack.base()
                && other.outcome == Outcome::Valid
                && other.pattern == cell.pattern
        };
        cells.iter().find(is_base).map(|base| &base.times)
    };
    let mut values = Vec::new();
    for cell in &cells {
        let base = base(cell).expect("the bare service is always there");
        let over = cell.times.iter().zip(base).map(|(time, base)| time - base).collect();
        let ratio = cell.times.iter().zip(base).map(|(time, base)| time / base).collect();
        let (ns, over, ratio) = (median(cell.times.clone()), median(over), median(ratio));
        let (name, outcome, pattern) =
            (cell.stack.name(), cell.outcome.name(), cell.pattern.name());
        if !is_short {
            println!(
                "{size:8} keys  {name:24} {outcome:12} {pattern:14} {ns:8.0} ns, {over:+8.0} over bare"
            );
        }
        values.push(json!({
            "keys": size, "stack": name, "outcome": outcome, "pattern": pattern,
            "ns": ns, "over_bare": over, "ratio": ratio,
        }));
    }
    values
}

/// The patterns that a stack is measured with, and the bare service for comparison.
fn patterns(stack: Stack, outcome: Outcome, size: usize) -> Vec<Pattern> {
    if outcome != Outcome::Valid {
        return vec![Pattern::Freed];
    }
    let mut patterns = vec![Pattern::Freed];
    if !stack.hides() {
        patterns.push(Pattern::Hot);
    }
    if stack.hides() || stack.base() == stack {
        patterns.push(Pattern::HotAgain);
    }
    if stack.has_many_keys() && size > 1 {
        patterns.push(Pattern::Many);
    }
    patterns
}

/// Bursts for this long, at least one: the nanoseconds of a request in the one in the middle. So what
/// else the machine does falls on some bursts, and counts for none.
fn take_turn(driver: &mut dyn Driver, requests: &mut Requests, turn: Duration) -> f64 {
    let start = Instant::now();
    let mut bursts = Vec::new();
    loop {
        bursts.push(driver.burst(requests));
        if start.elapsed() >= turn {
            return median(bursts);
        }
    }
}

/// How often as many requests two threads answer as one.
fn second_thread(
    keys: &Keys,
    size: usize,
    stacks: &mut [(Stack, Driven)],
    rounds: usize,
    is_short: bool,
) -> Vec<Value> {
    let mut cells = Vec::new();
    for (index, (stack, driven)) in stacks.iter().enumerate() {
        for pattern in patterns(*stack, Outcome::Valid, size) {
            if pattern != Pattern::Freed {
                let workers: Vec<_> = (0..2)
                    .map(|thread| {
                        let requests = driven.requests(keys, Outcome::Valid, pattern, thread);
                        (driven.driver.fork(), requests)
                    })
                    .collect();
                cells.push((*stack, index, pattern, workers, Vec::new()));
            }
        }
    }
    let turn = if is_short { Duration::ZERO } else { TURN_OF_TWO };
    for round in 0..=rounds {
        for (.., workers, factors) in &mut cells {
            let alone = rate(&mut workers[..1], turn);
            let together = rate(workers, turn);
            if round > 0 {
                factors.push(together / alone);
            }
        }
    }
    let mut values = Vec::new();
    for (stack, _, pattern, _, factors) in &cells {
        let base = cells.iter().find(|(other, _, p, ..)| *other == stack.base() && p == pattern);
        let base = &base.expect("the bare service is always there").4;
        let of_bare = factors.iter().zip(base).map(|(factor, base)| factor / base).collect();
        let (factor, of_bare) = (median(factors.clone()), median(of_bare));
        let (name, pattern) = (stack.name(), pattern.name());
        if !is_short {
            println!(
                "{size:8} keys  {name:24} {pattern:14} two threads {factor:5.2}, {of_bare:5.3} of bare's"
            );
        }
        values.push(json!({
            "keys": size, "stack": name, "pattern": pattern, "factor": factor, "of_bare": of_bare,
        }));
    }
    values
}

/// Requests a second of these workers, each on a thread of its own. A turn in which a thread waited for
/// a core is taken again: then the threads did not run together.
fn rate(workers: &mut [(Box<dyn Driver>, Requests)], turn: Duration) -> f64 {
    for _ in 1..TRIES {
        let (rate, waited) = try_rate(workers, turn);
        if waited < 0.03 {
            return rate;
        }
    }
    try_rate(workers, turn).0
}

/// The rate, and the largest share of its time that a thread waited for a core.
fn try_rate(workers: &mut [(Box<dyn Driver>, Requests)], turn: Duration) -> (f64, f64) {
    let barrier = Barrier::new(workers.len());
    thread::scope(|scope| {
        let threads: Vec<_> = workers
            .iter_mut()
            .map(|(driver, requests)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    let (start, waited) = (Instant::now(), waited_for_a_core());
                    let (mut bursts, mut time) = (0.0, 0.0);
                    while bursts == 0.0 || start.elapsed() < turn {
                        bursts += 1.0;
                        time += driver.burst(requests);
                    }
                    let waited = waited_for_a_core().saturating_sub(waited);
                    (1e9 * bursts / time, waited.as_secs_f64() / start.elapsed().as_secs_f64())
                })
            })
            .collect();
        let rates = threads.into_iter().map(|thread| thread.join().expect("answers"));
        rates.fold((0.0, 0.0), |(sum, most), (rate, waited)| (sum + rate, f64::max(most, waited)))
    })
}

/// How long this thread was ready to run and had no core. Linux says so; elsewhere it is zero.
fn waited_for_a_core() -> Duration {
    let Ok(text) = fs::read_to_string("/proc/thread-self/schedstat") else { return Duration::ZERO };
    let nanoseconds = text.split(' ').nth(1).and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}
