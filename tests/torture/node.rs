//! A node: a process of its own, which serves requests and acts on keys, and says when it listens and what
//! it announces.
//!
//! It is this program again, with one test, which serves until it is killed.

use std::{
    env,
    io::{self, Write},
    os::unix::process::parent_id,
    process::{self, Command},
    sync::Arc,
    thread,
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};
use tower_api_key::{
    KeyId, KeyManager, NewKey,
    manage::{IssuedKey, ManageError, RotationGrace},
    store::{
        AnnouncedState, Announcement, CachedStore, ConnectError, Invalidations, KeyRepository,
        MySqlStore, PostgresStore, RedisInvalidations, StoreError, StoreKind, Subscription,
    },
};

use crate::{clock, history::Moment};

/// How long a node's cache trusts what it has found.
pub(crate) const TTL: Duration = Duration::from_secs(3);
/// And with what it goes on while the store fails.
pub(crate) const STALE_IF_ERROR: Duration = Duration::from_secs(10);
/// Further behind than a replica is as long as it applies changes, and than a proof is old.
pub(crate) const LAG_BOUND: Duration = Duration::from_secs(6);
/// How soon a node finds out that its subscription is dead: the time between two questions, and the time
/// that each waits for an answer.
pub(crate) const KEEP_ALIVE: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(1));

const STORE: &str = "TORTURE_STORE";
const REPLICA: &str = "TORTURE_REPLICA";
const BUS: &str = "TORTURE_BUS";
const WITHOUT_FLOORS: &str = "TORTURE_WITHOUT_FLOORS";

/// The command for a node with these servers.
pub(crate) fn command(store: &str, replica: &str, bus: &str, has_floors: bool) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "node::serves_until_it_is_killed", "--nocapture"]);
    command.env(STORE, store).env(REPLICA, replica).env(BUS, bus).env_remove(WITHOUT_FLOORS);
    if !has_floors {
        command.env(WITHOUT_FLOORS, "1");
    }
    command
}

/// What a node says of itself.
pub(crate) enum Event {
    /// It has heard of all that is announced from now on.
    Listens(Moment),
    Lost(Moment),
    Published(Moment, Vec<Published>),
}

pub(crate) struct Published {
    pub(crate) digest: String,
    pub(crate) revision: u64,
    pub(crate) state: String,
}

impl Event {
    /// Of a line that a node has printed.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("node: ")?.split(' ');
        let at = Moment::from_micros(words.next()?.parse().ok()?);
        match words.next()? {
            "listens" => Some(Self::Listens(at)),
            "lost" => Some(Self::Lost(at)),
            "published" => {
                let published = words.filter_map(|word| {
                    let mut parts = word.split(':').map(str::to_owned);
                    let (digest, revision, state) = (parts.next()?, parts.next()?, parts.next()?);
                    Some(Published { digest, revision: revision.parse().ok()?, state })
                });
                Some(Self::Published(at, published.collect()))
            }
            _ => None,
        }
    }
}

fn say(text: &str) {
    // Fails when the test is gone, as this process will be soon.
    let _ = writeln!(io::stdout(), "\nnode: {} {text}", clock::now().as_micros());
}

/// Does nothing where the tests run.
#[test]
fn serves_until_it_is_killed() {
    if env::var_os(STORE).is_none() {
        return;
    }
    ends_with_its_parent();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(serve());
}

/// Also where the parent was killed.
fn ends_with_its_parent() {
    let parent = parent_id();
    thread::spawn(move || {
        while parent_id() == parent {
            thread::sleep(Duration::from_millis(200));
        }
        process::exit(1);
    });
}

async fn serve() {
    let variable = |name| env::var(name).unwrap();
    let has_floors = env::var_os(WITHOUT_FLOORS).is_none();
    // A node may start while its servers are in trouble.
    let store = loop {
        match connect(&variable(STORE), &variable(REPLICA)).await {
            Ok(store) => break store,
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    };
    let bus = RedisInvalidations::new(&variable(BUS)).unwrap();
    let bus = Told(bus.with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1));
    // Without a time to live and a bound on the lag, floors are over as soon as they are raised.
    let (ttl, lag_bound) =
        if has_floors { (TTL, LAG_BOUND) } else { (Duration::ZERO, Duration::ZERO) };
    let cache = CachedStore::builder(store)
        .with_ttl(ttl)
        .with_lag_bound(lag_bound)
        .with_stale_if_error(STALE_IF_ERROR)
        .with_invalidations(bus.clone())
        .build();
    let manager = KeyManager::new(cache).with_invalidations(bus);
    let guarded = Router::new().route("/", get(async || "let in")).layer(manager.layer());
    let acts = Router::new().route("/create", post(create)).route("/{act}/{id}", post(act));
    let router = guarded.merge(acts.with_state(manager));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _ = writeln!(io::stdout(), "\nhttp://{}", listener.local_addr().unwrap());
    axum::serve(listener, router).await.unwrap();
}

async fn connect(url: &str, replica: &str) -> Result<Arc<dyn KeyRepository>, ConnectError> {
    Ok(if StoreKind::of_url(url)? == StoreKind::Postgres {
        let builder = PostgresStore::builder(url).with_lag_bound(LAG_BOUND);
        Arc::new(builder.with_replica(replica).connect().await?)
    } else {
        let builder = MySqlStore::builder(url).with_lag_bound(LAG_BOUND);
        Arc::new(builder.with_replica(replica).connect().await?)
    })
}

type Answer = Result<Json<Value>, StatusCode>;

fn issued(key: &IssuedKey) -> Json<Value> {
    Json(json!({
        "id": key.record.id.to_string(),
        "revision": key.record.revision,
        "key": key.secret.expose(),
    }))
}

fn failed(_: ManageError) -> StatusCode {
    StatusCode::SERVICE_UNAVAILABLE
}

async fn create(State(keys): State<KeyManager>) -> Answer {
    Ok(issued(&keys.create(NewKey::named("k")).await.map_err(failed)?))
}

async fn act(State(keys): State<KeyManager>, Path((act, id)): Path<(String, KeyId)>) -> Answer {
    let changed = match act.as_str() {
        "revoke" => keys.revoke(id, None).await,
        "disable" => keys.disable(id).await,
        "enable" => keys.enable(id).await,
        "rotate" => {
            let rotated = keys.rotate(id, RotationGrace::NONE).await.map_err(failed)?;
            return Ok(issued(&rotated));
        }
        "delete" => {
            keys.delete(id).await.map_err(failed)?;
            return Ok(Json(json!({})));
        }
        _ => return Err(StatusCode::NOT_FOUND),
    };
    Ok(Json(json!({ "revision": changed.map_err(failed)?.revision })))
}

/// A bus that tells when it is listened to, and what it has taken.
#[derive(Clone)]
struct Told(RedisInvalidations);

#[async_trait]
impl Invalidations for Told {
    async fn publish(&self, announcement: &Announcement) -> Result<(), StoreError> {
        self.0.publish(announcement).await?;
        let keys = announcement.keys().iter().map(|key| {
            let state = key.state().map_or("", AnnouncedState::as_str);
            format!(" {}:{}:{state}", key.digest().to_hex(), key.revision().unwrap_or_default())
        });
        say(&format!("published{}", keys.collect::<String>()));
        Ok(())
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, StoreError> {
        let inner = self.0.subscribe().await?;
        Ok(Box::new(Listening { inner, is_heard: false }))
    }
}

struct Listening {
    inner: Box<dyn Subscription>,
    /// Whether the cache has begun to listen: by then it trusts nothing that it has read before.
    is_heard: bool,
}

#[async_trait]
impl Subscription for Listening {
    async fn next(&mut self) -> Result<Announcement, StoreError> {
        if !std::mem::replace(&mut self.is_heard, true) {
            say("listens");
        }
        let next = self.inner.next().await;
        if next.is_err() {
            say("lost");
        }
        next
    }
}
