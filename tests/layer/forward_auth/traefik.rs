//! The requests that Traefik 3 makes, laid out as its source writes them, with `trustForwardHeader` off: the
//! client's headers, but for those of the hop, and then its own in place of the client's.

use super::*;

/// The headers of a request about `GET /orders/7` or the like.
fn traefiks(method: &str, target: &str, sent: &[(&str, &str)]) -> Request<()> {
    let replaced = [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-method",
        "x-forwarded-proto",
        "x-forwarded-uri",
        "connection",
        "te",
        "upgrade",
    ];
    let clients = sent.iter().copied().filter(|(name, _)| !replaced.contains(name));
    let own = [
        ("host", "auth.internal:9000"),
        ("accept-encoding", "gzip"),
        ("user-agent", "curl/8.5.0"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-host", "api.example"),
        ("x-forwarded-method", method),
        ("x-forwarded-port", "443"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-server", "traefik-0"),
        ("x-forwarded-uri", target),
        ("x-real-ip", "192.0.2.1"),
    ];
    from(PROXY, request(&clients.chain(own).collect::<Vec<_>>()))
}

#[test]
fn its_requests_are_decided() {
    let service = service(ForwardAuth::traefik, layer());
    let (good, bad) = (good(), ("authorization", "Bearer a-wrong-key-0123456789"));
    for (method, target, sent, status) in [
        ("GET", "/orders/7?page=2", &[good][..], 200),
        ("HEAD", "/orders/7", &[good], 200),
        // Of a `WebSocket`, the scheme is what it would be of a request.
        (
            "GET",
            "/orders/7",
            &[good, ("upgrade", "websocket"), ("sec-websocket-version", "13")],
            200,
        ),
        ("GET", "/orders/7", &[], 401),
        ("GET", "/orders/7", &[bad], 401),
        ("GET", "/orders/7", &[good, bad], 400),
        ("POST", "/orders", &[good, ("content-type", "application/json")], 403),
        ("GET", "/admin", &[good, ("x-forwarded-uri", "/orders/7")], 403),
        ("DELETE", "/orders/7", &[good, ("x-forwarded-method", "GET")], 403),
        ("GET", "/admin", &[good, ("x-original-uri", "/orders/7")], 403),
        ("GET", "/orders/7", &[good, ("x_api_key_id", "forged")], 403),
        ("GET", "/orders/../admin", &[good], 403),
        ("GET", "//admin", &[good], 403),
        ("POST", "/profile", &[("content-type", "application/grpc"), ("te", "trailers")], 401),
    ] {
        let response = ask(&service, traefiks(method, target, sent));
        assert_eq!(response.status(), status, "{method} {target} {sent:?}");
    }
}
