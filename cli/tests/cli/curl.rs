//! The command line and `curl`, against a service, as the guide shows them.

use axum::{Router, routing::get};
use tower_api_key::{ApiKeyLayer, AuthenticatedKey, store};

use crate::session::Shell;

#[tokio::test(flavor = "multi_thread")]
async fn create_and_use_a_key() {
    let shell = Shell::on_sqlite();
    let store = store::connect(&shell.url).await.unwrap();
    let name = async |key: AuthenticatedKey| format!("Hello, {}!\n", key.name());
    let app = Router::new().route("/hello", get(name)).layer(ApiKeyLayer::new(store));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    shell.write("url", &format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(async { axum::serve(listener, app).await });

    tokio::task::spawn_blocking(move || {
        shell.session(
            r#"
$ URL=$(cat url)
$ tower-api-key create --name ci --header 2>/dev/null | curl -sS -H @- $URL/hello
Hello, ci!
$ KEY=$(tower-api-key create --name shop)
Created the key <id-1>. This is the only time that it is shown.
$ curl -sS $URL/hello -H "X-API-Key: $KEY"
Hello, shop!
$ ID=$(echo $KEY | tower-api-key verify --json | sed 's/.*"id":"\([^"]*\)".*/\1/')
$ tower-api-key revoke $ID
Revoked the key <id-1>.
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ curl -sS $URL/hello -H "X-API-Key: $KEY" | grep -o '"code":"[a-z_]*"'
"code":"revoked_key"
"#,
        );
    })
    .await
    .unwrap();
}
