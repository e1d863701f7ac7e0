//! Importing the keys of another system.

use tower_api_key::{
    ApiKeyLayer, KeyHasher, KeySource, NewKey,
    key::{KeyAction, KeyDigest, LegacyHash},
    manage::ImportKey,
    store::{KeyQuery, KeyStore, Lookup},
};

use crate::{
    managed::{Managed, scopes, why},
    support::{KEY, OTHER_KEY, at, get, send, with_key},
};

fn digest_of(key: &str) -> KeyDigest {
    KeyHasher::sha256().digest(key)
}

fn key(n: u8) -> ImportKey {
    ImportKey::from_digest(KeyDigest::from_bytes([n; 32]), NewKey::named(format!("key {n}")))
}

#[tokio::test]
async fn every_field_is_kept_and_the_key_works() {
    let managed = Managed::new();
    managed.set(at(100));
    let mut new = NewKey {
        description: Some("from elsewhere".into()),
        owner: Some("user-1".into()),
        scopes: scopes(&["orders:read"]),
        tier: Some("gold".into()),
        allowed_addresses: vec!["192.0.2.0/24".parse().unwrap()],
        not_before: Some(at(10)),
        expires_at: Some(at(1000)),
        ..NewKey::named("imported")
    };
    new.metadata.insert("team".into(), "blue".into());
    let mut import = ImportKey::from_digest(digest_of(KEY), new.clone());
    import.start = "firs".into();
    import.disabled = true;
    import.created_at = Some(at(-50));
    import.last_used_at = Some(at(-5));
    let plain = ImportKey::from_digest(digest_of(OTHER_KEY), NewKey::named("plain"));
    let report = managed.manager.import(&[import, plain]).await.unwrap();
    assert!(report.duplicates.is_empty());

    let row = managed.row(report.imported[0]).await;
    assert_eq!((row.digest, &*row.start, &*row.name), (digest_of(KEY), "firs", "imported"));
    assert_eq!((&row.owner, &row.scopes), (&new.owner, &new.scopes));
    assert_eq!((row.details.not_before, row.expires_at), (new.not_before, new.expires_at));
    assert_eq!((row.created_at, row.updated_at), (at(-50), at(100)));
    assert_eq!((row.last_used_at, row.use_count), (Some(at(-5)), 0));
    assert_eq!(row.revision, u64::try_from(at(100).as_unix_millis()).unwrap());
    assert!(row.disabled);
    assert_eq!(row.details.description.as_deref(), Some("from elsewhere"));
    assert_eq!(row.details.tier.as_deref(), Some("gold"));
    assert_eq!(row.details.metadata, new.metadata);
    assert_eq!(*row.details.allowed_addresses, *new.allowed_addresses);
    assert_eq!((&row.details.legacy_hash, row.details.request), (&None, None));

    let row = managed.row(report.imported[1]).await;
    assert_eq!((row.created_at, row.updated_at, row.last_used_at), (at(100), at(100), None));
    let layer = ApiKeyLayer::new(managed.store.clone());
    assert_eq!(send(&layer, with_key(KEY)).outcome(), "disabled_key");
    assert_eq!(send(&layer, with_key(OTHER_KEY)).key().id(), row.id);
}

#[tokio::test]
async fn one_that_is_invalid_keeps_all_out() {
    let managed = Managed::new();
    let with = |change: &dyn Fn(&mut ImportKey)| {
        let mut import = key(9);
        change(&mut import);
        import
    };
    for (bad, expected) in [
        (with(&|import| import.new.name.clear()), "invalid name"),
        (with(&|import| import.new.owner = Some("".into())), "invalid owner"),
        (with(&|import| import.start = "s".repeat(65).into()), "invalid start"),
        (with(&|import| import.start = "s\0".into()), "invalid start"),
        (with(&|import| import.new.request_id = Some(String::new())), "invalid request_id"),
        (with(&|import| import.legacy_hash = Some(LegacyHash::new(""))), "invalid legacy_hash"),
        (
            with(&|import| import.legacy_hash = Some(LegacyHash::new("a".repeat(256)))),
            "invalid legacy_hash",
        ),
        (
            with(&|import| import.legacy_hash = Some(LegacyHash::new("$2b$\0"))),
            "invalid legacy_hash",
        ),
        (
            with(&|import| {
                import.new.not_before = Some(at(2));
                import.new.expires_at = Some(at(1));
            }),
            "invalid expires_at",
        ),
    ] {
        assert_eq!(why(managed.manager.import(&[key(1), key(2), bad]).await), expected);
        assert!(managed.rows().await.is_empty(), "{expected}");
    }
    assert_eq!(managed.heard(), []);
    let longest = with(&|import| import.start = "s".repeat(64).into());
    assert_eq!(managed.manager.import(&[longest]).await.unwrap().imported.len(), 1);
}

#[tokio::test]
async fn what_is_there_already_is_named_by_its_place() {
    let managed = Managed::new();
    let manager = &managed.manager;
    assert_eq!(manager.import(&[]).await.unwrap(), tower_api_key::manage::ImportReport::default());
    let first = manager.import(&[key(1), key(3)]).await.unwrap();
    assert_eq!(first.imported.len(), 2);
    let before = managed.rows().await;
    managed.heard();

    // 3 is there, and 4 is given twice. The first of both is taken.
    let mut other_name = key(4);
    other_name.new.name = "the same digest".into();
    let again = [key(3), key(2), key(1), key(4), other_name, key(5)];
    let report = manager.import(&again).await.unwrap();
    assert_eq!(report.duplicates, [0, 2, 4]);
    assert_eq!(report.imported.len(), 3);
    let names: Vec<_> = [2, 4, 5].map(|n| format!("key {n}")).into();
    let mut imported = Vec::new();
    for id in &report.imported {
        imported.push(managed.row(*id).await.name.to_string());
    }
    assert_eq!(imported, names, "in the order in which they were given");
    let heard = managed.heard();
    assert!(heard.iter().all(|event| event.action == KeyAction::Imported));
    let told: Vec<_> = heard.iter().map(|event| event.key.unwrap()).collect();
    assert_eq!(told, report.imported);
    for record in before {
        assert_eq!(*managed.row(record.id).await, *record);
    }

    let before = managed.rows().await;
    let repeated = manager.import(&again).await.unwrap();
    assert_eq!((repeated.imported.len(), repeated.duplicates), (0, vec![0, 1, 2, 3, 4, 5]));
    assert_eq!(managed.rows().await, before);
    assert_eq!(managed.heard(), []);
}

#[tokio::test]
async fn a_deleted_key_does_not_come_back_by_import() {
    let managed = Managed::new();
    let id = managed.manager.import(&[key(1)]).await.unwrap().imported[0];
    managed.manager.delete(id).await.unwrap();
    assert_eq!(managed.manager.import(&[key(1)]).await.unwrap().duplicates, [0]);
}

const BCRYPT: &str = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW";

fn legacy(hash: &str) -> ImportKey {
    ImportKey::from_legacy_hash(LegacyHash::new(hash), "shop_Ab", NewKey::named("legacy"))
}

#[tokio::test]
async fn a_slow_hash_is_kept_with_a_digest_that_is_always_the_same() {
    let managed = Managed::new();
    let id = managed.manager.import(&[legacy(BCRYPT)]).await.unwrap().imported[0];
    let row = managed.row(id).await;
    assert_eq!(row.details.legacy_hash, Some(LegacyHash::new(BCRYPT)));
    assert_eq!(&*row.start, "shop_Ab");
    assert_eq!(row.digest, legacy(BCRYPT).digest);
    assert_eq!(managed.manager.import(&[legacy(BCRYPT)]).await.unwrap().duplicates, [0]);
    let other = legacy(&BCRYPT.replace("R9h", "R9i"));
    assert_ne!(other.digest, row.digest);
    assert_eq!(managed.manager.import(&[other]).await.unwrap().imported.len(), 1);

    // A digest that was given beside it is passed over: nobody checked that they belong together.
    let mut both = key(7);
    both.legacy_hash = Some(LegacyHash::new("$2b$12$other"));
    let id = managed.manager.import(&[both]).await.unwrap().imported[0];
    assert_eq!(managed.row(id).await.digest, legacy("$2b$12$other").digest);

    let mut query = KeyQuery::new(10);
    query.legacy = true;
    managed.manager.import(&[key(1)]).await.unwrap();
    assert_eq!(managed.manager.list(&query).await.unwrap().items.len(), 3);
}

/// The stand-in is a hash of something that is no key, and knowing the table is not enough.
#[tokio::test]
async fn neither_the_slow_hash_nor_its_digest_is_a_key() {
    let managed = Managed::new();
    let import = legacy(BCRYPT);
    managed.manager.import(std::slice::from_ref(&import)).await.unwrap();
    assert!(matches!(managed.store.find_now(&import.digest), Some(Lookup::Found(_))));
    let query = KeySource::query("api_key").unwrap();
    let layer = ApiKeyLayer::new(managed.store.clone())
        .with_sources([KeySource::header("x-api-key").unwrap(), query]);
    let hex = import.digest.to_hex();
    for guess in [BCRYPT, &hex, &hex.to_uppercase(), "shop_Ab", "tower-api-key legacy hash"] {
        let outcome = send(&layer, with_key(guess)).outcome();
        assert!(["unknown_key", "malformed_key"].contains(&&*outcome), "{guess}: {outcome}");
    }
    // What it is the SHA-256 of. A NUL is in no key, however it is written.
    let preimage = format!("tower-api-key%20legacy%20hash%00{}", BCRYPT.replace('/', "%2F"));
    let spaces = preimage.replace("%20", "+");
    for guess in [preimage, spaces] {
        let request = get(&format!("/?api_key={guess}"));
        assert_eq!(send(&layer, request).outcome(), "malformed_key");
    }
    // And that it is: otherwise the last lines would show nothing.
    let preimage = format!("tower-api-key legacy hash\0{BCRYPT}");
    assert_eq!(digest_of(&preimage), import.digest);
}
