//! The cursors of lists, while keys come and go.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::FutureExt;
use proptest::{collection::vec, prelude::*};
use tower_api_key::{
    KeyId,
    key::{KeyDigest, KeyRecord},
    store::{Changes, KeyQuery, KeyRepository, KeyUpdate, MemoryStore},
};

use crate::support::{NOW, at};

/// What happens to a list between two of its pages.
#[derive(Clone, Debug)]
enum Event {
    /// A key with an id of this time comes.
    Comes(i64),
    /// The key at this place, of those that there are, goes.
    Goes(prop::sample::Index),
    Purge,
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0_i64..100).prop_map(Event::Comes),
        4 => any::<prop::sample::Index>().prop_map(Event::Goes),
        1 => Just(Event::Purge),
    ]
}

/// A store and what is in it.
#[derive(Default)]
struct Shelf {
    store: MemoryStore,
    there: BTreeMap<KeyId, KeyRecord>,
    /// Keys that have been there all the time.
    steady: BTreeSet<KeyId>,
    count: u64,
}

impl Shelf {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Comes(millis) => {
                self.count += 1;
                let mut digest = [0; 32];
                digest[..8].copy_from_slice(&self.count.to_be_bytes());
                let id = KeyId::generate(at(*millis)).unwrap();
                let record = KeyRecord::new(id, KeyDigest::from_bytes(digest), "n", NOW);
                self.store.insert(&record).now_or_never().unwrap().unwrap();
                self.there.insert(id, record);
            }
            Event::Goes(index) if !self.there.is_empty() => {
                let id = *index.get(&self.there.keys().copied().collect::<Vec<_>>());
                let record = self.there.remove(&id).unwrap();
                let mut deleted = record.clone();
                deleted.details.deleted_at = Some(NOW);
                deleted.revision += 1;
                let update = KeyUpdate::new(&record, deleted);
                let changes = Changes::default().with_updates(vec![update]);
                self.store.apply(&changes).now_or_never().unwrap().unwrap();
                self.steady.remove(&id);
            }
            Event::Goes(_) => {}
            Event::Purge => {
                self.store.purge(at(1), None).now_or_never().unwrap().unwrap();
            }
        }
    }
}

proptest! {
    /// Whatever comes and goes meanwhile: no key twice, none that was there all the time not at
    /// all, none that was gone before its page, and always the youngest first.
    #[test]
    fn cursors_stay_right_while_keys_come_and_go(
        before in vec(any_event(), 0..40),
        meanwhile in vec(vec(any_event(), 0..4), 0..40),
        limit in 1_usize..6,
    ) {
        let mut shelf = Shelf::default();
        for event in &before {
            shelf.apply(event);
        }
        shelf.steady = shelf.there.keys().copied().collect();
        let (mut query, mut listed) = (KeyQuery::new(limit), Vec::new());
        let mut meanwhile = meanwhile.iter();
        loop {
            let page = shelf.store.list(&query).now_or_never().unwrap().unwrap();
            prop_assert!(page.items.len() <= limit);
            prop_assert!(page.next.is_none() || page.items.len() == limit);
            for item in &page.items {
                prop_assert!(shelf.there.contains_key(&item.id), "gone");
                listed.push(item.id);
            }
            let Some(next) = page.next else { break };
            query = query.after(next);
            for event in meanwhile.next().into_iter().flatten() {
                shelf.apply(event);
            }
        }
        prop_assert!(listed.is_sorted_by(|a, b| a > b), "twice, or out of order");
        let listed: BTreeSet<_> = listed.into_iter().collect();
        prop_assert!(listed.is_superset(&shelf.steady), "left out");
    }
}
