//! The SQL of [`PostgresStore`](super::PostgresStore).

use crate::store::sql::{
    BALANCE, CHANGING, EVENT, Filters, HeartbeatStatements, Inserts, KnownStatements,
    LockStatements, REQUEST, RequestStatements, Selected, Statements, WatermarkStatements, columns,
    each, ended_at, revoked_at, statement,
};

/// The columns of the type `uuid`, for people who look at the tables. They are 16 bytes on the way
/// there and back.
const IDS: [&str; 7] =
    ["id", "lineage", "rotated_from", "rotated_to", "created_by", "key_id", "line"];

/// A value for a column.
fn value(column: &str) -> &str {
    if IDS.contains(&column) { "encode(?, 'hex')::uuid" } else { "?" }
}

/// How a column is selected.
fn selected(column: &str) -> String {
    if IDS.contains(&column) { format!("uuid_send({column}) AS {column}") } else { column.into() }
}

/// What is selected of a key.
const SELECTED: Selected = Selected {
    id: "uuid_send(id) AS id",
    hex: |column| {
        if IDS.contains(&column) {
            format!("encode(uuid_send({column}), 'hex')")
        } else {
            format!("encode({column}, 'hex')")
        }
    },
    flag: |column| format!("{column}::int"),
    array: |values| format!("json_build_array({values})::text"),
};

/// The time in milliseconds, of this moment and not of the start of the transaction.
const CLOCK: &str = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// Replaces question marks with `$1`, `$2` and so on.
pub(super) fn numbered(sql: &str) -> String {
    let mut parts = sql.split('?');
    let first = parts.next().unwrap_or_default().to_owned();
    (1..).zip(parts).fold(first, |sql, (number, part)| format!("{sql}${number}{part}"))
}

/// For a table with this name, which was checked.
pub(super) fn statements(table: &str) -> Statements {
    let statement = |sql: String| statement(numbered(&sql));
    let columns = columns();
    let (names, values) = (columns.join(", "), each(&columns, value));
    let selected_key = selected_key(table);
    let (event, event_values) = (EVENT.join(", "), each(&EVENT, value));
    let (balance, balance_values) = (BALANCE.join(", "), each(&BALANCE, |_| "?"));
    let balance_changes = each(&BALANCE, |column| format!("{column} = ?"));
    Statements {
        table: table.into(),
        find: statement(format!(
            "SELECT {selected_key} FROM \"{table}\" WHERE digest = ? AND deleted_at IS NULL"
        )),
        find_many: statement(find_many(table, &selected_key)),
        heartbeat: Some(heartbeat(table, &find_many(table, &selected_key))),
        get: statement(format!(
            "SELECT {selected_key} FROM \"{table}\" WHERE id = encode(?, 'hex')::uuid"
        )),
        get_many: statement(format!(
            "SELECT {selected_key} FROM \"{table}\" \
                 WHERE id = ANY (ARRAY(SELECT json_array_elements_text(?::text::json)::uuid)) \
                 ORDER BY \"{table}\".id FOR NO KEY UPDATE"
        )),
        known: known(table),
        insert: Inserts::new(
            &format!("INSERT INTO \"{table}\" ({names}) VALUES"),
            &format!("({values})"),
            statement,
        ),
        update: statement(update(table)),
        owner_locks: {
            let lock = |function: &str| {
                // The number of the table, which is the same whatever schemas a connection
                // searches, and which no application's own locks are named after.
                Some(statement(format!(
                    "SELECT {function}(hashtextextended('tower-api-key owners of ' \
                         || '\"{table}\"'::regclass::oid, number::bigint)) \
                     FROM json_array_elements_text(?::text::json) AS numbers (number)"
                )))
            };
            let (shared, exclusive) = ("pg_advisory_xact_lock_shared", "pg_advisory_xact_lock");
            LockStatements { shared: lock(shared), exclusive: lock(exclusive) }
        },
        // Takes what `row::uses` makes, each id once. The rows are locked in the order of ids, so
        // that two nodes that write at once do not wait for each other. A count stops at the
        // greatest. Of an array, the server expects few rows, and uses the index.
        record_uses: statement(format!(
            "WITH uses AS ( \
                 SELECT (item ->> 0)::uuid AS id, (item ->> 1)::bigint AS added, \
                     (item ->> 2)::bigint AS used_at, item ->> 3 AS came_from, \
                     (item ->> 4)::bigint AS came_at \
                 FROM unnest(ARRAY(SELECT json_array_elements(?::text::json))) AS items (item) \
             ), locked AS ( \
                 SELECT id FROM \"{table}\" WHERE id IN (SELECT id FROM uses) \
                 ORDER BY id FOR NO KEY UPDATE \
             ) \
             UPDATE \"{table}\" AS keys SET \
                 use_count = keys.use_count \
                     + least(uses.added, 9223372036854775807 - keys.use_count), \
                 last_used_from = CASE \
                     WHEN uses.came_at >= coalesce(keys.last_used_at, uses.came_at) \
                     THEN uses.came_from ELSE keys.last_used_from END, \
                 last_used_at = greatest(keys.last_used_at, uses.used_at) \
             FROM locked JOIN uses USING (id) WHERE keys.id = locked.id"
        )),
        insert_event: Inserts::new(
            &format!("INSERT INTO \"{table}_events\" ({event}) VALUES"),
            &format!("({event_values})"),
            statement,
        ),
        insert_balance: Inserts::ending(
            &format!("INSERT INTO \"{table}_credits\" (line, {balance}) VALUES"),
            &format!("({}, {balance_values})", value("line")),
            " ON CONFLICT (line) DO NOTHING",
            statement,
        ),
        update_balance: statement(format!(
            "UPDATE \"{table}_credits\" SET {balance_changes} \
                 WHERE line = encode(?, 'hex')::uuid AND revision = ? AND ? <= {CLOCK}"
        )),
        balances: statement(format!(
            "SELECT now, uuid_send(line) AS line, {balance} FROM (SELECT {CLOCK} AS now) AS clock \
                 LEFT JOIN \"{table}_credits\" ON line = ANY \
                     (ARRAY(SELECT json_array_elements_text(?::text::json)::uuid))"
        )),
        purge_balances: statement(format!(
            "DELETE FROM \"{table}_credits\" AS credits \
                 WHERE substr(line::text, 15, 1) <> '8' AND NOT EXISTS ( \
                 SELECT 1 FROM \"{table}\" WHERE coalesce(lineage, id) = credits.line)"
        )),
        requests: requests(table),
        watermarks: watermarks(table),
        // Takes what `usage::counts` makes, and keeps its order. A count stops at the greatest.
        record_usage: statement(format!(
            "INSERT INTO \"{table}_usage\" AS counts (line, hour, outcome, count, owner) \
                 SELECT (item ->> 0)::uuid, (item ->> 1)::bigint, item ->> 2, \
                     (item ->> 3)::bigint, item ->> 4 \
                 FROM json_array_elements(?::text::json) AS items (item) \
                 ON CONFLICT (line, hour, outcome) DO UPDATE SET count = \
                     counts.count + least(excluded.count, 9223372036854775807 - counts.count)"
        )),
        forget_usage: statement(format!("DELETE FROM \"{table}_usage\" WHERE hour < ?")),
        filters: filters(table),
    }
}

/// Of a key with its revision; and, unless the last value is true, of one that no watermark covers.
fn update(table: &str) -> String {
    let changes = each(&CHANGING, |column| format!("{column} = {}", value(column)));
    format!(
        "UPDATE \"{table}\" SET {changes} WHERE id = encode(?, 'hex')::uuid AND revision = ? \
             AND (? OR {} IS NULL)",
        ended(table)
    )
}

/// Of an array, the server expects few digests, and uses the index.
fn find_many(table: &str, selected_key: &str) -> String {
    format!(
        "SELECT {selected_key} FROM \"{table}\" WHERE digest = ANY \
             (ARRAY(SELECT decode(json_array_elements_text(?::text::json), 'hex'))) \
             AND deleted_at IS NULL"
    )
}

/// About the beat that a replica shows.
fn heartbeat(table: &str, find_many: &str) -> HeartbeatStatements {
    let statement = |sql: String| statement(numbered(&sql));
    HeartbeatStatements {
        read: statement(format!(
            "SELECT beat, previous, {CLOCK} - beat_at AS age FROM \"{table}_heartbeat\" WHERE slot = 1"
        )),
        write: statement(format!(
            "UPDATE \"{table}_heartbeat\" SET previous = beat, beat = ?, beat_at = {CLOCK} \
                 WHERE slot = 1 AND beat = ?"
        )),
        find_many: statement(format!(
            "SELECT found.*, pulse.beat, pulse.previous FROM \"{table}_heartbeat\" AS pulse \
                 LEFT JOIN ({find_many}) AS found ON TRUE WHERE pulse.slot = 1"
        )),
    }
}

/// About the digests of all keys.
fn known(table: &str) -> KnownStatements {
    let statement = |sql: String| statement(numbered(&sql));
    KnownStatements {
        // The estimate of the latest `VACUUM` or `ANALYZE`; counted where there was none, or there
        // were few.
        count: statement(format!(
            "SELECT CASE WHEN reltuples < 100000 THEN (SELECT count(*) FROM \"{table}\") \
                 ELSE reltuples::bigint END \
                 FROM pg_class WHERE oid = '\"{table}\"'::regclass"
        )),
        page: statement(format!(
            "SELECT digest FROM \"{table}\" WHERE digest > ? AND deleted_at IS NULL \
                 ORDER BY digest LIMIT ?"
        )),
        added: statement(format!(
            "SELECT {}, digest FROM \"{table}\" \
                 WHERE id > encode(?, 'hex')::uuid AND deleted_at IS NULL \
                 ORDER BY \"{table}\".id LIMIT ?",
            selected("id")
        )),
    }
}

/// When a key was revoked by a watermark.
fn ended(table: &str) -> String {
    let bytes = |text: &str| format!("convert_to({text}, 'UTF8')");
    ended_at(&format!("\"{table}_watermarks\""), bytes, "'=' || owner")
}

/// What is selected of a key.
fn selected_key(table: &str) -> String {
    SELECTED.columns(&revoked_at(&ended(table)))
}

/// About keys that were revoked by the time of their creation.
fn watermarks(table: &str) -> WatermarkStatements {
    let statement = |sql: String| statement(numbered(&sql));
    WatermarkStatements {
        clock: statement(format!("SELECT {CLOCK}")),
        insert: statement(format!(
            "INSERT INTO \"{table}_watermarks\" (subject, issued_before, ended_at, reason) \
                 VALUES (convert_to(?, 'UTF8'), ?, ?, ?) ON CONFLICT (subject, issued_before) DO NOTHING"
        )),
        current: statement(format!(
            "SELECT subject, issued_before, ended_at, reason FROM \"{table}_watermarks\""
        )),
        remove: statement(format!(
            "DELETE FROM \"{table}_watermarks\" \
                 WHERE subject = convert_to(?, 'UTF8') AND issued_before = ? AND ended_at <= {CLOCK} - ?"
        )),
    }
}

/// About requests that are done once.
fn requests(table: &str) -> RequestStatements {
    let statement = |sql: String| statement(numbered(&sql));
    let (request, request_values) = (REQUEST.join(", "), each(&REQUEST, value));
    let selected_request = each(&REQUEST, selected);
    RequestStatements {
        insert: Inserts::ending(
            &format!("INSERT INTO \"{table}_requests\" ({request}, at) VALUES"),
            &format!("({request_values}, {CLOCK})"),
            " ON CONFLICT (line, request) DO NOTHING",
            statement,
        ),
        find: statement(format!(
            "SELECT {selected_request}, at FROM \"{table}_requests\" WHERE line = encode(?, 'hex')::uuid AND request = ?"
        )),
        purge: statement(format!(
            "DELETE FROM \"{table}_requests\" WHERE at < ? AND at < {CLOCK} - ?"
        )),
    }
}

/// From which statements for this table are put together.
fn filters(table: &str) -> Filters {
    let (selected_key, selected_event) = (selected_key(table), each(&EVENT, selected));
    let revoked_at = revoked_at(&ended(table));
    let total = "least(sum(count), 9223372036854775807)::bigint AS total";
    Filters {
        purge: format!("DELETE FROM \"{table}\" WHERE (revoked_at < ? OR deleted_at < ?)"),
        live: format!(
            "SELECT count(*) FROM \"{table}\" WHERE deleted_at IS NULL AND {revoked_at} IS NULL \
             AND (expires_at IS NULL OR expires_at > ?) AND (retires_at IS NULL OR retires_at > ?)"
        ),
        end_of_live: "",
        selected: format!(
            "SELECT {selected_key} FROM \"{table}\" WHERE id >= encode(?, 'hex')::uuid \
             AND deleted_at IS NULL"
        ),
        unwritten: format!(
            "SELECT {}, revision FROM \"{table}\" WHERE id >= encode(?, 'hex')::uuid \
             AND deleted_at IS NULL AND revoked_at IS NULL",
            selected("id")
        ),
        end_of_unwritten: format!(" ORDER BY \"{table}\".id LIMIT ?"),
        revoked_at,
        end_of_selected: format!(" ORDER BY \"{table}\".id LIMIT ? FOR NO KEY UPDATE"),
        keys: format!(
            "SELECT {selected_key} FROM \"{table}\" WHERE id <= encode(?, 'hex')::uuid \
             AND deleted_at IS NULL"
        ),
        // A bare `id` would be the one that is selected, which no index has.
        end_of_keys: format!(" ORDER BY \"{table}\".id DESC LIMIT ?"),
        events: format!(
            "SELECT {selected_event} FROM \"{table}_events\" \
             WHERE id <= encode(?, 'hex')::uuid"
        ),
        end_of_events: format!(" ORDER BY \"{table}_events\".id DESC LIMIT ?"),
        usage: format!("SELECT hour, outcome, {total} FROM \"{table}_usage\" WHERE hour >= ?"),
        end_of_usage: " GROUP BY hour, outcome ORDER BY hour, outcome",
        busiest: format!(
            "SELECT uuid_send(line) AS line, {total} FROM \"{table}_usage\" \
                 WHERE outcome = 'accepted' AND count > 0 AND hour >= ?"
        ),
        // A bare `line` is the one of the table to `GROUP BY`, and the one that is selected to
        // `ORDER BY`. They sort alike.
        end_of_busiest: " GROUP BY line ORDER BY total DESC, line LIMIT ?",
        owner: "owner = ?",
        scope: "scopes::jsonb @> jsonb_build_array(?::text)",
        prefix: "(starts_with(name, ?) OR starts_with(start, ?))",
        legacy: "legacy_hash IS NOT NULL",
        lineage: "lineage = encode(?, 'hex')::uuid AND id <> encode(?, 'hex')::uuid",
        key: "key_id = encode(?, 'hex')::uuid",
        usage_lineage: "line = encode(?, 'hex')::uuid",
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, PgConnection, Postgres, SqlStr};

    use super::super::PostgresStore;
    use crate::store::{
        servers::{Database, Server},
        sql::queries,
    };

    /// The generic plan, which is the one of a prepared statement that is used a lot: what the
    /// server means to do whatever the values, a line a step, without its guesses of the cost.
    async fn plan(connection: &mut PgConnection, statement: &SqlStr) -> String {
        let sql = statement.as_str();
        let count = (1..100).take_while(|number| sql.contains(&format!("${number}"))).count();
        let nulls = vec!["NULL"; count].join(", ");
        let nulls = if count == 0 { String::new() } else { format!("({nulls})") };
        let prepare = format!("DEALLOCATE ALL; PREPARE planned AS {sql}");
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await.unwrap();
        let explain = format!("EXPLAIN (COSTS OFF) EXECUTE planned{nulls}");
        let steps = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(connection).await.unwrap();
        let steps = steps.iter().map(|step| sqlx::Row::get::<String, _>(step, 0));
        steps.map(|step| step.trim().to_owned()).collect::<Vec<_>>().join("\n")
    }

    #[tokio::test]
    async fn no_statement_reads_the_whole_table() {
        let Some(database) = Database::new(Server::Postgres).await else { return };
        let store = PostgresStore::connect(database.url()).await.unwrap();
        let rows = "INSERT INTO api_keys (id, digest, name, owner, created_at, updated_at, \
             request, legacy_hash) \
             SELECT gen_random_uuid(), sha256(i::text::bytea), 'key', 'owner ' || (i % 100), i, i, \
             sha256((-i)::text::bytea), CASE WHEN i % 50 = 0 THEN 'hash' END \
             FROM generate_series(1, 10000) AS i";
        let events = "INSERT INTO api_keys_events (id, at, action, key_id, owner) \
             SELECT gen_random_uuid(), created_at, 'created', id, owner FROM api_keys";
        let credits = "INSERT INTO api_keys_credits (line, remaining, since, epoch, revision) \
             SELECT id, 1, 1, 0, 0 FROM api_keys";
        let usage = "INSERT INTO api_keys_usage (line, hour, outcome, owner, count) \
             SELECT id, created_at / 10, 'accepted', owner, 1 FROM api_keys";
        let mut connection = store.0.writer.acquire().await.unwrap();
        let generic = "SET plan_cache_mode = force_generic_plan";
        for sql in [generic, rows, events, credits, usage, "ANALYZE"] {
            sqlx::raw_sql(sql).execute(&mut *connection).await.unwrap();
        }
        let all = &store.0.statements;
        let beat = all.heartbeat.as_ref().unwrap();
        let lists = queries::of_keys();
        let lists = lists.each_ref().map(|q| all.filters.list::<Postgres>(q).unwrap().sql);
        let live = all.filters.live::<Postgres>(&queries::of_owner()).unwrap().sql;
        let events = queries::of_events();
        let events = events.each_ref().map(|q| all.filters.events::<Postgres>(q).unwrap().sql);
        let usage = queries::of_usage();
        let sums = usage.each_ref().map(|q| all.filters.usage::<Postgres>(q).unwrap().sql);
        let lineages = usage.each_ref().map(|q| all.filters.busiest::<Postgres>(q, 9).unwrap().sql);
        for (statement, index) in [
            (&all.find, "Index Scan using api_keys_digest"),
            (&all.find_many, "Bitmap Index Scan on api_keys_digest"),
            (&beat.find_many, "Bitmap Index Scan on api_keys_digest"),
            (&all.get, "Index Scan using api_keys_id"),
            (&all.known.page, "Index Scan using api_keys_digest"),
            (&all.known.added, "Index Scan using api_keys_id"),
            (&all.update, "Index Scan using api_keys_id"),
            (&all.record_uses, "Index Scan using api_keys_id"),
            (&live, "api_keys_owner"),
            (&lists[0], "Index Scan Backward using api_keys_id"),
            (&lists[1], "Index Scan Backward using api_keys_owner"),
            (&lists[2], "Index Scan using api_keys_request"),
            (&lists[3], "Index Scan Backward using api_keys_legacy"),
            (&lists[4], "api_keys_lineage"),
            (&events[0], "Index Scan Backward using api_keys_events_id"),
            (&events[1], "using api_keys_events_key"),
            (&events[2], "Index Scan Backward using api_keys_events_owner"),
            (&events[3], "api_keys_events_at"),
            (&all.update_balance, "Index Scan using api_keys_credits_line"),
            (&all.balances, "api_keys_credits_line"),
            (&all.record_usage, "Conflict Arbiter Indexes: api_keys_usage_line"),
            (&all.forget_usage, "api_keys_usage_hour"),
            (&sums[0], "api_keys_usage_hour"),
            (&sums[1], "api_keys_usage_line"),
            (&sums[2], "api_keys_usage_owner"),
            (&lineages[0], "api_keys_usage_hour"),
            (&lineages[1], "api_keys_usage_line"),
            (&lineages[2], "api_keys_usage_owner"),
        ] {
            let plan = plan(&mut connection, statement).await;
            assert!(plan.contains(index), "{}\n{plan}", statement.as_str());
            // The heartbeat is a table of one row, and watermarks are few.
            let plan = plan.replace("Seq Scan on api_keys_heartbeat", "");
            let plan = plan.replace("Seq Scan on api_keys_watermarks", "");
            assert!(!plan.contains("Seq Scan"), "{}\n{plan}", statement.as_str());
        }
        // It reads both tables, but each of them once.
        let purge = plan(&mut connection, &all.purge_balances).await;
        assert!(purge.contains("Anti Join") && !purge.contains("SubPlan"), "{purge}");
        assert!(!purge.contains("Nested Loop"), "{purge}");
    }
}
