//! Statements with their values, and how they are sent to any of the databases.

use sqlx::{
    AssertSqlSafe, ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Row, SqlStr,
    Type, query::Query,
};

#[cfg(any(feature = "mysql", feature = "postgres"))]
use super::heartbeat::{self, Pulse};
use super::{balance, event, key_row, known, requests, usage, watermarks};
use crate::{
    clock::Timestamp,
    key::{KeyDigest, KeyEvent, KeyId, KeyRecord, LineageUsage, UsageCount},
    store::{requests::RequestRecord, watermark::WatermarkRecord},
};

/// A value to bind.
#[derive(Clone)]
pub(in crate::store) enum Value<'v> {
    Bytes(Option<&'v [u8]>),
    Id([u8; 16]),
    Text(Option<&'v str>),
    Made(String),
    Number(Option<i64>),
    Flag(bool),
}

impl<'v> From<&'v [u8]> for Value<'v> {
    fn from(bytes: &'v [u8]) -> Self {
        Self::Bytes(Some(bytes))
    }
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(Some(text))
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(time: Timestamp) -> Self {
        Self::Number(Some(time.as_unix_millis()))
    }
}

impl From<Option<Timestamp>> for Value<'_> {
    fn from(time: Option<Timestamp>) -> Self {
        Self::Number(time.map(Timestamp::as_unix_millis))
    }
}

/// A statement with its values.
#[derive(Clone)]
pub(in crate::store) struct Call<'v> {
    pub(in crate::store) sql: SqlStr,
    pub(in crate::store) values: Vec<Value<'v>>,
}

impl<'v> Call<'v> {
    pub(in crate::store) fn new(sql: &SqlStr) -> Self {
        Self { sql: sql.clone(), values: Vec::new() }
    }

    pub(in crate::store) fn with(mut self, value: impl Into<Value<'v>>) -> Self {
        self.values.push(value.into());
        self
    }

    pub(in crate::store) fn with_all(
        mut self,
        values: impl IntoIterator<Item = Value<'v>>,
    ) -> Self {
        self.values.extend(values);
        self
    }

    fn query<DB: Calls>(self) -> Query<'static, DB, DB::Arguments> {
        self.values.into_iter().fold(sqlx::query(self.sql), DB::bind)
    }
}

/// The calls of every database of sqlx. Code bound by this trait need not repeat sqlx's bounds.
pub(in crate::store) trait Calls: Database {
    fn bind<'q>(
        query: Query<'q, Self, Self::Arguments>,
        value: Value<'_>,
    ) -> Query<'q, Self, Self::Arguments>;

    fn execute(
        connection: &mut Self::Connection,
        call: Call<'_>,
    ) -> impl Future<Output = sqlx::Result<Self::QueryResult>> + Send;

    fn fetch_optional(
        connection: &mut Self::Connection,
        call: Call<'_>,
    ) -> impl Future<Output = sqlx::Result<Option<Self::Row>>> + Send;

    fn fetch_all(
        connection: &mut Self::Connection,
        call: Call<'_>,
    ) -> impl Future<Output = sqlx::Result<Vec<Self::Row>>> + Send;

    /// The first column of the only row.
    fn fetch_number(
        connection: &mut Self::Connection,
        call: Call<'_>,
    ) -> impl Future<Output = sqlx::Result<i64>> + Send;

    /// Runs statements as they are, without preparing them.
    fn run(
        connection: &mut Self::Connection,
        sql: String,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Reads a row with the columns that are [selected](super::Selected) of a key.
    fn key(row: &Self::Row) -> sqlx::Result<KeyRecord>;

    /// Reads the digest in such a row.
    fn digest_of_key(row: &Self::Row) -> sqlx::Result<KeyDigest>;

    /// Whether there is a key in such a row.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    fn has_key(row: &Self::Row) -> sqlx::Result<bool>;

    /// Reads a row with a beat.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    fn pulse(row: &Self::Row) -> sqlx::Result<Pulse>;

    /// Reads how many milliseconds old the beat in a row is.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    fn age_of_beat(row: &Self::Row) -> sqlx::Result<i64>;

    /// Reads a row with a digest.
    fn digest(row: &Self::Row) -> sqlx::Result<KeyDigest>;

    /// Reads a row with an id and a digest.
    fn added(row: &Self::Row) -> sqlx::Result<(KeyId, KeyDigest)>;

    /// Reads a row with all columns of an event.
    fn event(row: &Self::Row) -> sqlx::Result<KeyEvent>;

    /// Reads a row with all columns of a balance, and the time.
    fn balance(row: &Self::Row) -> sqlx::Result<balance::Row>;

    /// Reads a row with all columns of a request.
    fn request(row: &Self::Row) -> sqlx::Result<RequestRecord>;

    /// Reads a row with all columns of a watermark.
    fn watermark(row: &Self::Row) -> sqlx::Result<WatermarkRecord>;

    /// Reads a row with the id of a key and its revision.
    fn revision(row: &Self::Row) -> sqlx::Result<(KeyId, u64)>;

    /// Reads a row with the sum of an hour and an outcome.
    fn usage_count(row: &Self::Row) -> sqlx::Result<UsageCount>;

    /// Reads a row with the sum of a lineage.
    fn lineage_usage(row: &Self::Row) -> sqlx::Result<LineageUsage>;
}

impl<DB: Database> Calls for DB
where
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'v> &'v [u8]: Encode<'v, DB> + Decode<'v, DB> + Type<DB>,
    for<'v> &'v str: Encode<'v, DB> + Decode<'v, DB> + Type<DB>,
    for<'v> Option<&'v [u8]>: Encode<'v, DB>,
    for<'v> Option<&'v str>: Encode<'v, DB>,
    for<'v> Option<i64>: Encode<'v, DB>,
    for<'v> String: Encode<'v, DB> + Type<DB>,
    for<'v> bool: Encode<'v, DB> + Decode<'v, DB> + Type<DB>,
    for<'v> i64: Decode<'v, DB> + Type<DB>,
    for<'n> &'n str: ColumnIndex<DB::Row>,
    usize: ColumnIndex<DB::Row>,
{
    fn bind<'q>(
        query: Query<'q, Self, Self::Arguments>,
        value: Value<'_>,
    ) -> Query<'q, Self, Self::Arguments> {
        match value {
            Value::Bytes(bytes) => query.bind(bytes),
            Value::Id(id) => query.bind(&id[..]),
            Value::Text(text) => query.bind(text),
            Value::Made(text) => query.bind(text),
            Value::Number(number) => query.bind(number),
            Value::Flag(flag) => query.bind(flag),
        }
    }

    fn execute(
        connection: &mut Self::Connection,
        call: Call<'_>,
    ) -> impl Future<Output = sqlx::Result<Self::QueryResult>> + Send {
        Executor::execute(connection, call.query())
    }

    fn fetch_optional(
        connection: &mut Self::Connection,
        call: Call<'_>,
    ) -> impl Future<Output = sqlx::Result<Option<Self::Row>>> + Send {
        Executor::fetch_optional(connection, call.query())
    }

    fn fetch_all(
        connection: &mut Self::Connection,
        call: Call<'_>,
    ) -> impl Future<Output = sqlx::Result<Vec<Self::Row>>> + Send {
        Executor::fetch_all(connection, call.query())
    }

    fn fetch_number(
        connection: &mut Self::Connection,
        call: Call<'_>,
    ) -> impl Future<Output = sqlx::Result<i64>> + Send {
        let row = Executor::fetch_one(connection, call.query());
        async { row.await?.try_get(0) }
    }

    fn run(
        connection: &mut Self::Connection,
        sql: String,
    ) -> impl Future<Output = sqlx::Result<()>> + Send {
        let done = Executor::execute(connection, sqlx::raw_sql(AssertSqlSafe(sql)));
        async { done.await.map(drop) }
    }

    fn key(row: &Self::Row) -> sqlx::Result<KeyRecord> {
        key_row::read(row)
    }

    fn digest_of_key(row: &Self::Row) -> sqlx::Result<KeyDigest> {
        key_row::digest(row)
    }

    #[cfg(any(feature = "mysql", feature = "postgres"))]
    fn has_key(row: &Self::Row) -> sqlx::Result<bool> {
        key_row::is_there(row)
    }

    #[cfg(any(feature = "mysql", feature = "postgres"))]
    fn pulse(row: &Self::Row) -> sqlx::Result<Pulse> {
        heartbeat::pulse(row)
    }

    #[cfg(any(feature = "mysql", feature = "postgres"))]
    fn age_of_beat(row: &Self::Row) -> sqlx::Result<i64> {
        heartbeat::age(row)
    }

    fn digest(row: &Self::Row) -> sqlx::Result<KeyDigest> {
        known::digest(row)
    }

    fn added(row: &Self::Row) -> sqlx::Result<(KeyId, KeyDigest)> {
        known::added(row)
    }

    fn event(row: &Self::Row) -> sqlx::Result<KeyEvent> {
        event::read(row)
    }

    fn balance(row: &Self::Row) -> sqlx::Result<balance::Row> {
        balance::read(row)
    }

    fn request(row: &Self::Row) -> sqlx::Result<RequestRecord> {
        requests::read(row)
    }

    fn watermark(row: &Self::Row) -> sqlx::Result<WatermarkRecord> {
        watermarks::read(row)
    }

    fn revision(row: &Self::Row) -> sqlx::Result<(KeyId, u64)> {
        watermarks::revision(row)
    }

    fn usage_count(row: &Self::Row) -> sqlx::Result<UsageCount> {
        usage::read(row)
    }

    fn lineage_usage(row: &Self::Row) -> sqlx::Result<LineageUsage> {
        usage::read_lineage(row)
    }
}
