//! How replicas are given, and the heartbeat of the nodes that have some.

use std::time::Duration;

use tokio::time::sleep;
use tower_api_key::{
    ConfigError,
    store::{ConnectError, KeyRepository, KeyStore, MySqlStore, PostgresStore, StoreErrorKind},
};

use super::{
    asks_replica, find_many,
    pair::{Pair, Replicated},
    until,
};
use crate::{
    conformance::{digest, record},
    remote::Session,
    servers::Server,
    support::texts,
};

const PASSWORD: &str = "hunter2";

#[tokio::test]
async fn a_wrong_url_of_a_replica_is_an_error() {
    let good = ["postgres://u:hunter2@h/d", "mysql://u:hunter2@h/d"];
    for (url, is_option) in [
        ("postgres://u:hunter2@h/d?sslmod=require", true),
        ("mysql://u:hunter2@h/d?ssl_mode=REQUIRED", true),
        ("redis://u:hunter2@h/1", false),
        ("postgres:u:hunter2@h/d", false),
        ("u:hunter2@h/d", false),
        ("", false),
    ] {
        let postgres = PostgresStore::builder(good[0]).with_replica(url);
        let mysql = MySqlStore::builder(good[1]).with_replica(good[1]).with_replica(url);
        for debug in [format!("{postgres:?}"), format!("{mysql:?}")] {
            assert!(!debug.contains(PASSWORD) && debug.contains("replicas"), "{debug}");
        }
        let is_mysql = url.starts_with("mysql");
        for (error, is_kind) in [
            (postgres.connect().await.unwrap_err(), !is_mysql),
            (mysql.connect().await.unwrap_err(), is_mysql),
        ] {
            let text = texts(&error);
            assert!(!text.contains(PASSWORD), "{text}");
            let ConnectError::Config(error) = error else { panic!("{url}: {text}") };
            let is_right = match error {
                ConfigError::StoreOption { .. } => is_option && is_kind,
                ConfigError::StoreUrl { .. } => !(is_option && is_kind),
                _ => false,
            };
            assert!(is_right, "{url}: {text}");
        }
    }
    let error = PostgresStore::builder("mysql://u:hunter2@h/d").connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::Config(ConfigError::StoreUrl { .. })), "{error:?}");
    let error = PostgresStore::builder(good[0]).with_table("a b").unwrap_err();
    assert_eq!(error, ConfigError::TableName);
}

/// The times of beats by the clock of the primary, and that a node without a replica writes none.
pub(super) async fn many_nodes_write_one_beat_a_second<R: Replicated>() {
    let Some(pair) = Pair::<R>::start().await else { return };
    let (plain, mut nodes) = (pair.plain().await, vec![pair.store.clone()]);
    assert!(!plain.may_lag() && pair.store.may_lag());
    for _ in 0..3 {
        nodes.push(pair.node().await);
    }
    let mut session = R::session(&pair.primary.url()).await;
    let mut times = Vec::new();
    let read = match R::SERVER {
        Server::Postgres => "SELECT beat_at::text FROM api_keys_heartbeat",
        _ => "SELECT CAST(beat_at AS CHAR) FROM api_keys_heartbeat",
    };
    until(async || {
        let time: i64 = session.rows(read).await[0].parse().unwrap();
        if time != 0 && times.last() != Some(&time) {
            times.push(time);
        }
        times.len() == 6
    })
    .await;
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] >= 1_000, "{times:?}");
    }
    // All of them know each other's beats.
    for node in &nodes {
        until(async || asks_replica(node).await).await;
    }
    for node in nodes {
        R::close(&node).await;
    }
    // Beats end with the nodes that have a replica. One may have been under way.
    plain.insert(&record(0)).await.unwrap();
    sleep(Duration::from_millis(200)).await;
    let last = session.rows(read).await;
    for _ in 0..30 {
        assert!(find_many(&plain, 0).await);
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(session.rows(read).await, last);
}

/// Also with another table, and where a replica is none.
pub(super) async fn a_store_that_is_closed_lets_go<R: Replicated>() {
    let Some(pair) = Pair::<R>::start().await else { return };
    // The primary itself, as where a name leads to it for want of a replica.
    let of_primary = R::build(&pair.primary.url(), &[&pair.primary.url()]).await.unwrap();
    let known = pair.known().await;
    for _ in 0..30 {
        assert!(find_many(&of_primary, known).await);
        assert!(!asks_replica(&of_primary).await, "it lags behind itself");
        sleep(Duration::from_millis(100)).await;
    }
    // A table that the replica does not have yet, and then has.
    pair.tell_replica(R::STOP).await;
    let other = R::with_table(pair.store.clone(), "other_keys").unwrap();
    R::migrate(&other).await.unwrap();
    other.insert(&record(0)).await.unwrap();
    assert!(find_many(&other, 0).await && !find_many(&other, known).await);
    pair.tell_replica(R::GO_ON).await;
    until(async || asks_replica(&other).await).await;
    until(async || asks_replica(&pair.store).await).await;

    for store in [other, pair.store.clone(), of_primary] {
        R::close(&store).await;
        let errors = store.find_many(&[digest(known)]).await;
        assert_eq!(errors[0].as_ref().unwrap_err().kind(), StoreErrorKind::Unavailable);
    }
    let mut session = R::session(&pair.replica.url()).await;
    let connected = match R::SERVER {
        Server::Postgres => {
            "SELECT pid::text FROM pg_stat_activity \
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        }
        _ => {
            "SELECT CAST(id AS CHAR) FROM information_schema.processlist \
             WHERE user = 'root' AND id <> connection_id()"
        }
    };
    until(async || session.rows(connected).await.is_empty()).await;
}
