//! The counters of a cache.

use super::budget::Rank;
use crate::{
    observe,
    runtime::sync::atomic::{AtomicU64, Ordering},
};

/// The counters of a [`CachedStore`](crate::store::CachedStore), or another cache of this crate,
/// since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Answers from memory within their time, of keys (or owners) that exist and that do not.
    pub hits: u64,
    /// Lookups in the store.
    pub misses: u64,
    /// Requests that waited for the lookup of another request.
    pub coalesced: u64,
    /// Lookups in the background that no request waited for, before a key's time was up or while
    /// the store was down. Part of `misses`.
    pub refreshes: u64,
    /// Answers from memory after their time, because the store failed.
    pub stale: u64,
    /// Keys (or owners) that left memory because others needed the room: more than
    /// [`entries`](Self::entries) are in use.
    pub evictions: u64,
    /// Lookups that were refused because the budget was spent, or that waited for it in vain.
    pub shed: u64,
    /// Those of them for keys that most probably exist. Part of `shed`.
    pub shed_listed: u64,
    /// Those of them for keys that do not exist, as far as is known. Part of `shed`.
    pub shed_unlisted: u64,
    /// How often changes may have been missed, so that everything cached was looked up anew.
    pub resets: u64,
    /// Keys in memory now, those that do not exist included.
    pub entries: usize,
    /// Keys in the [filter](crate::store::CachedStore#which-lookups-go-first) of those that exist; none
    /// until it is loaded, and where the store cannot list its keys.
    pub filter_keys: Option<u64>,
    /// Memory that the filter takes.
    pub filter_bytes: usize,
}

#[cfg(feature = "metrics")]
impl CacheStats {
    pub(crate) const fn figures(&self) -> observe::CacheFigures {
        observe::CacheFigures {
            hits: self.hits,
            stale: self.stale,
            misses: self.misses,
            coalesced: self.coalesced,
            refreshes: self.refreshes,
            evictions: self.evictions,
            entries: self.entries,
        }
    }
}

#[derive(Default)]
pub(super) struct Counters {
    hits: [Line; LINES],
    pub(super) misses: AtomicU64,
    pub(super) coalesced: AtomicU64,
    pub(super) refreshes: AtomicU64,
    pub(super) stale: AtomicU64,
    /// By rank.
    shed: [AtomicU64; 3],
    pub(super) resets: AtomicU64,
}

/// On a cache line of its own: hits of different keys on different threads would otherwise wait
/// for each other, and for nothing but statistics.
#[derive(Default)]
#[repr(align(64))]
struct Line(AtomicU64);

const LINES: usize = 16;

impl Counters {
    #[inline]
    pub(super) fn count_hit(&self, spread: u8) {
        Self::count(&self.hits[usize::from(spread) % LINES].0);
    }

    #[inline]
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_shed(&self, rank: Rank) {
        Self::count(&self.shed[rank as usize]);
        observe::lookup_shed(match rank {
            Rank::Unlisted => "unlisted",
            Rank::Unranked => "unranked",
            Rank::Listed => "listed",
        });
    }

    pub(super) fn read(&self, entries: usize, evictions: u64) -> CacheStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStats {
            hits: self.hits.iter().map(|line| read(&line.0)).sum(),
            misses: read(&self.misses),
            coalesced: read(&self.coalesced),
            refreshes: read(&self.refreshes),
            stale: read(&self.stale),
            evictions,
            shed: self.shed.iter().map(read).sum(),
            shed_listed: read(&self.shed[Rank::Listed as usize]),
            shed_unlisted: read(&self.shed[Rank::Unlisted as usize]),
            resets: read(&self.resets),
            entries,
            filter_keys: None,
            filter_bytes: 0,
        }
    }
}
