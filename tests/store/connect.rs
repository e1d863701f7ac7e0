//! Stores and buses by URL.

use tower_api_key::{
    ConfigError,
    store::{ConnectError, KeyRepository, StoreKind, connect, connect_bus},
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

/// What is said of a URL that names neither a store nor a bus.
async fn refused(url: &str) -> ConfigError {
    let of_bus = connect_bus(url).await.map(drop).unwrap_err();
    match (connect(url).await.map(drop).unwrap_err(), of_bus) {
        (ConnectError::Config(error), ConnectError::Config(of_bus)) => {
            assert_eq!(error, of_bus, "{url}");
            error
        }
        errors => panic!("{url}: {errors:?}"),
    }
}

#[cfg(any(feature = "postgres", feature = "redis"))]
async fn bus(url: &str) -> std::sync::Arc<dyn tower_api_key::store::Invalidations> {
    let bus = connect_bus(url).await.unwrap_or_else(|error| panic!("{url}: {error:?}"));
    bus.unwrap_or_else(|| panic!("{url} has a bus"))
}

/// What is published on the bus of one URL is heard on that of the other.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) async fn are_one_bus(one: &str, other: &str) {
    let mut subscription = bus(one).await.subscribe().await.unwrap();
    bus(other).await.publish(&[crate::conformance::digest(1)].into()).await.unwrap();
    assert_eq!(
        subscription.next().await.unwrap(),
        [crate::conformance::digest(1)].into(),
        "{one} {other}"
    );
}

/// No server is asked, and no file made.
#[tokio::test]
async fn stores_without_a_bus() {
    let mut urls = vec!["memory:"];
    if cfg!(feature = "sqlite") {
        urls.extend(["sqlite::memory:", "sqlite:///no/such/directory/keys.db"]);
    }
    if cfg!(feature = "mysql") {
        urls.extend(["mysql://127.0.0.1:1/keys", "mariadb://127.0.0.1:1/keys"]);
    }
    for url in urls {
        assert!(connect_bus(url).await.unwrap().is_none(), "{url}");
    }
}

#[cfg(any(feature = "postgres", feature = "redis"))]
#[tokio::test]
async fn a_bus_that_is_not_there_is_an_error() {
    let mut urls = Vec::new();
    if cfg!(feature = "postgres") {
        urls.push("postgres://127.0.0.1:1/keys");
    }
    if cfg!(feature = "redis") {
        urls.extend(["redis://127.0.0.1:1", "redis+cluster://127.0.0.1:1,127.0.0.1:2"]);
    }
    for url in urls {
        let error = connect_bus(url).await.map(drop).unwrap_err();
        let ConnectError::Store(error) = error else { panic!("{url} is fine: {error:?}") };
        assert_eq!(error.back_end(), tower_api_key::store::BackEnd::Bus, "{url}: {error:?}");
    }
}

#[test]
fn kinds_of_stores() {
    for (kind, schemes) in [
        (StoreKind::Postgres, &["postgres", "postgresql"][..]),
        (StoreKind::MySql, &["mysql", "mariadb"]),
        (StoreKind::Redis, &["redis", "rediss", "valkey", "valkeys"]),
        (StoreKind::Redis, &["redis+cluster", "rediss+cluster"]),
        (StoreKind::Redis, &["valkey+cluster", "valkeys+cluster"]),
    ] {
        for scheme in schemes {
            assert_eq!(StoreKind::of_url(&format!("{scheme}://host/keys")), Ok(kind), "{scheme}");
            assert!(StoreKind::of_url(&format!("{scheme}:host/keys")).is_err(), "{scheme}");
        }
    }
    assert_eq!(StoreKind::of_url("memory:"), Ok(StoreKind::Memory));
    assert_eq!(StoreKind::of_url("sqlite:keys.db"), Ok(StoreKind::Sqlite));
    for other in ["redi", "redis+clusters", "redis+unix", "postgres+cluster", "", "+cluster"] {
        assert!(StoreKind::of_url(&format!("{other}://host/keys")).is_err(), "{other}");
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
    for url in ["sqlite:", "sqlite://", "sqlite://keys.db?mode=ro"] {
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
    are_one_bus(&format!("postgres://{rest}"), &format!("postgresql://{rest}")).await;
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
    let valkey = server.url().replace("redis:", "valkey:");
    let again = connect(&valkey).await.unwrap();
    assert_eq!(stored(&again, full(1).id).await, full(1));
    are_one_bus(&server.url(), &valkey).await;
}

/// Drivers pass over what they do not know: a mistyped `sslmode` would go without TLS.
#[tokio::test]
async fn options_that_would_be_dropped_are_refused() {
    for (url, named) in [
        ("sqlite://keys.db?immutable=1", "immutable"),
        ("sqlite::memory:?cache=shared", "cache"),
        ("postgres://user:hunter2@127.0.0.1:1/keys?ssmode=require", "ssmode"),
        ("postgresql://127.0.0.1:1/keys?sslmode=require&pgbouncer=true", "pgbouncer"),
        ("mysql://user:hunter2@127.0.0.1:1/keys?ssl_mode=REQUIRED", "ssl_mode"),
        ("mariadb://127.0.0.1:1/keys?schema=shop", "schema"),
        ("redis://127.0.0.1:1/?db=2", "db"),
        ("valkeys://127.0.0.1:1/?ssl_cert_reqs=none", "ssl_cert_reqs"),
        ("redis+cluster://127.0.0.1:1,127.0.0.1:2/?protocl=resp3", "protocl"),
    ] {
        let error = refused(url).await;
        let ConfigError::StoreOption { option, .. } = &error else { panic!("{url}: {error:?}") };
        assert_eq!(option, &format!("`{named}`"), "{url}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    assert!(matches!(refused("memory:?size=1").await, ConfigError::StoreUrl { .. }));
}

/// As Prisma writes it.
#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_schema_is_honoured() {
    use crate::servers::{Database, Server};
    let Some(database) = Database::new(Server::Postgres).await else { return };
    database.run("CREATE SCHEMA shop").await;
    let shop = format!("{}?schema=shop", database.url().trim_end_matches('?'));
    works(&shop).await;
    are_one_bus(&shop, database.url()).await;
    are_one_bus(database.url(), &shop).await;
    database.run("SELECT digest FROM shop.api_keys").await;
    let public = connect(database.url()).await.unwrap();
    assert!(public.get(full(1).id).await.unwrap().is_none());
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
            // A store that has no bus is not asked.
            for error in [Some(error), connect_bus(&url).await.err()].iter().flatten() {
                let text = texts(error);
                let text = text.replace(&format!("{scheme}hunter2"), "");
                assert!(!text.contains("hunter2"), "{url}: {text}");
            }
        }
    }
}
