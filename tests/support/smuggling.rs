//! Requests that are made so that the proxy, the decision and the application read them differently.

/// Request lines and headers, with a good key, that open nothing.
pub(crate) const CLOSED: [(&str, &[&str]); 26] = [
    ("GET /admin", &["X-Forwarded-Uri: /orders/7"]),
    ("GET /admin", &["X-Forwarded-Uri: /orders/7", "X-Forwarded-Uri: /orders/7"]),
    ("GET /admin", &["X-Original-URI: /orders/7", "X-Original-URL: /orders/7"]),
    ("GET /admin", &["x_original_uri: /orders/7", "x_forwarded_uri: /orders/7"]),
    ("DELETE /orders/7", &["X-Forwarded-Method: GET"]),
    ("DELETE /orders/7", &["X-Original-Method: GET", "X-Original-Method: GET"]),
    ("GET /orders/7", &["X-HTTP-Method-Override: DELETE"]),
    ("GET /orders/7", &["X-Method-Override: DELETE"]),
    ("delete /orders/7", &[]),
    ("GET /orders/7?_method=DELETE", &[]),
    ("GET /orders/7?a=1&%5Fmethod=DELETE", &[]),
    ("GET /orders/7", &["X-Rewrite-URL: /admin"]),
    ("GET http://evil.example/admin", &[]),
    ("GET http://api.example//admin", &[]),
    ("GET //admin", &[]),
    ("GET /orders/7/../../admin", &[]),
    ("GET /orders/7%2f..%2f..%2fadmin", &[]),
    ("GET /orders/%2e%2e%2fadmin", &[]),
    ("GET /orders/%2e%2e", &[]),
    ("GET /orders/..%5cadmin", &[]),
    ("GET /orders/7;/../admin", &[]),
    ("GET /%6frders/7", &[]),
    ("GET /orders/%252e%252e", &[]),
    ("GET /Orders/7", &[]),
    ("GET /auth", &[]),
    ("GET /_api_key", &[]),
];

/// Without a key, whatever tells of another protocol.
pub(crate) const WITHOUT_KEY: [(&str, &[&str]); 6] = [
    ("POST /profile", &["Content-Type: application/grpc", "TE: trailers", "Content-Length: 0"]),
    (
        "POST /profile",
        &["Content-Type: application/grpc-web+proto", "X-Grpc-Web: 1", "Content-Length: 0"],
    ),
    ("OPTIONS /profile", &["Origin: https://a.example", "Access-Control-Request-Method: GET"]),
    ("GET /profile", &["X-Api-Key-Id: forged", "X-Api-Key-Owner: forged"]),
    ("GET /profile", &["X_Api_Key_Id: forged"]),
    ("GET /profile", &["If-None-Match: *", "Range: bytes=0-0", "Expect: 200-ok"]),
];
