//! One connection for all callers, made anew when it breaks.

use std::{io, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult,
    ServerErrorKind, Value, aio::MultiplexedConnection,
};
use tokio::{
    sync::Mutex as Turns,
    time::{Instant, timeout},
};

use super::{role::refuse_replica, script::Script};
use crate::error::{ConfigError, StoreError, StoreErrorKind};
use crate::runtime::Mutex;

/// How long a caller waits for all that it takes to answer it.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A caller who leaves after this long without an answer leaves a connection that may be dead: the
/// network may have forgotten it, which TCP finds out much later. Another costs next to nothing.
const SUSPICIOUS: Duration = Duration::from_millis(500);

/// How often a cluster is asked again that said that the key is elsewhere, and after how long.
#[cfg(feature = "redis-cluster")]
const REDIRECTIONS: (u32, Duration) = (10, Duration::from_millis(50));

/// The server or cluster to connect to.
pub(crate) enum Client {
    Server(Box<redis::Client>),
    #[cfg(feature = "redis-cluster")]
    Cluster(Box<redis::cluster::ClusterClient>),
}

#[derive(Clone)]
enum Connection {
    Server(MultiplexedConnection),
    #[cfg(feature = "redis-cluster")]
    Cluster(redis::cluster_async::ClusterConnection),
}

/// A connection, and what tells it from the one that replaces it.
#[derive(Clone)]
struct Live(Connection, Arc<()>);

pub(crate) struct Link {
    client: Client,
    live: Mutex<Option<Live>>,
    /// Lets callers connect one at a time.
    turns: Arc<Turns<()>>,
}

impl Link {
    pub(crate) fn new(client: Client) -> Arc<Self> {
        Arc::new(Self { client, live: Mutex::default(), turns: Arc::default() })
    }

    /// Runs a script, in no more than [`TIMEOUT`].
    pub(crate) async fn run<T: FromRedisValue>(
        self: &Arc<Self>,
        script: &Script,
        keys: &[String],
        args: &[&str],
    ) -> Result<T, StoreError> {
        self.run_within(TIMEOUT, script, keys, args).await
    }

    /// Runs a script, in no more than this long.
    pub(crate) async fn run_within<T: FromRedisValue>(
        self: &Arc<Self>,
        within: Duration,
        script: &Script,
        keys: &[String],
        args: &[&str],
    ) -> Result<T, StoreError> {
        let answer = timeout(within, self.ask(script, keys, args)).await;
        let answer = answer.map_err(|late| StoreError::timeout().with_source(late))?;
        let answer = answer.map_err(|error| self.client.explain(error))?;
        redis::from_redis_value(answer).map_err(StoreError::corrupt)
    }

    async fn ask(
        self: &Arc<Self>,
        script: &Script,
        keys: &[String],
        args: &[&str],
    ) -> RedisResult<Value> {
        let mut result = self.ask_once(script, keys, args).await;
        // It broke while it was idle, perhaps: the server was started anew.
        if script.repeatable && result.as_ref().is_err_and(RedisError::is_connection_dropped) {
            result = self.ask_once(script, keys, args).await;
        }
        // Here and not by the client, which would also repeat what may have been done already.
        #[cfg(feature = "redis-cluster")]
        if matches!(self.client, Client::Cluster(_)) {
            for _ in 0..REDIRECTIONS.0 {
                if !result.as_ref().is_err_and(is_elsewhere) {
                    break;
                }
                tokio::time::sleep(REDIRECTIONS.1).await;
                result = self.ask_once(script, keys, args).await;
            }
        }
        result
    }

    async fn ask_once(
        self: &Arc<Self>,
        script: &Script,
        keys: &[String],
        args: &[&str],
    ) -> RedisResult<Value> {
        let mut live = self.live().await?;
        let asking = Asking { link: self, live: live.clone(), since: Instant::now() };
        let mut result = live.send(&script.by_hash(keys, args)).await;
        if result.as_ref().is_err_and(|error| is(error, ServerErrorKind::NoScript)) {
            result = live.send(&script.by_text(keys, args)).await;
        }
        asking.answered(&result);
        result
    }

    /// The connection, or a new one.
    async fn live(self: &Arc<Self>) -> RedisResult<Live> {
        if let Some(live) = &*self.live.lock() {
            return Ok(live.clone());
        }
        let turn = self.turns.clone().lock_owned().await;
        if let Some(live) = &*self.live.lock() {
            return Ok(live.clone());
        }
        // In a task of its own: a caller who goes away must not take along a connection that is
        // nearly there.
        let link = self.clone();
        let connecting = tokio::spawn(async move {
            let _turn = turn;
            let connection = timeout(TIMEOUT, link.client.connect()).await;
            let connection = connection.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            let live = Live(connection, Arc::default());
            *link.live.lock() = Some(live.clone());
            Ok(live)
        });
        connecting.await.map_err(io::Error::other)?
    }

    /// The next caller connects anew. Callers that wait for an answer go on waiting.
    fn discard(&self, live: &Live) {
        let mut slot = self.live.lock();
        if slot.as_ref().is_some_and(|current| Arc::ptr_eq(&current.1, &live.1)) {
            *slot = None;
        }
    }
}

impl Client {
    /// A server or a cluster, by its URL.
    pub(crate) fn of(url: &str) -> Result<Self, ConfigError> {
        crate::url::check_redis(url)?;
        #[cfg(feature = "redis-cluster")]
        if let Some(nodes) = super::cluster_nodes(url) {
            return Self::cluster(nodes.iter().map(String::as_str));
        }
        #[cfg(not(feature = "redis-cluster"))]
        if super::cluster_nodes(url).is_some() {
            return Err(ConfigError::StoreFeature { feature: "redis-cluster" });
        }
        // The error would tell no more than its kind does, and might quote a password.
        let client = redis::Client::open(url).map_err(|_| ConfigError::RedisUrl)?;
        Ok(Self::Server(Box::new(client)))
    }

    /// A cluster, by the URLs of some of its nodes.
    #[cfg(feature = "redis-cluster")]
    pub(crate) fn cluster<'u>(
        urls: impl IntoIterator<Item = &'u str>,
    ) -> Result<Self, ConfigError> {
        let urls: Vec<_> = urls.into_iter().collect();
        urls.iter().try_for_each(|url| crate::url::check_redis(url))?;
        let client = redis::cluster::ClusterClient::builder(urls)
            // The client would also repeat what may have been done already.
            .retries(0)
            .connection_timeout(TIMEOUT)
            .response_timeout(TIMEOUT)
            .build();
        client.map(|client| Self::Cluster(Box::new(client))).map_err(|_| ConfigError::RedisUrl)
    }

    fn explain(&self, error: RedisError) -> StoreError {
        if matches!(self, Self::Server(_)) && is(&error, ServerErrorKind::Moved) {
            let why = "this server is one of a cluster: use `new_cluster` or `connect_cluster`";
            return StoreError::unavailable(format!("{why} ({error})"));
        }
        store_error(error)
    }

    async fn connect(&self) -> RedisResult<Connection> {
        match self {
            Self::Server(client) => {
                // The timeouts are ours: they count from the caller's first wait.
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(TIMEOUT))
                    .set_response_timeout(None);
                let connection = client.get_multiplexed_async_connection_with_config(&config);
                let mut connection = connection.await?;
                refuse_replica(&mut connection).await?;
                Ok(Connection::Server(connection))
            }
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
        }
    }
}

impl Live {
    async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        match &mut self.0 {
            Connection::Server(connection) => command.query_async(connection).await,
            #[cfg(feature = "redis-cluster")]
            Connection::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

/// A caller that waits for an answer, and may go away before it comes.
struct Asking<'l> {
    link: &'l Link,
    live: Live,
    since: Instant,
}

impl Asking<'_> {
    fn answered(mut self, result: &RedisResult<Value>) {
        self.since = Instant::now();
        let Err(error) = result else { return };
        // A server that was made a replica may have a successor under the same name.
        let unusable = error.is_unrecoverable_error() || is(error, ServerErrorKind::ReadOnly);
        // A connection to a cluster is one to many servers, and mends itself unless one is silent.
        if error.is_timeout() || unusable && matches!(self.live.0, Connection::Server(_)) {
            self.link.discard(&self.live);
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.since.elapsed() >= SUSPICIOUS {
            self.link.discard(&self.live);
        }
    }
}

fn is(error: &RedisError, kind: ServerErrorKind) -> bool {
    error.kind() == ErrorKind::Server(kind)
}

/// Nothing was done, because another node has the key or is about to have it.
#[cfg(feature = "redis-cluster")]
fn is_elsewhere(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    [Ask, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain].iter().any(|kind| is(error, *kind))
}

/// The meaning of an error of Redis to the caller of a store.
fn store_error(error: RedisError) -> StoreError {
    let kind = if error.is_timeout() {
        StoreErrorKind::Timeout
    } else if error.code() == Some("CORRUPT") || error.to_string().contains("WRONGTYPE") {
        StoreErrorKind::Corrupt
    } else {
        StoreErrorKind::Unavailable
    };
    StoreError::new(kind).with_source(error)
}
