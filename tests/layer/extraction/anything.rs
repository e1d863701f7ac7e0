//! Whatever a client sends is judged, and never a fault of the service.

use http::{HeaderValue, Request, Uri};
use proptest::{collection::vec, prelude::*};
use tower_api_key::{ApiKeyLayer, KeySource};

use crate::{
    stores::TestStore,
    support::{KEY, record, send},
};

fn layer() -> ApiKeyLayer {
    ApiKeyLayer::new(TestStore::new([record(KEY)])).with_sources([
        KeySource::x_api_key(),
        KeySource::bearer(),
        KeySource::query("api_key").unwrap(),
        KeySource::cookie("api_key").unwrap(),
    ])
}

/// Bytes of a header's value, weighted towards what the layer looks for.
fn header_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(b"api_key".to_vec()),
        4 => Just(KEY.as_bytes().to_vec()),
        2 => Just(b"Bearer".to_vec()),
        4 => prop::sample::select(&b"=;\" ,&%?"[..]).prop_map(|byte| vec![byte]),
        2 => vec(prop_oneof![0x20..=0x7e_u8, 0x80..=0xff_u8, Just(b'\t')], 0..20),
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// Every character that a URI's query may hold.
fn query() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("api_key".to_owned()),
        Just(KEY.to_owned()),
        Just("=".to_owned()),
        Just("&".to_owned()),
        Just("%".to_owned()),
        "%[0-9a-fA-F]{2}",
        "[!$-;=?-Z_a-z~\\[\\]]{0,20}",
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn is_admitted_or_denied_as_the_callers_fault(
        name in prop::sample::select(&["x-api-key", "authorization", "cookie"][..]),
        values in vec(header_bytes(), 0..3),
        query in query(),
        hide in any::<bool>(),
    ) {
        let uri: Uri = format!("/path?{query}").parse().unwrap();
        let mut request = Request::get(uri).body(()).unwrap();
        for value in values {
            request.headers_mut().append(name, HeaderValue::from_bytes(&value).unwrap());
        }
        let layer = if hide { layer().hide_credentials() } else { layer() };
        let answer = send(&layer, request);
        let outcomes = ["admitted", "missing_key", "ambiguous_key", "malformed_key", "unknown_key"];
        prop_assert!(outcomes.contains(&&*answer.outcome()), "{}", answer.outcome());
        // Where the key was hidden, the same layer finds none any more.
        if let (true, Some(seen)) = (hide, answer.seen) {
            prop_assert_eq!(seen.uri.path(), "/path");
            let again = send(&layer, Request::from_parts(seen, ()));
            prop_assert_eq!(again.outcome(), "missing_key");
        }
    }
}
