//! Whether a server is a replica: what it holds may be out of date, and what is told to it stays
//! there.

use redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind, Value, aio::MultiplexedConnection};

/// A replica answers lookups from the past: it may let in a key that was revoked.
pub(super) async fn refuse_replica(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    if is_replica(connection).await? { Err(replica()) } else { Ok(()) }
}

/// The same for messages. In a cluster, what is published on any node reaches all.
pub(crate) async fn refuse_deaf_replica(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    if !is_replica(connection).await? {
        return Ok(());
    }
    let info = Cmd::new().arg("CLUSTER").arg("INFO").to_owned();
    match info.query_async::<Value>(connection).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_io_error() => Err(error),
        Err(_) => Err(replica()),
    }
}

/// Where a user may not ask, the application has to know.
async fn is_replica(connection: &mut MultiplexedConnection) -> RedisResult<bool> {
    match redis::cmd("ROLE").query_async::<Vec<Value>>(connection).await {
        Ok(role) => Ok(role.first() == Some(&Value::BulkString(b"slave".to_vec()))),
        Err(error) if error.is_io_error() => Err(error),
        Err(_) => Ok(false),
    }
}

fn replica() -> redis::RedisError {
    (ErrorKind::Server(ServerErrorKind::ReadOnly), "this server is a replica").into()
}
