//! The SQL of [`SqliteStore`](super::SqliteStore).

use crate::store::sql::{
    Statements,
    row::{CHANGING, FIXED, columns},
    statement,
};

/// For a table with this name, which was checked.
pub(super) fn statements(table: &str) -> Statements {
    let columns = columns();
    let values = vec!["?"; CHANGING.len() + FIXED.len()].join(", ");
    let changes = CHANGING.map(|column| format!("{column} = ?")).join(", ");
    Statements {
        table: table.into(),
        find: statement(format!(
            "SELECT {columns} FROM \"{table}\" WHERE digest = ? AND deleted_at IS NULL"
        )),
        get: statement(format!("SELECT {columns} FROM \"{table}\" WHERE id = ?")),
        list: statement(format!(
            "SELECT {columns} FROM \"{table}\" WHERE id < ? AND deleted_at IS NULL \
                 ORDER BY id DESC LIMIT ?"
        )),
        list_of_owner: statement(format!(
            "SELECT {columns} FROM \"{table}\" WHERE owner = ? AND id < ? AND deleted_at IS NULL \
                 ORDER BY id DESC LIMIT ?"
        )),
        insert: statement(format!("INSERT INTO \"{table}\" ({columns}) VALUES ({values})")),
        update: statement(format!(
            "UPDATE \"{table}\" SET {changes} WHERE id = ? AND revision = ?"
        )),
        // Takes `[["<id in hex>", count, time], …]`, each id once. An integer that overflows
        // becomes a real number, so the count stops at the greatest.
        record_uses: statement(format!(
            "UPDATE \"{table}\" SET \
                 use_count = use_count + min(uses.count, 9223372036854775807 - use_count), \
                 last_used_at = max(uses.at, coalesce(last_used_at, uses.at)) \
                 FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS count, value ->> 2 AS at \
                       FROM json_each(?)) AS uses \
                 WHERE \"{table}\".id = uses.id"
        )),
        purge: statement(format!(
            "DELETE FROM \"{table}\" WHERE revoked_at < ?1 OR deleted_at < ?1"
        )),
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, SqlStr};

    use crate::store::SqliteStore;

    const BY_ID: &str = "SEARCH api_keys USING INDEX sqlite_autoindex_api_keys_1";

    /// What SQLite means to do, a line a step.
    async fn plan(store: &SqliteStore, statement: &SqlStr) -> String {
        let sql = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", statement.as_str()));
        let steps: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sql).fetch_all(&store.writer).await.unwrap();
        steps.into_iter().map(|(_, _, _, step)| step).collect::<Vec<_>>().join("\n")
    }

    /// A lookup is one search of one index, however many keys there are and whatever SQLite has
    /// learnt about them. So is everything else but a purge.
    #[tokio::test]
    async fn no_statement_reads_the_whole_table() {
        let store = SqliteStore::in_memory().await.unwrap();
        let rows = "INSERT INTO api_keys (id, digest, name, owner, created_at, updated_at) \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) \
             SELECT randomblob(16), randomblob(32), 'key', 'owner ' || (i % 100), i, i FROM n";
        for sql in ["SELECT 1", rows, "ANALYZE"] {
            sqlx::query(sql).execute(&store.writer).await.unwrap();
            let statements = &store.statements;
            let plan_of = async |statement| plan(&store, statement).await;
            assert_eq!(
                plan_of(&statements.find).await,
                "SEARCH api_keys USING INDEX api_keys_digest (digest=?)"
            );
            assert_eq!(plan_of(&statements.get).await, format!("{BY_ID} (id=?)"));
            assert_eq!(plan_of(&statements.update).await, format!("{BY_ID} (id=?)"));
            assert_eq!(plan_of(&statements.list).await, format!("{BY_ID} (id<?)"));
            assert_eq!(
                plan_of(&statements.list_of_owner).await,
                "SEARCH api_keys USING INDEX api_keys_owner (owner=? AND id<?)"
            );
            assert_eq!(
                plan_of(&statements.record_uses).await,
                format!("SCAN json_each VIRTUAL TABLE INDEX 1:\n{BY_ID} (id=?)")
            );
        }
    }
}
