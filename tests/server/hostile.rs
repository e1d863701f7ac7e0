//! Requests that nobody sends by accident. Whatever comes, the server answers that it is the
//! caller's fault, and goes on.

use serde_json::json;

use crate::{
    process::Reply,
    support::{Ask, Running, assert_problem, send_raw, shared},
};

/// Sends a request with these header lines after the usual ones.
fn get(server: &Running, target: &str, lines: &[&[u8]]) -> Reply {
    let mut request =
        format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n").into_bytes();
    for line in lines {
        request.extend_from_slice(line);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    let answer = send_raw(server.server.address(), &request);
    Reply::parse(&answer).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&answer)))
}

fn line(name: &str, value: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b": ", value].concat()
}

#[test]
fn hostile_credentials_are_malformed_keys() {
    let server = shared();
    let key = server.create(&json!({ "name": "hostile" })).key;
    let key = key.as_bytes();
    let large = vec![b'a'; 64 * 1024];
    let all_high: Vec<u8> = (0x80..=0xff).collect();
    let values: [&[u8]; 12] = [
        b"",
        b" ",
        b",",
        b"\"",
        &large,
        &all_high,
        &[key, b"\x80"].concat(),
        &[key, b", ", key].concat(),
        &[key, b",", key].concat(),
        &[key, b" ", key].concat(),
        &[b"\"", key, b"\""].concat(),
        &[b"Bearer ", key].concat(),
    ];
    for value in values {
        let shown = String::from_utf8_lossy(&value[..value.len().min(200)]).into_owned();
        println!("{shown}");
        let header = get(&server, "/articles", &[&line("X-API-Key", value)]);
        assert_problem(&header, 401, "malformed_key");
        let bearer =
            get(&server, "/articles", &[&line("Authorization", &[b"Bearer ", value].concat())]);
        assert_problem(&bearer, 401, "malformed_key");
        let admin = get(&server, "/admin/api-keys", &[&line("X-Admin-Key", value)]);
        assert_eq!(admin.status, 401, "{admin:?}");
    }
    for byte in 0x80..=0xff_u8 {
        let mut spoilt = key.to_vec();
        spoilt[10] = byte;
        let reply = get(&server, "/articles", &[&line("X-API-Key", &spoilt)]);
        assert_problem(&reply, 401, "malformed_key");
    }
    assert_eq!(server.ask("GET", "/health", &[]).status, 200);
}

#[test]
fn what_http_does_not_allow_is_400() {
    let server = shared();
    for byte in (0..0x20_u8).chain([0x7f]).filter(|byte| *byte != b'\t') {
        let reply = get(&server, "/articles", &[&line("X-API-Key", &[b'a', byte, b'b'])]);
        assert_eq!(reply.status, 400, "{byte:#x}: {reply:?}");
    }
    for request in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET /articles HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /art icles HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /articles HTTP/1.1\r\nX-API-Key a\r\n\r\n",
        b"GET /articles HTTP/1.1\r\n: a\r\n\r\n",
        b"POST /webhook/orders HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /webhook/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ] {
        let answer = send_raw(server.server.address(), request);
        let reply = Reply::parse(&answer).unwrap_or_else(|| panic!("{:?}", request.escape_ascii().to_string()));
        assert_eq!(reply.status, 400, "{}", request.escape_ascii());
    }
    assert_eq!(server.ask("GET", "/health", &[]).status, 200);
}

#[test]
fn authorization_that_holds_no_one_key() {
    let server = shared();
    let key = server.create(&json!({ "name": "authorization" })).key;
    let bearer = format!("Authorization: Bearer {key}");
    let get = |lines: &[&str]| {
        get(&server, "/articles", &lines.iter().map(|line| line.as_bytes()).collect::<Vec<_>>())
    };
    for (lines, status, code) in [
        (&["Authorization: Bearer"][..], 401, "malformed_key"),
        (&["Authorization: Bearer "], 401, "malformed_key"),
        (&["Authorization: Bearer Bearer"], 401, "malformed_key"),
        (&["Authorization:"], 401, "missing_key"),
        (&["Authorization: Bearerx"], 401, "missing_key"),
        (&["Authorization: Basic dXNlcjpwYXNz"], 401, "missing_key"),
        (&[&bearer, &bearer], 400, "ambiguous_key"),
        (&[&bearer, "Authorization: Bearer"], 400, "ambiguous_key"),
        (&["Authorization: Bearer", "Authorization: Bearer"], 400, "ambiguous_key"),
        (&["X-API-Key:", "X-API-Key:"], 400, "ambiguous_key"),
    ] {
        println!("{lines:?}");
        assert_problem(&get(lines), status, code);
    }
}

#[test]
fn queries_that_hold_no_one_key() {
    let server = shared();
    let key = server.create(&json!({ "name": "query" })).key;
    for (query, code) in [
        ("api_key", "malformed_key"),
        ("api_key=", "malformed_key"),
        ("api_key=%", "malformed_key"),
        ("api_key=%4", "malformed_key"),
        ("api_key=%zz", "malformed_key"),
        ("api_key=%00", "malformed_key"),
        ("api_key=%ff%fe", "malformed_key"),
        (&format!("api_key={key}%"), "malformed_key"),
        (&format!("api_key={key}%20"), "malformed_key"),
        (&format!("api_key={key}+"), "malformed_key"),
        ("", "missing_key"),
        ("&&&=&=", "missing_key"),
        ("%zz=1", "missing_key"),
        ("API_KEY=x", "missing_key"),
    ] {
        println!("{query}");
        assert_problem(&get(&server, &format!("/articles?{query}"), &[]), 401, code);
    }
    // The name is read as whatever stands behind the layer would read it.
    let disguised = get(&server, &format!("/articles?api%5Fkey={key}&api_key={key}"), &[]);
    assert_problem(&disguised, 400, "ambiguous_key");
}

#[test]
fn cookies_that_hold_no_one_key() {
    let server = shared();
    for (cookie, code) in [
        ("", "missing_key"),
        ("api_key", "missing_key"),
        ("no equals sign at all", "missing_key"),
        (";;;", "missing_key"),
        ("=", "missing_key"),
        ("api_key=", "malformed_key"),
        ("api_key=\"", "malformed_key"),
        ("api_key==", "malformed_key"),
        ("\u{80}\u{ff}=x", "missing_key"),
    ] {
        println!("{cookie}");
        let reply = get(&server, "/articles", &[&line("Cookie", cookie.as_bytes())]);
        assert_problem(&reply, 401, code);
    }
}

#[test]
fn a_thousand_query_parameters_are_answered_like_one() {
    let server = shared();
    let key = server.create(&json!({ "name": "thousand" })).key;
    let many = (0..1000).map(|i| format!("p{i}={i}&")).collect::<Vec<_>>().concat();
    let without = get(&server, &format!("/articles?{many}"), &[]);
    assert_problem(&without, 401, "missing_key");
    let with = get(&server, &format!("/articles?{many}api_key={key}"), &[]);
    assert_problem(&with, 400, "invalid_parameter");
    let thousand_keys = format!("api_key={key}&").repeat(1000);
    let ambiguous = get(&server, &format!("/articles?{thousand_keys}"), &[]);
    assert_problem(&ambiguous, 400, "ambiguous_key");
}

#[test]
fn heads_beyond_all_measure_are_the_callers_fault() {
    let server = shared();
    let headers = vec![&b"X-API-Key: a"[..]; 1000];
    assert_eq!(get(&server, "/articles", &headers).status, 431);
    let long = format!("/{}", "a".repeat(70_000));
    assert_eq!(get(&server, &long, &[]).status, 414);
    let huge = line("X-API-Key", &vec![b'a'; 2_000_000]);
    let request = [b"GET /articles HTTP/1.1\r\nHost: x\r\n", &huge[..], b"\r\n\r\n"].concat();
    // The server closes while we are still sending, so its answer may get lost on the way.
    let answer = send_raw(server.server.address(), &request);
    assert!(Reply::parse(&answer).is_none_or(|reply| reply.status == 431));
    assert_eq!(server.ask("GET", "/health", &[]).status, 200);
}
