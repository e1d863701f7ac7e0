//! [`RedisInvalidations`]: publish and subscribe.

use std::{fmt, io, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind,
    RedisResult, Value, aio::MultiplexedConnection,
};
use tokio::{
    sync::{
        Mutex,
        mpsc::{UnboundedReceiver, unbounded_channel},
    },
    time::timeout,
};

use super::{
    Announcement, Invalidations, Subscription,
    message::{self, KeepAlive, TIMEOUT},
    unavailable,
};
use crate::{
    error::{ConfigError, StoreError},
    redis::{cluster_nodes, role::refuse_deaf_replica},
    runtime::async_methods,
    url::check_redis,
};

/// Carries invalidations with Redis' or Valkey's publish and subscribe, whatever store the keys
/// are in.
///
/// One connection of its own to publish, made anew when it breaks, and one for each subscription.
/// In a cluster, any node will do. Of a server with replicas, name the primary: what is published
/// to a replica stays there. A replica is refused, also a server that becomes one under a connection:
/// the role is asked after every message that is published, and by the keep-alive of a subscription,
/// and the connection is made anew. A user that may not run `ROLE` forgoes that. It takes Redis 6 or
/// later. TLS is as for [`RedisStore`](crate::store::RedisStore).
///
/// Channels do not belong to a numbered database: applications that share a server hear each other
/// unless they have [channels](Self::with_channel) of their own. Caches pass over what is announced of
/// another store.
///
/// A peer that vanished without closing the connection is noticed when a keep-alive question has no
/// answer, by default within 7 seconds; until then, what is cached lives as long as its time to
/// live says. Publishing gives up after 2 seconds.
///
/// Clones are the same bus.
///
/// ```no_run
/// use tower_api_key::{KeyManager, store::{CachedStore, MemoryStore, RedisInvalidations}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = MemoryStore::new();
/// let bus = RedisInvalidations::connect("redis://127.0.0.1:6379").await?;
/// let cache = CachedStore::builder(store).with_invalidations(bus.clone()).build();
/// let manager = KeyManager::new(cache).with_invalidations(bus);
/// # let _ = manager;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisInvalidations {
    /// Any of them will do.
    nodes: Arc<[Client]>,
    publisher: Arc<Mutex<Option<MultiplexedConnection>>>,
    channel: Box<str>,
    keep_alive: KeepAlive,
}

impl RedisInvalidations {
    /// Connects to a server.
    ///
    /// The URL has the form `redis://user:password@host:port`, or `unix:///path`; of a cluster,
    /// `redis+cluster://user:password@host:port,host:port`, whose first node that answers is taken.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let bus = Self::new(url).map_err(unavailable)?;
        bus.check().await?;
        Ok(bus)
    }

    /// Whether there is a server.
    pub(in crate::store) async fn check(&self) -> Result<(), StoreError> {
        let connected = timeout(TIMEOUT, self.publisher()).await;
        connected.map_err(|_| message::late())?.map(drop).map_err(unavailable)
    }

    /// Will connect when it is first used, and does not mind if there is no server yet.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        check_redis(url)?;
        Ok(Self {
            // The error would tell no more than its kind does, and might quote a password.
            nodes: clients(url).map_err(|_| ConfigError::RedisUrl)?,
            publisher: Arc::default(),
            channel: message::DEFAULT_CHANNEL.into(),
            keep_alive: KeepAlive::default(),
        })
    }

    /// Uses the channel `name` instead of `tower_api_key`: 1 to 63 ASCII letters, digits, `_`,
    /// `-`, `.` and `:`. Nodes hear each other if they share a server and a channel.
    pub fn with_channel(mut self, name: &str) -> Result<Self, ConfigError> {
        self.channel = message::channel(name)?;
        Ok(self)
    }

    /// Asks the server whether it is still there after so long without a message, and takes a
    /// subscription for lost when there is no answer within `timeout`. By default 5 and 2 seconds.
    pub fn with_keep_alive(mut self, every: Duration, timeout: Duration) -> Self {
        self.keep_alive = KeepAlive { every, timeout };
        self
    }

    async fn attempt(&self, messages: &[String]) -> Result<(), StoreError> {
        let result = match timeout(TIMEOUT / 2, self.send(messages)).await {
            Ok(result) => result.map_err(unavailable),
            Err(_) => Err(message::late()),
        };
        if result.is_err() {
            // A connection that is silent would stay so until TCP gives up.
            *self.publisher.lock().await = None;
        }
        result
    }

    async fn send(&self, messages: &[String]) -> RedisResult<()> {
        let mut pipeline = redis::pipe();
        for message in messages {
            pipeline.publish(&*self.channel, message).ignore();
        }
        let mut connection = self.publisher().await?;
        let () = pipeline.query_async(&mut connection).await?;
        // Afterwards: a server that is a primary now was one when it took the message.
        refuse_deaf_replica(&mut connection).await
    }

    /// The connection to publish over, or a new one.
    async fn publisher(&self) -> RedisResult<MultiplexedConnection> {
        let mut publisher = self.publisher.lock().await;
        if let Some(connection) = &*publisher {
            return Ok(connection.clone());
        }
        let config = untimed();
        let connection = self.connect_any(&config).await?;
        Ok(publisher.insert(connection).clone())
    }

    /// A connection for nothing but messages: it ends when it breaks, and does not come back by
    /// itself without a word of what it had missed.
    async fn listen(&self) -> RedisResult<Connected> {
        let (sender, messages) = unbounded_channel();
        let config = untimed().set_push_sender(sender);
        let mut connection = self.connect_any(&config).await?;
        connection.subscribe(&*self.channel).await?;
        refuse_deaf_replica(&mut connection).await?;
        Ok(Connected { connection, messages })
    }
}

impl RedisInvalidations {
    /// With the first node that answers. None but the last is waited for as long as all may take.
    async fn connect_any(
        &self,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let (last, others) = self.nodes.split_last().ok_or_else(|| io::Error::other("no node"))?;
        for node in others {
            let connection = node.get_multiplexed_async_connection_with_config(config);
            if let Ok(Ok(connection)) = timeout(TIMEOUT / 8, connection).await {
                return Ok(connection);
            }
        }
        last.get_multiplexed_async_connection_with_config(config).await
    }
}

fn clients(url: &str) -> RedisResult<Arc<[Client]>> {
    match cluster_nodes(url) {
        Some(nodes) => nodes.iter().map(|node| client(node)).collect(),
        None => Ok(Arc::new([client(url)?])),
    }
}

/// With version 3 of the protocol, in which a connection that is subscribed can ask for its
/// server's role.
fn client(url: &str) -> RedisResult<Client> {
    let info = url.into_connection_info()?;
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Client::open(info.set_redis_settings(settings))
}

/// The timeouts are ours.
fn untimed() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None)
}

impl Invalidations for RedisInvalidations {
    async_methods! {
        async fn publish(&self, announcement: &Announcement) -> Result<(), StoreError> {
            let messages = announcement.to_texts(message::MAX_BYTES);
            if messages.is_empty() {
                return Ok(());
            }
            match self.attempt(&messages).await {
                Ok(()) => Ok(()),
                Err(_) => self.attempt(&messages).await,
            }
        }

        async fn subscribe(&self) -> Result<Box<dyn Subscription>, StoreError> {
            let connection = timeout(TIMEOUT, self.listen()).await.map_err(|_| message::late())?;
            let connection = Some(connection.map_err(unavailable)?);
            let listening = Listening { connection, keep_alive: self.keep_alive };
            Ok(Box::new(listening) as Box<dyn Subscription>)
        }
    }
}

struct Listening {
    /// None once it is over.
    connection: Option<Connected>,
    keep_alive: KeepAlive,
}

struct Connected {
    connection: MultiplexedConnection,
    messages: UnboundedReceiver<PushInfo>,
}

impl Subscription for Listening {
    async_methods! {
        async fn next(&mut self) -> Result<Announcement, StoreError> {
            let mut connected = self.connection.take().ok_or_else(message::lost)?;
            let message = connected.next(self.keep_alive).await?;
            self.connection = Some(connected);
            Ok(message)
        }
    }
}

impl Connected {
    async fn next(&mut self, keep_alive: KeepAlive) -> Result<Announcement, StoreError> {
        loop {
            match timeout(keep_alive.every, self.messages.recv()).await {
                Ok(Some(PushInfo { kind: PushKind::Message, data })) => {
                    return Ok(Announcement::parse(match data.get(1) {
                        Some(Value::BulkString(text)) => text,
                        _ => &[],
                    }));
                }
                // The answer to the subscription itself.
                Ok(Some(PushInfo { kind: PushKind::Subscribe, .. })) => {}
                Ok(_) => return Err(message::lost()),
                Err(_) => {
                    // Messages that come before the answer are kept in the channel.
                    let answer = refuse_deaf_replica(&mut self.connection);
                    let answer = timeout(keep_alive.timeout, answer).await;
                    answer.map_err(|_| message::late())?.map_err(unavailable)?;
                }
            }
        }
    }
}

/// Without the address of the server, and so without its password.
impl fmt::Debug for RedisInvalidations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisInvalidations")
            .field("channel", &self.channel)
            .field("keep_alive", &self.keep_alive)
            .finish_non_exhaustive()
    }
}
