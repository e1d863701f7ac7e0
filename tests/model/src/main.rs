//! Runs the library's engines in many orders of threads and tasks.
//!
//! `shuttle` runs one thread at a time, and lets another one go on before each use of a lock, an
//! atomic or a task. The engines are the shipped files; only `runtime::sync` and tokio are shuttle's.
//! Orders are sampled, not enumerated, with memory as if it were sequentially consistent. No model
//! waits for time: timeouts never end, and a sleep is over at once.
//!
//! `scripts/model [NAME] [SEED]`: each seed is another sample, always the same one.
#![allow(
    dead_code,
    unexpected_cfgs,
    unused_imports,
    unused_macros,
    reason = "most of the library is not used here"
)]

#[path = "../../../src/clock/mod.rs"]
mod clock;
#[path = "../../../src/credits/mod.rs"]
mod credits;
#[path = "../../../src/error/mod.rs"]
mod error;
#[path = "../../../src/key/mod.rs"]
mod key;
mod limit;
#[path = "../../../src/object.rs"]
mod object;
#[path = "../../../src/observe/mod.rs"]
mod observe;
#[path = "../../../src/request.rs"]
mod request;
mod runtime;
#[path = "../../../src/store/mod.rs"]
mod store;
#[path = "../../../src/text.rs"]
mod text;

mod model_cache;
mod model_credits;
mod model_fronts;
mod model_limits;
mod model_listener;
mod model_lookups;
mod model_ranks;
mod model_shared_call;

use std::{env, sync::Arc, time::Instant};

use shuttle::{
    Config, MaxSteps, Runner,
    scheduler::{PctScheduler, RandomScheduler, Scheduler},
};
use tokio::task::yield_now;

/// What is run, how often, and under which name.
type Model = (&'static str, usize, fn());

const MODELS: [Model; 27] = [
    ("fronts_follow_changes", 3_000, model_fronts::follow_changes),
    ("shared_call_is_answered", 3_000, model_shared_call::is_answered),
    ("shared_call_is_given_up", 3_000, model_shared_call::is_given_up),
    ("credits_are_enough", 1_500, model_credits::are_enough),
    ("credits_run_out", 1_500, model_credits::run_out),
    ("credits_store_fails", 1_500, model_credits::store_fails),
    ("credits_are_set_anew", 1_500, model_credits::are_set_anew),
    ("credits_are_set_to_little", 1_500, model_credits::are_set_to_little),
    ("credits_are_parted", 1_500, model_credits::are_parted),
    ("credits_are_parted_and_set_anew", 1_500, model_credits::are_parted_and_set_anew),
    ("limits_admit_a_burst", 1_500, model_limits::admit_a_burst),
    ("limits_are_given_back_and_changed", 1_500, model_limits::are_given_back_and_changed),
    ("limits_count_in_time", 500, model_limits::count_in_time),
    ("cache_forgets", 3_000, model_cache::forgets),
    ("cache_distrusts", 3_000, model_cache::distrusts),
    ("listener_forgets", 1_500, model_listener::forgets),
    ("listener_misses_changes", 1_500, model_listener::misses_changes),
    ("listener_misses_changes_of_a_replica", 1_500, model_listener::misses_changes_of_a_replica),
    ("listener_asks_no_replica_in_a_gap", 1_500, model_listener::asks_no_replica_in_a_gap),
    ("listener_outruns_a_replica", 1_500, model_listener::outruns_a_replica),
    ("listener_outruns_the_authority", 1_500, model_listener::outruns_the_authority),
    ("listener_hears_a_reset", 1_500, model_listener::hears_a_reset),
    (
        "listener_hears_a_reset_beside_a_replica",
        1_500,
        model_listener::hears_a_reset_beside_a_replica,
    ),
    ("listener_hears_a_watermark", 1_500, model_listener::hears_a_watermark),
    ("listener_hears_a_watermark_early", 1_500, model_listener::hears_a_watermark_early),
    ("lookups_share_tokens", 3_000, model_lookups::share_tokens),
    ("lookups_have_ranks", 3_000, model_ranks::have_ranks),
];

/// Far more than any run needs: a task that waits for ever beside one that never rests.
const MAX_STEPS: usize = 100_000;

fn main() {
    let mut arguments = env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let seed = arguments.next().map_or(0, |seed| seed.parse().expect("a number"));
    let models = MODELS.iter().filter(|(model, ..)| model.contains(&name));
    assert!(models.clone().next().is_some(), "no such model: {name}");
    for (model, runs, body) in models {
        let start = Instant::now();
        println!("{model}: {runs} orders by chance, and as many with few changes of thread");
        runner(RandomScheduler::new_from_seed(seed, *runs)).run(body);
        runner(PctScheduler::new_from_seed(seed, 3, *runs)).run(body);
        println!("{model}: ok, {:.1} s", start.elapsed().as_secs_f32());
    }
}

/// Waits until all tasks that hold `shared` have ended. What is left at the end of a run is dropped in
/// the middle, as nothing outside a model is.
async fn no_other_holds<T>(shared: &Arc<T>) {
    while Arc::strong_count(shared) > 1 {
        yield_now().await;
    }
}

fn runner<S: Scheduler + 'static>(scheduler: S) -> Runner<S> {
    let mut config = Config::new();
    config.stack_size = 0x4_0000;
    // That atomics are modelled as sequentially consistent.
    config.silence_warnings = true;
    config.max_steps = MaxSteps::FailAfter(MAX_STEPS);
    Runner::new(scheduler, config)
}
