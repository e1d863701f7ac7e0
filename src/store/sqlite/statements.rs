//! The SQL of [`SqliteStore`](super::SqliteStore).

use crate::store::sql::{
    BALANCE, CHANGING, EVENT, Filters, Inserts, KnownStatements, LockStatements, REQUEST,
    RequestStatements, Selected, Statements, WatermarkStatements, columns, each, ended_at,
    revoked_at, statement,
};

/// What is selected of a key. The bytes of NULL are a text without a digit.
const SELECTED: Selected = Selected {
    id: "id",
    hex: |column| format!("nullif(hex({column}), '')"),
    flag: str::to_owned,
    array: |values| format!("json_array({values})"),
};

/// The time in milliseconds. SQLite has no server: it is the clock of the machine.
const CLOCK: &str = "CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)";

/// For a table with this name, which was checked.
pub(super) fn statements(table: &str) -> Statements {
    let (names, values) = (columns().join(", "), each(&columns(), |_| "?"));
    let selected_key = selected_key(table);
    let changes = each(&CHANGING, |column| format!("{column} = ?"));
    let (event, event_values) = (EVENT.join(", "), each(&EVENT, |_| "?"));
    let (balance, balance_values) = (BALANCE.join(", "), each(&BALANCE, |_| "?"));
    let balance_changes = each(&BALANCE, |column| format!("{column} = ?"));
    Statements {
        table: table.into(),
        heartbeat: None,
        find: statement(format!(
            "SELECT {selected_key} FROM \"{table}\" WHERE digest = ? AND deleted_at IS NULL"
        )),
        find_many: statement(format!(
            "SELECT {selected_key} FROM \"{table}\" \
                 WHERE digest IN (SELECT unhex(value) FROM json_each(?)) AND deleted_at IS NULL"
        )),
        get: statement(format!("SELECT {selected_key} FROM \"{table}\" WHERE id = ?")),
        get_many: statement(format!(
            "SELECT {selected_key} FROM \"{table}\" WHERE id IN (SELECT unhex(value) FROM json_each(?))"
        )),
        known: KnownStatements {
            count: statement(format!("SELECT count(*) FROM \"{table}\"")),
            page: statement(format!(
                "SELECT digest FROM \"{table}\" WHERE digest > ? AND deleted_at IS NULL \
                     ORDER BY digest LIMIT ?"
            )),
            added: statement(format!(
                "SELECT id, digest FROM \"{table}\" WHERE id > ? AND deleted_at IS NULL \
                     ORDER BY id LIMIT ?"
            )),
        },
        insert: Inserts::new(
            &format!("INSERT INTO \"{table}\" ({names}) VALUES"),
            &format!("({values})"),
            statement,
        ),
        update: statement(format!(
            "UPDATE \"{table}\" SET {changes} WHERE id = ? AND revision = ? \
                 AND (? OR {} IS NULL)",
            ended(table)
        )),
        owner_locks: LockStatements::default(),
        // Takes what `row::uses` makes, each id once. An integer that overflows becomes a real
        // number, so the count stops at the greatest.
        record_uses: statement(format!(
            "UPDATE \"{table}\" SET \
                 use_count = use_count + min(uses.count, 9223372036854775807 - use_count), \
                 last_used_from = iif(uses.came_at >= coalesce(last_used_at, uses.came_at), \
                     uses.came_from, last_used_from), \
                 last_used_at = max(uses.at, coalesce(last_used_at, uses.at)) \
                 FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS count, value ->> 2 AS at, \
                           value ->> 3 AS came_from, value ->> 4 AS came_at \
                       FROM json_each(?)) AS uses \
                 WHERE \"{table}\".id = uses.id"
        )),
        insert_event: Inserts::new(
            &format!("INSERT INTO \"{table}_events\" ({event}) VALUES"),
            &format!("({event_values})"),
            statement,
        ),
        insert_balance: Inserts::ending(
            &format!("INSERT INTO \"{table}_credits\" (line, {balance}) VALUES"),
            &format!("(?, {balance_values})"),
            " ON CONFLICT (line) DO NOTHING",
            statement,
        ),
        update_balance: statement(format!(
            "UPDATE \"{table}_credits\" SET {balance_changes} \
                 WHERE line = ? AND revision = ? AND ? <= {CLOCK}"
        )),
        balances: statement(format!(
            "SELECT now, line, {balance} FROM (SELECT {CLOCK} AS now) \
                 LEFT JOIN \"{table}_credits\" ON line IN (SELECT unhex(value) FROM json_each(?))"
        )),
        purge_balances: statement(format!(
            "DELETE FROM \"{table}_credits\" \
                 WHERE substr(hex(line), 13, 1) <> '8' \
                 AND line NOT IN (SELECT coalesce(lineage, id) FROM \"{table}\")"
        )),
        requests: requests(table),
        watermarks: watermarks(table),
        // Takes what `usage::counts` makes. A count stops at the greatest. `WHERE` is for the
        // parser, which would take `ON` for that of a join.
        record_usage: statement(format!(
            "INSERT INTO \"{table}_usage\" AS counts (line, hour, outcome, count, owner) \
                 SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4 \
                 FROM json_each(?) WHERE true \
                 ON CONFLICT (line, hour, outcome) DO UPDATE SET count = \
                     counts.count + min(excluded.count, 9223372036854775807 - counts.count)"
        )),
        forget_usage: statement(format!("DELETE FROM \"{table}_usage\" WHERE hour < ?")),
        filters: filters(table),
    }
}

/// When a key was revoked by a watermark.
fn ended(table: &str) -> String {
    // Its text is compared as bytes, whatever its encoding.
    let bytes = str::to_owned;
    ended_at(&format!("\"{table}_watermarks\""), bytes, "'=' || owner")
}

/// What is selected of a key.
fn selected_key(table: &str) -> String {
    SELECTED.columns(&revoked_at(&ended(table)))
}

/// About keys that were revoked by the time of their creation.
fn watermarks(table: &str) -> WatermarkStatements {
    WatermarkStatements {
        clock: statement(format!("SELECT {CLOCK}")),
        insert: statement(format!(
            "INSERT INTO \"{table}_watermarks\" (subject, issued_before, ended_at, reason) \
                 VALUES (?, ?, ?, ?) ON CONFLICT (subject, issued_before) DO NOTHING"
        )),
        current: statement(format!(
            "SELECT subject, issued_before, ended_at, reason FROM \"{table}_watermarks\""
        )),
        remove: statement(format!(
            "DELETE FROM \"{table}_watermarks\" \
                 WHERE subject = ? AND issued_before = ? AND ended_at <= {CLOCK} - ?"
        )),
    }
}

/// About requests that are done once.
fn requests(table: &str) -> RequestStatements {
    let (request, request_values) = (REQUEST.join(", "), each(&REQUEST, |_| "?"));
    RequestStatements {
        insert: Inserts::ending(
            &format!("INSERT INTO \"{table}_requests\" ({request}, at) VALUES"),
            &format!("({request_values}, {CLOCK})"),
            " ON CONFLICT (line, request) DO NOTHING",
            statement,
        ),
        find: statement(format!(
            "SELECT {request}, at FROM \"{table}_requests\" WHERE line = ? AND request = ?"
        )),
        purge: statement(format!(
            "DELETE FROM \"{table}_requests\" WHERE at < ? AND at < {CLOCK} - ?"
        )),
    }
}

/// From which statements for this table are put together.
fn filters(table: &str) -> Filters {
    let (selected_key, event) = (selected_key(table), EVENT.join(", "));
    let revoked_at = revoked_at(&ended(table));
    Filters {
        purge: format!("DELETE FROM \"{table}\" WHERE (revoked_at < ? OR deleted_at < ?)"),
        live: format!(
            "SELECT count(*) FROM \"{table}\" WHERE deleted_at IS NULL AND {revoked_at} IS NULL \
             AND (expires_at IS NULL OR expires_at > ?) AND (retires_at IS NULL OR retires_at > ?)"
        ),
        end_of_live: "",
        selected: format!(
            "SELECT {selected_key} FROM \"{table}\" WHERE id >= ? AND deleted_at IS NULL"
        ),
        unwritten: format!(
            "SELECT id, revision FROM \"{table}\" WHERE id >= ? \
             AND deleted_at IS NULL AND revoked_at IS NULL"
        ),
        end_of_unwritten: " ORDER BY id LIMIT ?".to_owned(),
        revoked_at,
        end_of_selected: " ORDER BY id LIMIT ?".to_owned(),
        keys: format!(
            "SELECT {selected_key} FROM \"{table}\" WHERE id <= ? AND deleted_at IS NULL"
        ),
        end_of_keys: " ORDER BY id DESC LIMIT ?".to_owned(),
        events: format!("SELECT {event} FROM \"{table}_events\" WHERE id <= ?"),
        end_of_events: " ORDER BY id DESC LIMIT ?".to_owned(),
        // As a real number, a sum that is too great stops at the greatest.
        usage: format!(
            "SELECT hour, outcome, CAST(total(count) AS INTEGER) AS total \
                 FROM \"{table}_usage\" WHERE hour >= ?"
        ),
        end_of_usage: " GROUP BY hour, outcome ORDER BY hour, outcome",
        busiest: format!(
            "SELECT line, CAST(total(count) AS INTEGER) AS total \
                 FROM \"{table}_usage\" WHERE outcome = 'accepted' AND count > 0 AND hour >= ?"
        ),
        end_of_busiest: " GROUP BY line ORDER BY total DESC, line LIMIT ?",
        owner: "owner = ?",
        scope: "EXISTS (SELECT 1 FROM json_each(scopes) WHERE value = ?)",
        // Bytes, unlike `LIKE`.
        prefix: "(instr(name, ?) = 1 OR instr(start, ?) = 1)",
        legacy: "legacy_hash IS NOT NULL",
        lineage: "lineage = ? AND id <> ?",
        key: "key_id = ?",
        usage_lineage: "line = ?",
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, SqlStr, Sqlite};

    use super::super::SqliteStore;
    use crate::store::sql::queries;

    const BY_ID: &str = "SEARCH api_keys USING INDEX sqlite_autoindex_api_keys_1";

    /// How each key that is read is held against the watermarks, by the index of their table.
    const WATERMARKS: &str =
        "SEARCH api_keys_watermarks USING PRIMARY KEY (subject=? AND issued_before>?)";

    /// The plan of SQLite, a line a step, but for the watermarks.
    async fn plan(store: &SqliteStore, statement: &SqlStr) -> String {
        let sql = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", statement.as_str()));
        let steps: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sql).fetch_all(&store.0.writer).await.unwrap();
        let mut lines: Vec<String> = steps.into_iter().map(|(_, _, _, step)| step).collect();
        while let Some(place) = lines.iter().position(|line| line == WATERMARKS) {
            assert!(lines[place - 1].starts_with("CORRELATED SCALAR SUBQUERY"), "{lines:?}");
            lines.drain(place - 1..=place);
        }
        lines.join("\n")
    }

    async fn store() -> SqliteStore {
        let store = SqliteStore::in_memory().await.unwrap();
        let rows = "INSERT INTO api_keys (id, digest, name, owner, created_at, updated_at, \
             request, legacy_hash) \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) \
             SELECT randomblob(16), randomblob(32), 'key', 'owner ' || (i % 100), i, i, \
             iif(i % 2, randomblob(32), NULL), iif(i % 50, NULL, 'hash') FROM n";
        let events = "INSERT INTO api_keys_events (id, at, action, key_id, owner) \
             SELECT randomblob(16), created_at, 'created', id, owner FROM api_keys";
        let credits = "INSERT INTO api_keys_credits (line, remaining, since, epoch, revision) \
             SELECT id, 1, 1, 0, 0 FROM api_keys";
        let usage = "INSERT INTO api_keys_usage (line, hour, outcome, owner, count) \
             SELECT id, created_at / 10, 'accepted', owner, 1 FROM api_keys";
        for sql in [rows, events, credits, usage] {
            sqlx::query(sql).execute(&store.0.writer).await.unwrap();
        }
        store
    }

    /// A lookup is one search of one index, however many keys there are and whatever SQLite has
    /// learnt about them. So is everything else but a purge.
    #[tokio::test]
    async fn no_statement_reads_the_whole_table() {
        let store = store().await;
        for sql in ["SELECT 1", "ANALYZE"] {
            sqlx::query(sql).execute(&store.0.writer).await.unwrap();
            let statements = &store.0.statements;
            let plan_of = async |statement| plan(&store, statement).await;
            assert_eq!(
                plan_of(&statements.find).await,
                "SEARCH api_keys USING INDEX api_keys_digest (digest=?)"
            );
            let many = plan_of(&statements.find_many).await;
            let by_digest = "SEARCH api_keys USING INDEX api_keys_digest (digest=?)";
            assert!(many.contains(by_digest) && !many.contains("SCAN api_keys"), "{many}");
            assert_eq!(
                plan_of(&statements.known.page).await,
                "SEARCH api_keys USING INDEX api_keys_digest (digest>?)"
            );
            assert_eq!(plan_of(&statements.known.added).await, format!("{BY_ID} (id>?)"));
            assert_eq!(plan_of(&statements.get).await, format!("{BY_ID} (id=?)"));
            assert_eq!(plan_of(&statements.update).await, format!("{BY_ID} (id=?)"));
            assert_eq!(
                plan_of(&statements.record_uses).await,
                format!("SCAN json_each VIRTUAL TABLE INDEX 1:\n{BY_ID} (id=?)")
            );
            let by_lineage = "SEARCH api_keys_credits USING PRIMARY KEY (line=?)";
            assert_eq!(plan_of(&statements.update_balance).await, by_lineage);
            let balances = plan_of(&statements.balances).await;
            assert!(balances.contains(by_lineage), "{balances}");
            assert!(!balances.contains("SCAN api_keys"), "{balances}");
            let request = "SEARCH api_keys_requests USING PRIMARY KEY (line=? AND request=?)";
            assert_eq!(plan_of(&statements.requests.find).await, request);
            assert_eq!(
                plan_of(&statements.requests.purge).await,
                "SEARCH api_keys_requests USING INDEX api_keys_requests_at (at<?)"
            );
            let record = plan_of(&statements.record_usage).await;
            assert_eq!(record, "SCAN json_each VIRTUAL TABLE INDEX 1:");
            // It reads both tables, but each of them once.
            let purge = plan_of(&statements.purge_balances).await;
            assert!(purge.contains("LIST SUBQUERY") && !purge.contains("CORRELATED"), "{purge}");
            assert_eq!(
                plan_of(&statements.forget_usage).await,
                "SEARCH api_keys_usage USING INDEX api_keys_usage_hour (hour<?)"
            );
        }
    }

    #[tokio::test]
    async fn no_list_reads_the_whole_table() {
        let store = store().await;
        let filters = &store.0.statements.filters;
        for sql in ["SELECT 1", "ANALYZE"] {
            sqlx::query(sql).execute(&store.0.writer).await.unwrap();
            for (query, expected) in queries::of_keys().iter().zip([
                "sqlite_autoindex_api_keys_1 (id<?)",
                "api_keys_owner (owner=? AND id<?)",
                "api_keys_request (request=?)",
                "api_keys_legacy (id<?)",
                "api_keys_lineage (lineage=? AND id<?)",
            ]) {
                let call = filters.list::<Sqlite>(query).unwrap();
                let expected = format!("SEARCH api_keys USING INDEX {expected}");
                assert_eq!(plan(&store, &call.sql).await, expected);
            }
            let live = filters.live::<Sqlite>(&queries::of_owner()).unwrap().sql;
            let expected = "SEARCH api_keys USING INDEX api_keys_owner (owner=?)";
            assert_eq!(plan(&store, &live).await, expected);
            for (query, expected) in queries::of_events().iter().zip([
                "sqlite_autoindex_api_keys_events_1 (id<?)",
                "api_keys_events_key (key_id=? AND id<?)",
                "api_keys_events_owner (owner=? AND id<?)",
                "api_keys_events_at (at>? AND at<?)",
            ]) {
                let call = filters.events::<Sqlite>(query).unwrap();
                let plan = plan(&store, &call.sql).await;
                let expected = format!("SEARCH api_keys_events USING INDEX {expected}");
                assert_eq!(plan.lines().next(), Some(&*expected));
            }
            for (query, expected) in queries::of_usage().iter().zip([
                "INDEX api_keys_usage_hour (hour>? AND hour<?)",
                "PRIMARY KEY (line=? AND hour>? AND hour<?)",
                "INDEX api_keys_usage_owner (owner=? AND hour>? AND hour<?)",
            ]) {
                let sums = filters.usage::<Sqlite>(query).unwrap();
                let lineages = filters.busiest::<Sqlite>(query, 10).unwrap();
                for call in [sums, lineages] {
                    let plan = plan(&store, &call.sql).await;
                    let expected = format!("SEARCH api_keys_usage USING {expected}");
                    assert_eq!(plan.lines().next(), Some(&*expected));
                }
            }
        }
    }
}
