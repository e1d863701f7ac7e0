//! The SQL of [`MySqlStore`](super::MySqlStore), for MySQL and MariaDB alike.

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
            "SELECT {columns} FROM `{table}` WHERE digest = ? AND deleted_at IS NULL"
        )),
        get: statement(format!("SELECT {columns} FROM `{table}` WHERE id = ?")),
        list: statement(format!(
            "SELECT {columns} FROM `{table}` WHERE id <= ? AND deleted_at IS NULL \
             ORDER BY id DESC LIMIT ?"
        )),
        // To the collation, spaces at the end are nothing. None of those that tell them apart is
        // known to both MySQL and MariaDB.
        list_of_owner: statement(format!(
            "SELECT {columns} FROM `{table}` WHERE id <= ? AND owner = ? \
             AND octet_length(owner) = octet_length(?) AND deleted_at IS NULL \
             ORDER BY id DESC LIMIT ?"
        )),
        insert: statement(format!("INSERT INTO `{table}` ({columns}) VALUES ({values})")),
        update: statement(format!("UPDATE `{table}` SET {changes} WHERE id = ? AND revision = ?")),
        // Takes `[["<id in hex>", count, time], …]`, each id once. The rows are locked in this
        // order, so that two nodes that write at once do not wait for each other. A count stops
        // at the greatest.
        record_uses: statement(format!(
            "UPDATE JSON_TABLE(?, '$[*]' COLUMNS ( \
                 id CHAR(32) PATH '$[0]', added BIGINT PATH '$[1]', used_at BIGINT PATH '$[2]' \
             )) AS uses STRAIGHT_JOIN `{table}` AS all_keys ON all_keys.id = unhex(uses.id) SET \
                 all_keys.use_count = all_keys.use_count \
                     + least(uses.added, 9223372036854775807 - all_keys.use_count), \
                 all_keys.last_used_at = \
                     greatest(uses.used_at, coalesce(all_keys.last_used_at, uses.used_at))"
        )),
        purge: statement(format!("DELETE FROM `{table}` WHERE revoked_at < ? OR deleted_at < ?")),
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, MySqlConnection, Row};

    use crate::store::{
        MySqlStore,
        servers::{Database, Server},
    };

    /// How each table is read: its name, the kind of access, and the index.
    async fn plan(
        connection: &mut MySqlConnection,
        statement: &str,
        values: &[&str],
    ) -> Vec<(String, String, Option<String>)> {
        let mut sql = format!("EXPLAIN {statement}");
        for value in values {
            sql = sql.replacen('?', value, 1);
        }
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap();
        let step =
            |row: &sqlx::mysql::MySqlRow| (row.get("table"), row.get("type"), row.get("key"));
        rows.iter().map(step).collect()
    }

    fn step(table: &str, kind: &str, key: Option<&str>) -> (String, String, Option<String>) {
        (table.to_owned(), kind.to_owned(), key.map(str::to_owned))
    }

    #[tokio::test]
    async fn no_statement_reads_the_whole_table() {
        let Some(database) = Database::new(Server::MySql).await else { return };
        let store = MySqlStore::connect(database.url()).await.unwrap();
        let rows = "INSERT INTO api_keys (id, digest, name, owner, created_at, updated_at) \
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000), \
                 m (j) AS (SELECT 1 UNION ALL SELECT j + 1 FROM m WHERE j < 10) \
             SELECT unhex(md5(10 * i + j)), unhex(sha2(10 * i + j, 256)), 'key', \
                 concat('owner ', i % 100), i, i FROM n, m";
        let mut connection = store.pool.acquire().await.unwrap();
        for sql in [rows, "ANALYZE TABLE api_keys"] {
            sqlx::raw_sql(sql).execute(&mut *connection).await.unwrap();
        }
        let all = &store.statements;
        let (id, digest) = ("unhex(md5(7777))", "unhex(sha2(7777, 256))");
        let single = |kind, key| vec![step("api_keys", kind, Some(key))];
        for (statement, values, expected) in [
            (&all.find, vec![digest], single("const", "api_keys_digest")),
            (&all.get, vec![id], single("const", "PRIMARY")),
            (&all.update, [&["NULL"; 17][..], &[id, "7"]].concat(), single("range", "PRIMARY")),
            (&all.list, vec![id, "10"], single("range", "PRIMARY")),
            (
                &all.list_of_owner,
                vec![id, "'owner 7'", "'owner 7'", "10"],
                single("range", "api_keys_owner"),
            ),
            (
                &all.record_uses,
                vec!["'[]'"],
                vec![step("uses", "ALL", None), step("all_keys", "eq_ref", Some("PRIMARY"))],
            ),
        ] {
            let plan = plan(&mut connection, statement.as_str(), &values).await;
            assert_eq!(plan, expected, "{}", statement.as_str());
        }
    }
}
