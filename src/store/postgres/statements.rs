//! The SQL of [`PostgresStore`](super::PostgresStore).

use crate::store::sql::{
    Statements,
    row::{CHANGING, FIXED, columns},
    statement,
};

/// For a table with this name, which was checked.
///
/// Ids are of the type `uuid`, for people who look at the table, and 16 bytes on the way there and
/// back.
pub(super) fn statements(table: &str) -> Statements {
    let id = |number: usize| format!("encode(${number}, 'hex')::uuid");
    let columns = columns();
    let selected = [&CHANGING[..], &["uuid_send(id) AS id"], &FIXED[1..]].concat().join(", ");
    let values = (1..=CHANGING.len() + FIXED.len()).map(|number| match number {
        number if number == CHANGING.len() + 1 => id(number),
        number => format!("${number}"),
    });
    let values = values.collect::<Vec<_>>().join(", ");
    let changes = (1..).zip(CHANGING).map(|(number, column)| format!("{column} = ${number}"));
    let changes = changes.collect::<Vec<_>>().join(", ");
    let (first, last, revision) = (id(1), id(CHANGING.len() + 1), CHANGING.len() + 2);
    Statements {
        table: table.into(),
        find: statement(format!(
            "SELECT {selected} FROM \"{table}\" WHERE digest = $1 AND deleted_at IS NULL"
        )),
        get: statement(format!("SELECT {selected} FROM \"{table}\" WHERE id = {first}")),
        // A bare `id` would be the one that is selected, which no index has.
        list: statement(format!(
            "SELECT {selected} FROM \"{table}\" WHERE id <= {first} AND deleted_at IS NULL \
             ORDER BY \"{table}\".id DESC LIMIT $2"
        )),
        list_of_owner: statement(format!(
            "SELECT {selected} FROM \"{table}\" WHERE owner = $2 AND id <= {first} \
             AND deleted_at IS NULL ORDER BY \"{table}\".id DESC LIMIT $3"
        )),
        insert: statement(format!("INSERT INTO \"{table}\" ({columns}) VALUES ({values})")),
        update: statement(format!(
            "UPDATE \"{table}\" SET {changes} WHERE id = {last} AND revision = ${revision}"
        )),
        // Takes ids, counts and times. The rows are locked in the order of ids, so that two nodes
        // that write at once do not wait for each other. A count stops at the greatest.
        record_uses: statement(format!(
            "WITH uses AS ( \
                 SELECT encode(id, 'hex')::uuid AS id, added, used_at \
                 FROM unnest($1::bytea[], $2::bigint[], $3::bigint[]) AS uses (id, added, used_at) \
             ), locked AS ( \
                 SELECT id FROM \"{table}\" WHERE id IN (SELECT id FROM uses) \
                 ORDER BY id FOR NO KEY UPDATE \
             ) \
             UPDATE \"{table}\" AS keys SET \
                 use_count = keys.use_count \
                     + least(uses.added, 9223372036854775807 - keys.use_count), \
                 last_used_at = greatest(keys.last_used_at, uses.used_at) \
             FROM locked JOIN uses USING (id) WHERE keys.id = locked.id"
        )),
        purge: statement(format!(
            "DELETE FROM \"{table}\" WHERE revoked_at < $1 OR deleted_at < $1"
        )),
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, PgConnection, SqlStr};

    use crate::store::{
        PostgresStore,
        servers::{Database, Server},
    };

    /// The generic plan, which is the one of a prepared statement that is used a lot: what the
    /// server means to do whatever the values, a line a step, without its guesses of the cost.
    async fn plan(connection: &mut PgConnection, statement: &SqlStr) -> String {
        let sql = statement.as_str();
        let count = (1..100).take_while(|number| sql.contains(&format!("${number}"))).count();
        let nulls = vec!["NULL"; count].join(", ");
        let prepare = format!("DEALLOCATE ALL; PREPARE planned AS {sql}");
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await.unwrap();
        let explain = format!("EXPLAIN (COSTS OFF) EXECUTE planned({nulls})");
        let steps = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(connection).await.unwrap();
        let steps = steps.iter().map(|step| sqlx::Row::get::<String, _>(step, 0));
        steps.map(|step| step.trim().to_owned()).collect::<Vec<_>>().join("\n")
    }

    #[tokio::test]
    async fn no_statement_reads_the_whole_table() {
        let Some(database) = Database::new(Server::Postgres).await else { return };
        let store = PostgresStore::connect(database.url()).await.unwrap();
        let rows = "INSERT INTO api_keys (id, digest, name, owner, created_at, updated_at) \
             SELECT gen_random_uuid(), sha256(i::text::bytea), 'key', 'owner ' || (i % 100), i, i \
             FROM generate_series(1, 10000) AS i";
        let mut connection = store.pool.acquire().await.unwrap();
        for sql in ["SET plan_cache_mode = force_generic_plan", rows, "ANALYZE api_keys"] {
            sqlx::raw_sql(sql).execute(&mut *connection).await.unwrap();
        }
        let all = &store.statements;
        for (statement, index) in [
            (&all.find, "Index Scan using api_keys_digest"),
            (&all.get, "Index Scan using api_keys_id"),
            (&all.update, "Index Scan using api_keys_id"),
            (&all.list, "Index Scan Backward using api_keys_id"),
            (&all.list_of_owner, "Index Scan Backward using api_keys_owner"),
            (&all.record_uses, "Index Scan using api_keys_id"),
        ] {
            let plan = plan(&mut connection, statement).await;
            assert!(plan.contains(index), "{}\n{plan}", statement.as_str());
            assert!(!plan.contains("Seq Scan"), "{}\n{plan}", statement.as_str());
        }
    }
}
