//! Character sets that hold no more than some scripts.

use sqlx::{MySqlPool, mysql::MySqlConnectOptions};
use tower_api_key::store::{ConnectError, KeyRepository, MySqlStore, connect};

use super::MySql;
use crate::{
    conformance::{full, stored},
    remote::{Remote, Session},
    servers::{Database, Server},
    support::texts,
};

/// The server's or the database's default is for other programs.
#[tokio::test]
async fn names_in_any_script_survive_a_latin_database() {
    let Some(database) = Database::new(Server::MySql).await else { return };
    let name = database.name();
    database.administer(&format!("ALTER DATABASE {name} CHARACTER SET latin1")).await;
    let store = MySqlStore::connect(database.url()).await.unwrap();
    let key = full(1);
    store.insert(&key).await.unwrap();
    assert_eq!(stored(&store, key.id).await, key);
    // Another program reads the same characters.
    let mut session = MySql::session(database.url()).await;
    let sql = "SELECT lower(hex(name)) FROM api_keys";
    let bytes = key.name.bytes().map(|byte| format!("{byte:02x}"));
    assert_eq!(session.rows(sql).await, [bytes.collect::<String>()]);
    let sql = "SELECT CAST(char_length(name) AS CHAR) FROM api_keys";
    assert_eq!(session.rows(sql).await, [key.name.chars().count().to_string()]);
}

#[tokio::test]
async fn connections_that_speak_another_character_set_are_refused() {
    let Some(database) = Database::new(Server::MySql).await else { return };
    for charset in ["latin1", "utf8mb3"] {
        let url = format!("{}?charset={charset}", database.url().trim_end_matches('?'));
        let error = connect(&url).await.map(drop).unwrap_err();
        assert!(matches!(error, ConnectError::Config(_)), "{error:?}");
        assert!(texts(&error).contains("`charset` must be `utf8mb4`"), "{error}");
        let options: MySqlConnectOptions = database.url().parse().unwrap();
        let pool = MySqlPool::connect_with(options.charset(charset)).await.unwrap();
        let error = MySqlStore::from_pool(pool).migrate().await.unwrap_err();
        assert!(texts(&error).contains("utf8mb4"), "{error:?}");
    }
}
