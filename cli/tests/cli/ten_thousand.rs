//! A table of 10,000 keys that another system made, imported with one command.

use std::{collections::HashMap, time::Instant};

use axum::{Router, body::Body, routing::get};
use http::{Request, StatusCode};
use tower::ServiceExt;
use tower_api_key::{ApiKeyLayer, AuthenticatedKey, KeyHasher, Rejection, RejectionKind, store};

use crate::{
    other_system::{self, COUNT, Row},
    process,
    session::Shell,
};

#[tokio::test]
async fn every_key_works_as_before() {
    // Ten thousand keys take their time: the other stores take fewer, in `exported`.
    let shells = [Some(Shell::on_sqlite()), Shell::on_postgres().await];
    for shell in shells.into_iter().flatten() {
        let rows: Vec<Row> = (0..COUNT).map(Row::number).collect();
        other_system::make_table(&shell.directory.path().join("old.db"), &rows).await;

        let start = Instant::now();
        let mut import = shell.command("tower-api-key");
        let finished = process::run(import.args(["import", "old.db", "--json"]));
        println!("{COUNT} keys in {:?}", start.elapsed());
        assert!(finished.status.success(), "{finished:?}");
        assert!(finished.stdout.contains(r#""imported":10000,"duplicates":0"#), "{finished:?}");

        let store = store::connect(&shell.url).await.unwrap();
        let layer = ApiKeyLayer::new(store.clone());
        let app = Router::new().route("/", get(tell)).layer(layer);
        let mut seen = HashMap::new();
        for row in &rows {
            let request = Request::builder().header("x-api-key", &row.key).body(Body::empty());
            let response = app.clone().oneshot(request.unwrap()).await.unwrap();
            let (head, _) = response.into_parts();
            let outcome = match head.extensions.get::<Rejection>() {
                Some(rejection) => Err(rejection.kind()),
                None => Ok(()),
            };
            assert_eq!(outcome, expected(row));
            assert_eq!(outcome.is_ok(), head.status == StatusCode::OK);
            *seen.entry(outcome).or_insert(0) += 1;
            if outcome.is_ok() {
                let key = head.extensions.get::<AuthenticatedKey>().unwrap();
                assert_eq!(key.owner().unwrap().as_str(), row.user.to_string());
                assert_eq!(key.scopes().iter().collect::<Vec<_>>(), row.scopes);
                let end = key.expires_at().map(|end| end.to_string());
                let expected = row.expires_at.map(|_| "2040-01-02T03:04:05.678Z");
                assert_eq!(end.as_deref(), expected);
                assert_eq!(key.record().start, row.key[..8]);
                let digest = KeyHasher::sha256().digest(&row.key);
                assert_eq!(key.record().digest, digest);
            }
        }
        assert_eq!(seen.len(), 3, "good, disabled and expired keys: {seen:?}");
        store.close().await;
    }
}

/// Hands the key back, for the test to look at.
async fn tell(key: AuthenticatedKey) -> axum::response::Response {
    let mut response = axum::response::Response::default();
    response.extensions_mut().insert(key);
    response
}

/// How a request with this key ends, by its row.
fn expected(row: &Row) -> Result<(), RejectionKind> {
    match (row.active, row.expires_at) {
        (false, _) => Err(RejectionKind::Disabled),
        (true, Some(end)) if end.starts_with("2020") => Err(RejectionKind::Expired),
        (true, _) => Ok(()),
    }
}
