//! Rows straight from a table in SQLite, PostgreSQL, MySQL or MariaDB.
//!
//! The databases write each row as JSON: then there is one way to read their types, which are
//! any that a system may have chosen.

use std::{future::poll_fn, path::PathBuf, pin::pin};

use futures_core::Stream;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, MySqlConnection, PgConnection, SqliteConnection,
    mysql::MySqlConnectOptions, postgres::PgConnectOptions, query::QueryScalar,
    sqlite::SqliteConnectOptions,
};
use tokio::sync::mpsc::{self, Sender};

use super::{
    columns::{Columns, Mapping},
    row::Bad,
    source::{AHEAD, Item, Place, Row, Source},
};
use crate::{
    exported::{Fields, VERSION},
    failure::{Failure, causes, is_for_ever},
    tables,
};

/// Which rows are wanted.
pub(super) struct Wanted {
    pub(super) table: String,
    pub(super) mapping: Mapping,
}

pub(super) async fn from_url(url: &str, wanted: Wanted) -> Result<Source, Failure> {
    let unusable = |_| Failure::Usage("SOURCE_DATABASE_URL cannot be used".to_owned());
    match url.split_once(':') {
        Some(("sqlite", _)) => from_sqlite(url.parse().map_err(unusable)?, wanted).await,
        Some(("postgres" | "postgresql", _)) => {
            from_postgres(url.parse().map_err(unusable)?, wanted).await
        }
        Some(("mysql" | "mariadb", _)) => from_mysql(url.parse().map_err(unusable)?, wanted).await,
        _ => {
            let text = "SOURCE_DATABASE_URL must be like sqlite:old.db, postgres://host/database or \
                        mysql://host/database";
            Err(Failure::Usage(text.to_owned()))
        }
    }
}

pub(super) async fn from_sqlite_file(path: PathBuf, wanted: Wanted) -> Result<Source, Failure> {
    from_sqlite(SqliteConnectOptions::new().filename(path), wanted).await
}

async fn from_sqlite(options: SqliteConnectOptions, wanted: Wanted) -> Result<Source, Failure> {
    let options = options.read_only(true).disable_statement_logging();
    let mut connection = options.connect().await.map_err(|error| failed(&error))?;
    // With generated columns, which pragma_table_info passes over, but without those that a virtual
    // table hides.
    let columns = "SELECT name FROM pragma_table_xinfo(?) WHERE hidden <> 1";
    let header: Vec<String> = sqlx::query_scalar(columns)
        .bind(&wanted.table)
        .fetch_all(&mut connection)
        .await
        .map_err(|error| failed(&error))?;
    if header.is_empty() {
        let there = sqlx::query_scalar(tables::SQLITE).fetch_all(&mut connection).await;
        return Err(missing(&wanted.table, there));
    }
    let table = quoted(&wanted.table);
    let rows = sqlx::query_scalar(count(&table))
        .fetch_one(&mut connection)
        .await
        .map_err(|error| failed(&error))?;
    let pairs: Vec<_> = selected(&header, &wanted)?
        .into_iter()
        .map(|name| {
            let column = quoted(name);
            let value =
                format!("CASE typeof({column}) WHEN 'blob' THEN hex({column}) ELSE {column} END");
            format!("'{}', {value}", name.replace('\'', "''"))
        })
        .collect();
    let sql = format!("SELECT json_object({}) FROM {table}", pairs.join(", "));
    let (sender, items) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        send_header(header, &sender).await;
        let rows = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).fetch(&mut connection);
        send(rows, &sender).await;
        let _ = SqliteConnection::close(connection).await;
    });
    Ok(Source::table(items, rows))
}

async fn from_postgres(options: PgConnectOptions, wanted: Wanted) -> Result<Source, Failure> {
    let options = options.disable_statement_logging();
    let mut connection = options.connect().await.map_err(|error| failed(&error))?;
    // Times without a zone are taken for UTC, so those with one are to be told in it.
    let settings = "SET TIME ZONE 'UTC'; SET default_transaction_read_only = on";
    sqlx::raw_sql(settings).execute(&mut connection).await.map_err(|error| failed(&error))?;
    // `schema.table` is two names.
    let table: Vec<_> = wanted.table.split('.').map(quoted).collect();
    let table = table.join(".");
    let columns = "SELECT attname::text FROM pg_attribute \
        WHERE attrelid = to_regclass($1::text) AND attnum > 0 AND NOT attisdropped";
    let header: Vec<String> = sqlx::query_scalar(columns)
        .bind(&table)
        .fetch_all(&mut connection)
        .await
        .map_err(|error| failed(&error))?;
    if header.is_empty() {
        let there = sqlx::query_scalar(tables::POSTGRES).fetch_all(&mut connection).await;
        return Err(missing(&wanted.table, there));
    }
    let rows = sqlx::query_scalar(count(&table))
        .fetch_one(&mut connection)
        .await
        .map_err(|error| failed(&error))?;
    let columns: Vec<_> = selected(&header, &wanted)?.into_iter().map(quoted).collect();
    let columns = columns.join(", ");
    let sql = format!("SELECT row_to_json(r)::text FROM (SELECT {columns} FROM {table}) r");
    let (sender, items) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        send_header(header, &sender).await;
        let rows = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).fetch(&mut connection);
        send(rows, &sender).await;
        let _ = PgConnection::close(connection).await;
    });
    Ok(Source::table(items, rows))
}

async fn from_mysql(options: MySqlConnectOptions, wanted: Wanted) -> Result<Source, Failure> {
    // sqlx sets the connection to UTC and utf8mb4.
    let options = options.disable_statement_logging();
    let mut connection = options.connect().await.map_err(|error| failed(&error))?;
    let read_only = "SET SESSION TRANSACTION READ ONLY";
    sqlx::raw_sql(read_only).execute(&mut connection).await.map_err(|error| failed(&error))?;
    // `database.table` is two names.
    let (database, table) = match wanted.table.split_once('.') {
        Some((database, table)) => (Some(database), table),
        None => (None, wanted.table.as_str()),
    };
    // MySQL has these names as bytes, if they are not cast.
    let columns = "SELECT CAST(COLUMN_NAME AS CHAR), CAST(DATA_TYPE AS CHAR) \
        FROM information_schema.COLUMNS \
        WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION";
    let columns: Vec<(String, String)> = sqlx::query_as(columns)
        .bind(database)
        .bind(table)
        .fetch_all(&mut connection)
        .await
        .map_err(|error| failed(&error))?;
    let header: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
    if header.is_empty() {
        let there = sqlx::query_scalar(tables::MYSQL).fetch_all(&mut connection).await;
        return Err(missing(&wanted.table, there));
    }
    let in_backticks = |name: &str| format!("`{}`", name.replace('`', "``"));
    let table: Vec<_> = database.into_iter().chain([table]).map(in_backticks).collect();
    let table = table.join(".");
    let rows = sqlx::query_scalar(count(&table))
        .fetch_one(&mut connection)
        .await
        .map_err(|error| failed(&error))?;
    let selected: Vec<String> =
        selected(&header, &wanted)?.into_iter().map(str::to_owned).collect();
    let pairs = selected.iter().map(|name| {
        let kind = columns.iter().find(|(column, _)| column == name).map(|(_, kind)| kind.as_str());
        let column = in_backticks(name);
        match kind {
            Some("bit") => format!("?, {column} + 0"),
            Some(kind) if kind.ends_with("blob") || kind.ends_with("binary") => {
                format!("?, HEX({column})")
            }
            _ => format!("?, {column}"),
        }
    });
    let pairs = pairs.collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT CAST(JSON_OBJECT({pairs}) AS CHAR) FROM {table}");
    let (sender, items) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        send_header(header, &sender).await;
        let query = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql));
        let query = selected.into_iter().fold(query, QueryScalar::bind);
        send(query.fetch(&mut connection), &sender).await;
        let _ = MySqlConnection::close(connection).await;
    });
    Ok(Source::table(items, rows))
}

/// The columns to select: those that can be imported, and the id, to name a row by.
fn selected<'h>(header: &'h [String], wanted: &Wanted) -> Result<Vec<&'h str>, Failure> {
    if header.iter().any(|column| column == VERSION) {
        let text = "the table holds an export: write it into a file, and import that";
        return Err(Failure::Usage(text.to_owned()));
    }
    let mut columns = Columns::new(wanted.mapping.clone());
    columns.header(header)?;
    let mut columns = columns.wanted(header);
    let id = header.iter().map(String::as_str).find(|column| *column == ID);
    columns.extend(id.filter(|id| !columns.contains(id)));
    Ok(columns)
}

const ID: &str = "id";

/// Says which tables there are instead.
fn missing(table: &str, there: sqlx::Result<Vec<String>>) -> Failure {
    match there {
        Ok(there) => {
            let missing = tables::missing(table, &there);
            Failure::Usage(format!("{missing}. --from-table names another"))
        }
        Err(error) => failed(&error),
    }
}

fn count(table: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

async fn send_header(header: Vec<String>, sender: &Sender<Result<Item, Failure>>) {
    // A receiver that is gone takes no rows either.
    let _ = sender.send(Ok(Item::Header(header))).await;
}

async fn send(
    rows: impl Stream<Item = sqlx::Result<String>>,
    sender: &Sender<Result<Item, Failure>>,
) {
    let mut rows = pin!(rows);
    let mut number = 0_u64;
    while let Some(row) = poll_fn(|cx| rows.as_mut().poll_next(cx)).await {
        number += 1;
        let item = row.map_err(|error| failed(&error)).map(|json| {
            let fields: Result<Fields, _> = serde_json::from_str(&json);
            let id = fields.as_ref().ok().and_then(|fields| fields.get(ID));
            let id = id.map(ToString::to_string);
            let fields = fields.map_err(|_| Bad::new("cannot be read"));
            Item::Row(Row { place: Place { id, ..Place::new("row", number) }, fields })
        });
        if sender.send(item).await.is_err() {
            return;
        }
    }
}

fn failed(error: &sqlx::Error) -> Failure {
    let text = format!("the table cannot be read: {}", causes(error));
    if is_for_ever(error) { Failure::Usage(text) } else { Failure::Unavailable(text) }
}
