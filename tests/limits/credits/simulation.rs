//! Nodes that crash at every point of taking credits, taking them in advance and giving them back.
//!
//! Each node has a runtime of its own, of one thread, and a die of its own says how long its store
//! takes. Another says whose turn it is. So a run can be repeated, and no time passes.

use std::{
    num::NonZeroU64,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::runtime::{Builder, Runtime};
use tower_api_key::{Credits, key::KeyRecord};

use super::{
    repository::Watched,
    support::{Place, is_done, spend_all},
};

const TOTAL: u64 = 240;
const LEASE: u64 = 8;
const NODES: u64 = 3;
const TASKS: usize = 3;

/// Numbers as chance would have them, the same for the same seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
}

/// A node, and how far it is.
struct Node {
    /// Dropped with everything that is on its way.
    runtime: Runtime,
    credits: Credits,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Progress {
    accepted: AtomicU64,
    /// Tasks that have come to their end.
    ended: AtomicUsize,
    /// Points that calls of the store have passed.
    points: AtomicU64,
    has_crashed: AtomicBool,
}

impl Node {
    fn start(place: &Place, key: &Arc<KeyRecord>, seed: u64, crash_at: Option<u64>) -> Self {
        let progress = Arc::new(Progress::default());
        let dice = Arc::new(Mutex::new(Dice::new(seed)));
        let (passed, delays) = (progress.clone(), dice.clone());
        let store = Watched::new(&place.store, move |_| {
            let turns = delays.lock().unwrap().roll(4);
            let here = passed.points.fetch_add(1, Ordering::Relaxed) + 1;
            let progress = passed.clone();
            async move {
                if crash_at == Some(here) {
                    progress.has_crashed.store(true, Ordering::Relaxed);
                    std::future::pending::<()>().await;
                }
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
        });
        let credits = Credits::builder(store)
            .with_clock(place.clock.clone())
            .with_lease(NonZeroU64::new(LEASE).unwrap())
            .build()
            .unwrap();
        // After every step of a task, it is another node's turn.
        let runtime = Builder::new_current_thread()
            .event_interval(1)
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        for _ in 0..TASKS {
            let (credits, key) = (credits.clone(), key.clone());
            let (progress, dice) = (progress.clone(), dice.clone());
            runtime.spawn(async move {
                while is_done(credits.spend(&key, 1).await.unwrap()) {
                    progress.accepted.fetch_add(1, Ordering::Relaxed);
                    if dice.lock().unwrap().roll(4) == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                progress.ended.fetch_add(1, Ordering::Relaxed);
            });
        }
        // Gives everything back in the middle of it, and in the end.
        let (giver, closing) = (credits.clone(), progress.clone());
        runtime.spawn(async move {
            for rest in [20, 60, 100] {
                for _ in 0..rest {
                    tokio::task::yield_now().await;
                }
                giver.close().await.unwrap();
            }
            while closing.ended.load(Ordering::Relaxed) < TASKS {
                tokio::task::yield_now().await;
            }
            giver.close().await.unwrap();
            closing.ended.fetch_add(1, Ordering::Relaxed);
        });
        Self { runtime, credits, progress }
    }

    /// One step. False if there is nothing more to do.
    fn step(&self, waits: bool) -> bool {
        self.runtime.block_on(async {
            tokio::task::yield_now().await;
            if waits {
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        });
        self.progress.ended.load(Ordering::Relaxed) <= TASKS
    }
}

/// How a run ended.
#[derive(Debug)]
struct End {
    accepted: u64,
    left: u64,
    held_by_the_crashed: u64,
    has_crashed: bool,
}

/// The first of the nodes crashes at this point, if it gets there.
fn run(seed: u64, crash_at: Option<u64>) -> End {
    let outside = Builder::new_current_thread().build().unwrap();
    let place = Place::new();
    let key = outside.block_on(place.key(TOTAL));
    let start = |node| {
        let crash_at = crash_at.filter(|_| node == 0);
        Node::start(&place, &key, seed * NODES + node, crash_at)
    };
    let mut nodes: Vec<_> = (0..NODES).map(start).collect();
    let mut dice = Dice::new(!seed);
    let mut end = End { accepted: 0, left: 0, held_by_the_crashed: 0, has_crashed: false };
    while !nodes.is_empty() {
        let turn = usize::try_from(dice.roll(nodes.len() as u64)).unwrap();
        let goes_on = nodes[turn].step(dice.roll(8) == 0);
        let has_crashed = nodes[turn].progress.has_crashed.load(Ordering::Relaxed);
        if goes_on && !has_crashed {
            continue;
        }
        let Node { runtime, credits, progress } = nodes.swap_remove(turn);
        drop(runtime);
        end.accepted += progress.accepted.load(Ordering::Relaxed);
        end.has_crashed |= has_crashed;
        if has_crashed {
            end.held_by_the_crashed = credits.held(key.lineage());
        } else {
            assert_eq!(credits.held(key.lineage()), 0);
        }
    }
    end.left = outside.block_on(place.stored(&key));
    // And all of that can be spent.
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    assert_eq!(runtime.block_on(spend_all(&place.node(), &key)), end.left);
    end
}

#[test]
fn without_a_crash_nothing_is_lost_in_any_order() {
    for seed in 0..100 {
        let end = run(seed, None);
        assert_eq!(end.accepted + end.left, TOTAL, "{seed}: {end:?}");
    }
}

#[test]
fn a_crash_at_any_point_loses_no_more_than_a_lease_and_spends_nothing_twice() {
    let (mut most_lost, mut runs, mut lossless) = (0, 0, 0);
    for seed in 0..4 {
        for crash_at in 1.. {
            let end = run(seed, Some(crash_at));
            let lost = TOTAL.checked_sub(end.accepted + end.left);
            let Some(lost) = lost else { panic!("overspent: {seed} {crash_at} {end:?}") };
            assert!(lost >= end.held_by_the_crashed, "{seed} {crash_at} {end:?}");
            assert!(lost <= LEASE, "{lost} lost: {seed} {crash_at} {end:?}");
            if !end.has_crashed {
                assert_eq!(lost, 0);
                assert!(crash_at > 30, "the run had {crash_at} points");
                break;
            }
            most_lost = most_lost.max(lost);
            runs += 1;
            lossless += u64::from(lost == 0);
        }
    }
    println!("{runs} crashes, {lossless} of them lost nothing, none more than {most_lost}");
    assert!(most_lost > 0 && lossless > 0, "crashes came at different points");
}
