//! Columns: known, mapped or given up by name.

use super::{assert_stopped, came, csv, import, json};
use crate::session::Shell;

/// Whatever says that a key has ended, in any language, is not passed over.
#[test]
fn a_column_that_is_not_known_stops_the_import() {
    for column in [
        "suspended",
        "banned",
        "valid_until",
        "live",
        "gesperrt",
        "disabled_at",
        "is_blocked",
        "\"\"",
    ] {
        for file in [csv(column, "1"), json(column.trim_matches('"'), "1")] {
            assert_stopped(&import(&file, &[]), "these columns are not known");
            assert_eq!(import(&file, &["--ignore-other-columns"]), came("active"), "{column}");
            let ignored = ["--ignore-column", column.trim_matches('"')];
            assert_eq!(import(&file, &ignored), came("active"), "{column}");
        }
    }
}

#[test]
fn all_of_them_are_named() {
    let shell = Shell::on_sqlite();
    shell.write("keys.csv", &format!("key_hash,banned,live,Note\n{:064x},,,\n", 1));
    let lines = format!(
        "{{\"key_hash\":\"{:064x}\",\"banned\":1}}\n{{\"key_hash\":\"{:064x}\",\"live\":0}}\n",
        1, 2
    );
    shell.write("keys.jsonl", &lines);
    shell.session(
        r"
$ tower-api-key import keys.csv
tower-api-key: these columns are not known: Note, banned, live. Say what each of them is with --column OURS=THEIRS, or give it up with --ignore-column NAME; --ignore-other-columns gives up all
=> 2
$ tower-api-key import keys.jsonl --skip-invalid 2>&1 | cut -c 1-57
tower-api-key: these columns are not known: banned, live.
$ tower-api-key import keys.csv --ignore-column banned --ignore-column live 2>&1 | cut -c 1-49
tower-api-key: these columns are not known: Note.
$ tower-api-key import keys.csv --ignore-column banned --ignore-other-columns
Columns that are not read: Note, live.
Imported: 1
$ tower-api-key import keys.csv --ignore-column banned --ignore-column live --ignore-column Note
Imported: 0
There already: 1 (line 2)
",
    );
}

/// A file without a header has keys in its first line.
#[test]
fn a_first_row_is_not_shown() {
    let outcome = import("MV_SECRET_0123456789,first\nMV_SECRET_9876543210,second\n", &[]);
    assert_stopped(&outcome, "there is no column key_hash");
    assert!(!format!("{outcome:?}").contains("MV_SECRET"), "{outcome:?}");
}

#[test]
fn ends_by_every_name() {
    for column in [
        "expires_at",
        "expiresAt",
        "ExpiresAt",
        "expires-at",
        "EXPIRES_AT",
        "expires",
        "expiry",
        "expiry_date",
        "expiryDate",
        "expiration",
        "expiration_date",
        "expires_on",
    ] {
        assert_eq!(import(&csv(column, "2020-01-01"), &[]), came("expired"), "{column}");
        assert_eq!(import(&json(column, "1577836800"), &[]), came("expired"), "{column}");
    }
}

/// Which of two is right is not ours to say.
#[test]
fn two_columns_for_one() {
    let hash = format!("{:064x}", 1);
    let file = format!("key_hash,expires_at,expires\n{hash},,2020-01-01\n");
    assert_stopped(&import(&file, &[]), "several columns may be expires_at: expires, expires_at");
    let ignored = ["--ignore-column", "expires_at"];
    assert_eq!(import(&file, &ignored), came("expired"));
    // One that is mapped is not joined by another that has the name.
    let mapped = ["--column", "expires_at=expires"];
    assert_stopped(&import(&file, &mapped), "not known: expires_at");
    let file = format!("{{\"key_hash\":\"{hash}\",\"expires\":null,\"expiresAt\":\"2020-01-01\"}}");
    assert_stopped(&import(&file, &[]), "several columns may be expires_at");

    let file = format!("key_hash,is_active,is_active\n{hash},0,1\n");
    assert_stopped(&import(&file, &[]), "two columns of the same name");
    let file = format!("{{\"key_hash\":\"{hash}\",\"is_active\":false,\"is_active\":true}}");
    assert_stopped(&import(&file, &[]), "1 of the rows are invalid");
}

/// Rows of JSON each have members of their own. One that does not say whether it is active, where
/// others do, is not taken for active.
#[test]
fn a_state_that_only_some_rows_have() {
    let row = |number: u8, rest: &str| format!("{{\"key_hash\":\"{number:064x}\"{rest}}}\n");
    for rest in [
        r#","is_active":true"#,
        r#","status":"active""#,
        r#","disabled":false"#,
        r#","is_revoked":false"#,
    ] {
        let outcome = import(&(row(1, "") + &row(2, rest)), &[]);
        assert_stopped(&outcome, "is in 1 of 2 rows");
    }
    // No time is how most say that a key was not revoked.
    let ended = r#","revoked_at":"2020-01-01T00:00:00Z""#;
    let shell = Shell::on_sqlite();
    shell.write("keys.jsonl", &(row(1, "") + &row(2, ended)));
    shell.session(
        r"
$ tower-api-key import keys.jsonl
Imported: 1
Left out, revoked or deleted: 1
",
    );
}

#[test]
fn a_mapped_column_must_be_there() {
    for file in [csv("name", "x"), json("name", "\"x\"")] {
        let outcome = import(&file, &["--column", "is_active=live"]);
        assert_stopped(&outcome, "there is no column \"live\"");
    }
}
