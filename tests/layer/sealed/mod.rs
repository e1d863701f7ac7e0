//! Sealed keys: a key that this service has not issued is refused by its last characters.

mod fleet;
mod forged;

use tower_api_key::{
    ApiKeyLayer, ConfigError, IssuerSecrets, KeyFormat, KeyHasher, KeyManager, KeySource, NewKey,
    Peppers, Precedence, RejectionKind,
    manage::RotationGrace,
    store::{KeyStore, MemoryStore},
};

use crate::{
    stores::TestStore,
    support::{record, request, send, with_key},
};

const SECRET: &[u8] = b"the issuer secret: thirty-two bytes or more";
const OTHER: &[u8] = b"another secret: thirty-two bytes or more, too";

fn plain() -> KeyFormat {
    KeyFormat::new("acme").unwrap()
}

/// Keys `acme_…`, stored as plain SHA-256.
fn sealed(secrets: IssuerSecrets) -> KeyFormat {
    plain().sealed(secrets, &KeyHasher::sha256()).unwrap()
}

fn sealed_only(secret: &[u8]) -> KeyFormat {
    sealed(IssuerSecrets::new(secret).unwrap()).sealed_only().unwrap()
}

fn generate(format: &KeyFormat) -> String {
    format.generate().unwrap().expose().to_owned()
}

/// The code of a denial, `admitted` otherwise.
fn outcome(layer: &ApiKeyLayer, key: &str) -> String {
    send(layer, with_key(key)).outcome()
}

#[test]
fn a_sealed_key_has_a_prefix_a_secret_and_a_seal() {
    let format = sealed_only(SECRET);
    let key = generate(&format);
    assert_eq!(key.len(), 60);
    let tail = key.strip_prefix("acme_").unwrap();
    assert!(tail.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{key}");
    assert_eq!(format.start(&key), &key[..9]);
    let longer = KeyFormat::new("acme_1").unwrap();
    let secrets = IssuerSecrets::new(SECRET).unwrap();
    let longer = longer.sealed(secrets, &KeyHasher::sha256()).unwrap();
    assert_eq!(generate(&longer).len(), "acme_1_".len() + 43 + 12);
    // Another secret makes another seal, and so does another prefix.
    assert!(!sealed_only(OTHER).recognizes(&key));
    assert!(!longer.recognizes(&key.replacen("acme", "acme_1", 1)));
}

#[tokio::test]
async fn a_manager_issues_sealed_keys_and_rotates_into_them() {
    let manager = KeyManager::new(MemoryStore::new()).with_format(plain());
    let before = manager.create(NewKey::named("before")).await.unwrap();
    let secrets = IssuerSecrets::new(SECRET).unwrap();
    let manager = manager.with_format(sealed(secrets));
    let after = manager.create(NewKey::named("after")).await.unwrap();
    let key = after.secret.expose();
    assert_eq!((key.len(), &*after.record.start), (60, &key[..9]));
    let layer = manager.layer();
    assert_eq!(outcome(&layer, key), "admitted");
    // Issued before there was a seal.
    assert_eq!(outcome(&layer, before.secret.expose()), "admitted");
    let rotated = manager.rotate(before.record.id, RotationGrace::NONE).await.unwrap();
    assert_eq!(rotated.secret.expose().len(), 60);

    let strict = manager.with_format(sealed_only(SECRET)).layer();
    for sealed in [key, rotated.secret.expose()] {
        assert_eq!(outcome(&strict, sealed), "admitted");
    }
}

/// Until `sealed_only`, keys with a checksum are looked up as they were.
#[test]
fn unsealed_keys_of_the_prefix_are_accepted_until_they_are_not() {
    let (known, guess) = (generate(&plain()), generate(&plain()));
    let over = |store: &TestStore, format| ApiKeyLayer::new(store.clone()).with_formats([format]);
    let store = TestStore::new([record(&known)]);
    let both = over(&store, sealed(IssuerSecrets::new(SECRET).unwrap()));
    assert_eq!(outcome(&both, &known), "admitted");
    assert_eq!(outcome(&both, &guess), "unknown_key");
    assert_eq!(store.asked_now(), 2);

    let store = TestStore::new([record(&known)]);
    let strict = over(&store, sealed_only(SECRET));
    for unsealed in [known, guess] {
        assert_eq!(outcome(&strict, &unsealed), "malformed_key");
    }
    assert_eq!((store.asked_now(), store.asked()), (0, 0));
}

/// Formats with other prefixes, and opaque keys, go on beside it; a forged key is none of theirs.
#[test]
fn several_formats_stand_beside_each_other() {
    let shop = KeyFormat::new("shop").unwrap();
    let opaque = "a-key-from-another-system";
    let keys = [generate(&sealed_only(SECRET)), generate(&shop), opaque.to_owned()];
    let forged = generate(&sealed_only(OTHER));
    let records = keys.iter().chain([&forged]).map(|key| record(key));
    let store = TestStore::new(records);
    let formats = [KeyFormat::opaque(), shop, sealed_only(SECRET)];
    for formats in [formats.clone(), {
        let [a, b, c] = formats;
        [c, b, a]
    }] {
        let layer = ApiKeyLayer::new(store.clone()).with_formats(formats);
        for key in &keys {
            assert_eq!(outcome(&layer, key), "admitted", "{key}");
        }
        assert_eq!(outcome(&layer, &forged), "malformed_key");
    }
}

/// A key of ours is hidden in either form, and a text that we have not issued is not touched.
#[test]
fn hiding_goes_by_the_shape() {
    let format = sealed_only(SECRET);
    let [judged, other] = [generate(&format), generate(&format)];
    let unsealed = generate(&plain());
    let foreign = generate(&sealed_only(OTHER));
    let layer = ApiKeyLayer::new(TestStore::new([record(&judged)]))
        .with_sources([KeySource::x_api_key(), KeySource::bearer()])
        .with_precedence(Precedence::FirstSource)
        .with_formats([format])
        .hide_credentials();
    // Of another length, it is no key of this format.
    let other_text = format!("{other}x");
    for (second, stays) in [
        (&judged, false),
        (&other, false),
        (&unsealed, false),
        (&foreign, false),
        (&other_text, true),
    ] {
        let bearer = format!("Bearer {second}");
        let answer = send(&layer, request(&[("x-api-key", &judged), ("authorization", &bearer)]));
        let headers = &answer.seen().headers;
        assert!(!headers.contains_key("x-api-key"));
        assert_eq!(headers.contains_key("authorization"), stays, "{second}");
    }
}

#[test]
fn settings_that_cannot_be_used() {
    let secrets = || IssuerSecrets::new(SECRET).unwrap();
    let hasher = |pepper| KeyHasher::hmac_sha256(Peppers::new(pepper).unwrap());
    let other = || Peppers::new(OTHER).unwrap();
    let next = || IssuerSecrets::unsealed_with_next(SECRET).unwrap();
    let plain_hasher = KeyHasher::sha256();
    for (result, expected) in [
        (KeyFormat::opaque().sealed(secrets(), &plain_hasher), ConfigError::OpaqueSealed),
        (KeyFormat::opaque().sealed_only(), ConfigError::NotSealed),
        (plain().sealed_only(), ConfigError::NotSealed),
        (sealed(next()).sealed_only(), ConfigError::NotSealed),
        (plain().sealed(secrets(), &hasher(SECRET)), ConfigError::SharedSecret),
        (plain().sealed(next(), &hasher(SECRET)), ConfigError::SharedSecret),
        (
            plain().sealed(secrets().with_retired(OTHER).unwrap(), &hasher(OTHER)),
            ConfigError::SharedSecret,
        ),
        (
            plain().sealed(secrets(), &KeyHasher::hmac_sha256(other().with_next(SECRET).unwrap())),
            ConfigError::SharedSecret,
        ),
        (
            plain()
                .sealed(secrets(), &KeyHasher::hmac_sha256(other().with_retired(SECRET).unwrap())),
            ConfigError::SharedSecret,
        ),
        (
            plain().sealed(secrets(), &KeyHasher::sha256_with_next(SECRET).unwrap()),
            ConfigError::SharedSecret,
        ),
    ] {
        assert_eq!(result.unwrap_err(), expected);
    }
    assert!(plain().sealed(secrets(), &hasher(OTHER)).is_ok());
    // Sealed anew, a format has the new secrets alone, and accepts both forms again.
    let again = sealed_only(OTHER).sealed(secrets(), &plain_hasher).unwrap();
    assert_eq!(again, sealed(secrets()));
    assert_ne!(again, sealed_only(SECRET));
    assert_ne!(again, sealed(next()));
    assert_ne!(again, plain());
}

/// A file holds the digest of a sealed key as of any other.
#[cfg(feature = "file")]
#[tokio::test]
async fn a_file_may_hold_sealed_keys() {
    let key = generate(&sealed_only(SECRET));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    let digest = KeyHasher::sha256().digest(&key).to_hex();
    let start = sealed_only(SECRET).start(&key).to_owned();
    let text = format!("[[keys]]\nname = \"sealed\"\nstart = \"{start}\"\ndigest = \"{digest}\"\n");
    std::fs::write(&path, text).unwrap();
    let store = tower_api_key::store::FileStore::open(&path).await.unwrap();
    let layer = ApiKeyLayer::new(store).with_formats([sealed_only(SECRET)]);
    assert_eq!(outcome(&layer, &key), "admitted");
    assert_eq!(outcome(&layer, &generate(&sealed_only(OTHER))), "malformed_key");
}

/// The seal says that the service issued the key, and nothing more: it must still be stored.
#[tokio::test]
async fn a_leaked_secret_opens_nothing() {
    let store = MemoryStore::new();
    let manager = KeyManager::new(store.clone()).with_format(sealed_only(SECRET));
    let forged = generate(&sealed_only(SECRET));
    let answer = send(&manager.layer(), with_key(&forged));
    assert_eq!(answer.rejection().kind(), RejectionKind::Unknown);
    assert!(store.find(&KeyHasher::sha256().digest(&forged)).await.unwrap().is_none());
}

#[test]
fn the_longest_prefix_decides_whichever_comes_first() {
    let [short, long] = ["acme", "acme_live"].map(|prefix| KeyFormat::new(prefix).unwrap());
    let secrets = || IssuerSecrets::new(SECRET).unwrap();
    let sealed = long.clone().sealed(secrets(), &KeyHasher::sha256()).unwrap();
    let sealed = sealed.sealed_only().unwrap();
    let opaque = KeyFormat::opaque;
    for formats in [[&short, &long], [&long, &short], [&short, &sealed], [&sealed, &short]] {
        for key in formats.map(generate) {
            let layer = ApiKeyLayer::new(TestStore::new([record(&key)]));
            let layer = layer.with_formats(formats.into_iter().cloned().chain([opaque()]));
            assert_eq!(outcome(&layer, &key), "admitted", "{formats:?} {key}");
            // It is no opaque key.
            assert_eq!(
                outcome(&layer, &key[..key.len() - 1]),
                "malformed_key",
                "{formats:?} {key}"
            );
        }
    }
}

/// A bypassed request keeps no key that is good elsewhere, whichever secret it was sealed under.
#[test]
fn keys_under_any_secret_are_hidden_where_none_is_judged() {
    let layer = ApiKeyLayer::new(TestStore::new([]))
        .with_formats([sealed_only(SECRET)])
        .with_bypass(|_| true)
        .hide_credentials();
    let unsealed = generate(&plain());
    for key in [generate(&sealed_only(SECRET)), generate(&sealed_only(OTHER)), unsealed] {
        let answer = send(&layer, with_key(&key));
        assert!(!format!("{:?}", answer.seen().headers).contains(&key), "{key}");
    }
}

/// The hasher hashes what follows the number, so that is what the formats judge.
#[test]
fn a_number_in_front_takes_no_key_past_its_format() {
    let hasher = KeyHasher::sha256().with_numbered_keys();
    let [unsealed, foreign] = [generate(&plain()), generate(&sealed_only(OTHER))];
    let (good, opaque) = (generate(&sealed_only(SECRET)), "an-opaque-key-of-another-system");
    let stored = [unsealed.as_str(), &foreign, &good, opaque];
    let layer = ApiKeyLayer::new(TestStore::new(stored.map(record)))
        .with_formats([sealed_only(SECRET), KeyFormat::opaque()])
        .with_hasher(hasher);
    for (key, expected) in [
        (unsealed.as_str(), "malformed_key"),
        (&foreign, "malformed_key"),
        (&good, "admitted"),
        (opaque, "admitted"),
    ] {
        for sent in [key.to_owned(), format!("0|{key}"), format!("17|{key}")] {
            assert_eq!(outcome(&layer, &sent), expected, "{sent}");
        }
    }
}

/// Each digit of a seal that is a zero, replaced by what a careless reader takes for one.
#[test]
fn a_seal_has_no_other_spelling() {
    let format = sealed_only(SECRET);
    let key = std::iter::repeat_with(|| generate(&format));
    let key = key.take(10_000).find(|key| key[key.len() - 12..].contains('0')).unwrap();
    let (text, seal) = key.split_at(key.len() - 12);
    for other in ['!', '_', '-', '|', '\u{7f}', ' '] {
        let spelled = format!("{text}{}", seal.replacen('0', &other.to_string(), 1));
        assert!(!format.recognizes(&spelled), "{spelled}");
    }
}

/// As many secrets as a fleet has: each of them counts, whatever its place.
#[test]
fn every_secret_of_several_is_tried() {
    let secret = |number: u8| [number; 32];
    let mut secrets = IssuerSecrets::new(&secret(0)).unwrap().with_next(&secret(1)).unwrap();
    for number in 2..6 {
        secrets = secrets.with_retired(&secret(number)).unwrap();
    }
    let format = sealed(secrets).sealed_only().unwrap();
    for number in 0..7 {
        let key = generate(&sealed_only(&secret(number)));
        assert_eq!(format.recognizes(&key), number < 6, "{number}");
    }
}
