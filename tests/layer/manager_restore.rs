//! Writing exported keys back, and keys with the number of their row before them.

use tower_api_key::{
    ApiKeyLayer, KeyFormat, KeyHasher, KeyId, KeyManager, NewKey, Peppers,
    credits::Balance,
    key::{KeyAction, KeyDigest, KeyRecord, LegacyHash},
    manage::{ImportKey, RestoreKey},
    store::{BalanceStore, MemoryStore},
};

use crate::{
    managed::{Managed, scopes, why},
    support::{at, send, with_key},
};

fn record(number: u8) -> KeyRecord {
    let digest = KeyDigest::from_bytes([number; 32]);
    let mut record = KeyRecord::new(KeyId::from_bytes([number; 16]), digest, "restored", at(-9));
    record.use_count = 7;
    record.revision = 3;
    record
}

#[tokio::test]
async fn a_key_comes_back_as_it_was() {
    let managed = Managed::new();
    let mut ended = record(1);
    ended.details.revoked_at = Some(at(-5));
    ended.details.revoked_reason = Some("lost".into());
    // What older rules let in, and today's do not.
    (ended.details.not_before, ended.expires_at) = (Some(at(2)), Some(at(1)));
    ended.updated_at = at(-5);
    let mut slow = record(2);
    slow.details.legacy_hash = Some(LegacyHash::new("$2b$12$abc"));
    let keys = [RestoreKey::new(ended.clone()), RestoreKey::new(slow.clone())];
    let report = managed.manager.restore(&keys).await.unwrap();
    assert_eq!((report.imported, report.duplicates), (vec![ended.id, slow.id], vec![]));
    assert_eq!(*managed.row(ended.id).await, ended);
    // Nobody can say that a digest belongs to a slow hash, so it is made from that.
    let hash = LegacyHash::new("$2b$12$abc");
    slow.digest = ImportKey::from_legacy_hash(hash, "", NewKey::default()).digest;
    assert_eq!(*managed.row(slow.id).await, slow);
    let heard = managed.heard();
    assert!(heard.iter().all(|event| event.action == KeyAction::Imported));
    assert_eq!(heard.len(), 2);

    let again = managed.manager.restore(&keys).await.unwrap();
    assert_eq!((again.imported, again.duplicates), (vec![], vec![0, 1]));
    assert_eq!(managed.heard(), []);
    assert_eq!(managed.manager.restore(&[]).await.unwrap().imported, []);
}

/// Keys of a lineage do not get a balance each, and what was spent meanwhile does not come back.
#[tokio::test]
async fn a_line_has_one_balance() {
    let managed = Managed::new();
    let key = |number: u8| {
        let mut key = RestoreKey::new(record(number));
        key.record.details.credits = Some(4);
        key.record.details.rotation.lineage = Some(KeyId::from_bytes([1; 16]));
        let mut balance = Balance::new(10, None, at(-9));
        balance.epoch = 4;
        key.balance = Some(balance);
        key
    };
    let lineage = KeyId::from_bytes([1; 16]);
    managed.manager.restore(&[key(1), key(2)]).await.unwrap();
    let balance = managed.store.balances(&[lineage]).await.unwrap().items.pop().unwrap().1;
    assert_eq!((balance.remaining, balance.epoch, balance.since), (10, 4, at(-9)));
    managed.manager.top_up(lineage, 5).await.unwrap();
    let report = managed.manager.restore(&[key(1), key(3), key(2)]).await.unwrap();
    assert_eq!((report.imported, report.duplicates), (vec![key(3).record.id], vec![0, 2]));
    for number in 1..=3 {
        let id = key(number).record.id;
        assert_eq!(managed.manager.balance(id).await.unwrap().unwrap().remaining, 15);
    }

    // A key that spends credits without a balance spends none, rather than as many as it likes.
    let mut lost = RestoreKey::new(record(9));
    lost.record.details.credits = Some(0);
    managed.manager.restore(std::slice::from_ref(&lost)).await.unwrap();
    assert_eq!(managed.row(lost.record.id).await.details.credits, Some(0));
}

#[tokio::test]
async fn one_that_is_invalid_keeps_all_out() {
    let managed = Managed::new();
    let with = |change: &dyn Fn(&mut RestoreKey)| {
        let mut key = RestoreKey::new(record(9));
        change(&mut key);
        key
    };
    let whose = managed.manager.for_owner("user-1").within_scopes(scopes(&["a"]));
    for (manager, bad, expected) in [
        (&managed.manager, with(&|key| key.record.name = "".into()), "invalid name"),
        (&managed.manager, with(&|key| key.record.start = "s p".into()), "invalid start"),
        (
            &managed.manager,
            with(&|key| key.record.details.revoked_reason = Some("r".repeat(1001).into())),
            "invalid revoked_reason",
        ),
        (
            &managed.manager,
            with(&|key| {
                let mut balance = Balance::new(0, None, at(0));
                balance.remaining = u64::MAX;
                key.balance = Some(balance);
            }),
            "invalid credits",
        ),
        (&whose, with(&|_| ()), "invalid owner"),
        (&whose, with(&|key| key.record.owner = Some("user-2".into())), "invalid owner"),
        (
            &whose,
            with(&|key| {
                key.record.owner = Some("user-1".into());
                key.record.scopes = scopes(&["b"]);
            }),
            "beyond ceiling",
        ),
    ] {
        let mut good = RestoreKey::new(record(1));
        good.record.owner = Some("user-1".into());
        assert_eq!(why(manager.restore(&[good, bad]).await), expected);
        assert!(managed.rows().await.is_empty(), "{expected}");
    }
}

#[tokio::test]
async fn an_imported_key_is_found_again() {
    let managed = Managed::new();
    let manager = &managed.manager;
    let named = |request: &str| NewKey {
        request_id: Some(request.to_owned()),
        owner: Some("user-1".into()),
        ..NewKey::named("a")
    };
    let key = ImportKey::from_digest(KeyDigest::from_bytes([1; 32]), named("one"));
    let slow = ImportKey::from_legacy_hash(LegacyHash::new("$2b$12$abc"), "abcd", named("two"));
    assert_eq!(manager.find_imported(&key).await.unwrap(), None);
    let ids = manager.import(&[key.clone(), slow.clone()]).await.unwrap().imported;
    assert_eq!(manager.find_imported(&key).await.unwrap().unwrap().id, ids[0]);
    assert_eq!(manager.find_imported(&slow).await.unwrap().unwrap().id, ids[1]);
    // The digest is another since its first use, and the request stays.
    let other = ImportKey::from_digest(KeyDigest::from_bytes([3; 32]), named("two"));
    assert_eq!(manager.find_imported(&other).await.unwrap().unwrap().id, ids[1]);
    assert_eq!(manager.for_owner("user-2").find_imported(&key).await.unwrap(), None);
    manager.delete(ids[0]).await.unwrap();
    assert_eq!(manager.find_imported(&key).await.unwrap(), None);
}

/// Laravel Sanctum gives out `17|secret` and stores the SHA-256 of the secret.
#[tokio::test]
async fn a_key_with_the_number_of_its_row() {
    const SECRET: &str = "qTzJ2b0XQxCs8nB6mKfW3vLpRyHd4EgUaN1oZi5t";
    let store = MemoryStore::new();
    let hasher = KeyHasher::sha256().with_numbered_keys();
    let own = KeyFormat::new("shop").unwrap();
    let manager = KeyManager::new(store.clone()).with_format(own.clone()).with_hasher(hasher);
    let digest = KeyHasher::sha256().digest(SECRET);
    let import = ImportKey::from_digest(digest, NewKey::named("phone"));
    let id = manager.import(&[import]).await.unwrap().imported[0];
    let issued = manager.create(NewKey::named("issued here")).await.unwrap();

    let layer = manager.layer().with_formats([own.clone(), KeyFormat::opaque()]);
    for key in [format!("17|{SECRET}"), SECRET.to_owned()] {
        assert_eq!(send(&layer, with_key(&key)).key().id(), id, "{key}");
    }
    assert_eq!(send(&layer, with_key(issued.secret.expose())).key().id(), issued.record.id);
    for (key, expected) in [
        (format!("17|{}u", &SECRET[..39]), "unknown_key"),
        (format!("x17|{SECRET}"), "unknown_key"),
        (format!("17|17|{SECRET}"), "unknown_key"),
        (format!("17|{}", &SECRET[..12]), "malformed_key"),
        (format!("17| {SECRET}"), "malformed_key"),
    ] {
        assert_eq!(send(&layer, with_key(&key)).outcome(), expected, "{key}");
    }
    // Only where it is asked for.
    let plain = ApiKeyLayer::new(store.clone());
    assert_eq!(send(&plain, with_key(&format!("17|{SECRET}"))).outcome(), "unknown_key");
    let strict = manager.layer().with_formats([own]);
    assert_eq!(send(&strict, with_key(&format!("17|{SECRET}"))).outcome(), "malformed_key");

    // Under a retired pepper as well.
    let old = KeyHasher::hmac_sha256(Peppers::new(&[1; 32]).unwrap());
    let peppered = ImportKey::from_digest(old.digest(SECRET), NewKey::named("peppered"));
    let id = manager.import(&[peppered]).await.unwrap().imported[0];
    let peppers = Peppers::new(&[2; 32]).unwrap().with_retired(&[1; 32]).unwrap();
    let hasher = KeyHasher::hmac_sha256(peppers).with_numbered_keys();
    let layer = ApiKeyLayer::new(store).with_hasher(hasher);
    assert_eq!(send(&layer, with_key(&format!("17|{SECRET}"))).key().id(), id);
}
