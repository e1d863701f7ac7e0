//! A walk over pages meets each key once, from whatever cursor.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use super::choices::Choices;
use crate::{
    clock::Timestamp,
    key::{EventId, KeyDigest, KeyId, KeyRecord},
    store::{Changes, KeyPage, KeyQuery, KeyRepository, MemoryStore},
};

const OWNERS: [&str; 3] = ["", "one", "two"];

/// The pages are the whole list, in its order; a cursor that is none of a page begins behind it.
pub fn cursors(input: &[u8]) {
    let mut choices = Choices::new(input);
    let store = MemoryStore::new();
    let now = Timestamp::UNIX_EPOCH;
    let mut records: Vec<KeyRecord> = Vec::new();
    for number in 0..choices.below(24) {
        // Small differences, so that ids share their beginnings.
        let id = KeyId::from_bytes(choices.array::<2>().repeat(8).try_into().unwrap());
        if records.iter().any(|record| record.id == id) {
            continue;
        }
        let mut digest = [0; 32];
        digest[0] = u8::try_from(number).unwrap();
        let mut record = KeyRecord::new(id, KeyDigest::from_bytes(digest), "a key", now);
        record.owner =
            Some(*choices.pick(&OWNERS)).filter(|owner| !owner.is_empty()).map(Into::into);
        record.details.deleted_at = (choices.below(8) == 0).then_some(now);
        records.push(record);
    }
    done(store.apply(&Changes::default().with_inserts(records.clone()))).unwrap();
    let owner = *choices.pick(&OWNERS);
    let limit = 1 + choices.below(8);
    let page = |after: Option<KeyId>| -> KeyPage {
        let mut query = KeyQuery::new(limit);
        query.after = after;
        let query = if owner.is_empty() { query } else { query.with_owner(owner) };
        done(store.list(&query)).unwrap()
    };
    let is_listed = |record: &&KeyRecord| {
        !record.is_deleted()
            && (owner.is_empty() || record.owner.as_ref().is_some_and(|own| own.as_str() == owner))
    };
    let mut listed: Vec<_> = records.iter().filter(is_listed).map(|record| record.id).collect();
    listed.sort_by(|a, b| b.cmp(a));

    let text = choices.text(60);
    let cursor: Option<KeyId> = match text.parse() {
        Ok(id) => Some(id),
        Err(_) if choices.is() => Some(KeyId::from_bytes(choices.array())),
        Err(_) => None,
    };
    assert_eq!(text.parse::<KeyId>().is_ok(), text.parse::<EventId>().is_ok());
    let behind = listed.iter().filter(|id| cursor.is_none_or(|cursor| **id < cursor));
    let expected: Vec<_> = behind.copied().collect();
    let (mut met, mut after) = (Vec::new(), cursor);
    loop {
        let found = page(after);
        assert!(found.items.len() <= limit);
        met.extend(found.items.iter().map(|record| record.id));
        assert_eq!(found.next.is_some(), met.len() < expected.len());
        let Some(next) = found.next else { break };
        assert_eq!(found.items.last().map(|record| record.id), Some(next));
        // As it goes through a client.
        let text = next.to_string();
        assert_eq!((text.parse::<KeyId>().ok(), text.len()), (Some(next), 36));
        after = Some(next);
    }
    assert_eq!(met, expected);
}

/// The output of a future that never waits.
fn done<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a store in memory does not wait"),
    }
}
