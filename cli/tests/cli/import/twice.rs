//! A source that has one key twice, as a table of every change does.

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use tower_api_key::KeyHasher;

use super::{assert_stopped, came, import};
use crate::{process, session::Shell};

const BCRYPT: &str = "$2b$12$U2dpLERQlLrZy.Wg7VvHCeHhbuIoW1.ZFOdww3KJ.FdSAj0eIjuUe";

/// Rows as CSV, in either order.
fn both_orders(header: &str, rows: [&str; 2]) -> [String; 2] {
    let [one, two] = rows;
    [format!("{header}\n{one}\n{two}\n"), format!("{header}\n{two}\n{one}\n")]
}

#[track_caller]
fn assert_twice(file: &str, args: &[&str]) {
    let outcome = import(file, args);
    assert_stopped(&outcome, "line 3: the key is there twice; line 2 differs");
    assert_stopped(&outcome, "nothing was imported: 1 of the rows have a key that another row has");
}

#[test]
fn ended_or_off_in_one_row() {
    let hash = format!("{:064x}", 10);
    for (column, good, other) in [
        ("revoked_at", "", "2024-01-01"),
        ("is_revoked", "0", "1"),
        ("is_active", "1", "0"),
        ("disabled", "0", "1"),
        ("status", "active", "suspended"),
        ("expires_at", "", "2024-01-01"),
        // Both are active. But one of them was narrowed.
        ("expires_at", "", "2999-01-01"),
        ("scopes", "*", "read"),
    ] {
        let rows = [format!("{hash},{good}"), format!("{hash},{other}")];
        for file in both_orders(&format!("key_hash,{column}"), [&rows[0], &rows[1]]) {
            for args in [&[][..], &["--end-ended"], &["--skip-invalid"], &["--dry-run"]] {
                assert_twice(&file, args);
            }
        }
    }
}

/// A row that is left out because it is invalid may be the one that ended the key.
#[test]
fn invalid_in_one_row() {
    let hash = format!("{:064x}", 10);
    for (column, good, bad) in [("revoked_at", "", "gone"), ("expires_at", "", "soon")] {
        let rows = [format!("{hash},{good}"), format!("{hash},{bad}")];
        for file in both_orders(&format!("key_hash,{column}"), [&rows[0], &rows[1]]) {
            assert_twice(&file, &["--skip-invalid"]);
        }
    }
}

/// Where no row of a key comes in, it does not matter how many there are.
#[test]
fn ended_in_all_rows() {
    let hash = format!("{:064x}", 10);
    let shell = Shell::on_sqlite();
    shell.write(
        "keys.csv",
        &format!("key_hash,revoked_at\n{hash},2024-01-01\n{hash},2024-01-02\n{:064x},\n", 11),
    );
    shell.session(
        r"
$ tower-api-key import keys.csv
Imported: 1
Left out, revoked or deleted: 2
",
    );
}

/// A digest is the same in any spelling, and a slow hash in any that bcrypt has.
#[test]
fn in_two_spellings() {
    let hash = KeyHasher::sha256().digest("one-one-one-one-one").to_hex();
    let upper = hash.to_uppercase();
    let base64 = "sha256:hE0+XYXWv3Zzh1ozhGaf6dihgHID7r+DSom7SvBAUAQ=";
    let [y, a] = ["$2y$", "$2a$"].map(|start| BCRYPT.replace("$2b$", start));
    for (first, second) in [
        (hash.as_str(), upper.as_str()),
        (&hash, &format!("\\x{upper}")),
        (&hash, &format!("sha256:{hash}")),
        (&hash, base64),
        (BCRYPT, BCRYPT),
        (BCRYPT, &y),
        (&y, &a),
    ] {
        // An ended row needs nothing that a slow hash is found by.
        let rows = [format!("{first},abcd,0"), format!("{second},,1")];
        for file in both_orders("key_hash,key_prefix,is_revoked", [&rows[0], &rows[1]]) {
            assert_twice(&file, &[]);
        }
    }
}

#[test]
fn keys_themselves() {
    let rows = ["one-one-one-one-one,0", "one-one-one-one-one,1"];
    for file in both_orders("key_hash,is_revoked", rows) {
        assert_twice(&file, &["--plain-keys"]);
    }
    for file in both_orders("key_hash,is_revoked", ["17|one-one-one-one-one,0", rows[1]]) {
        assert_twice(&file, &["--plain-keys", "--numbered"]);
    }
    let one = "key_hash,is_revoked\none-one-one-one-one,0\n";
    assert_eq!(import(one, &["--plain-keys"]), came("active"));
}

#[test]
fn in_json() {
    let row =
        |revoked_at: &str| format!("{{\"key_hash\":\"{:064x}\",\"revoked_at\":{revoked_at}}}", 10);
    let (good, ended) = (row("null"), row("\"2024-01-01\""));
    for (one, two) in [(&good, &ended), (&ended, &good)] {
        let lines = import(&format!("{one}\n\n{two}\n"), &[]);
        assert_stopped(&lines, "line 3: the key is there twice; line 1 differs");
        let array = import(&format!("[{one},{two}]"), &[]);
        assert_stopped(&array, "element 2: the key is there twice; element 1 differs");
    }
}

/// A table with the key of an earlier import, which stays as it is.
#[tokio::test]
async fn in_a_table() {
    for rows in [["NULL", "'2024-01-01'"], ["'2024-01-01'", "NULL"]] {
        let shell = Shell::on_sqlite();
        let hash = format!("{:064x}", 10);
        let file = shell.directory.path().join("their.db");
        let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        let sql = format!(
            "CREATE TABLE api_keys (id INTEGER PRIMARY KEY, key_hash TEXT, revoked_at TEXT); \
             INSERT INTO api_keys VALUES (7, '{hash}', {}), (9, '{hash}', {})",
            rows[0], rows[1]
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        shell.write("before.csv", &format!("key_hash\n{hash}\n"));
        shell.session(
            r#"
$ tower-api-key import their.db
row 2 (id 9): the key is there twice; row 1 differs
tower-api-key: nothing was imported: 1 of the rows have a key that another row has, which differs; leave one row for each key
=> 2
$ tower-api-key list
There are no such keys.
$ tower-api-key import before.csv
Imported: 1
$ tower-api-key import their.db --end-ended 2> /dev/null
=> 2
$ tower-api-key list --json | grep -o '"status":"[a-z]*"'
"status":"active"
"#,
        );
    }
}

/// Two exports in one file: of one key, from before and after it was revoked.
#[test]
fn in_two_exports() {
    let shell = Shell::on_sqlite();
    // Between them, the first use of a key gives it a digest in place of its slow hash.
    shell.session(
        r#"
$ tower-api-key create --name mine > made 2>&1
$ tower-api-key export --with-digests --json > before.jsonl
These are digests, from which no key can be made: `import` restores the keys here or elsewhere. Keep them as you keep the database.
$ ID=$(tower-api-key list --json | cut -d '"' -f 4)
$ tower-api-key revoke $ID > made 2>&1
$ tower-api-key export --with-digests --json > after.jsonl
These are digests, from which no key can be made: `import` restores the keys here or elsewhere. Keep them as you keep the database.
$ cat before.jsonl after.jsonl > same.jsonl
$ sed 's/.key_hash.:........./"key_hash":"00000000/' before.jsonl | cat - after.jsonl > other.jsonl
$ export DATABASE_URL=sqlite:new.db
$ tower-api-key import same.jsonl
line 2: the key is there twice; line 1 differs
tower-api-key: nothing was imported: 1 of the rows have a key that another row has, which differs; leave one row for each key
=> 2
$ tower-api-key import other.jsonl
line 2: the key is there twice; line 1 differs
tower-api-key: nothing was imported: 1 of the rows have a key that another row has, which differs; leave one row for each key
=> 2
$ tower-api-key import after.jsonl
Imported: 1
"#,
    );
}

/// As many are named as of invalid rows.
#[test]
fn thousands() {
    let row = |n: u64| format!("{:064x},{}\n", n % 1000, n / 1000);
    let rows: String = (0..2000).map(row).collect();
    let shell = Shell::on_sqlite();
    shell.write("keys.csv", &format!("key_hash,is_active\n{rows}"));
    let done = process::run(shell.command("tower-api-key").args(["import", "keys.csv"]));
    assert_eq!(done.status.code(), Some(2));
    assert_eq!(done.stderr.lines().count(), 11, "{}", done.stderr);
    assert!(done.stderr.contains("line 1002: the key is there twice; line 2 differs"));
    assert!(done.stderr.contains("at least 10 of the rows"), "{}", done.stderr);
}
