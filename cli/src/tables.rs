//! The names of the tables in a database: for the error about one that is not there.

use crate::output::plain;

// With views, which can be read as well. Names that are bytes to MySQL are cast.
pub(crate) const SQLITE: &str = "SELECT name FROM sqlite_schema \
    WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name";
pub(crate) const POSTGRES: &str = "SELECT CASE WHEN pg_table_is_visible(c.oid) THEN relname::text \
    ELSE nspname || '.' || relname END \
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND nspname <> 'information_schema' \
    AND nspname NOT LIKE 'pg!_%' ESCAPE '!' ORDER BY 1";
pub(crate) const MYSQL: &str = "SELECT CAST(TABLE_NAME AS CHAR) FROM information_schema.TABLES \
    WHERE TABLE_SCHEMA = DATABASE() ORDER BY 1";

/// Says that there is no such table, and which there are.
pub(crate) fn missing(table: &str, there: &[String]) -> String {
    const SHOWN: usize = 20;
    let more = if there.len() > SHOWN { ", …" } else { "" };
    let names: Vec<_> = there.iter().take(SHOWN).map(|name| plain(name)).collect();
    let names = match names.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    format!("there is no table {table:?}; those there are: {names}{more}")
}
