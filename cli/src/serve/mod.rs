//! `serve`: a sidecar that decides for a proxy.
//!
//! `file` reads the configuration, of `values` that are checked on the way, and `config` puts the
//! environment and the arguments over it. `open` opens the store, `check` makes the service that decides,
//! `verify` answers programs, `metrics` tells what was counted.

mod check;
mod config;
mod file;
mod metrics;
mod open;
mod values;
mod verify;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};
use serde::Serialize;
use tokio::{net::TcpListener, sync::oneshot, time::sleep};
use tower_api_key::{KeyManager, rejection::Problem};
use tower_api_key_serving::{Signals, Slots, fitting_connections, serve};

pub(crate) use self::config::Args;
use self::{
    config::Config,
    values::{HEALTH, READY, without_urls},
};
use crate::{
    database::{Hashing, hashing},
    failure::{Failure, causes},
    output::Output,
};

/// Between two looks for rows of revoked keys that are to be written.
const FINISH_EVERY: Duration = Duration::from_mins(10);

pub(crate) async fn run(
    args: Args,
    table: Option<String>,
    out: &mut Output,
) -> Result<(), Failure> {
    tower_api_key_serving::log_to_stderr();
    let config = Config::load(args, table)?;
    let mut signals = Signals::new().map_err(|error| Failure::unavailable("signals", &error))?;
    let sidecar = tokio::select! {
        sidecar = Sidecar::open(&config) => sidecar?,
        // There is nothing to finish yet.
        () = signals.received() => return Ok(()),
    };
    // It serves as well where nothing reads this.
    let _ = tell(sidecar.address, out);
    let keys = sidecar.keys.clone();
    tokio::spawn(finish_revocations(keys.clone()));
    sidecar.serve(&config, &mut signals).await?;
    close(&keys, config.file.drain.0, &mut signals).await
}

fn tell(address: SocketAddr, out: &mut Output) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Listening {
        url: String,
    }
    let url = format!("http://{address}");
    if out.is_json() {
        return out.object(&Listening { url });
    }
    out.line(&format!("Listening on {url}"))
}

/// A sidecar that is ready to serve.
struct Sidecar {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    slots: Slots,
    keys: KeyManager,
    is_draining: Arc<AtomicBool>,
}

impl Sidecar {
    async fn open(config: &Config) -> Result<Self, Failure> {
        let Hashing { hasher, .. } = hashing()?;
        // Before the store: a second sidecar by mistake touches nothing of the first one's.
        let listener = TcpListener::bind(&config.addr).await;
        let listener = listener.map_err(|error| cannot_listen(&config.addr, &error))?;
        let address = listener.local_addr().map_err(|error| cannot_listen(&config.addr, &error))?;
        let admin = config.admin(address.ip())?;
        let slots = slots(config)?;
        let counted = if config.file.metrics { Some(metrics::install()?) } else { None };
        let keys = config.open(&hasher).await.map_err(|failure| config.in_own_words(failure))?;
        let throttle = config.throttle();
        let layer = config.layer(&keys, &hasher, throttle.clone()).await?;
        let check = config.check(layer.clone())?;
        let is_draining = Arc::new(AtomicBool::new(false));
        let mut router = router(check, is_draining.clone());
        if let Some(verify) = config.verification(layer, &keys, &hasher, throttle.clone())? {
            router = router.merge(verify);
        }
        if let Some(handle) = counted {
            router = router.merge(metrics::router(handle, admin, throttle)?);
        }
        Ok(Self { listener, address, router, slots, keys, is_draining })
    }

    /// Serves until a signal, and then ends the checks under way.
    async fn serve(self, config: &Config, signals: &mut Signals) -> Result<(), Failure> {
        let Self { listener, router, slots, is_draining, .. } = self;
        let (stop, stopping) = oneshot::channel();
        let served = serve(listener, router, slots, config.file.client_timeout.0, async {
            let _ = stopping.await;
        });
        let stopped = async {
            signals.received().await;
            tracing::info!("shutting down");
            is_draining.store(true, Ordering::Relaxed);
            let finishing = async {
                sleep(config.file.stop_delay.0).await;
                // Fails when everything is finished and the receiver gone.
                let _ = stop.send(());
                sleep(config.file.drain.0).await;
                tracing::warn!("some requests took too long to finish");
            };
            tokio::select! {
                () = finishing => Ok(()),
                () = signals.received() => Err(at_once()),
            }
        };
        tokio::select! {
            () = served => Ok(()),
            stopped = stopped => stopped,
        }
    }
}

/// Writes what is in memory.
async fn close(keys: &KeyManager, within: Duration, signals: &mut Signals) -> Result<(), Failure> {
    const LOST: &str = "not everything was written at the end";
    tokio::select! {
        biased;
        closed = keys.close() => closed.map_err(|error| Failure::unavailable(LOST, &error)),
        () = sleep(within) => Err(Failure::Unavailable(format!("{LOST}: the store is silent"))),
        () = signals.received() => Err(at_once()),
    }
}

fn at_once() -> Failure {
    Failure::Unavailable("a second signal ended it before everything was written".to_owned())
}

fn cannot_listen(addr: &str, error: &io::Error) -> Failure {
    let text = format!("cannot listen on {}: {error}", without_urls(addr));
    match error.kind() {
        // Another program may end, and a network come up.
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => Failure::Unavailable(text),
        _ => Failure::Usage(format!("{text} (write a host and a port, such as 127.0.0.1:9000)")),
    }
}

/// As many connections as the file says, or as fit. Proxies that may ask may have all of them.
fn slots(config: &Config) -> Result<Slots, Failure> {
    let fitting = fitting_connections();
    let max = match config.file.max_connections {
        Some(max) if max.get() > fitting => {
            let problem = format!("{max} are more than fit: with `ulimit -n`, {fitting} do");
            return Err(config.wrong("max_connections", problem));
        }
        Some(max) => max.get(),
        None => fitting.min(1024),
    };
    let programs = config.file.verify.iter().flat_map(|verify| &verify.peers);
    let peers = config.file.forward_auth.peers.iter().chain(programs).map(|network| network.0);
    Ok(Slots::new(max, peers.collect()))
}

fn router(check: Router, is_draining: Arc<AtomicBool>) -> Router {
    let ready = async move || is_ready(is_draining.load(Ordering::Relaxed));
    Router::new()
        .route(HEALTH, get(async || status(StatusCode::OK, "ok")))
        .route(READY, get(ready))
        .method_not_allowed_fallback(async || Problem::no_such_method())
        .merge(check)
        .fallback(async || Problem::no_such_path())
}

/// From the first connection until a signal, after which load balancers have some time to look. A store that
/// fails does not make it unready: known keys go on from memory here as on every other node, and where all nodes
/// are unready no request is answered.
fn is_ready(is_draining: bool) -> Response {
    if is_draining {
        return status(StatusCode::SERVICE_UNAVAILABLE, "draining");
    }
    status(StatusCode::OK, "ready")
}

fn status(code: StatusCode, word: &str) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (code, headers, format!(r#"{{"status":"{word}"}}"#)).into_response()
}

/// Where the last run was ended in the middle of it, and what another command has left.
async fn finish_revocations(keys: KeyManager) {
    loop {
        if let Err(error) = keys.finish_revocations().await {
            let cause = causes(&error);
            tracing::warn!(cause, "the rows of revoked keys were not written");
        }
        sleep(FINISH_EVERY).await;
    }
}
