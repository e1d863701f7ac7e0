use tokio::time::advance;

use super::*;
use crate::{
    clock::Timestamp,
    key::{KeyDigest, KeyId},
};

const LASTS: Duration = Duration::from_secs(90);
const AHEAD: u64 = 1_000;

fn digest(number: u32) -> KeyDigest {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    KeyDigest::from_bytes(bytes)
}

fn key(number: u32) -> MapDigest {
    MapDigest::from(&digest(number))
}

fn changed(number: u32, revision: u64, state: AnnouncedState) -> AnnouncedKey {
    AnnouncedKey::new(digest(number)).with_change(revision, state)
}

fn record(revision: u64) -> KeyRecord {
    let now = Timestamp::from_unix_millis(revision.try_into().unwrap());
    KeyRecord::new(KeyId::from_bytes([1; 16]), digest(1), "a key", now)
}

/// Whether the floor of key 1 admits the record at each of these revisions, and that there is none.
fn admits(floors: &Floors, revisions: [u64; 3]) -> ([bool; 3], bool) {
    (revisions.map(|at| floors.admit(key(1), Some(&record(at)))), floors.admit(key(1), None))
}

#[tokio::test(start_paused = true)]
async fn nothing_older_than_the_change_is_admitted() {
    for (state, may_be_gone) in [
        (AnnouncedState::Live, false),
        (AnnouncedState::Moved, true),
        (AnnouncedState::Revoked, true),
        (AnnouncedState::Disabled, true),
        (AnnouncedState::Expired, true),
        (AnnouncedState::Deleted, true),
        (AnnouncedState::Unsure, true),
    ] {
        let floors = Floors::new(LASTS);
        assert!(!floors.may_stand(key(1)));
        floors.raise(&[changed(1, 7, state)], AHEAD);
        assert_eq!(admits(&floors, [6, 7, 8]), ([false, true, true], may_be_gone), "{state:?}");
        assert!(floors.may_stand(key(1)) && !floors.may_stand(key(2)));
        assert!(floors.admit(key(2), Some(&record(0))) && floors.admit(key(2), None));
    }
}

/// A watermark revokes keys and gives them no new revision.
#[tokio::test(start_paused = true)]
async fn a_key_that_was_found_to_have_ended_has_ended_at_that_revision() {
    let mut revoked = record(7);
    revoked.details.revoked_at = Some(Timestamp::from_unix_millis(7));
    for before in [None, Some(6), Some(7)] {
        let floors = Floors::new(LASTS);
        if let Some(revision) = before {
            floors.raise(&[changed(1, revision, AnnouncedState::Live)], AHEAD);
        }
        floors.raise_end(key(1), 7, 0);
        // Whatever is announced afterwards of that revision.
        floors.raise(&[changed(1, 7, AnnouncedState::Live)], AHEAD);
        assert_eq!(admits(&floors, [6, 7, 8]), ([false, false, true], true), "{before:?}");
        assert!(floors.admit(key(1), Some(&revoked)));
        advance(LASTS).await;
        assert_eq!(admits(&floors, [6, 7, 8]), ([true, true, true], true));
    }
    // An older end takes nothing from what is newer.
    let floors = Floors::new(LASTS);
    floors.raise(&[changed(1, 8, AnnouncedState::Live)], AHEAD);
    floors.raise_end(key(1), 7, 0);
    assert_eq!(admits(&floors, [7, 8, 9]), ([false, true, true], false));
}

/// A lookup of a replica that began before a reset ends after it.
#[tokio::test(start_paused = true)]
async fn what_was_read_before_a_reset_raises_no_floor() {
    let floors = Floors::new(LASTS);
    let before = floors.resets();
    floors.clear();
    floors.raise_end(key(1), 7, before);
    floors.raise_read(&changed(1, 7, AnnouncedState::Revoked), before);
    assert_eq!(admits(&floors, [6, 7, 8]).0, [true, true, true]);
    floors.raise_end(key(1), 7, floors.resets());
    assert!(!admits(&floors, [6, 7, 8]).0[0]);
}

#[tokio::test(start_paused = true)]
async fn an_older_change_replaces_no_newer_one() {
    let floors = Floors::new(LASTS);
    floors.raise(&[changed(1, 7, AnnouncedState::Revoked)], AHEAD);
    for older in [6, 7] {
        floors.raise(&[changed(1, older, AnnouncedState::Live)], AHEAD);
        assert_eq!(admits(&floors, [6, 7, 8]), ([false, true, true], true));
    }
    floors.raise(&[changed(1, 8, AnnouncedState::Live)], AHEAD);
    assert_eq!(admits(&floors, [6, 7, 8]), ([false, false, true], false));
}

/// Only what says so, or time, tells that it is gone.
#[tokio::test(start_paused = true)]
async fn what_is_unsure_does_not_tell_that_a_live_key_is_gone() {
    use AnnouncedState::{Deleted, Live, Unsure};
    for (said, may_be_gone) in [
        (&[(7, Live), (8, Unsure)][..], false),
        (&[(8, Unsure), (7, Live)], true),
        (&[(8, Live), (8, Unsure)], false),
        (&[(8, Unsure), (8, Live)], false),
        (&[(6, Live), (7, Unsure), (8, Unsure), (8, Unsure)], false),
        (&[(7, Live), (8, Unsure), (8, Deleted)], true),
        (&[(6, Live), (7, Deleted), (8, Unsure)], true),
        (&[(7, Unsure), (8, Unsure)], true),
    ] {
        let floors = Floors::new(LASTS);
        for (revision, state) in said {
            floors.raise(&[changed(1, *revision, *state)], AHEAD);
        }
        assert_eq!(admits(&floors, [7, 8, 9]), ([false, true, true], may_be_gone), "{said:?}");
        advance(LASTS).await;
        floors.raise(&[changed(1, 8, Unsure)], AHEAD);
        assert_eq!(admits(&floors, [7, 8, 9]), ([false, true, true], true), "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_what_says_no_revision_or_one_of_the_future_the_authority_tells() {
    for said in [AnnouncedKey::new(digest(1)), changed(1, AHEAD + 1, AnnouncedState::Live)] {
        let floors = Floors::new(LASTS);
        floors.raise(&[said], AHEAD);
        assert!(floors.may_stand(key(1)) && !floors.may_stand(key(2)));
        assert_eq!(admits(&floors, [0, 7, AHEAD]), ([true, true, true], true));
        floors.raise(&[changed(1, AHEAD, AnnouncedState::Live)], AHEAD);
        assert_eq!(admits(&floors, [0, 7, AHEAD]), ([false, false, true], false));
        floors.raise(&[said], AHEAD);
        assert_eq!(admits(&floors, [0, 7, AHEAD]), ([false, false, true], false));
    }
}

#[tokio::test(start_paused = true)]
async fn where_any_key_may_have_changed_the_authority_tells() {
    let floors = Floors::new(LASTS);
    floors.raise_all(LASTS);
    assert!(floors.may_stand(key(1)) && floors.admit(key(1), None));
    advance(LASTS).await;
    assert!(!floors.may_stand(key(1)));
}

#[tokio::test(start_paused = true)]
async fn floors_may_last_for_ever() {
    for lasts in [Duration::MAX, Duration::from_millis(u64::MAX), Duration::from_millis(1 << 57)] {
        let floors = Floors::new(lasts);
        advance(Duration::from_millis(7)).await;
        floors.raise(&[changed(1, 7, AnnouncedState::Live)], AHEAD);
        advance(LASTS * 1_000_000).await;
        assert!(!floors.admit(key(1), None), "{lasts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_floor_lasts_its_time() {
    let floors = Floors::new(LASTS);
    floors.raise(&[changed(1, 7, AnnouncedState::Live)], AHEAD);
    advance(LASTS.saturating_sub(Duration::from_millis(1))).await;
    assert!(!floors.admit(key(1), None));
    advance(Duration::from_millis(1)).await;
    assert!(floors.admit(key(1), None) && !floors.may_stand(key(1)));
}

/// A change that did not raise the revision, as far as is known, was heard all the same.
#[tokio::test(start_paused = true)]
async fn each_announcement_lasts_its_time() {
    for waits in [LASTS / 2, LASTS * 2] {
        let floors = Floors::new(LASTS);
        floors.raise(&[changed(1, 7, AnnouncedState::Live)], AHEAD);
        advance(waits).await;
        floors.raise(&[changed(1, 7, AnnouncedState::Unsure)], AHEAD);
        let may_be_gone = waits > LASTS;
        assert_eq!(admits(&floors, [6, 7, 8]), ([false, true, true], may_be_gone));
        advance(LASTS.saturating_sub(Duration::from_millis(1))).await;
        assert!(floors.may_stand(key(1)), "after {waits:?}");
        advance(Duration::from_millis(1)).await;
        assert!(!floors.may_stand(key(1)));
    }
}

/// The older half makes way, and for as long as it would have been there every key may have a floor.
#[tokio::test(start_paused = true)]
async fn floors_that_find_no_room_leave_a_time_for_all() {
    let floors = Floors::with_max(LASTS, 8);
    let raise = |number| floors.raise(&[changed(number, 7, AnnouncedState::Live)], AHEAD);
    for number in 1..=7 {
        raise(number);
        advance(Duration::from_secs(1)).await;
    }
    assert!(!floors.may_stand(key(99)));
    raise(8);
    // Floors 1 to 5 were dropped, of which the last would have ended 90 seconds after it was raised.
    let held = (1..=8).filter(|number| !floors.admit(key(*number), None)).collect::<Vec<_>>();
    assert_eq!(held, [6, 7, 8]);
    assert!((1..=8).all(|number| floors.may_stand(key(number))) && floors.may_stand(key(99)));
    advance(Duration::from_millis(86_999)).await;
    assert!(floors.may_stand(key(99)));
    advance(Duration::from_millis(1)).await;
    assert!(!floors.may_stand(key(99)) && floors.may_stand(key(6)));
}

/// Time makes room before floors are given up.
#[tokio::test(start_paused = true)]
async fn floors_that_are_over_make_way_first() {
    let floors = Floors::new(LASTS);
    let all =
        |from: u32| (from..from + 60_000).map(|number| changed(number, 7, AnnouncedState::Live));
    for round in 0..5 {
        floors.raise(&all(round * 60_000).collect::<Vec<_>>(), AHEAD);
        assert!(!floors.may_stand(key(u32::MAX)), "no floor was given up in round {round}");
        advance(LASTS).await;
    }
    assert!(floors.table.lock().floors.len() <= MAX);
}

#[test]
fn a_floor_is_small() {
    assert_eq!(size_of::<(MapDigest, Floor)>(), 48);
    let mut full: DigestMap<Floor> = HashMap::with_hasher(DigestHash::default());
    full.reserve(MAX);
    assert_eq!(full.capacity(), MAX, "a map of this size is full with as many as it may have");
    // Seven of eight places are in use, and each has a byte beside it.
    assert_eq!((size_of::<(MapDigest, Floor)>() + 1) * 8 / 7, 56);
}
