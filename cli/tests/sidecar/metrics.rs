//! `/metrics`, and the administrator's key.

use crate::{
    process::{Reply, Server},
    started::{Place, ask, check, code},
};

const GOOD: &str = "6f1d8a0b4c7e2953d8f60a1b9c4e7d2f";

fn metrics(sidecar: &Server, headers: &[&str]) -> Reply {
    let to = ([127, 0, 0, 1], sidecar.address().port()).into();
    ask(to, "GET /metrics HTTP/1.1", headers)
}

#[test]
fn metrics_need_no_key_on_this_machine_alone() {
    let place = Place::on_sqlite();
    let key = place.key(&["--scope", "orders:read"]);
    let sidecar = place.start();
    check(sidecar.address(), "/orders/7", &[&format!("X-API-Key: {key}")]);
    check(sidecar.address(), "/orders/7", &[]);
    let told = metrics(&sidecar, &[]);
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!(told.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "tower_api_key_requests_total{outcome=\"accepted\"} 1",
        "tower_api_key_requests_total{outcome=\"denied\"} 1",
        "# TYPE tower_api_key_lookup_duration_seconds histogram",
    ] {
        assert!(told.body.contains(line), "{line}: {}", told.body);
    }
    assert!(!told.body.contains(&key));
}

#[test]
fn metrics_need_the_administrators_key_where_there_is_one() {
    let place = Place::on_sqlite();
    for addr in ["127.0.0.1:0", "0.0.0.0:0"] {
        let sidecar = Server::start(place.serve().env("ADDR", addr).env("ADMIN_API_KEY", GOOD));
        let denied = metrics(&sidecar, &[]);
        assert_eq!((denied.status, &*code(&denied)), (401, "missing_key"), "{addr}");
        let denied = metrics(&sidecar, &["X-Admin-Key: 0f1d8a0b4c7e2953d8f60a1b9c4e7d2f"]);
        assert_eq!((denied.status, &*code(&denied)), (401, "unknown_key"), "{addr}");
        let good = format!("X-Admin-Key: {GOOD}");
        assert_eq!(metrics(&sidecar, &[&good]).status, 200, "{addr}");
        let key = place.key(&[]);
        let headers = [format!("X-Admin-Key: {key}"), format!("X-API-Key: {key}")];
        let denied = metrics(&sidecar, &[&headers[0], &headers[1]]);
        assert_eq!(denied.status, 401, "a client's key is no administrator's: {denied:?}");
    }
}

#[test]
fn elsewhere_they_need_a_key_that_cannot_be_guessed() {
    let place = Place::on_sqlite();
    let refused = |command: &mut std::process::Command, said: &str| {
        let finished = crate::process::run(command.env("ADDR", "0.0.0.0:0"));
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        assert!(finished.stderr.contains(said), "{finished:?}");
        assert!(!finished.stderr.contains("letmein"), "{finished:?}");
    };
    refused(&mut place.serve(), "ADMIN_API_KEY is not set");
    refused(place.serve().env("ADMIN_API_KEY", ""), "ADMIN_API_KEY");
    refused(place.serve().env("ADMIN_API_KEY", "letmeinletmeinletmein"), "0.0.0.0:0");

    let sidecar = Server::start(place.serve().env("ADMIN_API_KEY", "letmeinletmeinletmein"));
    assert!(sidecar.stderr().contains("WARN"), "{}", sidecar.stderr());

    place.add("metrics = false");
    let sidecar = Server::start(place.serve().env("ADDR", "0.0.0.0:0"));
    assert_eq!(metrics(&sidecar, &[]).status, 404);
    // It guards nothing.
    Server::start(
        place.serve().env("ADDR", "0.0.0.0:0").env("ADMIN_API_KEY", "letmeinletmeinletmein"),
    );
    place.add(&format!("admin_key = \"{GOOD}\""));
    let sidecar = Server::start(place.serve().env("ADDR", "0.0.0.0:0"));
    assert_eq!(metrics(&sidecar, &[]).status, 401);
}
