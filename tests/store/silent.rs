//! A server that accepts and says nothing costs few requests their time.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tower_api_key::{ApiKeyLayer, KeyManager, NewKey, RejectionKind, store::KeyRepository};

use crate::{proxy::Proxy, support::ask};

/// Longer than a server is waited for, as often as it is asked meanwhile, and far shorter than a
/// hundred requests would wait.
const A_FEW: Duration = Duration::from_secs(40);

/// A hundred requests with a good key of this store, which is behind this proxy, without a cache.
pub(crate) async fn lookups_do_not_wait(store: impl KeyRepository + Clone, proxy: &mut Proxy) {
    let layer = ApiKeyLayer::new(store.clone());
    let issued = KeyManager::new(store).create(NewKey::named("shop")).await.unwrap();
    let (key, id) = (issued.secret.expose(), issued.record.id);
    assert_eq!(ask(&layer, key).await.unwrap(), id);

    proxy.freeze();
    let all = async {
        for key in [key, "key_of_nobody_at_all_of_this_store"].repeat(50) {
            let rejection = ask(&layer, key).await.unwrap_err();
            assert_eq!(rejection.kind(), RejectionKind::Unavailable);
        }
    };
    timeout(A_FEW, all).await.unwrap();

    proxy.pass();
    let back = async {
        while let Err(rejection) = ask(&layer, key).await {
            assert_eq!(rejection.kind(), RejectionKind::Unavailable);
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(A_FEW, back).await.unwrap();
    for _ in 0..20 {
        assert_eq!(ask(&layer, key).await.unwrap(), id);
        let rejection = ask(&layer, "key_of_nobody_at_all_of_this_store").await.unwrap_err();
        assert_eq!(rejection.kind(), RejectionKind::Unknown);
    }
}
