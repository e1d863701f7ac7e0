//! Import straight from the tables of other systems.

use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

use crate::{
    servers::{Database, Server},
    session::Shell,
};

/// What was `sha256(key)` of the keys `…-one-one-one-one`, `two-…`, and so on.
fn hash(key: &str) -> String {
    tower_api_key::KeyHasher::sha256().digest(key).to_hex()
}

/// The types that PostgreSQL has for them.
#[tokio::test]
async fn postgres() {
    let Some(source) = Database::new(Server::Postgres).await else { return };
    let rows = [
        format!(
            "(1, '{}', 'one-one-', 'first', '00000000-0000-0000-0000-000000000007', ARRAY['a:b','c:d'], true, '2040-01-01 12:00:00+02', NULL, '2001-02-03 04:05:06', NULL)",
            hash("one-one-one-one-one")
        ),
        format!(
            "(2, '{}', 'two-two-', 'second', NULL, '{{}}', false, NULL, '2019-06-01 00:00:00+00', '2001-02-03 04:05:06', NULL)",
            hash("two-two-two-two-two")
        ),
        format!(
            "(3, '{}', 'three-th', 'third', NULL, NULL, true, NULL, NULL, '2001-02-03 04:05:06', '2019-06-01')",
            hash("three-three-three-three")
        ),
    ];
    source
        .run(&format!(
            "CREATE SCHEMA old; CREATE TABLE old.\"Keys\" (id int PRIMARY KEY, key_hash varchar(255) NOT NULL UNIQUE, \
             key_prefix varchar(8), name varchar(100), owner uuid, scopes varchar[], is_active boolean, \
             expires_at timestamptz, last_used_at timestamptz, created_at timestamp, deleted_at timestamptz); \
             INSERT INTO old.\"Keys\" VALUES {}",
            rows.join(", ")
        ))
        .await;
    let shell = Shell::on_sqlite();
    shell.write("url", source.url());
    shell.session(
        r"
$ export SOURCE_DATABASE_URL=$(cat url)
$ tower-api-key import
tower-api-key: there is no table `api_keys`; those there are: old.Keys. --from-table names another
=> 2
$ tower-api-key import --from-table old.Keys --column user_id=owner
Imported: 2
Left out, revoked or deleted: 1
$ echo one-one-one-one-one | tower-api-key verify
The key is good.
id  <id-1>
name  first
start  one-one-
status  active
owner  00000000-0000-0000-0000-000000000007
scopes  a:b c:d
created at  2001-02-03T04:05:06.000Z
expires at  2040-01-01T10:00:00.000Z
uses  0
A service whose layer knows only the format of the keys issued here refuses it as malformed_key: see with_formats and KeyFormat::opaque().
$ echo two-two-two-two-two | tower-api-key verify 2>/dev/null | cut -d ' ' -f 1-5
The key is refused: disabled_key.
$ tower-api-key import --from-table old.Keys --column user_id=owner
Imported: 0
There already: 2 (row 1 (id 1), row 2 (id 2))
Left out, revoked or deleted: 1
"
        .replace("`api_keys`", "\"api_keys\"")
        .replace("00000000-0000-0000-0000-000000000007", "<id-2>")
        .as_str(),
    );
}

/// The same database, where the name of our table is taken by theirs.
#[tokio::test]
async fn beside_the_other_table() {
    let shell = Shell::on_sqlite();
    let options: SqliteConnectOptions = shell.url.parse().unwrap();
    let mut connection = options.create_if_missing(true).connect().await.unwrap();
    // Bytes instead of text, and a time in seconds.
    let sql = format!(
        "CREATE TABLE api_keys (key_hash BLOB, \"the name\" TEXT, expires_at REAL); \
         INSERT INTO api_keys VALUES (x'{}', 'first', 2208988800.5)",
        hash("one-one-one-one-one"),
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    shell.session(
        r"
$ tower-api-key list 2>&1 | grep -o 'the key store holds something that is not a key'
the key store holds something that is not a key
$ export TOWER_API_KEY_TABLE=service_keys
$ tower-api-key migrate
The tables are up to date.
$ tower-api-key import keys.db --column 'name=the name'
Imported: 1
$ echo one-one-one-one-one | tower-api-key verify 2>/dev/null | tail -n 3
created at  <time>
expires at  2040-01-01T00:00:00.500Z
uses  0
",
    );
}

/// Two keys, of which the second has leaked: a generated column says so.
fn generated(column: &str, text: &str) -> String {
    format!(
        "CREATE TABLE api_keys (key_hash {text}, revoked_reason {text}, {column}); \
         INSERT INTO api_keys (key_hash, revoked_reason) VALUES ('{}', NULL), ('{}', 'leaked'); \
         CREATE VIEW seen_keys AS SELECT * FROM api_keys",
        hash("one-one-one-one-one"),
        hash("two-two-two-two-two"),
    )
}

/// What comes of it, from the table and from a view of it.
fn only_the_first_comes_in(url: &str) {
    let shell = Shell::on_sqlite();
    shell.write("url", url);
    shell.session(
        r#"
$ export SOURCE_DATABASE_URL=$(cat url)
$ tower-api-key import 2>&1 | cut -c 1-58
tower-api-key: these columns are not known: revoked_reason
$ tower-api-key import --from-table seen_keys --ignore-column revoked_reason --dry-run
Could be imported: 1
Left out, revoked or deleted: 1
$ tower-api-key import --ignore-column revoked_reason
Imported: 1
Left out, revoked or deleted: 1
$ echo one-one-one-one-one | tower-api-key verify 2>/dev/null | head -n 1
The key is good.
$ echo two-two-two-two-two | tower-api-key verify --json 2>/dev/null | grep -o '"code":"[a-z_]*"'
"code":"unknown_key"
"#,
    );
}

#[tokio::test]
async fn generated_columns_of_sqlite() {
    for kind in ["VIRTUAL", "STORED"] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("their.db");
        let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        let column =
            format!("is_revoked INT GENERATED ALWAYS AS (revoked_reason IS NOT NULL) {kind}");
        let sql = sqlx::AssertSqlSafe(generated(&column, "TEXT"));
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        only_the_first_comes_in(&format!("sqlite:{}", file.display()));
    }
}

#[tokio::test]
async fn generated_columns_of_servers() {
    let generated_as = "GENERATED ALWAYS AS (revoked_reason IS NOT NULL)";
    for (server, kind) in [
        (Server::Postgres, ("boolean", "STORED")),
        (Server::MySql, ("int", "STORED")),
        (Server::MySql, ("int", "VIRTUAL")),
    ] {
        let Some(source) = Database::new(server).await else { continue };
        let column = format!("is_revoked {} {generated_as} {}", kind.0, kind.1);
        source.run(&generated(&column, "varchar(64)")).await;
        only_the_first_comes_in(source.url());
    }
}
