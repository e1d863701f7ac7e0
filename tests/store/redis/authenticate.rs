//! From a hash to a request that is let in.

use serde_json::json;
use tower_api_key::{ApiKeyLayer, KeyManager, NewKey, RejectionKind};

use super::{Prefix, run};
use crate::support::ask;

#[tokio::test]
async fn a_key_from_its_creation_to_its_deletion() {
    let Some(prefix) = Prefix::new() else { return };
    let manager = KeyManager::new(prefix.open().await);
    let layer = manager.layer();
    let issued = manager.create(NewKey::named("shop")).await.unwrap();
    let (key, id) = (issued.secret.expose(), issued.record.id);
    assert_eq!(ask(&layer, key).await.unwrap(), id);

    manager.revoke(id, Some("laptop stolen")).await.unwrap();
    assert_eq!(ask(&layer, key).await.unwrap_err().kind(), RejectionKind::Revoked);
    manager.delete(id).await.unwrap();
    assert_eq!(ask(&layer, key).await.unwrap_err().kind(), RejectionKind::Unknown);
}

/// The least that another program has to write to move its keys here: `sha256(key)`, in hex.
#[tokio::test]
async fn rows_of_other_systems_work() {
    let key = "Vd3-kq_0mZ1xYtR7bW5sLhJ9cE2uG8oPnA4iQfT6vXy";
    let hex = "9455997ff03c35be3299e42e402b82da9d6575b5c3ee5880fa646ed4e2c4149a";
    let id = "0190163d-8694-739a-aea5-966c26f8ad91";
    let row = json!({
        "created_at": 0, "id": id, "digest": hex, "name": "partner", "start": "", "scopes": [],
        "metadata": {}, "allowed_addresses": [], "disabled": false, "updated_at": 0,
        "revision": "0",
    });

    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    let mut other = prefix.connect();
    let _: () = run(&mut other, &["HSET", &prefix.key("keys"), id, &row.to_string()]);
    let _: () = run(&mut other, &["HSET", &prefix.key("digests"), hex, id]);
    let _: () = run(&mut other, &["ZADD", &prefix.key("ids"), "0", id]);
    let _: () = run(&mut other, &["HINCRBY", &prefix.key("schema"), "keys", "1"]);

    let layer = ApiKeyLayer::new(store.clone());
    assert_eq!(ask(&layer, key).await.unwrap().to_string(), id);
    let unknown = ask(&layer, &key.replace('V', "v")).await;
    assert_eq!(unknown.unwrap_err().kind(), RejectionKind::Unknown);
    KeyManager::new(store).revoke(id.parse().unwrap(), None).await.unwrap();
    assert_eq!(ask(&layer, key).await.unwrap_err().kind(), RejectionKind::Revoked);
}
