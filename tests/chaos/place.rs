//! A server, the keys in it, and trouble on the way there.

use std::{
    io::{Write, stderr},
    sync::Arc,
    time::Duration,
};

use tower_api_key::store::{
    Invalidations, KeyRepository, MySqlStore, PostgresInvalidations, PostgresStore,
    RedisInvalidations, RedisStore, StoreError,
};

use crate::{
    own::OwnServer,
    patiently,
    proxy::Proxy,
    servers::{Database, Server},
};

/// What happens to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is stopped without a word, and started again.
    Stopped,
    /// It accepts connections and never answers.
    Silent,
    /// It takes everything and everybody this long, each way.
    Slow(Duration),
}

pub(crate) struct Place {
    server: Server,
    // Before what it leads to.
    proxy: Option<Proxy>,
    own: Option<OwnServer>,
    database: Option<Database>,
}

impl Place {
    /// A server that this trouble can happen to. `None` when the tests with it are left out.
    pub(crate) async fn new(server: Server, trouble: Trouble) -> Option<Self> {
        let url = server.url()?;
        // One elsewhere is what the tests are to be run with, but not for them to stop.
        let is_to_stop = trouble == Trouble::Stopped && is_here(&url);
        let own =
            if is_to_stop || server == Server::Redis { OwnServer::start(server) } else { None };
        let mut place = Self { server, proxy: None, own, database: None };
        if place.own.is_none() {
            assert_ne!(
                server,
                Server::Redis,
                "`redis-server` must be installed, or Redis left out with TEST_WITHOUT=redis"
            );
            if trouble == Trouble::Stopped {
                let _ = writeln!(
                    stderr(),
                    "{server:?} cannot be stopped, since it is elsewhere or there are no programs \
                     to start one with: its connections are cut instead"
                );
            }
            place.database = Some(Database::new(server).await?);
        }
        if place.database.is_some() || trouble != Trouble::Stopped {
            place.proxy = Some(Proxy::before(&place.direct_url()));
        }
        Some(place)
    }

    /// What this trouble is, for those who read the outcome.
    pub(crate) fn title(&self, trouble: Trouble) -> String {
        let server = match self.server {
            Server::Postgres => "PostgreSQL",
            Server::MySql => "MariaDB or MySQL",
            Server::Redis => "Redis",
        };
        match (trouble, &self.proxy) {
            (Trouble::Stopped, None) => format!("{server} stopped and started again"),
            (Trouble::Stopped, Some(_)) => format!("{server} cut off"),
            (Trouble::Silent, _) => format!("{server} silent"),
            (Trouble::Slow(delay), _) => format!("{server} slow by {delay:?} each way"),
        }
    }

    pub(crate) async fn begin(&mut self, trouble: Trouble) {
        match (trouble, &mut self.proxy, &mut self.own) {
            (Trouble::Stopped, Some(proxy), _) => proxy.cut().await,
            (Trouble::Stopped, None, Some(own)) => own.kill(),
            (Trouble::Silent, Some(proxy), _) => proxy.freeze(),
            (Trouble::Slow(delay), Some(proxy), _) => proxy.delay(delay),
            _ => unreachable!("there is a server or a proxy"),
        }
    }

    pub(crate) fn end(&mut self) {
        match (&mut self.proxy, &mut self.own) {
            (Some(proxy), _) => proxy.pass(),
            (None, Some(own)) => own.start_again(),
            (None, None) => unreachable!("there is a server or a proxy"),
        }
    }

    /// The server's address, as the node under test knows it.
    fn url(&self) -> String {
        self.proxy.as_ref().map_or_else(|| self.direct_url(), |proxy| proxy.url().to_owned())
    }

    /// The server's address, past the trouble.
    fn direct_url(&self) -> String {
        let database = || self.database.as_ref().unwrap().url().to_owned();
        self.own.as_ref().map_or_else(database, OwnServer::url)
    }

    /// The keys, for the node under test.
    pub(crate) async fn store(&self) -> Arc<dyn KeyRepository> {
        patiently(async || self.connect_store(&self.url()).await).await
    }

    async fn connect_store(&self, url: &str) -> Result<Arc<dyn KeyRepository>, StoreError> {
        let store: Arc<dyn KeyRepository> = match self.server {
            Server::Postgres => Arc::new(PostgresStore::connect(url).await?),
            Server::MySql => Arc::new(MySqlStore::connect(url).await?),
            Server::Redis => Arc::new(RedisStore::connect(url).await?),
        };
        Ok(store)
    }

    /// What carries messages between nodes, where the server can.
    pub(crate) async fn bus(&self) -> Option<Arc<dyn Invalidations>> {
        patiently(async || self.connect_bus(&self.url()).await).await
    }

    async fn connect_bus(&self, url: &str) -> Result<Option<Arc<dyn Invalidations>>, StoreError> {
        let bus: Arc<dyn Invalidations> = match self.server {
            Server::Postgres => Arc::new(PostgresInvalidations::connect(url).await?),
            Server::MySql => return Ok(None),
            Server::Redis => Arc::new(RedisInvalidations::connect(url).await?),
        };
        Ok(Some(bus))
    }
}

/// Whether a URL names this machine.
fn is_here(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    ["127.", "localhost", "[::1]"].iter().any(|here| host.starts_with(here))
}
