//! Long lists come page by page.

use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

use crate::{process, session::Shell};

/// Three pages of a thousand, the last one not full. The youngest keys, which come first, have the
/// longest names.
fn three_pages() -> Shell {
    let shell = Shell::on_sqlite();
    let name = |number: usize| "n".repeat(1 + number / 100);
    let rows = (0..2500).map(|number| format!("{number:064x},{}\n", name(number)));
    shell.write("keys.csv", &format!("key_hash,name\n{}", rows.collect::<String>()));
    let done = process::run(shell.command("tower-api-key").args(["import", "keys.csv"]));
    assert!(done.status.success(), "{done:?}");
    shell
}

/// The oldest key cannot be read, so the last page fails. The pages before it are there.
#[tokio::test]
async fn pages_are_printed_before_the_last_is_asked_for() {
    let shell = three_pages();
    let options: SqliteConnectOptions = shell.url.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    let sql = "PRAGMA ignore_check_constraints = ON; \
        UPDATE api_keys SET digest = x'00' WHERE id = (SELECT min(id) FROM api_keys)";
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    for (args, lines) in [
        (&["list"][..], 2001),
        (&["list", "--json"], 2000),
        (&["usage"], 2001),
        (&["usage", "--json"], 2000),
    ] {
        let done = process::run(shell.command("tower-api-key").args(args));
        assert_eq!(done.status.code(), Some(2), "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains("something that is not a key"), "{args:?}: {}", done.stderr);
        assert_eq!(done.stdout.lines().count(), lines, "{args:?}");
    }
}

/// The first page decides how wide the columns are.
#[test]
fn columns_go_on_below_the_first_page() {
    let shell = three_pages();
    for (command, column) in [("list", "OWNER"), ("usage", "USES")] {
        let done = process::run(shell.command("tower-api-key").arg(command));
        let (header, rows) = done.stdout.split_once('\n').unwrap();
        let place = header.find(column).unwrap();
        let is_aligned = |row: &str| {
            let (before, cell) = row.split_at(place);
            before.ends_with("  ") && !cell.starts_with(' ')
        };
        assert_eq!(rows.lines().count(), 2500, "{command}");
        let other = rows.lines().find(|row| !is_aligned(row));
        assert_eq!(other, None, "{command}: {header}");
    }
}
