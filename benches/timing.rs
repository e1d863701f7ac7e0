//! Whether the time of a lookup tells how much of a stored digest an unknown key shares, as `dudect` asks
//! it (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2016).
//!
//! `scripts/timing`. No key can be found whose digest begins like another's. So the stores hold records with
//! altered digests, planted beside each unknown one: they share 0, 16 or 31 bytes with it. Samples of all
//! three classes come in random order. Welch's t compares them in pairs, as they are and without the slowest,
//! at 100 bounds, and the largest |t| counts. Below 4.5 there is no sign of a difference.
//!
//! The place of a key in a map makes a difference of its own, which the seed of the map deals out. So each key is
//! measured once, and each round has new keys in a new store: samples that share such a difference would look
//! like a class that does.
//!
//! Two controls show what the figures are worth: a comparison that stops at the first difference, and three
//! classes of which none shares a byte, so that nothing but chance can tell them apart.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]
#![allow(clippy::print_stdout, reason = "that is what it is for")]
#![allow(clippy::cast_precision_loss, reason = "times and counts are far from 2⁵³")]

#[path = "support/mode.rs"]
mod mode;

#[allow(dead_code, reason = "a simulation needs more")]
#[path = "../tests/simulation/random.rs"]
mod random;

use std::{
    hash::{BuildHasher, RandomState},
    hint::black_box,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use random::Random;
use tokio::runtime::{Builder, Runtime};
use tower_api_key::{
    KeyId, Timestamp,
    key::{KeyDigest, KeyRecord},
    store::{
        CachedStore, Changes, FixedStore, KeyRepository, KeyStore, Lookup, MemoryStore, SqliteStore,
    },
};

/// Bytes that a planted digest shares with an unknown one, by class.
const CLASSES: [usize; 3] = [0, 16, 31];
const PAIRS: [(usize, usize); 3] = [(0, 1), (0, 2), (1, 2)];
/// Unknown keys of a round.
const KEYS: usize = 3 * 1_024;
/// Lookups of one sample, each of another key of its class. None is in two samples.
const BATCH: usize = 8;
/// Samples of a round.
const ROUND: usize = KEYS / BATCH;
const BOUNDS: usize = 100;

type Look = Box<dyn Fn(&KeyDigest) -> bool>;

/// A lookup, and how many samples are taken of it.
struct Subject {
    name: &'static str,
    samples: usize,
    /// Bytes that the planted digests of each class share.
    shared: [usize; 3],
    store: fn(&'static Runtime, &[KeyDigest], &[Unknown]) -> Look,
}

/// A key that no store has, and its class.
struct Unknown {
    digest: KeyDigest,
    class: usize,
}

fn main() {
    let runtime: &'static Runtime =
        Box::leak(Box::new(Builder::new_current_thread().enable_all().build().unwrap()));
    let many = if mode::measures() { 1_000_000 } else { 3_000 };
    let of = |name, store| Subject { name, samples: many, shared: CLASSES, store };
    let subjects = [
        of("byte by byte, up to the first difference", stopping),
        Subject { shared: [0; 3], ..of("`MemoryStore`, no byte in common", memory) },
        of("`MemoryStore`", memory),
        of("`MemoryStore`, its keys in use", in_use),
        Subject { shared: [0; 3], ..of("`FixedStore`, no byte in common", fixed) },
        of("`FixedStore`", fixed),
        of("`CachedStore`", cached),
        Subject { samples: many / 10, ..of("`SqliteStore`", sqlite) },
    ];
    println!("| lookup | samples | ns | \\|t\\| of 0 and 16 | of 0 and 31 | of 16 and 31 |");
    println!("|---|--:|--:|--:|--:|--:|");
    let mut random = Random::new(RandomState::new().hash_one(0));
    for subject in &subjects {
        measure(subject, runtime, &mut random);
    }
}

fn measure(subject: &Subject, runtime: &'static Runtime, random: &mut Random) {
    let mut samples: Vec<(f64, usize)> = Vec::with_capacity(subject.samples);
    while samples.len() < subject.samples {
        let (unknown, planted) = keys(random, subject.shared);
        let look = (subject.store)(runtime, &planted, &unknown);
        let mut batches: Vec<(usize, Vec<KeyDigest>)> = Vec::with_capacity(ROUND);
        for class in 0..CLASSES.len() {
            let of_class = unknown.iter().filter(|key| key.class == class).map(|key| key.digest);
            let of_class: Vec<_> = of_class.collect();
            batches.extend(of_class.chunks_exact(BATCH).map(|batch| (class, batch.to_vec())));
        }
        for number in (1..batches.len()).rev() {
            batches.swap(number, random.below(number + 1));
        }
        // The first time warms up.
        for is_measured in [false, true] {
            for (class, batch) in &batches {
                let begin = Instant::now();
                for digest in batch {
                    black_box(look(black_box(digest)));
                }
                let time = begin.elapsed().as_nanos() as f64 / BATCH as f64;
                if is_measured {
                    samples.push((time, *class));
                }
            }
        }
        assert!(!unknown.iter().any(|key| look(&key.digest)), "an unknown key was found");
    }
    report(subject.name, &samples);
}

/// New unknown keys, each with its class by chance, and the digests that are planted beside them.
fn keys(random: &mut Random, shared: [usize; 3]) -> (Vec<Unknown>, Vec<KeyDigest>) {
    let mut bytes = || -> [u8; 32] {
        let words = [(); 4].map(|()| random.next().to_be_bytes());
        words.as_flattened().try_into().unwrap()
    };
    let mut keys: Vec<_> = (0..KEYS).map(|number| (bytes(), bytes(), number % 3)).collect();
    keys.sort_unstable();
    let unknown = |(own, _, class): &([u8; 32], [u8; 32], usize)| Unknown {
        digest: KeyDigest::from_bytes(*own),
        class: *class,
    };
    let planted = |(own, other, class): &([u8; 32], [u8; 32], usize)| {
        let mut altered = *other;
        let shared = shared[*class];
        altered[..shared].copy_from_slice(&own[..shared]);
        // The first byte that differs does so in any case.
        altered[shared] = !own[shared];
        KeyDigest::from_bytes(altered)
    };
    (keys.iter().map(unknown).collect(), keys.iter().map(planted).collect())
}

/// The control: each unknown digest is compared with the one that is planted beside it.
fn stopping(_: &'static Runtime, planted: &[KeyDigest], unknown: &[Unknown]) -> Look {
    let mut pairs: Vec<_> =
        unknown.iter().map(|key| *key.digest.as_bytes()).zip(planted.iter().copied()).collect();
    pairs.sort_unstable_by_key(|(own, _)| *own);
    Box::new(move |digest| {
        let own = digest.as_bytes();
        let at = pairs.partition_point(|(other, _)| other < own);
        let bytes = own.iter().zip(pairs[at].1.as_bytes());
        // Not to be made one comparison by the compiler.
        bytes.into_iter().all(|(a, b)| black_box(a) == b)
    })
}

fn records(planted: &[KeyDigest]) -> Changes {
    let record = |digest: &KeyDigest| {
        let id = KeyId::generate(Timestamp::UNIX_EPOCH).unwrap();
        KeyRecord::new(id, *digest, "planted", Timestamp::UNIX_EPOCH)
    };
    Changes::default().with_inserts(planted.iter().map(record).collect())
}

fn memory_of(runtime: &Runtime, planted: &[KeyDigest]) -> MemoryStore {
    let store = MemoryStore::new();
    runtime.block_on(store.apply(&records(planted))).unwrap();
    store
}

/// As a layer asks it.
fn at_once(store: impl KeyStore) -> Look {
    Box::new(move |digest| matches!(store.find_shared(digest), Some(Lookup::Found(_))))
}

fn memory(runtime: &'static Runtime, planted: &[KeyDigest], _: &[Unknown]) -> Look {
    at_once(memory_of(runtime, planted))
}

/// The planted keys were found by this thread, which keeps as many of them as its front has room for.
fn in_use(runtime: &'static Runtime, planted: &[KeyDigest], _: &[Unknown]) -> Look {
    let store = memory_of(runtime, planted);
    for digest in planted.iter().cycle().take(planted.len() * 3) {
        black_box(store.find_shared(digest));
    }
    at_once(store)
}

fn fixed(_: &'static Runtime, planted: &[KeyDigest], _: &[Unknown]) -> Look {
    let add = |store: FixedStore, (number, digest): (usize, &KeyDigest)| {
        store.with_digest(&format!("{number}"), *digest).unwrap()
    };
    at_once(planted.iter().enumerate().fold(FixedStore::new(), add))
}

/// Planted and unknown keys are in the cache's memory: those that exist and those that do not.
fn cached(runtime: &'static Runtime, planted: &[KeyDigest], unknown: &[Unknown]) -> Look {
    let store = CachedStore::builder(memory_of(runtime, planted))
        .with_lookup_budget(NonZeroU32::MAX)
        .with_not_found_ttl(Duration::from_mins(10))
        .build();
    for digest in planted.iter().chain(unknown.iter().map(|key| &key.digest)) {
        runtime.block_on(store.find(digest)).unwrap();
    }
    at_once(store)
}

fn sqlite(runtime: &'static Runtime, planted: &[KeyDigest], _: &[Unknown]) -> Look {
    let folder = tempfile::tempdir().unwrap();
    let store = runtime.block_on(SqliteStore::open(folder.path().join("keys.db"))).unwrap();
    runtime.block_on(store.apply(&records(planted))).unwrap();
    Box::new(move |digest| {
        let _ = &folder;
        runtime.block_on(store.find(digest)).unwrap().is_some()
    })
}

/// Prints the line of a subject.
fn report(name: &str, samples: &[(f64, usize)]) {
    let mut times: Vec<_> = samples.iter().map(|(time, _)| *time).collect();
    times.sort_unstable_by(f64::total_cmp);
    let median = times[times.len() / 2];
    // Bounds that leave away more and more of the slowest, as dudect sets them; the first leaves none.
    let part = |number: usize| 1.0 - 0.5_f64.powf(10.0 * (number + 1) as f64 / BOUNDS as f64);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    let place = |part: f64| (part * times.len() as f64) as usize;
    let bounds = (0..BOUNDS).map(|number| times[place(part(number)).min(times.len() - 1)]);
    let bounds: Vec<_> = std::iter::once(f64::INFINITY).chain(bounds).collect();
    let figures = PAIRS.map(|(one, other)| {
        let t = |bound: &f64| {
            let class = |class| {
                let kept = samples.iter().filter(|(time, own)| *own == class && time <= bound);
                Moments::of(kept.map(|(time, _)| *time))
            };
            class(one).welch(&class(other)).abs()
        };
        let all = t(&bounds[0]);
        let (most, bound) = bounds
            .iter()
            .map(|bound| (t(bound), *bound))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .unwrap();
        let kept = times.partition_point(|time| *time <= bound) * 100 / times.len();
        format!("{most:.1} with {kept} %, {all:.1} with all")
    });
    println!("| {name} | {} | {median:.0} | {} |", samples.len(), figures.join(" | "));
}

/// Count, mean, and the sum of squared differences from it (Welford).
#[derive(Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn of(times: impl Iterator<Item = f64>) -> Self {
        times.fold(Self::default(), |mut moments, time| {
            moments.count += 1.0;
            let difference = time - moments.mean;
            moments.mean += difference / moments.count;
            moments.squares += difference * (time - moments.mean);
            moments
        })
    }

    /// Welch's t of two samples; none where there are too few to tell.
    fn welch(&self, other: &Self) -> f64 {
        let error = |moments: &Self| moments.squares / (moments.count - 1.0) / moments.count;
        let error = (error(self) + error(other)).sqrt();
        if self.count.min(other.count) < 100.0 || error == 0.0 {
            return 0.0;
        }
        (self.mean - other.mean) / error
    }
}
