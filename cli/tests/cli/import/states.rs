//! Whether a key is active, as other systems say it.

use super::{Outcome, assert_stopped, came, csv, csv_rows, import, import_all, json_rows};

/// Columns, and what each value in them means. The values are JSON.
type Meanings = (&'static [&'static str], &'static [(&'static str, &'static str)]);

const MEANINGS: [Meanings; 6] = [
    (
        &["is_active", "isActive", "active", "enabled", "IsEnabled", "is-enabled"],
        &[
            ("1", "active"),
            ("true", "active"),
            ("\"True\"", "active"),
            ("\"t\"", "active"),
            ("\"yes\"", "active"),
            ("0", "disabled"),
            ("false", "disabled"),
            ("\"F\"", "disabled"),
            ("\"no\"", "disabled"),
            ("null", "disabled"),
            ("\"\"", "disabled"),
            ("2", "?"),
            ("\"maybe\"", "?"),
            ("1.0", "?"),
            ("\"inactive\"", "?"),
            ("[]", "?"),
            ("{}", "?"),
        ],
    ),
    (
        &["disabled", "is_disabled", "isDisabled"],
        &[
            ("1", "disabled"),
            ("true", "disabled"),
            ("0", "active"),
            ("false", "active"),
            ("null", "?"),
            ("\"\"", "?"),
            ("2", "?"),
            ("\"2020-01-01\"", "?"),
        ],
    ),
    (
        &["status", "state", "Status"],
        &[
            ("\"active\"", "active"),
            ("\"ACTIVE \"", "active"),
            ("\"enabled\"", "active"),
            ("\"inactive\"", "disabled"),
            ("\"disabled\"", "disabled"),
            ("\"suspended\"", "disabled"),
            ("\"revoked\"", "left out"),
            ("\"deleted\"", "left out"),
            ("\"expired\"", "left out"),
            ("null", "?"),
            ("\"\"", "?"),
            ("1", "?"),
            ("true", "?"),
            ("\"pending\"", "?"),
        ],
    ),
    (
        &["is_revoked", "isRevoked", "is_deleted"],
        &[
            ("1", "left out"),
            ("true", "left out"),
            ("0", "active"),
            ("false", "active"),
            ("null", "?"),
            ("\"\"", "?"),
            ("\"x\"", "?"),
        ],
    ),
    (
        &["revoked_at", "revokedAt", "deleted_at"],
        &[
            ("null", "active"),
            ("\"\"", "active"),
            ("false", "active"),
            ("true", "left out"),
            ("\"2020-01-01T00:00:00Z\"", "left out"),
            ("\"2020-01-01\"", "left out"),
            ("1577836800", "left out"),
            ("0", "?"),
            ("-1", "?"),
            ("\"0000-00-00 00:00:00\"", "?"),
            ("\"9999-12-31 23:59:59\"", "?"),
            ("\"2999-01-01\"", "?"),
            ("\"infinity\"", "?"),
            ("\"gone\"", "?"),
        ],
    ),
    (
        &["revoked", "deleted"],
        &[
            ("0", "active"),
            ("false", "active"),
            ("1", "left out"),
            ("null", "active"),
            ("\"2020-01-01\"", "left out"),
            ("\"0000-00-00\"", "?"),
            ("\"x\"", "?"),
        ],
    ),
];

/// What each value means, in CSV and in JSON.
#[test]
fn spellings() {
    for (columns, values) in MEANINGS {
        for column in columns {
            let rows: Vec<_> = values.iter().map(|(value, _)| *value).collect();
            let expected: Vec<_> = values.iter().map(|(_, expected)| *expected).collect();
            assert_eq!(import_all(&json_rows(column, &rows), &[]), expected, "{column}");

            // Lists and objects are no cells.
            let is_cell = |value: &&str| !value.starts_with(['[', '{']);
            let rows: Vec<_> = rows.into_iter().filter(is_cell).collect();
            let expected = &expected[..rows.len()];
            assert_eq!(import_all(&csv_rows(column, &rows), &[]), expected, "{column}");
        }
    }
}

/// Of several columns, the worst counts.
#[test]
fn all_of_several_count() {
    let hash = format!("{:064x}", 1);
    for (columns, values, expected) in [
        ("is_active,disabled", "1,0", came("active")),
        ("is_active,disabled", "1,1", came("disabled")),
        ("active,status", "0,active", came("disabled")),
        ("active,status", "1,revoked", Outcome::LeftOut),
        ("is_active,enabled", "1,0", came("disabled")),
        ("is_active,revoked_at,deleted_at", "1,,2020-01-01", Outcome::LeftOut),
    ] {
        let file = format!("key_hash,{columns}\n{hash},{values}\n");
        assert_eq!(import(&file, &[]), expected, "{columns} {values}");
    }
}

#[test]
fn states_in_other_words() {
    let german = csv("zustand", "Gesperrt");
    let column = ["--column", "status=zustand"];
    assert_stopped(&import(&german, &column), "1 of the rows are invalid");
    for (state, expected) in [
        ("gesperrt=inactive", came("disabled")),
        ("GESPERRT=ended", Outcome::LeftOut),
        ("gesperrt=active", came("active")),
    ] {
        assert_eq!(import(&german, &["--column", "status=zustand", "--state", state]), expected);
    }
    // Inverted.
    let file = csv("gesperrt", "ja");
    let args =
        ["--column", "disabled=gesperrt", "--state", "ja=inactive", "--state", "nein=active"];
    assert_eq!(import(&file, &args), came("disabled"));
    assert_eq!(import(&csv("gesperrt", "nein"), &args), came("active"));
    // Nothing.
    assert_eq!(import(&csv("disabled", ""), &["--state", "=active"]), came("active"));
    assert_stopped(&import(&german, &["--state", "gesperrt=off"]), "active, inactive or ended");
}

/// Temporal tables write the end of time for what was not deleted.
#[test]
fn a_time_that_never_comes_is_mapped() {
    for value in ["9999-12-31 23:59:59", "9999-12-31", "9999-12-31T00:00:00Z", "infinity"] {
        let file = csv("deleted_at", value);
        assert_eq!(import(&file, &["--state", "9999-12-31=active"]), came("active"), "{value}");
        assert_eq!(import(&file, &["--state", "9999-12-31=ended"]), Outcome::LeftOut, "{value}");
    }
    let file = csv("deleted_at", "2020-01-01");
    assert_eq!(import(&file, &["--state", "9999-12-31=active"]), Outcome::LeftOut);
    let zero = csv("deleted_at", "0000-00-00 00:00:00");
    assert_eq!(import(&zero, &["--zero-is-never"]), came("active"));
}
