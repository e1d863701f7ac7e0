//! Sources that have no keys, and tables that are not there.

use crate::{process, session::Shell};

#[test]
fn an_empty_file() {
    let shell = Shell::on_sqlite();
    for (name, content) in [
        ("empty", ""),
        ("spaces", " \n\t\r\n"),
        ("mark", "\u{feff}"),
        ("mark and end", "\u{feff}\n"),
    ] {
        shell.write(name, content);
        let mut import = shell.command("tower-api-key");
        let done = process::run(import.args(["import", name]));
        assert_eq!(done.status.code(), Some(2), "{name}: {done:?}");
        let said = format!("tower-api-key: there is nothing to import: {name} is empty");
        assert_eq!(done.stderr, said);
        assert_eq!(done.stdout, "", "{name}");
    }
    shell.write("header.csv", "key_hash,name\n");
    shell.session(
        "
$ tower-api-key import - < /dev/null
tower-api-key: there is nothing to import: standard input is empty
=> 2
$ tower-api-key import header.csv
There are no rows.
Imported: 0
$ echo '[]' | tower-api-key import -
There are no rows.
Imported: 0
",
    );
}

#[test]
fn without_digests() {
    let shell = Shell::on_sqlite();
    shell.write("list.csv", "name,user_id\nfirst,7\n");
    shell.write("list.jsonl", "{\"name\":\"first\"}\n");
    let missing = "tower-api-key: there is no column key_hash (or hashed_key), which has the digests of \
                   the keys; say what it is called with --column key_hash=NAME";
    for name in ["list.csv", "list.jsonl"] {
        let mut import = shell.command("tower-api-key");
        let done = process::run(import.args(["import", name]));
        assert_eq!(done.status.code(), Some(2), "{done:?}");
        assert_eq!(done.stderr.lines().last(), Some(missing), "{done:?}");
    }
}

/// A table of another name is made by `migrate` alone.
#[tokio::test]
async fn a_table_that_is_not_there() {
    let shells = [Some(Shell::on_sqlite()), Shell::on_postgres().await, Shell::on_mysql().await];
    for shell in shells.into_iter().flatten() {
        shell.write("keys.csv", &format!("key_hash,name\n{:064x},first\n", 1));
        let heartbeat = if shell.url.starts_with("sqlite") { "" } else { "api_keys_heartbeat, " };
        let there = format!(
            "api_keys, api_keys_credits, api_keys_events, {heartbeat}api_keys_requests, \
             api_keys_schema, api_keys_usage, api_keys_watermarks"
        );
        let missing = |there: &str| {
            format!(
                "tower-api-key: --table: there is no table \"nope\"; those there are: {there}. \
                 `migrate` makes one, and `import` reads one with --from-table\n=> 2"
            )
        };
        let if_file = "tower-api-key: DATABASE_URL: there is no file $DIR/keys.db; `migrate` makes \
                       one\n=> 2";
        let first = if shell.url.starts_with("sqlite") { if_file.into() } else { missing("none") };
        let missing = missing(&there);
        shell.session(&format!(
            "
$ tower-api-key import keys.csv --table nope
{first}
$ ls keys.db 2>/dev/null || echo none
none
$ tower-api-key migrate
The tables are up to date.
$ tower-api-key import keys.csv --table nope
{missing}
$ tower-api-key create --name first --table nope
{missing}
$ tower-api-key list --table nope
{missing}
$ tower-api-key migrate --table nope
The tables are up to date.
$ tower-api-key import keys.csv --table nope
Imported: 1
$ tower-api-key list
There are no such keys.
"
        ));
    }
}

/// The table to read.
#[test]
fn a_source_table_that_is_not_there() {
    Shell::on_sqlite().session(
        r#"
$ tower-api-key migrate
The tables are up to date.
$ tower-api-key import keys.db --from-table nope
tower-api-key: there is no table "nope"; those there are: api_keys, api_keys_credits, api_keys_events, api_keys_requests, api_keys_schema, api_keys_usage, api_keys_watermarks. --from-table names another
=> 2
"#,
    );
}
