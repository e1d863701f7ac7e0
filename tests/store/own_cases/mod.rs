//! The conformance of our stores: the cases that every store is held to, and what ours say of themselves.
//!
//! A store takes part with one line, which names it and says how to make an empty one, as
//! [`store_conformance!`](tower_api_key::testing::store_conformance) takes it. `without_events` after
//! that is for a store that keeps no audit log.

mod abilities;
pub(crate) mod capabilities;

/// Makes a test of every case, in a module with the name of the store.
macro_rules! conformance {
    ($store:ident, $open:expr $(, $without:ident)?) => {
        mod $store {
            #[allow(unused_imports, reason = "what `open` needs differs from store to store")]
            use super::*;

            tower_api_key::testing::store_conformance! { $open }

            #[tokio::test]
            async fn abilities_are_those_of_the_table() {
                let opened: Option<_> = $open.await.into();
                let Some((store, _guard)) = opened else { return };
                let keeps_events = stringify!($($without)?).is_empty();
                crate::own_cases::capabilities::are_those_of_the_table(store, keeps_events).await;
            }
        }
    };
}
