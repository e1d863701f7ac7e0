//! Calls that are none, or fail: the filter then denies the request by itself.

use super::*;
use crate::stores::TestStore;

/// The code with which a call fails.
fn failure(service: &ExtAuthz, call: Request<Full<Bytes>>) -> u8 {
    let (response, message) = respond(service, call);
    assert_eq!(message, None);
    response.headers()["grpc-status"].to_str().unwrap().parse().unwrap()
}

#[test]
fn a_message_that_is_none_fails() {
    const INVALID_ARGUMENT: u8 = 3;
    let service = service(layer());
    let good = question(Form::Raw, "GET", "/orders/7", &[good()]).encode_to_vec();
    // Cut off; of another type; the attributes twice, of which one would count for each reader.
    let twice = [&*good, &good].concat();
    for message in [&good[..good.len() - 1], b"\x08\x01", b"\x0a\x05abcde", b"\x0b", &twice] {
        assert_eq!(failure(&service, call(message)), INVALID_ARGUMENT, "{message:?}");
    }
}

/// Each field of the line, and each form of the headers, stands once: protocol buffers would take the last.
#[test]
fn a_field_that_is_there_twice_fails() {
    const INVALID_ARGUMENT: u8 = 3;
    let service = service(layer());
    let mut asked = question(Form::Raw, "GET", "/orders/7", &[good()]);
    let line = http(&mut asked).encode_to_vec();
    let nested = |field: u8, message: &[u8]| {
        let mut nested = vec![field << 3 | 2];
        prost::encoding::encode_varint(message.len() as u64, &mut nested);
        nested.extend_from_slice(message);
        nested
    };
    let about = |line: &[u8]| nested(1, &nested(4, &nested(2, line)));
    let answer = respond(&service, call(&about(&line))).1;
    assert_eq!(Answer::of(answer.unwrap()).status, 200);
    for field in [2, 4, 5, 6, 13] {
        let twice = [line.clone(), nested(field, b"")].concat();
        assert_eq!(failure(&service, call(&about(&twice))), INVALID_ARGUMENT, "{field}");
    }
    // Unknown ones are passed over.
    let more = [line.clone(), nested(14, b"a"), vec![15 << 3, 7]].concat();
    let answer = respond(&service, call(&about(&more))).1;
    assert_eq!(Answer::of(answer.unwrap()).status, 200);
}

#[test]
fn a_message_is_bounded() {
    const OUT_OF_RANGE: u8 = 11;
    let service = service(layer());
    for (length, fails) in [(120, false), (128, true)] {
        let value = "a".repeat(length * 1024);
        let sent = [good(), ("x-filler", &*value)];
        let message = question(Form::Raw, "GET", "/orders/7", &sent).encode_to_vec();
        if fails {
            assert_eq!(failure(&service, call(&message)), OUT_OF_RANGE);
        } else {
            assert!(respond(&service, call(&message)).1.is_some());
        }
    }
}

#[test]
fn another_method_is_unimplemented() {
    const UNIMPLEMENTED: u8 = 12;
    let service = service(layer());
    let message = question(Form::Raw, "GET", "/orders/7", &[good()]).encode_to_vec();
    for path in [
        "/",
        "/envoy.service.auth.v3.Authorization/check",
        "/envoy.service.auth.v2.Authorization/Check",
    ] {
        let mut call = call(&message);
        *call.uri_mut() = path.parse().unwrap();
        assert_eq!(failure(&service, call), UNIMPLEMENTED);
    }
    // A compressed message, which would be larger than its bound.
    let mut compressed = call(&message);
    compressed.headers_mut().insert("grpc-encoding", "gzip".parse().unwrap());
    assert_eq!(failure(&service, compressed), UNIMPLEMENTED);
}

/// A call that the filter gives up is a decision that is never made.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_ends_its_lookup() {
    let store = TestStore::stuck();
    let service = service(ApiKeyLayer::new(store.clone()));
    let message = question(Form::Raw, "GET", "/orders/7", &[good()]).encode_to_vec();
    let waiting = service.oneshot(call(&message));
    let given_up = tokio::time::timeout(std::time::Duration::from_secs(1), waiting).await;
    assert!(given_up.is_err());
    assert_eq!(store.given_up(), 1);
}
