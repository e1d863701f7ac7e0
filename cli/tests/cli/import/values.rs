//! Nothing, never, and the beginnings of keys.

use super::{assert_stopped, came, csv, csv_rows, import, import_all, json, json_rows};
use crate::session::Shell;

/// Databases write NULL into CSV, and a thousand keys without an owner are not one owner's.
#[test]
fn nothing_has_no_quotes() {
    let shell = Shell::on_sqlite();
    let row = |number: u8, owner: &str| format!("{number:064x},{owner}\n");
    let rows = [
        row(1, "NULL"),
        row(2, "\\N"),
        row(3, "None"),
        row(4, "null"),
        row(5, ""),
        row(6, "\"NULL\""),
        row(7, "\"\\N\""),
        row(8, "\"None\""),
        row(9, "-"),
        row(10, "nil"),
    ];
    shell.write("keys.csv", &format!("key_hash,user_id\n{}", rows.concat()));
    shell.write(
        "keys.jsonl",
        &format!(
            "{{\"key_hash\":\"{:064x}\",\"user_id\":\"NULL\"}}\n{{\"key_hash\":\"{:064x}\",\"user_id\":null}}\n",
            11, 12
        ),
    );
    shell.session(
        r#"
$ tower-api-key import keys.csv --null -
Imported: 10
$ tower-api-key import keys.jsonl
Imported: 2
$ tower-api-key list --json | grep -o '"owner":[^,]*' | sort | uniq -c | sed 's/^ *//'
2 "owner":"NULL"
1 "owner":"None"
1 "owner":"\\N"
1 "owner":"nil"
7 "owner":null
"#,
    );
    assert_eq!(import(&csv("is_active", "NULL"), &[]), came("disabled"));
    assert_eq!(import(&csv("expires_at", "None"), &[]), came("active"));
    assert_stopped(&import(&csv("expires_at", "\"NULL\""), &[]), "invalid");
}

#[test]
fn zero_may_be_never() {
    let values = [
        "0",
        "-1",
        "\"0\"",
        "\"-1\"",
        "\"0000-00-00\"",
        "\"0000-00-00 00:00:00\"",
        "\"0000-00-00 00:00:00.000000\"",
        "\"0001-01-01T00:00:00Z\"",
        "\"0001-01-01\"",
        "-62135596800",
        "\"1970-01-01T00:00:00Z\"",
        "\"1970-01-01 00:00:00\"",
        "0.0",
    ];
    for column in ["expires_at", "not_before", "last_used_at", "created_at"] {
        for file in [csv_rows(column, &values), json_rows(column, &values)] {
            assert_eq!(import_all(&file, &[]), vec!["?"; values.len()], "{column}");
            let never = import_all(&file, &["--zero-is-never"]);
            assert_eq!(never, vec!["active"; values.len()], "{column}");
        }
    }
    assert_stopped(&import(&json("expires_at", "0"), &[]), "--zero-is-never");
}

#[test]
fn the_end_of_time_is_never() {
    for value in [
        "9999-12-31T23:59:59Z",
        "9999-12-31",
        "9999-12-31 23:59:59.999999",
        "infinity",
        "9999-01-01T00:00:00+14:00",
        "253402300799",
        "253402300799000",
        "99991231",
        "999912312359",
        "99991231235959",
    ] {
        let shell = Shell::on_sqlite();
        shell.write("keys.csv", &csv("expires_at", value));
        shell.session(
            r#"
$ tower-api-key import keys.csv
Imported: 1
$ tower-api-key list --json | grep -o '"expires_at":[^,]*'
"expires_at":null
"#,
        );
        // A key that is never valid is no key.
        assert_stopped(&import(&csv("not_before", value), &[]), "must be before the year 9999");
        assert_stopped(&import(&csv("created_at", value), &[]), "must be before the year 9999");
    }
    for value in ["-infinity", "nan", "1e300", "NaN", "99999999999999999", "soon", "32.01.2030"] {
        assert_stopped(&import(&csv("expires_at", value), &[]), "1 of the rows are invalid");
    }
}

/// A date without a time is the end of that day.
#[test]
fn a_day_ends_late() {
    let shell = Shell::on_sqlite();
    shell.write("keys.csv", &csv("expires_at,not_before", "2040-01-31,2001-01-31"));
    shell.session(
        r#"
$ tower-api-key import keys.csv
Imported: 1
$ tower-api-key list --json | grep -o -E '"(expires_at|not_before)":[^,]*'
"not_before":"2001-01-31T00:00:00.000Z"
"expires_at":"2040-01-31T23:59:59.999Z"
"#,
    );
}

/// As a number, a date of fourteen digits would be a moment of the year 2613.
#[test]
fn dates_in_digits_alone() {
    for (value, at) in [
        ("20400131", "2040-01-31T23:59:59.999Z"),
        ("204001311200", "2040-01-31T12:00:00.000Z"),
        ("20400131120030", "2040-01-31T12:00:30.000Z"),
        // These are numbers: seconds, and milliseconds, up to the year 3000.
        ("2204010311", "2039-11-04T09:05:11.000Z"),
        ("2204010311000", "2039-11-04T09:05:11.000Z"),
        ("32503680000", "3000-01-01T00:00:00.000Z"),
        ("32503680000000", "3000-01-01T00:00:00.000Z"),
    ] {
        for file in [csv("expires_at", value), json("expires_at", value)] {
            let shell = Shell::on_sqlite();
            shell.write("keys", &file);
            shell.session(&format!(
                r#"
$ tower-api-key import keys
Imported: 1
$ tower-api-key list --json | grep -o '"expires_at":[^,]*'
"expires_at":"{at}"
"#
            ));
        }
    }
    assert_eq!(import(&csv("expires_at", "20010131"), &[]), came("expired"));
    // As `1900-01-01` is.
    assert_eq!(import(&csv("expires_at", "19000101"), &["--zero-is-never"]), came("active"));
    assert_eq!(import(&csv("not_before", "29991231"), &[]), came("not_yet_valid"));
    let numbers = ["20400131120000.0", "2.03001E13", "20300131.0", "203001311200.5"];
    let dates = ["20401331", "204001312400", "20400131126000", "20400230000000"];
    for value in [numbers, dates].concat() {
        assert_stopped(&import(&csv("expires_at", value), &[]), "1 of the rows are invalid");
        assert_stopped(&import(&json("expires_at", value), &[]), "1 of the rows are invalid");
    }
}

/// No key begins like a mask, and a slow hash is found by how its key begins.
#[test]
fn a_masked_start() {
    const BCRYPT: &str = "$2b$12$U2dpLERQlLrZy.Wg7VvHCeHhbuIoW1.ZFOdww3KJ.FdSAj0eIjuUe";
    for start in [
        "sk_l****",
        "****abcd",
        "sk_live_...9f3a",
        "sk_live_xxxxxx",
        "abcd\u{2026}",
        "abcdXXXX",
        "\u{2022}\u{2022}\u{2022}\u{2022}",
    ] {
        let file = format!("key_hash,key_prefix\n{BCRYPT},{start}\n");
        assert_stopped(&import(&file, &[]), "not masked");
    }
    for start in ["sk_l", "abcd.e", "max_xx12"] {
        let file = format!("key_hash,key_prefix\n{BCRYPT},{start}\n");
        assert_eq!(import(&file, &[]), came("active"), "{start}");
    }
    // A digest is found by itself. The start is for people.
    assert_eq!(import(&csv("key_prefix", "sk_l****"), &[]), came("active"));
}

/// Only what may work later is 3.
#[test]
fn exit_codes() {
    let shell = Shell::on_sqlite();
    shell.write("keys.csv", &csv("name", "x"));
    shell.write("no.db", "SQLite format 3\0and no more");
    shell.session(
        r"
$ SOURCE_DATABASE_URL=postgres://root@127.0.0.1:1/none tower-api-key import 2>&1 | cut -c 1-42
tower-api-key: the table cannot be read: e
$ SOURCE_DATABASE_URL=postgres://root@127.0.0.1:1/none tower-api-key import 2> /dev/null
=> 3
$ SOURCE_DATABASE_URL=mysql://root@127.0.0.1:1/none tower-api-key import 2> /dev/null
=> 3
$ SOURCE_DATABASE_URL=oracle://x tower-api-key import 2> /dev/null
=> 2
$ SOURCE_DATABASE_URL=sqlite:nowhere.db tower-api-key import 2> /dev/null
=> 2
$ tower-api-key import no.db 2> /dev/null
=> 2
$ tower-api-key import nowhere.csv 2> /dev/null
=> 2
$ DATABASE_URL=postgres://root@127.0.0.1:1/none tower-api-key import keys.csv 2> /dev/null
=> 3
",
    );
}
