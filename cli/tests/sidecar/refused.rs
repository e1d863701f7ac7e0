//! Sidecars that do not start: the exit code, and the place of the mistake.

use std::net::TcpListener;

use crate::{process, started::Place};

const LEAST: &str = "[forward_auth]\nproxy = \"nginx\"\npeers = [\"127.0.0.1\"]\n";
const RULE: &str = "[[rule]]\npath = \"/orders\"\nscopes = []\n";

#[track_caller]
fn refused(place: &Place, config: &str, said: &[&str]) {
    place.configure(config);
    let finished = place.fail();
    assert_eq!(finished.status.code(), Some(2), "{config}: {finished:?}");
    assert_eq!(finished.stdout, "", "{config}: it listened");
    for said in said {
        assert!(finished.stderr.contains(said), "{config}: {finished:?}");
    }
    assert!(!finished.stderr.contains("hunter2"), "{config}: {finished:?}");
}

#[test]
fn a_file_that_cannot_be_meant_names_the_place() {
    let place = Place::on_sqlite();
    for (config, said) in [
        ("", &["sidecar.toml", "missing field `forward_auth`"][..]),
        ("admin_key = hunter2\n", &["sidecar.toml line 1: "]),
        ("[store]\nurl = \"postgres://a:hunter2@b/c\"\nreplica = []\n", &["line 3: unknown field"]),
        ("store = \"postgres://a:hunter2@b/c\"\n", &["line 1: expected struct Store"]),
        ("store.replicas = \"postgres://a:hunter2@b/c\"\n", &["line 1: expected a sequence"]),
        ("\"postgres://a:hunter2@b/c\" = 1\n", &["line 1: unknown field, expected"]),
    ] {
        refused(&place, config, said);
    }
    let url = "\"postgres://a:hunter2@b/c\"";
    for (added, said) in [
        (format!("[store]\ntable = {url}\n{RULE}"), "store.table: there is no table"),
        (format!("[keys]\nprefix = {url}\n{RULE}"), "keys.prefix"),
        (format!("[[rule]]\npath = {url}\nscopes = []\n"), "rule 1: "),
        (format!("client_address_header = {url}\n{RULE}"), "client_address_header"),
        (format!("identity_headers.id = {url}\n{RULE}"), "identity_headers.id"),
        (format!("[limits.tiers]\n{url} = [\"m=1/1m\", \"m=2/1m\"]\n{RULE}"), "same name"),
    ] {
        refused(&place, &format!("{LEAST}{added}"), &["sidecar.toml: ", said]);
    }
    place.configure(&format!("addr = {url}\n{LEAST}{RULE}"));
    let addr = process::run(place.serve().env_remove("ADDR"));
    assert_eq!(addr.status.code(), Some(2), "{addr:?}");
    assert!(addr.stderr.contains("cannot listen on (a URL)"), "{addr:?}");
    assert!(!addr.stderr.contains("hunter2"), "{addr:?}");
    for (added, said) in [
        ("", &["rule: there is none"][..]),
        ("[[rule]]\npath = \"orders\"\nscopes = []\n", &["rule 1: ", "orders"]),
        (&format!("{RULE}{RULE}"), &["rule 2: ", "/orders"]),
        ("[[rule]]\npath = \"/a\"\nscopes = []\nmethods = [\"HEAD\"]\n", &["rule 1: ", "HEAD"]),
        ("[[rule]]\npath = \"/a\"\nscopes = []\nmethods = []\n", &["rule 1: methods: is empty"]),
        (&format!("key_headers = []\n{RULE}"), &["forward_auth.key_headers: is empty"]),
        (&format!("trusted_proxies = [\"10.0.0.1\"]\n{RULE}"), &["client_address_header"]),
        (&format!("client_address_header = \"a b\"\n{RULE}"), &["client_address_header"]),
        (&format!("identity_headers.id = \"Id\"\n{RULE}"), &["identity_headers.id"]),
        (
            &format!("key_headers = [\"x-id\"]\nidentity_headers.id = \"X-Id\"\n{RULE}"),
            &["forward_auth.key_headers: \"X-Id\" is the header of another setting"],
        ),
        (&format!("{RULE}[limits]\nfailures_per_minute = 5\n"), &["client_address_header"]),
        (&format!("{RULE}[limits]\ncounted_in = \"redis\"\n"), &["limits.counted_in", "REDIS_URL"]),
        (&format!("{RULE}[cache]\nbus = \"store\"\n"), &["cache.bus", "carries no changes"]),
        (&format!("{RULE}[cache]\nbus = \"redis\"\n"), &["cache.bus", "REDIS_URL"]),
        (&format!("{RULE}[store]\nreplicas = [\"sqlite:x\"]\n"), &["store.replicas"]),
        (
            &format!("{RULE}[store]\nredis_url = \"hunter2\"\n"),
            &["sidecar.toml: store.redis_url must be like"],
        ),
        (
            &format!("{RULE}[store]\ntable = \"other\"\n"),
            &["sidecar.toml: store.table: there is no table \"other\""],
        ),
        (&format!("{RULE}[keys]\nprefix = \"A B\"\n"), &["keys.prefix"]),
        (&format!("{RULE}[verify]\npeers = []\n"), &["verify.peers: is empty"]),
        (
            &format!("{RULE}[verify]\nkey = false\npeers = [\"2000::/3\"]\n"),
            &["verify.key: is false"],
        ),
        (&format!("path = \"/verify/a\"\n{RULE}"), &["/verify/a is a path of the sidecar's own"]),
        (&format!("{RULE}[limits.tiers]\na = [\"m=1/1m\", \"m=2/1m\"]\n"), &["limits.tiers.a"]),
    ] {
        refused(&place, &format!("{LEAST}{added}"), said);
    }
    place.configure(&format!("{LEAST}{RULE}"));
    let table = process::run(place.serve().args(["--table", "other"]));
    assert!(table.stderr.contains("--table: there is no table \"other\""), "{table:?}");
    place.configure(&format!("store.url = \"redis://127.0.0.1:1\"\n{LEAST}{RULE}"));
    let store = process::run(place.serve().env_remove("DATABASE_URL"));
    assert!(store.stderr.contains("sidecar.toml: store.url: "), "{store:?}");
    let envoy = LEAST.replace("nginx", "envoy");
    refused(
        &place,
        &format!("{envoy}path = \"/a\"\n{RULE}"),
        &["forward_auth.path: is not for Envoy"],
    );
    let header = "client_address_header = \"X-Forwarded-For\"\n";
    refused(&place, &format!("{envoy}{header}{RULE}"), &["forward_auth.client_address_header"]);
    let no_peer = LEAST.replace("\"127.0.0.1\"", "");
    refused(&place, &format!("{no_peer}{RULE}"), &["forward_auth.peers: is empty"]);
    for (first, said) in [
        ("client_timeout = \"0s\"\n", "client_timeout: is no time at all"),
        ("drain = \"0s\"\n", "sidecar.toml: drain: is no time at all"),
        ("store.lookup_timeout = \"0s\"\n", "store.lookup_timeout: is no time at all"),
        ("cache = { ttl = \"0s\", capacity = 9 }\n", "cache.capacity: there is no cache"),
        ("cache = { ttl = \"0s\", stale_if_error = \"1m\" }\n", "cache.stale_if_error: there"),
        ("cache = { ttl = \"0s\", bus = \"redis\" }\n", "cache.bus: there is no cache"),
        ("max_connections = 1000000000\n", "max_connections: "),
    ] {
        refused(&place, &format!("{first}{LEAST}{RULE}"), &[said]);
    }
}

#[test]
fn without_a_file_a_store_or_an_address_it_does_not_start() {
    let place = Place::on_sqlite();
    let code_of = |command: &mut std::process::Command, said: &str| {
        let finished = process::run(command);
        assert!(finished.stderr.contains(said), "{finished:?}");
        assert_eq!(finished.stdout, "");
        finished.status.code().unwrap()
    };
    assert_eq!(code_of(&mut place.command("serve"), "--config"), 2);
    let mut absent = place.command("serve");
    assert_eq!(code_of(absent.args(["--config", "absent.toml"]), "absent.toml cannot be read"), 2);
    assert_eq!(code_of(place.serve().env_remove("DATABASE_URL"), "store.url"), 2);
    assert_eq!(code_of(place.serve().env("DATABASE_URL", ""), "DATABASE_URL"), 2);
    assert_eq!(code_of(place.serve().env("DATABASE_URL", "memory:"), "no key would ever"), 2);
    assert_eq!(code_of(place.serve().env("DATABASE_URL", "sqlite:absent.db"), "`migrate`"), 2);
    assert!(!place.folder.path().join("absent.db").exists(), "a mistyped name makes no file");
    for addr in ["", "9000", "127.0.0.1", "127.0.0.1:http"] {
        assert_eq!(code_of(place.serve().env("ADDR", addr), "cannot listen"), 2, "{addr:?}");
    }
    // It may be free later.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    assert_eq!(code_of(place.serve().env("ADDR", &taken), "cannot listen"), 3);
}
