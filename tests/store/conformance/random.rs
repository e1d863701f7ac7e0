//! Records that no person thought of.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::{prelude::*, test_runner::TestRunner};
use tokio::{runtime::Handle, task::block_in_place};
use tower_api_key::store::KeyRepository;

use crate::random_records::any_record;

pub(crate) async fn random_records_read_back_equal(store: impl KeyRepository) {
    let fresh = AtomicU64::new(1);
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() };
    block_in_place(|| {
        let outcome = TestRunner::new(config).run(&any_record(), |mut record| {
            // A simpler counterexample must not fail merely because the first one is there.
            let empty = super::record(fresh.fetch_add(1, Ordering::Relaxed));
            (record.id, record.digest) = (empty.id, empty.digest);
            record.details.request = record.details.request.map(|_| empty.digest);
            let read = Handle::current().block_on(async {
                store.insert(&record).await.unwrap();
                store.get(record.id).await.unwrap().unwrap()
            });
            prop_assert_eq!(&*read, &record);
            Ok(())
        });
        outcome.unwrap();
    });
}
