//! [`PostgresInvalidations`]: LISTEN and NOTIFY.

use std::{collections::VecDeque, fmt, time::Duration};

use sqlx::{
    ConnectOptions, Connection, Executor, PgPool, Postgres,
    postgres::{PgListener, PgNotification, PgPoolOptions},
};
use tokio::{runtime::Handle, time::timeout};

use super::{
    Announcement, Invalidations, Subscription,
    message::{self, KeepAlive, TIMEOUT},
    unavailable,
};
use crate::{
    error::{ConfigError, StoreError},
    runtime::async_methods,
    store::sql::{PooledConnection, pooled_connection::within, remote},
};

/// Carries invalidations with PostgreSQL's `LISTEN` and `NOTIFY`, through the database that the
/// keys are in: nothing else has to be run.
///
/// Each subscription has a connection of its own for as long as it lasts. It must be the server's:
/// a pooler that gives out connections by transaction, such as PgBouncer's `transaction` mode,
/// loses notifications without a word. So a subscription has a notification sent to itself when it
/// begins and with every keep-alive question. One that does not come ends the subscription, with an
/// error that names such poolers. Notifications are not sent by a standby either.
///
/// A peer that vanished without closing the connection is noticed when a keep-alive question has no
/// answer, by default within 7 seconds; until then, what is cached lives as long as its time to
/// live says. Publishing gives up after 2 seconds.
///
/// Clones are the same bus.
///
/// ```no_run
/// use tower_api_key::{KeyManager, store::{CachedStore, MemoryStore, PostgresInvalidations}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = MemoryStore::new();
/// let bus = PostgresInvalidations::connect("postgres://app:…@db/app").await?;
/// let cache = CachedStore::builder(store).with_invalidations(bus.clone()).build();
/// let manager = KeyManager::new(cache).with_invalidations(bus);
/// # let _ = manager;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresInvalidations {
    pool: PgPool,
    channel: Box<str>,
    keep_alive: KeepAlive,
}

/// The channel on which subscriptions have notifications sent to themselves. No channel that can be
/// [chosen](PostgresInvalidations::with_channel) has a `/` in its name, so that no node of an older
/// version hears them.
const ECHO: &str = "tower_api_key/echo";

const DEAF: &str = "statements are answered and notifications do not arrive: there may be a pooler in \
    between that gives out connections by transaction, such as PgBouncer: use its session mode, or \
    connect to the server itself";

/// Connections to publish over: a message takes about a millisecond.
const PUBLISHERS: u32 = 2;

impl PostgresInvalidations {
    /// A bus over the database with this URL.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let options = remote::options::<Postgres>(url).map_err(unavailable)?;
        // A pool would try for as long as it may, and then not say what kept it from connecting.
        let connection = within(TIMEOUT, options.connect()).await.map_err(unavailable)?;
        // It has done its work, whatever becomes of the farewell.
        let _ = within(TIMEOUT, connection.close()).await;
        let pool = remote::pool().max_connections(PUBLISHERS).connect_lazy_with(options);
        Ok(Self::from_pool(pool))
    }

    /// A bus over a database that the application has opened. What is published goes through the
    /// pool; subscriptions make connections of their own, with the pool's options.
    pub fn from_pool(pool: PgPool) -> Self {
        Self { pool, channel: message::DEFAULT_CHANNEL.into(), keep_alive: KeepAlive::default() }
    }

    /// Uses the channel `name` instead of `tower_api_key`: 1 to 63 ASCII letters, digits, `_`,
    /// `-`, `.` and `:`. Nodes hear each other if they share a database and a channel.
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
        // One statement, so that they arrive together or not at all.
        let sql = "SELECT pg_notify($1, message) FROM unnest($2::text[]) AS message";
        let query = sqlx::query(sql).bind(&*self.channel).bind(messages);
        let notify = async {
            let mut connection = PooledConnection::of(&self.pool).await?;
            query.execute(&mut *connection).await
        };
        match timeout(TIMEOUT / 2, notify).await {
            Ok(result) => result.map(drop).map_err(unavailable),
            Err(_) => Err(message::late()),
        }
    }

    async fn listen(&self) -> sqlx::Result<PgListener> {
        // Of its own, also when the application gave a pool: a listener that was cut off holds its
        // place until TCP gives up.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(self.pool.connect_options().as_ref().clone())
            .await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        // It would come back by itself, and say nothing of what it had missed.
        listener.eager_reconnect(false);
        listener.listen_all([&*self.channel, ECHO]).await?;
        Ok(listener)
    }
}

impl Invalidations for PostgresInvalidations {
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
            let listener = timeout(TIMEOUT, self.listen()).await.map_err(|_| message::late())?;
            let mut listener = listener.map_err(unavailable)?;
            let early = self.check(&mut listener, TIMEOUT).await?;
            let (bus, runtime) = (self.clone(), Handle::current());
            let listening = Listening { listener: Some(listener), early, bus, runtime };
            Ok(Box::new(listening) as Box<dyn Subscription>)
        }
    }
}

struct Listening {
    /// None once it is over: asked again, a listener would connect anew.
    listener: Option<PgListener>,
    /// Came before an echo.
    early: VecDeque<PgNotification>,
    bus: PostgresInvalidations,
    runtime: Handle,
}

impl Drop for Listening {
    fn drop(&mut self) {
        // A listener says goodbye in a task, and panics where there is no runtime to have it.
        let _entered = self.runtime.enter();
        self.listener = None;
    }
}

impl Subscription for Listening {
    async_methods! {
        async fn next(&mut self) -> Result<Announcement, StoreError> {
            let mut listener = self.listener.take().ok_or_else(message::lost)?;
            let message = self.bus.next(&mut listener, &mut self.early).await?;
            self.listener = Some(listener);
            Ok(message)
        }
    }
}

impl PostgresInvalidations {
    async fn next(
        &self,
        listener: &mut PgListener,
        early: &mut VecDeque<PgNotification>,
    ) -> Result<Announcement, StoreError> {
        loop {
            let received = match early.pop_front() {
                Some(notification) => Ok(Ok(Some(notification))),
                None => timeout(self.keep_alive.every, listener.try_recv()).await,
            };
            match received {
                // The echo of any node, which shows that notifications arrive.
                Ok(Ok(Some(notification))) if notification.channel() == ECHO => {}
                Ok(Ok(Some(notification))) => {
                    return Ok(Announcement::parse(notification.payload().as_bytes()));
                }
                Ok(Ok(None)) => return Err(message::lost()),
                Ok(Err(error)) => return Err(unavailable(error)),
                Err(_) => early.extend(self.check(listener, self.keep_alive.timeout).await?),
            }
        }
    }

    /// Over a connection of its own: those of the pool are for what is published.
    async fn send_echo(&self, nonce: &str) -> sqlx::Result<()> {
        let mut connection = self.pool.connect_options().connect().await?;
        let query = sqlx::query("SELECT pg_notify($1, $2)").bind(ECHO).bind(nonce);
        query.execute(&mut connection).await?;
        connection.close().await
    }

    /// Asks whether the server is there, and has it send a notification over another connection.
    /// Returns what came before that.
    async fn check(
        &self,
        listener: &mut PgListener,
        within: Duration,
    ) -> Result<VecDeque<PgNotification>, StoreError> {
        // Notifications that come before the answer are kept for the next `try_recv`.
        let answer = timeout(within, listener.execute("SELECT 1")).await;
        answer.map_err(|_| message::late())?.map_err(unavailable)?;
        let mut early = VecDeque::new();
        let nonce = format!("{:016x}", getrandom::u64().map_err(unavailable)?);
        if !matches!(timeout(within, self.send_echo(&nonce)).await, Ok(Ok(()))) {
            // There may be no room for another connection, which says nothing about this one.
            return Ok(early);
        }
        let echo = async {
            while let Some(notification) = listener.try_recv().await? {
                if notification.channel() != ECHO {
                    early.push_back(notification);
                } else if notification.payload() == nonce {
                    return Ok(true);
                }
            }
            Ok::<_, sqlx::Error>(false)
        };
        match timeout(within, echo).await {
            Ok(Ok(true)) => Ok(early),
            Ok(Ok(false)) => Err(message::lost()),
            Ok(Err(error)) => Err(unavailable(error)),
            Err(_) => Err(unavailable(DEAF)),
        }
    }
}

/// Without the address of the database, and so without its password.
impl fmt::Debug for PostgresInvalidations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresInvalidations")
            .field("channel", &self.channel)
            .field("keep_alive", &self.keep_alive)
            .finish_non_exhaustive()
    }
}
