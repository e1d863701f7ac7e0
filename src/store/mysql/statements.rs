//! The SQL of [`MySqlStore`](super::MySqlStore), for MySQL and MariaDB alike.

use crate::store::sql::{
    BALANCE, CHANGING, EVENT, Filters, HeartbeatStatements, Inserts, KnownStatements,
    LockStatements, REQUEST, RequestStatements, Selected, Statements, WatermarkStatements, columns,
    each, ended_at, revoked_at, statement,
};

/// What is selected of a key.
const SELECTED: Selected = Selected {
    id: "id",
    hex: |column| format!("hex({column})"),
    flag: |column| format!("{column} + 0"),
    array: |values| format!("CAST(JSON_ARRAY({values}) AS CHAR)"),
};

/// The time in milliseconds, whatever the time zone of the session.
const CLOCK: &str = "timestampdiff(MICROSECOND, '1970-01-01', utc_timestamp(3)) DIV 1000";

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
        find: statement(format!(
            "SELECT {selected_key} FROM `{table}` WHERE digest = ? AND deleted_at IS NULL"
        )),
        find_many: statement(find_many(table, &selected_key)),
        heartbeat: Some(heartbeat(table, &selected_key)),
        get: statement(format!("SELECT {selected_key} FROM `{table}` WHERE id = ?")),
        get_many: statement(format!(
            "SELECT {selected_key} FROM JSON_TABLE(?, '$[*]' COLUMNS (asked CHAR(32) PATH '$')) AS news \
                 STRAIGHT_JOIN `{table}` ON `{table}`.id = unhex(news.asked) FOR UPDATE"
        )),
        known: known(table),
        insert: Inserts::new(
            &format!("INSERT INTO `{table}` ({names}) VALUES"),
            &format!("({values})"),
            statement,
        ),
        update: statement(format!(
            "UPDATE `{table}` SET {changes} WHERE id = ? AND revision = ? AND (? OR {} IS NULL)",
            ended(table)
        )),
        owner_locks: {
            // A session has locks of its own making for as long as it lives, so rows are locked
            // instead: those of the first versions of the schema, which every store has and which
            // nothing else waits for.
            let lock = |how: &str| {
                Some(statement(format!(
                    "SELECT version FROM `{table}_schema` WHERE version = 1 + ? {how}"
                )))
            };
            LockStatements { shared: lock("LOCK IN SHARE MODE"), exclusive: lock("FOR UPDATE") }
        },
        // Takes what `row::uses` makes, each id once. The rows are locked in this order, so that
        // two nodes that write at once do not wait for each other. A count stops at the greatest.
        // The address comes first, since it depends on the time that was.
        record_uses: statement(format!(
            "UPDATE JSON_TABLE(?, '$[*]' COLUMNS ( \
                 id CHAR(32) PATH '$[0]', added BIGINT PATH '$[1]', used_at BIGINT PATH '$[2]', \
                 came_from VARCHAR(64) PATH '$[3]', came_at BIGINT PATH '$[4]' \
             )) AS uses STRAIGHT_JOIN `{table}` AS all_keys ON all_keys.id = unhex(uses.id) SET \
                 all_keys.use_count = all_keys.use_count \
                     + least(uses.added, 9223372036854775807 - all_keys.use_count), \
                 all_keys.last_used_from = if( \
                     uses.came_at >= coalesce(all_keys.last_used_at, uses.came_at), \
                     uses.came_from, all_keys.last_used_from), \
                 all_keys.last_used_at = \
                     greatest(uses.used_at, coalesce(all_keys.last_used_at, uses.used_at))"
        )),
        insert_event: Inserts::new(
            &format!("INSERT INTO `{table}_events` ({event}) VALUES"),
            &format!("({event_values})"),
            statement,
        ),
        // A row that is there already counts as two, and the transaction comes to nothing. To
        // ignore it would be to ignore other errors as well, and to leave it as it is counts as
        // one for clients that, like sqlx, ask for the rows that were found.
        insert_balance: Inserts::ending(
            &format!("INSERT INTO `{table}_credits` (line, {balance}) VALUES"),
            &format!("(?, {balance_values})"),
            " ON DUPLICATE KEY UPDATE revision = -1",
            statement,
        ),
        update_balance: statement(format!(
            "UPDATE `{table}_credits` SET {balance_changes} \
                 WHERE line = ? AND revision = ? AND ? <= {CLOCK}"
        )),
        balances: statement(format!(
            "SELECT clock.now, credits.line, {balance} FROM (SELECT {CLOCK} AS now) AS clock \
                 LEFT JOIN (JSON_TABLE(?, '$[*]' COLUMNS (lineage CHAR(32) PATH '$')) AS asked \
                     STRAIGHT_JOIN `{table}_credits` AS credits \
                         ON credits.line = unhex(asked.lineage)) ON TRUE"
        )),
        // `NOT IN` would read all keys for each balance.
        purge_balances: statement(format!(
            "DELETE credits FROM `{table}_credits` AS credits LEFT JOIN ( \
                 SELECT DISTINCT coalesce(lineage, id) AS lineage FROM `{table}` \
             ) AS known ON known.lineage = credits.line \
                 WHERE known.lineage IS NULL AND substr(hex(credits.line), 13, 1) <> '8'"
        )),
        requests: requests(table),
        watermarks: watermarks(table),
        // Takes what `usage::counts` makes, and keeps its order. A count stops at the greatest.
        record_usage: statement(format!(
            "INSERT INTO `{table}_usage` (line, hour, outcome, count, owner) \
                 SELECT unhex(news.lineage), news.hour, news.outcome, news.added, news.owner \
                 FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
                     lineage CHAR(32) PATH '$[0]', hour BIGINT PATH '$[1]', \
                     outcome VARCHAR(32) PATH '$[2]', added BIGINT PATH '$[3]', \
                     owner VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[4]' \
                 )) AS news \
                 ON DUPLICATE KEY UPDATE count = `{table}_usage`.count \
                     + least(news.added, 9223372036854775807 - `{table}_usage`.count)"
        )),
        forget_usage: statement(format!("DELETE FROM `{table}_usage` WHERE hour < ?")),
        filters: filters(table),
    }
}

/// When a key was revoked by a watermark.
fn ended(table: &str) -> String {
    let bytes = |text: &str| format!("CAST({text} AS BINARY)");
    ended_at(&format!("`{table}_watermarks`"), bytes, "concat('=', owner)")
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
            "INSERT INTO `{table}_watermarks` (subject, issued_before, ended_at, reason) \
                 VALUES (?, ?, ?, ?) ON DUPLICATE KEY UPDATE reason = `{table}_watermarks`.reason"
        )),
        current: statement(format!(
            "SELECT subject, issued_before, ended_at, reason FROM `{table}_watermarks`"
        )),
        remove: statement(format!(
            "DELETE FROM `{table}_watermarks` \
                 WHERE subject = ? AND issued_before = ? AND ended_at <= {CLOCK} - ?"
        )),
    }
}

/// About the digests of all keys.
fn known(table: &str) -> KnownStatements {
    KnownStatements {
        count: statement(format!("SELECT count(*) FROM `{table}`")),
        page: statement(format!(
            "SELECT digest FROM `{table}` WHERE digest > ? AND deleted_at IS NULL \
                 ORDER BY digest LIMIT ?"
        )),
        added: statement(format!(
            "SELECT id, digest FROM `{table}` WHERE id > ? AND deleted_at IS NULL \
                 ORDER BY id LIMIT ?"
        )),
    }
}

/// About requests that are done once.
fn requests(table: &str) -> RequestStatements {
    let (request, request_values) = (REQUEST.join(", "), each(&REQUEST, |_| "?"));
    RequestStatements {
        // One that is there already counts as two, as with balances.
        insert: Inserts::ending(
            &format!("INSERT INTO `{table}_requests` ({request}, at) VALUES"),
            &format!("({request_values}, {CLOCK})"),
            " ON DUPLICATE KEY UPDATE at = -1",
            statement,
        ),
        find: statement(format!(
            "SELECT {request}, at FROM `{table}_requests` WHERE line = ? AND request = ?"
        )),
        purge: statement(format!(
            "DELETE FROM `{table}_requests` WHERE at < ? AND at < {CLOCK} - ?"
        )),
    }
}

/// Joined in the order of what is asked for, by the index.
fn find_many(table: &str, selected_key: &str) -> String {
    format!(
        "SELECT {selected_key} FROM JSON_TABLE(?, '$[*]' COLUMNS (asked CHAR(64) PATH '$')) AS news \
             STRAIGHT_JOIN `{table}` ON `{table}`.digest = unhex(news.asked) \
             WHERE deleted_at IS NULL"
    )
}

/// About the beat that a replica shows. Of a statement that sets several columns, the first sees the row
/// as it was.
fn heartbeat(table: &str, selected_key: &str) -> HeartbeatStatements {
    HeartbeatStatements {
        read: statement(format!(
            "SELECT beat, previous, {CLOCK} - beat_at AS age FROM `{table}_heartbeat` WHERE slot = 1"
        )),
        write: statement(format!(
            "UPDATE `{table}_heartbeat` SET previous = beat, beat = ?, beat_at = {CLOCK} \
                 WHERE slot = 1 AND beat = ?"
        )),
        find_many: statement(format!(
            "SELECT {selected_key}, pulse.beat, pulse.previous FROM `{table}_heartbeat` AS pulse \
                 LEFT JOIN (JSON_TABLE(?, '$[*]' COLUMNS (asked CHAR(64) PATH '$')) AS news \
                     STRAIGHT_JOIN `{table}` ON `{table}`.digest = unhex(news.asked) \
                         AND deleted_at IS NULL) ON TRUE \
                 WHERE pulse.slot = 1"
        )),
    }
}

/// From which statements for this table are put together.
fn filters(table: &str) -> Filters {
    let (selected_key, event) = (selected_key(table), EVENT.join(", "));
    let revoked_at = revoked_at(&ended(table));
    let total = "CAST(least(sum(count), 9223372036854775807) AS SIGNED) AS total";
    Filters {
        purge: format!("DELETE FROM `{table}` WHERE (revoked_at < ? OR deleted_at < ?)"),
        live: format!(
            "SELECT count(*) FROM `{table}` WHERE deleted_at IS NULL AND {revoked_at} IS NULL \
             AND (expires_at IS NULL OR expires_at > ?) AND (retires_at IS NULL OR retires_at > ?)"
        ),
        // As it is at this moment, whatever this transaction has read before.
        end_of_live: " LOCK IN SHARE MODE",
        selected: format!(
            "SELECT {selected_key} FROM `{table}` WHERE id >= ? AND deleted_at IS NULL"
        ),
        unwritten: format!(
            "SELECT id, revision FROM `{table}` WHERE id >= ? \
             AND deleted_at IS NULL AND revoked_at IS NULL"
        ),
        end_of_unwritten: " ORDER BY id LIMIT ?".to_owned(),
        revoked_at,
        end_of_selected: " ORDER BY id LIMIT ? FOR UPDATE".to_owned(),
        keys: format!("SELECT {selected_key} FROM `{table}` WHERE id <= ? AND deleted_at IS NULL"),
        end_of_keys: " ORDER BY id DESC LIMIT ?".to_owned(),
        events: format!("SELECT {event} FROM `{table}_events` WHERE id <= ?"),
        end_of_events: " ORDER BY id DESC LIMIT ?".to_owned(),
        usage: format!("SELECT hour, outcome, {total} FROM `{table}_usage` WHERE hour >= ?"),
        end_of_usage: " GROUP BY hour, outcome ORDER BY hour, outcome",
        busiest: format!(
            "SELECT line, {total} FROM `{table}_usage` \
                 WHERE outcome = 'accepted' AND count > 0 AND hour >= ?"
        ),
        end_of_busiest: " GROUP BY line ORDER BY total DESC, line LIMIT ?",
        // To the collation, spaces at the end are nothing. None of those that tell them apart
        // is known to both MySQL and MariaDB.
        owner: "owner = ? AND octet_length(owner) = octet_length(?)",
        scope: "JSON_CONTAINS(scopes, JSON_QUOTE(?))",
        // Bytes, for the same reason.
        prefix: "(locate(CAST(? AS BINARY), CAST(name AS BINARY)) = 1 \
             OR locate(CAST(? AS BINARY), CAST(start AS BINARY)) = 1)",
        legacy: "is_legacy = TRUE",
        lineage: "lineage = ? AND id <> ?",
        key: "key_id = ?",
        usage_lineage: "line = ?",
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, MySql, MySqlConnection, Row};

    use super::super::MySqlStore;
    use super::*;
    use crate::store::{
        servers::{Database, Server},
        sql::queries,
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
        // A row without a table is there for what needs none.
        let step = |row: &sqlx::mysql::MySqlRow| {
            let text = |column| row.get::<Option<String>, _>(column).unwrap_or_default();
            (text("table"), text("type"), row.get("key"))
        };
        // Watermarks are few. Each key that is read is held against them.
        rows.iter().map(step).filter(|step| step.0 != "api_keys_watermarks").collect()
    }

    fn step(table: &str, kind: &str, key: Option<&str>) -> (String, String, Option<String>) {
        (table.to_owned(), kind.to_owned(), key.map(str::to_owned))
    }

    #[tokio::test]
    #[allow(clippy::too_many_lines, reason = "a table of statements")]
    async fn no_statement_reads_the_whole_table() {
        let Some(database) = Database::new(Server::MySql).await else { return };
        let store = MySqlStore::connect(database.url()).await.unwrap();
        let rows = "INSERT INTO api_keys \
             (id, digest, name, owner, created_at, updated_at, request, legacy_hash) \
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000), \
                 m (j) AS (SELECT 1 UNION ALL SELECT j + 1 FROM m WHERE j < 10) \
             SELECT unhex(md5(10 * i + j)), unhex(sha2(10 * i + j, 256)), 'key', \
                 concat('owner ', i % 100), i, i, unhex(sha2(-10 * i - j, 256)), \
                 if(i % 50, NULL, 'hash') FROM n, m";
        let events = "INSERT INTO api_keys_events (id, at, action, key_id, owner) \
             SELECT id, created_at, 'created', id, owner FROM api_keys";
        let credits = "INSERT INTO api_keys_credits (line, remaining, since, epoch, revision) \
             SELECT id, 1, 1, 0, 0 FROM api_keys";
        let usage = "INSERT INTO api_keys_usage (line, hour, outcome, owner, count) \
             SELECT id, created_at DIV 10, 'accepted', owner, 1 FROM api_keys";
        let analyze = "ANALYZE TABLE api_keys, api_keys_events, api_keys_credits, api_keys_usage";
        let mut connection = store.0.writer.acquire().await.unwrap();
        let requests = "INSERT INTO api_keys_requests \
             (line, request, at, act, key_id, amount, result) \
             SELECT id, digest, 1, 'top_up', id, 1, '' FROM api_keys";
        for sql in [rows, events, credits, usage, requests, analyze] {
            sqlx::raw_sql(sql).execute(&mut *connection).await.unwrap();
        }
        let all = &store.0.statements;
        let beat = all.heartbeat.as_ref().unwrap();
        let (id, digest) = ("unhex(md5(7777))", "unhex(sha2(7777, 256))");
        let single = |kind, key| vec![step("api_keys", kind, Some(key))];
        let event = |kind, key| vec![step("api_keys_events", kind, Some(key))];

        let lists = queries::of_keys();
        let lists = lists.each_ref().map(|q| all.filters.list::<MySql>(q).unwrap().sql);
        let live = all.filters.live::<MySql>(&queries::of_owner()).unwrap().sql;
        let events = queries::of_events();
        let events = events.each_ref().map(|q| all.filters.events::<MySql>(q).unwrap().sql);
        let credits = |kind| step("credits", kind, Some("PRIMARY"));
        let balance = vec![step("api_keys_credits", "range", Some("PRIMARY"))];
        let used = |key| vec![step("api_keys_usage", "range", Some(key))];
        let usage = queries::of_usage();
        let sums = usage.each_ref().map(|q| all.filters.usage::<MySql>(q).unwrap().sql);
        let lineages = usage.each_ref().map(|q| all.filters.busiest::<MySql>(q, 9).unwrap().sql);
        for (statement, values, expected) in [
            (&all.find, vec![digest], single("const", "api_keys_digest")),
            (
                &all.find_many,
                vec!["'[]'"],
                vec![
                    step("news", "ALL", None),
                    step("api_keys", "eq_ref", Some("api_keys_digest")),
                ],
            ),
            (
                &beat.find_many,
                vec!["'[]'"],
                vec![
                    step("pulse", "const", Some("PRIMARY")),
                    step("news", "ALL", None),
                    step("api_keys", "eq_ref", Some("api_keys_digest")),
                ],
            ),
            (&all.known.page, vec![digest, "10"], single("range", "api_keys_digest")),
            (&all.known.added, vec![id, "10"], single("range", "PRIMARY")),
            (&all.get, vec![id], single("const", "PRIMARY")),
            (
                &all.update,
                [&["NULL"; CHANGING.len()][..], &[id, "7", "FALSE"]].concat(),
                single("range", "PRIMARY"),
            ),
            (
                &all.record_uses,
                vec!["'[]'"],
                vec![step("uses", "ALL", None), step("all_keys", "eq_ref", Some("PRIMARY"))],
            ),
            (&live, vec!["7", "7", "'owner 7'", "'owner 7'"], single("ref", "api_keys_owner")),
            (&lists[0], vec![id, "10"], single("range", "PRIMARY")),
            (
                &lists[1],
                vec![id, "'owner 7'", "'owner 7'", "10"],
                single("range", "api_keys_owner"),
            ),
            (
                &lists[2],
                vec![id, "unhex(sha2(-7777, 256))", "10"],
                single("const", "api_keys_request"),
            ),
            (&lists[3], vec![id, "10"], single("range", "api_keys_legacy")),
            (&lists[4], vec![id, id, id, "10"], single("range", "api_keys_lineage")),
            (&events[0], vec![id, "10"], event("range", "PRIMARY")),
            (&events[1], vec![id, id, "10"], event("range", "api_keys_events_key")),
            (
                &events[2],
                vec![id, "'owner 7'", "'owner 7'", "10"],
                event("range", "api_keys_events_owner"),
            ),
            (&events[3], vec![id, "7", "9", "10"], event("range", "api_keys_events_at")),
            (&all.update_balance, [&["7"; BALANCE.len()][..], &[id, "7", "7"]].concat(), balance),
            (
                &all.balances,
                vec!["'[]'"],
                vec![
                    step("<derived2>", "system", None),
                    step("asked", "ALL", None),
                    credits("eq_ref"),
                    step("", "", None),
                ],
            ),
            (
                &all.requests.find,
                vec![id, digest],
                vec![step("api_keys_requests", "const", Some("PRIMARY"))],
            ),
            (&all.record_usage, vec!["'[]'"], vec![step("news", "ALL", None)]),
            (&all.forget_usage, vec!["7"], used("api_keys_usage_hour")),
            (&sums[0], vec!["7", "9"], used("api_keys_usage_hour")),
            (&sums[1], vec!["7", "9", id], used("PRIMARY")),
            (&sums[2], vec!["7", "9", "'owner 7'", "'owner 7'"], used("api_keys_usage_owner")),
            (&lineages[0], vec!["7", "9", "10"], used("api_keys_usage_hour")),
            (&lineages[1], vec!["7", "9", id, "10"], used("PRIMARY")),
            (
                &lineages[2],
                vec!["7", "9", "'owner 7'", "'owner 7'", "10"],
                used("api_keys_usage_owner"),
            ),
        ] {
            let plan = plan(&mut connection, statement.as_str(), &values).await;
            assert_eq!(plan, expected, "{}", statement.as_str());
        }
        // It reads both tables, but each of them once.
        let purge = plan(&mut connection, all.purge_balances.as_str(), &[]).await;
        assert_eq!((&*purge[1].0, &*purge[1].1), ("<derived2>", "ref"), "{purge:?}");
    }
}
