//! The decision order, step by step, and that the earlier of two steps decides.

use std::net::{IpAddr, Ipv4Addr};

use http::{Request, header};
use tower_api_key::{
    ApiKeyLayer, KeyFormat, KeySource, RejectionKind, key::KeyRecord, store::StoreErrorKind,
};

use crate::{
    stores::TestStore,
    support::{
        KEY, OTHER_KEY, at, clock, get, record, record_with, request, request_to, send,
        send_waiting, with_key,
    },
};

/// A layer for which every step has something to decide.
fn strict(store: &TestStore) -> ApiKeyLayer {
    ApiKeyLayer::new(store.clone())
        .with_clock(clock())
        .with_bypass(|request| request.uri.path() == "/open")
        .require_secure_transport()
        .with_client_address(|request| request.extensions.get::<IpAddr>().copied())
}

/// A request over TLS with `key`.
fn secure(key: &str) -> Request<()> {
    request_to("https://api.test/", &[("x-api-key", key)])
}

/// A key with everything wrong that a record can say.
fn ruined(key: &str) -> KeyRecord {
    record_with(key, |record| {
        record.details.revoked_at = Some(at(-1));
        record.disabled = true;
        record.details.not_before = Some(at(1));
        record.expires_at = Some(at(-1));
        record.details.allowed_addresses = ["192.0.2.0/24".parse().unwrap()].into();
    })
}

#[test]
fn step_1_what_passes_by_is_judged_by_no_later_step() {
    let store = TestStore::new([record(KEY)]);
    // Plaintext, with malformed and ambiguous credentials.
    let short = [("x-api-key", "short"), ("x-api-key", "short")];
    let answer = send(&strict(&store), request_to("http://api.test/open", &short));
    assert_eq!(answer.outcome(), "anonymous");
    // Not even with a good key is there an identity: nobody looked.
    let answer = send(&strict(&store), request_to("https://api.test/open", &[("x-api-key", KEY)]));
    assert_eq!(answer.outcome(), "anonymous");
    assert_eq!(store.asked_now() + store.asked(), 0);
}

#[test]
fn step_2_transport_wins_over_extraction_and_parsing() {
    let store = TestStore::new([record(KEY)]);
    let plain = |headers: &[(&str, &str)]| request_to("http://api.test/", headers);
    for request in [
        plain(&[]),
        plain(&[("x-api-key", KEY)]),
        plain(&[("x-api-key", "malformed")]),
        plain(&[("x-api-key", KEY), ("authorization", "Bearer another")]),
        // A server that sees only the path cannot tell, and that is not secure.
        with_key(KEY),
    ] {
        assert_eq!(send(&strict(&store), request).outcome(), "insecure_transport");
    }
    assert_eq!(send(&strict(&store), secure(KEY)).outcome(), "admitted");
    assert_eq!(store.asked_now(), 1);
}

#[test]
fn step_2_transport_is_for_the_check_to_tell() {
    let layer =
        ApiKeyLayer::new(TestStore::new([record(KEY)])).with_secure_transport_check(|request| {
            request.headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https")
        });
    let over = |proto| request(&[("x-forwarded-proto", proto), ("x-api-key", KEY)]);
    assert_eq!(send(&layer, over("https")).outcome(), "admitted");
    assert_eq!(send(&layer, over("http")).outcome(), "insecure_transport");
}

#[test]
fn step_3_extraction_wins_over_parsing() {
    let store = TestStore::new([record(KEY)]);
    let both_malformed = [("x-api-key", "no"), ("authorization", "Bearer no")];
    let answer = send(&strict(&store), request_to("https://api.test/", &both_malformed));
    assert_eq!(answer.outcome(), "ambiguous_key");
    let answer = send(&strict(&store), request_to::<&str>("https://api.test/", &[]));
    assert_eq!(answer.outcome(), "missing_key");
    assert_eq!(store.asked_now() + store.asked(), 0);
}

#[test]
fn step_4_parsing_wins_over_the_lookup() {
    let too_long = "k".repeat(513);
    for malformed in ["", "too-short-a-key", "a key with spaces", "kéy-of-some-bytes", &too_long] {
        let store = TestStore::new([record(malformed)]);
        assert_eq!(send(&strict(&store), secure(malformed)).outcome(), "malformed_key");
        assert_eq!(store.asked_now() + store.asked(), 0, "{malformed:?}");
    }
    // The bounds themselves are fine.
    for bound in ["k".repeat(16), "k".repeat(512)] {
        let store = TestStore::new([record(&bound)]);
        assert_eq!(send(&strict(&store), secure(&bound)).outcome(), "admitted");
    }
}

#[test]
fn step_4_a_wrong_checksum_is_malformed_in_every_source() {
    let format = KeyFormat::new("acme").unwrap();
    let sources = [
        KeySource::x_api_key(),
        KeySource::bearer(),
        KeySource::query("key").unwrap(),
        KeySource::cookie("key").unwrap(),
    ];
    let layer =
        ApiKeyLayer::new(TestStore::new([])).with_formats([format.clone()]).with_sources(sources);
    let good = format.generate().unwrap().expose().to_owned();
    let wrong =
        format!("{}{}", &good[..good.len() - 1], if good.ends_with('x') { 'y' } else { 'x' });
    for (key, outcome) in [(good, "unknown_key"), (wrong, "malformed_key")] {
        for request in [
            with_key(&key),
            request(&[("authorization", format!("Bearer {key}"))]),
            get(&format!("/?key={key}")),
            request(&[("cookie", format!("key={key}"))]),
        ] {
            assert_eq!(send(&layer, request).outcome(), outcome);
        }
    }
}

#[tokio::test]
async fn step_6_find_is_asked_only_when_find_now_does_not_answer() {
    let now = TestStore::new([record(KEY)]);
    assert_eq!(send(&strict(&now), secure(KEY)).outcome(), "admitted");
    assert_eq!(send(&strict(&now), secure(OTHER_KEY)).outcome(), "unknown_key");
    assert_eq!((now.asked_now(), now.asked()), (2, 0));

    let later = TestStore::waiting([record(KEY)]);
    assert_eq!(send_waiting(&strict(&later), secure(KEY)).await.outcome(), "admitted");
    assert_eq!(send_waiting(&strict(&later), secure(OTHER_KEY)).await.outcome(), "unknown_key");
    assert_eq!((later.asked_now(), later.asked()), (2, 2));
}

#[tokio::test]
async fn step_6_a_store_that_cannot_tell_is_no_verdict_on_the_key() {
    let store = TestStore::failing(StoreErrorKind::Unavailable);
    let answer = send_waiting(&strict(&store), secure(KEY)).await;
    assert_eq!(answer.outcome(), "store_unavailable");
}

#[tokio::test]
async fn step_7_comparison_wins_over_status() {
    for store in [TestStore::new([ruined(KEY)]), TestStore::waiting([ruined(KEY)])] {
        let store = store.sloppy();
        let answer = send_waiting(&strict(&store), secure(OTHER_KEY)).await;
        assert_eq!(answer.outcome(), "unknown_key");
        assert_eq!(answer.rejection().key(), None, "whoever guesses learns no key's id");
    }
    // And a sloppy store lets nobody in with another's good key.
    let store = TestStore::new([record(KEY)]).sloppy();
    assert_eq!(send(&strict(&store), secure(OTHER_KEY)).outcome(), "unknown_key");
}

#[test]
fn step_7_a_deleted_key_is_unknown_whatever_the_store_says() {
    let deleted = record_with(KEY, |record| {
        record.details.deleted_at = Some(at(-1));
        record.details.revoked_at = Some(at(-1));
    });
    assert_eq!(send(&strict(&TestStore::new([deleted])), secure(KEY)).outcome(), "unknown_key");
}

#[tokio::test]
async fn step_8_the_gravest_status_wins_and_each_wins_over_the_address() {
    let mut record = ruined(KEY);
    let expect = async |record: &KeyRecord, code: &str, kind| {
        // The same answer whether or not the store had to be waited for.
        for store in [TestStore::new([record.clone()]), TestStore::waiting([record.clone()])] {
            let answer = send_waiting(&strict(&store), secure(KEY)).await;
            assert_eq!(answer.outcome(), code);
            assert_eq!(answer.rejection().kind(), kind);
            assert_eq!(answer.rejection().key(), Some(record.id));
        }
    };
    expect(&record, "revoked_key", RejectionKind::Revoked).await;
    record.details.revoked_at = None;
    expect(&record, "disabled_key", RejectionKind::Disabled).await;
    record.disabled = false;
    expect(&record, "not_yet_valid_key", RejectionKind::NotYetValid).await;
    record.details.not_before = None;
    expect(&record, "expired_key", RejectionKind::Expired).await;
    record.expires_at = None;
    expect(&record, "address_not_allowed", RejectionKind::AddressNotAllowed).await;
}

#[test]
fn step_8_times_are_exact_to_the_millisecond() {
    let clock = clock();
    let key = record_with(KEY, |record| {
        record.details.not_before = Some(at(100));
        record.expires_at = Some(at(200));
    });
    let layer = ApiKeyLayer::new(TestStore::new([key])).with_clock(clock.clone());
    for (millis, outcome) in [
        (99, "not_yet_valid_key"),
        (100, "admitted"),
        (199, "admitted"),
        (200, "expired_key"),
        // The clock was set back: time is read anew for every request.
        (150, "admitted"),
    ] {
        clock.set(at(millis));
        assert_eq!(send(&layer, with_key(KEY)).outcome(), outcome, "{millis} ms");
    }
}

#[test]
fn step_9_only_allowed_addresses_are_let_in() {
    let key = record_with(KEY, |record| {
        record.details.allowed_addresses =
            ["192.0.2.0/24", "2001:db8::/32"].map(|net| net.parse().unwrap()).into();
    });
    let store = TestStore::new([key]);
    let from = |address: Option<&str>| {
        let mut request = secure(KEY);
        if let Some(address) = address {
            request.extensions_mut().insert(address.parse::<IpAddr>().unwrap());
        }
        send(&strict(&store), request).outcome()
    };
    assert_eq!(from(Some("192.0.2.255")), "admitted");
    assert_eq!(from(Some("2001:db8::1")), "admitted");
    // How a dual-stack socket shows 192.0.2.1.
    assert_eq!(from(Some("::ffff:192.0.2.1")), "admitted");
    assert_eq!(from(Some("192.0.3.0")), "address_not_allowed");
    assert_eq!(from(Some("2001:db9::1")), "address_not_allowed");
    assert_eq!(from(None), "address_not_allowed");

    // Without a way to tell the address, no address is allowed.
    let layer = ApiKeyLayer::new(store);
    let mut request = with_key(KEY);
    request.extensions_mut().insert(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    assert_eq!(send(&layer, request).outcome(), "address_not_allowed");
}

#[test]
fn step_11_the_inner_service_sees_the_identity() {
    let key = record_with(KEY, |record| {
        record.owner = Some("user-1".into());
        record.expires_at = Some(at(1));
        record.details.metadata.insert("plan".into(), "pro".into());
    });
    let answer = send(&strict(&TestStore::new([key.clone()])), secure(KEY));
    let seen = answer.key();
    assert_eq!(seen.id(), key.id);
    assert_eq!(seen.name(), "key of the tests");
    assert_eq!(seen.owner().unwrap().as_str(), "user-1");
    assert_eq!(seen.expires_at(), Some(at(1)));
    assert_eq!(seen.metadata()["plan"], "pro");
    assert!(seen.scopes().is_empty());
    assert_eq!(**seen.record(), key);
}

#[test]
fn step_12_the_response_is_the_inner_services() {
    let answer = send(&strict(&TestStore::new([record(KEY)])), secure(KEY));
    assert_eq!(answer.response.status(), 200);
    assert_eq!(answer.response.body(), "inner");
    assert_eq!(answer.response.headers()[header::CACHE_CONTROL], "private");
}
