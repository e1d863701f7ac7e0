//! `examples/streams.rs` as pages of another origin use it, in a real browser: each way to send a key that a
//! browser has, and the end of each stream when the key is revoked.

use std::{net::TcpListener, time::Duration};

use serde_json::json;
use tower_api_key::KeyFormat;

use crate::{
    chromium::{browse, page},
    example, key_in, printed,
    process::Server,
};

const PAGE: &str = r#"<!doctype html><title>A page</title><script type="module">
const { url, key, unknown } = GIVEN;
const results = {};
const tell = () => fetch("/results", { method: "POST", body: JSON.stringify(results) });
// Of this script, too.
addEventListener("error", ({ message }) => { results["failed"] = message; tell(); });
const header = (key) => ({ headers: { "X-API-Key": key } });

// The status, the reason, and whether the page sees the challenge.
const asks = async (path, options) => {
    try {
        const response = await fetch(url + path, options);
        const text = await response.text();
        const isProblem = response.headers.get("Content-Type") === "application/problem+json";
        const told = isProblem ? JSON.parse(text).code : text.trim();
        return [response.status, told, response.headers.has("WWW-Authenticate")];
    } catch (error) {
        return error.name;
    }
};

// Begins when the socket is open, or ends without having been.
const opens = (protocols) => new Promise((begin) => {
    const socket = new WebSocket(url.replace("http", "ws") + "/socket", protocols);
    const ended = new Promise((end) => {
        socket.onclose = ({ code, reason }) => {
            end([code, reason]);
            begin({ opened: false, ended });
        };
    });
    socket.onopen = () => begin({ opened: true, socket, ended });
});
const refused = async (protocols) => {
    const { opened, ended } = await opens(protocols);
    return [opened, ...await ended];
};

results["denied, in a header"] = await asks("/events", header(unknown));
results["denied, in the URL"] = await asks(`/events?api_key=${unknown}`);
results["denied, without a key"] = await asks("/events");
results["with cookies"] = await asks("/events", { ...header(key), credentials: "include" });

results["refused socket, unknown key"] = await refused(["api-key", unknown]);
results["refused socket, without a key"] = await refused([]);
results["refused socket, the key alone"] = await refused([key]);

const { socket, ended: socketEnded } = await opens(["api-key", key]);
results["protocol"] = socket.protocol;
const echo = new Promise((done) => { socket.onmessage = ({ data }) => done(data); });
socket.send("is there an echo?");
results["echo"] = await echo;

// Server-sent events by `fetch`, with the key in a header.
const fetched = await fetch(url + "/events", header(key));
const reader = fetched.body.pipeThrough(new TextDecoderStream()).getReader();
let text = "";
const read = async () => {
    const { done, value } = await reader.read();
    text += value ?? "";
    return !done;
};
while (!text.includes("data: tick\n\n") && await read()) {}
results["fetched, first"] = text.split("\n")[0];

// The same by `EventSource`, which can send a key in nothing but the URL.
const source = new EventSource(`${url}/events?api_key=${key}`);
results["source, first"] = await new Promise((done) => { source.onmessage = ({ data }) => done(data); });
const sourceTold = new Promise((done) => { source.addEventListener("end", ({ data }) => done(data)); });
// It connects again by itself, until it is refused.
const sourceClosed = new Promise((done) => {
    source.onerror = () => { if (source.readyState === EventSource.CLOSED) done("closed"); };
});

results["revoked"] = await asks("/revoke", { method: "POST", ...header(key) });

results["socket ended"] = await socketEnded;
while (await read()) {}
results["fetched, last"] = text.trim().split("\n").slice(-2);
results["source, last"] = await sourceTold;
results["source"] = await sourceClosed;
results["afterwards, a socket"] = await refused(["api-key", key]);
results["afterwards, events"] = await asks("/events", header(key));
await tell();
</script>"#;

#[test]
fn a_page_of_another_origin_opens_streams_with_a_key_and_they_end_with_it() {
    let server = Server::start(&mut example("streams"));
    let line = printed(&server, "/events");
    let unknown = KeyFormat::new("key").unwrap().generate().unwrap();
    let given = json!({ "url": server.url(""), "key": key_in(&line), "unknown": unknown.expose() });

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let told = page(listener, PAGE.replace("GIVEN", &given.to_string()));
    let Some(_browser) = browse(&origin) else { return };
    let results = told.recv_timeout(Duration::from_mins(2)).expect("the page says nothing");

    // Not opened, and no more said than that: a page sees no status of a handshake.
    let refused = json!([false, 1006, ""]);
    let expected = json!({
        "denied, in a header": [401, "unknown_key", true],
        "denied, in the URL": [401, "unknown_key", true],
        "denied, without a key": [401, "missing_key", true],
        // No browser adds what it knows of the user.
        "with cookies": "TypeError",
        "refused socket, unknown key": refused,
        "refused socket, without a key": refused,
        "refused socket, the key alone": refused,
        // Chosen by the layer, since the service chose none; the key is not repeated.
        "protocol": "api-key",
        "echo": "is there an echo?",
        "fetched, first": "data: tick",
        "source, first": "tick",
        "revoked": [200, "Its streams end now.", false],
        "socket ended": [1008, "revoked_key"],
        "fetched, last": ["event: end", "data: revoked_key"],
        "source, last": "revoked_key",
        "source": "closed",
        "afterwards, a socket": refused,
        "afterwards, events": [401, "revoked_key", true],
    });
    assert_eq!(results, expected, "{results:#}");
    assert!(!server.stderr().contains(key_in(&line)), "the key is in the log");
}
