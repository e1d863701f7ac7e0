//! Stores by URL.

use tower_api_key::{
    ConfigError,
    store::{ConnectError, KeyRepository, connect},
};

use crate::{
    conformance::{full, stored},
    support::texts,
};

async fn works(url: &str) {
    let store = connect(url).await.unwrap_or_else(|error| panic!("{url}: {error:?}"));
    store.insert(&full(1)).await.unwrap();
    assert_eq!(stored(&store, full(1).id).await, full(1), "{url}");
}

async fn refused(url: &str) -> ConfigError {
    match connect(url).await.map(drop).unwrap_err() {
        ConnectError::Config(error) => error,
        error => panic!("{url}: {error:?}"),
    }
}

#[tokio::test]
async fn memory() {
    works("memory:").await;
    works("memory://").await;
    assert!(matches!(refused("memory:keys").await, ConfigError::StoreUrl { .. }));
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn sqlite() {
    works("sqlite::memory:").await;
    works("sqlite://:memory:").await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    for (url, file) in [
        (format!("sqlite:{path}/1.db"), "1.db"),
        (format!("sqlite://{path}/2.db"), "2.db"),
        (format!("sqlite://{path}/3.db?mode=rwc"), "3.db"),
        (format!("sqlite://{path}/my%20keys.db"), "my keys.db"),
    ] {
        works(&url).await;
        assert!(directory.path().join(file).exists(), "{url}");
        // What was written there is there when it is opened again.
        let again = connect(&url).await.unwrap();
        assert_eq!(stored(&again, full(1).id).await, full(1));
    }
    for url in ["sqlite:", "sqlite://", "sqlite://keys.db?mode=ro", "sqlite://keys.db?immutable=1"]
    {
        assert!(matches!(refused(url).await, ConfigError::StoreUrl { .. }), "{url}");
    }
    let error = connect(&format!("sqlite://{path}/no/such/directory.db")).await.map(drop);
    let ConnectError::Store(error) = error.unwrap_err() else { panic!("the URL is fine") };
    assert_eq!(error.kind(), tower_api_key::store::StoreErrorKind::Unavailable);
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn postgres() {
    use crate::servers::{Database, Server};
    let Some(database) = Database::new(Server::Postgres).await else { return };
    let (_, rest) = database.url().split_once("://").unwrap();
    works(&format!("postgres://{rest}")).await;
    let again = connect(&format!("postgresql://{rest}")).await.unwrap();
    assert_eq!(stored(&again, full(1).id).await, full(1));
}

#[cfg(feature = "mysql")]
#[tokio::test]
async fn mysql() {
    use crate::servers::{Database, Server};
    let Some(database) = Database::new(Server::MySql).await else { return };
    let (_, rest) = database.url().split_once("://").unwrap();
    works(&format!("mysql://{rest}")).await;
    let again = connect(&format!("mariadb://{rest}")).await.unwrap();
    assert_eq!(stored(&again, full(1).id).await, full(1));
}

/// On a server of its own: the prefix is the one that an application has that does not choose
/// another.
#[cfg(feature = "redis")]
#[tokio::test]
async fn redis() {
    use crate::redis::server::OwnServer;
    let Some(server) = OwnServer::start(&[]) else { return };
    works(&server.url()).await;
    let again = connect(&server.url().replace("redis:", "valkey:")).await.unwrap();
    assert_eq!(stored(&again, full(1).id).await, full(1));
}

#[tokio::test]
async fn what_is_no_store_is_refused() {
    for scheme in ["mssql", "mongodb", "oracle", "http", "file"] {
        let error = refused(&format!("{scheme}://user:hunter2@host/keys")).await;
        assert_eq!(error, ConfigError::StoreScheme { scheme: scheme.to_owned() });
        assert!(error.to_string().contains(&format!("no store for {scheme}://")), "{error}");
    }
    for url in [
        "",
        "keys.db",
        "/var/lib/keys.db",
        "hunter2:5432/keys",
        "user:hunter2@host/keys",
        "mysql:user:hunter2",
    ] {
        assert!(matches!(refused(url).await, ConfigError::StoreUrl { .. }), "{url}");
    }
}

#[tokio::test]
async fn no_error_shows_a_password() {
    for scheme in [
        "memory",
        "sqlite",
        "postgres",
        "postgresql",
        "mysql",
        "mariadb",
        "redis",
        "rediss",
        "valkey",
        "redis+cluster",
        "valkeys+cluster",
        "mssql",
        "",
        " ",
    ] {
        for rest in [
            ":user:hunter2@127.0.0.1:1/keys",
            "://user:hunter2@127.0.0.1:1/keys",
            "://user:hunter2@127.0.0.1:hunter2/keys",
            "://user:hunter2@[::1/keys",
            "://user:hunter2@/no/such/directory/keys?mode=hunter2",
            "hunter2://",
            "hunter2",
        ] {
            let url = format!("{scheme}{rest}");
            if url.starts_with("sqlite://user") || url.starts_with("sqlite:user") {
                continue; // A file of that name, in this directory.
            }
            let Err(error) = connect(&url).await else { panic!("{url} is no store") };
            let text = texts(&error);
            let text = text.replace(&format!("{scheme}hunter2"), "");
            assert!(!text.contains("hunter2"), "{url}: {text}");
        }
    }
}
