//! The reference server: a small API behind API keys, and the management of those keys.
//!
//! ```text
//! cargo run --example server --all-features
//! ```
//!
//! It prints the `curl` lines to try it with, and has a page for that at `/docs`. Configuration
//! comes from the environment:
//!
//! | variable | default | |
//! |---|---|---|
//! | `ADDR` | `127.0.0.1:3000` | where to listen; port 0 takes a free one |
//! | `DATABASE_URL` | `sqlite://api-keys.db` | where keys are kept: `sqlite:`, `postgres:`, `mysql:`, `redis:`, `redis+cluster:` or `memory:` |
//! | `CACHE_TTL` | `30` | seconds that a key is cached, 0 for not at all |
//! | `REDIS_URL` | | carries changes to other nodes at once (PostgreSQL and Redis do so without), and counts rate limits for all of them |
//! | `FAILURES_PER_MINUTE` | `0` | bad keys that an address may send a minute before it has to wait, 0 for any number |
//! | `CLIENT_TIMEOUT` | `10` | seconds that a client may take to send a request's head, again for its body, and again to take any part of the answer |
//! | `MAX_CONNECTIONS` | files that may be open less 64, at most 1024 | connections that may be open, at most 64 from an address (from a /64 of IPv6) that is neither this machine's nor a trusted proxy's |
//! | `TRUSTED_PROXIES` | | networks of proxies, with commas between: from there, any number of connections may come, and `TRUSTED_PROXY_HEADER` is read |
//! | `TRUSTED_PROXY_HEADER` | | the header in which these proxies write the client's address, such as `X-Forwarded-For` or `Forwarded`; goes with `TRUSTED_PROXIES` |
//! | `CORS_ORIGINS` | `*` | origins whose web pages may call the business routes, with commas between; empty for none |
//! | `ADMIN_API_KEY` | made at start and printed, if `ADDR` is of this machine alone | guards `/admin`, in `X-Admin-Key` |
//! | `KEY_SEAL` | | issuer secret, 32 bytes or more, under which keys are sealed: a key that was not issued here is refused without a lookup |
//! | `KEY_SEAL_NEXT` | | the issuer secret that is to replace it: accepted, never written |
//! | `KEY_SEAL_RETIRED` | | retired issuer secrets, the latest first, one on each line |
//! | `KEY_SEALED_ONLY` | `false` | whether keys without a seal, issued before there was one, are refused |
//! | `RUST_LOG` | `info` | what to log to stderr |

mod app;
mod banner;
mod business;
mod config;
mod cors;
mod database;
mod docs;
mod limits;
mod logs;
mod me;
mod metrics;
mod query;
mod seals;
mod users;

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use axum::Router;
use tokio::{net::TcpListener, sync::oneshot};
use tower_api_key::{Credits, KeyManager, UsageRecorder};
use tower_api_key_serving::{Signals, Slots, serve};

use config::Config;
use database::Database;
use metrics::Metrics;

/// How long requests that are being answered may take once the server was told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Between two looks for rows of revoked keys that are to be written.
const FINISH_EVERY: Duration = Duration::from_mins(10);

/// A server that did not start, so that scripts can tell it from one that failed later.
const NOT_STARTED: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    tower_api_key_serving::log_to_stderr();
    let server = match Server::start().await {
        Ok(server) => server,
        Err(error) => return failed(&*error),
    };
    server.run().await;
    ExitCode::SUCCESS
}

/// A server that is ready to serve.
struct Server {
    listener: TcpListener,
    router: Router,
    client_timeout: Duration,
    slots: Slots,
    keys: KeyManager,
    signals: Signals,
}

impl Server {
    async fn start() -> Result<Self, Box<dyn Error>> {
        let config = Config::from_env()?;
        let format = seals::format()?;
        // Before the banner: its reader may send a signal.
        let signals = Signals::new()?;
        // Before the database: a second server by mistake should not touch the first one's.
        let listener = TcpListener::bind(&config.address)
            .await
            .map_err(|error| config.cannot_listen(&error))?;
        let address = listener.local_addr()?.ip();
        config.check_admin_key(address)?;
        // Behind a proxy, a stranger's request comes from this machine as well.
        let is_own = address.to_canonical().is_loopback() && config.forwarded.is_none();
        let metrics = Metrics::install(is_own)?;
        let database = Database::open(&config).await?;
        let keys = database
            .manager()
            .with_format(format)
            .with_rate_limits(limits::open(&config).await?)
            .with_credits(Credits::new(database.repository.clone())?)
            .with_usage(UsageRecorder::new(database.repository.clone())?);
        let throttle = limits::throttle(&config);
        let router = app::router(
            keys.clone(),
            config.admin.clone(),
            throttle.as_ref(),
            config.forwarded.as_ref(),
            &config.origins,
            metrics,
        )?;
        tokio::spawn(finish_revocations(keys.clone()));
        banner::print(listener.local_addr()?, &config)?;
        let client_timeout = config.client_timeout;
        let slots = Slots::new(config.max_connections, config.trusted_proxies);
        Ok(Self { listener, router, client_timeout, slots, keys, signals })
    }

    /// Serves until a signal comes, then finishes what was begun.
    async fn run(self) {
        let Self { listener, router, client_timeout, slots, keys, mut signals } = self;
        let (stop, stopping) = oneshot::channel();
        let signal = async move {
            signals.received().await;
            tracing::info!("shutting down");
            // Fails when everything is finished and the receiver gone.
            let _ = stop.send(());
        };
        let out_of_time = async {
            let _ = stopping.await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            () = serve(listener, router, slots, client_timeout, signal) => {}
            () = out_of_time => tracing::warn!("some requests took too long to finish"),
        }
        if let Err(error) = keys.close().await {
            tracing::warn!(cause = logs::causes(&error), "not everything was written at shutdown");
        }
    }
}

/// Where the last run was ended in the middle of it, and what the command line has left.
async fn finish_revocations(keys: KeyManager) {
    loop {
        if let Err(error) = keys.finish_revocations().await {
            tracing::warn!(
                cause = logs::causes(&error),
                "the rows of revoked keys were not written"
            );
        }
        tokio::time::sleep(FINISH_EVERY).await;
    }
}

fn failed(error: &dyn Error) -> ExitCode {
    // Nothing is left to tell it on when stderr is gone too.
    let _ = writeln!(io::stderr(), "error: {error}");
    ExitCode::from(NOT_STARTED)
}
