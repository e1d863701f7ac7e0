//! From a row to a request that is let in.

use tower_api_key::{ApiKeyLayer, KeyManager, NewKey, RejectionKind};

use super::{File, run};
use crate::support::ask;

/// Keys that another system made: `secrets.token_urlsafe(32)` in Python, of which it keeps
/// `sha256(key).hexdigest()`.
#[tokio::test]
async fn rows_of_other_systems_work_as_they_are() {
    let key = "Vd3-kq_0mZ1xYtR7bW5sLhJ9cE2uG8oPnA4iQfT6vXy";
    let hex = "9455997ff03c35be3299e42e402b82da9d6575b5c3ee5880fa646ed4e2c4149a";
    assert_eq!(key.len(), 43);

    let file = File::new();
    let store = file.open().await;
    let mut connection = file.connect().await;
    run(
        &mut connection,
        &format!(
            "INSERT INTO api_keys (id, digest, name, created_at, updated_at)
             VALUES (x'0190163d8694739aaea5966c26f8ad91', x'{hex}', 'partner', 0, 0)"
        ),
    )
    .await;

    let layer = ApiKeyLayer::new(store);
    let id = ask(&layer, key).await.unwrap();
    assert_eq!(id.to_string(), "0190163d-8694-739a-aea5-966c26f8ad91");
    let other = ask(&layer, &key.replace('V', "v")).await;
    assert_eq!(other.unwrap_err().kind(), RejectionKind::Unknown);
}

#[tokio::test]
async fn a_key_from_its_creation_to_its_deletion() {
    let file = File::new();
    let manager = KeyManager::new(file.open().await);
    let layer = manager.layer();
    let issued = manager.create(NewKey::named("shop")).await.unwrap();
    let (key, id) = (issued.secret.expose(), issued.record.id);
    assert_eq!(ask(&layer, key).await.unwrap(), id);

    manager.revoke(id, Some("laptop stolen")).await.unwrap();
    assert_eq!(ask(&layer, key).await.unwrap_err().kind(), RejectionKind::Revoked);
    manager.delete(id).await.unwrap();
    assert_eq!(ask(&layer, key).await.unwrap_err().kind(), RejectionKind::Unknown);
}
