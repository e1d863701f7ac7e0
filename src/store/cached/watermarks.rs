//! [`HeardWatermarks`]: keys that were revoked by the time of their creation, as they were announced.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    key::KeyRecord,
    runtime::{
        Mutex,
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
    },
    store::Watermark,
};

/// At a time. Each is compared with each answer of the store.
const MAX: usize = 64;

/// The watermarks that a cache has heard of lately.
pub(super) struct HeardWatermarks {
    heard: Mutex<Vec<Heard>>,
    /// How many there are, for answers while there are none.
    count: AtomicUsize,
    /// How long each is there.
    lasts: Duration,
}

struct Heard {
    watermark: Watermark,
    raised_at: Instant,
    until: Instant,
    /// Whether this node wrote it. Of the others, the first answer of the authority about one of their keys
    /// decides: whatever can write to the channel would make all keys unusable otherwise.
    is_certain: bool,
}

impl HeardWatermarks {
    pub(super) fn new(lasts: Duration) -> Self {
        Self { heard: Mutex::default(), count: AtomicUsize::new(0), lasts }
    }

    /// No answer is used that does not know of this one. Whether there is room for it.
    pub(super) fn raise(&self, watermark: &Watermark, is_certain: bool) -> bool {
        let now = Instant::now();
        let Some(until) = now.checked_add(self.lasts) else { return false };
        let mut heard = self.heard.lock();
        heard.retain(|old| now < old.until);
        let same = heard.iter().position(|old| old.watermark == *watermark);
        let is_certain = is_certain || same.is_some_and(|same| heard[same].is_certain);
        let new = Heard { watermark: watermark.clone(), raised_at: now, until, is_certain };
        let place = same.or_else(|| {
            let is_full = heard.len() >= MAX && is_certain;
            is_full.then(|| heard.iter().position(|old| !old.is_certain))?
        });
        let has_room = place.is_some() || heard.len() < MAX;
        match place {
            Some(place) => heard[place] = new,
            None if has_room => heard.push(new),
            None => {}
        }
        self.count.store(heard.len(), Relaxed);
        has_room
    }

    /// Whether an answer knows of all of them.
    pub(super) fn admit(&self, record: &KeyRecord) -> bool {
        if self.count.load(Relaxed) == 0 {
            return true;
        }
        let now = Instant::now();
        self.heard.lock().iter().all(|heard| heard.until <= now || !heard.watermark.ends(record))
    }

    /// Whether an answer of the authority, which was asked at this moment, knows of all of them that were
    /// written.
    pub(super) fn settle(&self, record: &KeyRecord, asked_at: Instant) -> bool {
        if self.count.load(Relaxed) == 0 {
            return true;
        }
        let mut heard = self.heard.lock();
        // One that was asked before it heard of a watermark says nothing about that.
        heard.retain(|heard| {
            heard.is_certain || asked_at < heard.raised_at || !heard.watermark.ends(record)
        });
        self.count.store(heard.len(), Relaxed);
        drop(heard);
        self.admit(record)
    }

    /// Whether one that covers this key was heard since then.
    pub(super) fn was_raised_since(&self, record: &KeyRecord, then: Instant) -> bool {
        let heard = self.heard.lock();
        heard.iter().any(|heard| then <= heard.raised_at && heard.watermark.ends(record))
    }

    /// None of them counts any more.
    pub(super) fn clear(&self) {
        self.heard.lock().clear();
        self.count.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        key::{KeyDigest, KeyId},
    };

    const LASTS: Duration = Duration::from_secs(90);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    fn of(owner: Option<&str>, before: i64) -> Watermark {
        Watermark { owner: owner.map(Into::into), ..Watermark::new(at(before)) }
    }

    fn record(owner: Option<&str>, created_at: i64) -> KeyRecord {
        let (id, digest) = (KeyId::from_bytes([1; 16]), KeyDigest::from_bytes([1; 32]));
        let record = KeyRecord::new(id, digest, "a key", at(created_at));
        KeyRecord { owner: owner.map(Into::into), ..record }
    }

    fn settle(heard: &HeardWatermarks, record: &KeyRecord) -> bool {
        heard.settle(record, Instant::now())
    }

    fn revoked(record: &KeyRecord, at_millis: i64) -> KeyRecord {
        let mut revoked = record.clone();
        revoked.details.revoked_at = Some(at(at_millis));
        revoked
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_cleared_counts_no_more() {
        let heard = HeardWatermarks::new(LASTS);
        assert!(heard.raise(&of(None, 10), true));
        assert!(!heard.admit(&record(None, 9)));
        heard.clear();
        assert!(heard.admit(&record(None, 9)) && settle(&heard, &record(None, 9)));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_must_know_of_them_for_their_time() {
        let heard = HeardWatermarks::new(LASTS);
        let anna = record(Some("anna"), 9);
        assert!(heard.admit(&anna) && settle(&heard, &anna));
        assert!(heard.raise(&of(Some("anna"), 10), true));
        assert!(!heard.admit(&anna) && !settle(&heard, &anna));
        assert!(heard.admit(&record(Some("anna"), 10)) && heard.admit(&record(None, 9)));
        assert!(heard.admit(&revoked(&anna, 10)) && settle(&heard, &revoked(&anna, 10)));

        tokio::time::advance(LASTS / 2).await;
        assert!(heard.raise(&of(Some("anna"), 10), false), "it was announced again");
        tokio::time::advance(LASTS / 2).await;
        assert!(!settle(&heard, &anna));
        tokio::time::advance(LASTS / 2).await;
        assert!(settle(&heard, &anna));
    }

    /// Of one that was only heard of, the authority's first answer tells whether there is such a thing; unless it
    /// was asked before.
    #[tokio::test(start_paused = true)]
    async fn the_authority_tells_of_what_was_only_heard() {
        let (live, other) = (record(None, 9), record(None, 8));
        let heard = HeardWatermarks::new(LASTS);
        let before = Instant::now();
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(heard.raise(&of(None, 10), false));
        assert!(!heard.admit(&live), "a replica is doubted");
        assert!(settle(&heard, &record(None, 10)), "of this key it says nothing");
        assert!(!heard.settle(&live, before), "it may have been written since");
        assert!(heard.was_raised_since(&live, before));
        assert!(!heard.was_raised_since(&record(None, 10), before), "of this key it says nothing");
        assert!(!heard.admit(&live));
        assert!(settle(&heard, &live), "it was made up");
        assert!(heard.admit(&other));

        assert!(heard.raise(&of(None, 10), true));
        assert!(heard.raise(&of(None, 10), false));
        assert!(!settle(&heard, &live), "it was written here, and is lost");
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_room_for_so_many() {
        let heard = HeardWatermarks::new(LASTS);
        for number in 0..MAX {
            assert!(heard.raise(&of(Some(&format!("owner {number}")), 10), false));
        }
        assert!(!heard.raise(&of(Some("another"), 10), false), "the caller must do something else");
        assert!(heard.raise(&of(Some("owner 7"), 10), false), "this is among them");
        assert!(heard.raise(&of(Some("another"), 10), true), "this one was written here");
        assert_eq!(heard.heard.lock().len(), MAX);
        tokio::time::advance(LASTS).await;
        assert!(heard.raise(&of(Some("another"), 10), false));
        assert_eq!(heard.heard.lock().len(), 1, "what is over makes way");
    }
}
