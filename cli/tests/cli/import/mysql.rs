//! Straight from a table in MySQL or MariaDB.

use tower_api_key::KeyHasher;

use crate::{
    servers::{Database, Server},
    session::Shell,
};

fn hash(key: &str) -> String {
    KeyHasher::sha256().digest(key).to_hex()
}

/// The types that they have for them, with the times that stand for none.
#[tokio::test]
async fn its_types() {
    let Some(source) = Database::new(Server::MySql).await else { return };
    let (one, two, three) =
        (hash("one-one-one-one-one"), hash("two-two-two-two-two"), hash("three-three-three-three"));
    source
        .run(&format!(
            "SET sql_mode = ''; CREATE TABLE `api keys` (id int PRIMARY KEY, key_hash binary(32) NOT NULL, \
             key_prefix varchar(8), name varchar(100) CHARACTER SET latin1, user_id bigint unsigned, scopes json, \
             is_active tinyint(1), locked bit(1), expires_at datetime NOT NULL, last_used_at timestamp NULL, \
             created_at date, status enum('active','revoked')); \
             INSERT INTO `api keys` VALUES \
             (1, x'{one}', 'one-one-', 'f\u{fc}rst', 18446744073709551615, '[\"a:b\"]', 1, b'0', '0000-00-00 00:00:00', '2019-02-03 04:05:06', '2019-01-02', 'active'), \
             (2, x'{two}', NULL, 'it''s', NULL, NULL, 1, b'1', '2040-01-01 12:00:00', NULL, '2020-01-01', 'active'), \
             (3, x'{three}', NULL, 'third', NULL, NULL, 1, b'0', '2040-01-01 12:00:00', NULL, '2020-01-01', 'revoked')"
        ))
        .await;
    let shell = Shell::on_sqlite();
    shell.write("url", source.url());
    shell.session(
        r"
$ export SOURCE_DATABASE_URL=$(cat url)
$ tower-api-key import
tower-api-key: there is no table `api_keys`; those there are: api keys. --from-table names another
=> 2
$ tower-api-key import --from-table 'api keys'
tower-api-key: these columns are not known: locked. Say what each of them is with --column OURS=THEIRS, or give it up with --ignore-column NAME; --ignore-other-columns gives up all
=> 2
$ tower-api-key import --from-table 'api keys' --column disabled=locked
row 1 (id 1): expires_at is zero or before 1970; if that stands for never, say --zero-is-never
tower-api-key: nothing was imported: 1 of the rows are invalid; --skip-invalid leaves them out
=> 2
$ tower-api-key import --from-table 'api keys' --column disabled=locked --zero-is-never
Imported: 2
Left out, revoked or deleted: 1
$ echo one-one-one-one-one | tower-api-key verify
The key is good.
id  <id-1>
name  fürst
start  one-one-
status  active
owner  18446744073709551615
scopes  a:b
created at  2019-01-02T00:00:00.000Z
last used at  2019-02-03T04:05:06.000Z
uses  0
A service whose layer knows only the format of the keys issued here refuses it as malformed_key: see with_formats and KeyFormat::opaque().
$ echo two-two-two-two-two | tower-api-key verify 2>/dev/null | cut -d ' ' -f 1-5
The key is refused: disabled_key.
"
        .replace("`api_keys`", "\"api_keys\"")
        .as_str(),
    );
}
