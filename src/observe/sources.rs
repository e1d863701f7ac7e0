//! Figures that an engine keeps by itself, such as the hits of a cache. They are asked for when
//! metrics are published, so that they cost requests nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use metrics::{counter, gauge};

use crate::runtime::Mutex;

/// An engine with figures.
pub(crate) trait FigureSource: Send + Sync + 'static {
    /// Tells the figures as they are now.
    fn tell(&self, told: &mut Told);
}

/// What sources have told, in sum.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    caches: BTreeMap<&'static str, CacheFigures>,
    limits: BTreeMap<&'static str, usize>,
    flush_lag: Duration,
}

/// Of a cache.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CacheFigures {
    pub(crate) hits: u64,
    pub(crate) stale: u64,
    pub(crate) misses: u64,
    pub(crate) coalesced: u64,
    pub(crate) refreshes: u64,
    pub(crate) evictions: u64,
    pub(crate) entries: usize,
}

impl Told {
    /// Of a cache of this name.
    pub(crate) fn cache(&mut self, cache: &'static str, figures: &CacheFigures) {
        self.caches.entry(cache).or_default().add(figures);
    }

    /// That a limiter of this name has so many buckets in memory.
    pub(crate) fn buckets(&mut self, limiter: &'static str, buckets: usize) {
        *self.limits.entry(limiter).or_default() += buckets;
    }

    /// That counts of uses were written so long ago.
    pub(crate) fn flush_lag(&mut self, lag: Duration) {
        self.flush_lag = self.flush_lag.max(lag);
    }

    fn add(&mut self, other: &Self) {
        other.caches.iter().for_each(|(cache, figures)| self.cache(cache, figures));
        other.limits.iter().for_each(|(limiter, buckets)| self.buckets(limiter, *buckets));
        self.flush_lag(other.flush_lag);
    }

    /// What stays when the source is gone.
    fn without_gauges(mut self) -> Self {
        self.caches.values_mut().for_each(|figures| figures.entries = 0);
        self.limits.values_mut().for_each(|buckets| *buckets = 0);
        Self { flush_lag: Duration::ZERO, ..self }
    }
}

impl CacheFigures {
    const fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.stale += other.stale;
        self.misses += other.misses;
        self.coalesced += other.coalesced;
        self.refreshes += other.refreshes;
        self.evictions += other.evictions;
        self.entries += other.entries;
    }
}

struct Registered {
    source: Weak<dyn FigureSource>,
    /// What it told last: counters go on from there when it is gone.
    last: Told,
}

#[derive(Default)]
struct Registry {
    sources: Vec<Registered>,
    /// What sources have told that are gone.
    past: Told,
}

static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);

impl Registry {
    fn forget_gone(&mut self) {
        let past = &mut self.past;
        self.sources.retain(|registered| {
            let is_there = registered.source.strong_count() > 0;
            if !is_there {
                past.add(&registered.last.clone().without_gauges());
            }
            is_there
        });
    }

    fn add(&mut self, source: Weak<dyn FigureSource>) {
        self.forget_gone();
        self.sources.push(Registered { source, last: Told::default() });
    }

    /// All figures, and the sources that told them: the last reference to one is not dropped here.
    fn ask(&mut self) -> (Told, Vec<Arc<dyn FigureSource>>) {
        let mut asked = Vec::new();
        for registered in &mut self.sources {
            if let Some(source) = registered.source.upgrade() {
                registered.last = Told::default();
                source.tell(&mut registered.last);
                asked.push(source);
            }
        }
        self.forget_gone();
        let mut sum = self.past.clone();
        self.sources.iter().for_each(|registered| sum.add(&registered.last));
        (sum, asked)
    }
}

/// Asks this source whenever metrics are published, as long as it lives.
pub(crate) fn register<S: FigureSource>(source: &Arc<S>) {
    let source: Weak<S> = Arc::downgrade(source);
    REGISTRY.lock().get_or_insert_default().add(source);
}

pub(super) fn publish() {
    let (told, _asked) = REGISTRY.lock().get_or_insert_default().ask();
    for (cache, figures) in told.caches {
        counter!("tower_api_key_cache_hits_total", "cache" => cache).absolute(figures.hits);
        counter!("tower_api_key_cache_stale_total", "cache" => cache).absolute(figures.stale);
        counter!("tower_api_key_cache_misses_total", "cache" => cache).absolute(figures.misses);
        counter!("tower_api_key_cache_coalesced_total", "cache" => cache)
            .absolute(figures.coalesced);
        counter!("tower_api_key_cache_refreshes_total", "cache" => cache)
            .absolute(figures.refreshes);
        counter!("tower_api_key_cache_evictions_total", "cache" => cache)
            .absolute(figures.evictions);
        gauge!("tower_api_key_cache_entries", "cache" => cache).set(whole(figures.entries));
    }
    for (limiter, buckets) in told.limits {
        gauge!("tower_api_key_limiter_buckets", "limiter" => limiter).set(whole(buckets));
    }
    gauge!("tower_api_key_usage_flush_lag_seconds").set(told.flush_lag.as_secs_f64());
}

#[expect(clippy::cast_precision_loss, reason = "no gauge shows 2⁵² of anything")]
fn whole(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;

    struct Hits(AtomicU64);

    impl FigureSource for Hits {
        fn tell(&self, told: &mut Told) {
            let hits = self.0.load(Relaxed);
            told.cache("keys", &CacheFigures { hits, entries: 3, ..CacheFigures::default() });
            told.buckets("local", 2);
            told.flush_lag(Duration::from_secs(hits));
        }
    }

    fn told(registry: &mut Registry) -> (u64, usize, usize, u64) {
        let (told, _) = registry.ask();
        let keys = told.caches["keys"];
        (keys.hits, keys.entries, told.limits["local"], told.flush_lag.as_secs())
    }

    #[test]
    fn counters_of_sources_that_are_gone_go_on_and_gauges_do_not() {
        let (one, other) = (Arc::new(Hits(5.into())), Arc::new(Hits(7.into())));
        let mut registry = Registry::default();
        for source in [&one, &other] {
            let source = Arc::downgrade(source);
            registry.add(source);
        }
        assert_eq!(told(&mut registry), (12, 6, 4, 7));
        one.0.store(6, Relaxed);
        assert_eq!(told(&mut registry), (13, 6, 4, 7), "sums, and the longest time");
        drop(other);
        for _ in 0..2 {
            assert_eq!(told(&mut registry), (13, 3, 2, 6), "each is added to the past once");
        }
        let next = Arc::new(Hits(1.into()));
        let next: Arc<dyn FigureSource> = next;
        registry.add(Arc::downgrade(&next));
        assert_eq!(told(&mut registry), (14, 6, 4, 6));
        drop((one, next));
        assert_eq!(told(&mut registry), (14, 0, 0, 0));
        assert!(registry.sources.is_empty());
    }
}
