//! A server with the keys gets into trouble, and out of it.

use std::time::Duration;

use crate::{
    load::Load,
    node::{Node, STALE_IF_ERROR, TTL},
    place::{Place, Trouble},
    servers::Server,
    tally::{Kind, Outcome, Phase},
};

/// Instantiates the scenario for every server.
macro_rules! on_every_server {
    ($($name:ident: $trouble:expr),* $(,)?) => {
        on_every_server!(@ postgres: Server::Postgres, $($name: $trouble),*);
        on_every_server!(@ mysql: Server::MySql, $($name: $trouble),*);
        on_every_server!(@ redis: Server::Redis, $($name: $trouble),*);
    };
    (@ $server_name:ident: $server:expr, $($name:ident: $trouble:expr),*) => {
        mod $server_name {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    scenario($server, $trouble).await;
                }
            )*
        }
    };
}

on_every_server!(
    is_stopped: Trouble::Stopped,
    falls_silent: Trouble::Silent,
    is_slow: Trouble::Slow(Duration::from_secs(2)),
);

/// Good keys in the cache at the start, good keys that nobody asks for before each phase, and
/// revoked keys that are asked for before the trouble and as many that are not.
const KEYS: usize = 6;
/// Requests of a kind to see that need no lookup.
const MANY: usize = 50;
/// Requests of a kind to see that wait for a server in trouble: of each caller, several one after
/// the other.
const FEW: usize = 6;

async fn scenario(server: Server, trouble: Trouble) {
    let Some(mut place) = Place::new(server, trouble).await else { return };
    let node = Node::over(place.store().await, place.bus().await);
    let load = Load::start(place.title(trouble), &node, true);

    let cached = node.create(KEYS).await;
    let [before, during, after] =
        [node.create(KEYS).await, node.create(KEYS).await, node.create(KEYS).await];
    let mut revoked = node.create(2 * KEYS).await;
    load.until_right(Kind::Cached, &cached).await;
    load.until_right(Kind::Cached, &revoked).await;
    node.revoke(&revoked).await;
    let not_asked_since = revoked.split_off(KEYS);

    load.add(Kind::Cached, cached.clone());
    load.add(Kind::Uncached, before.clone());
    load.add(Kind::Revoked, revoked);
    load.until(|tally| {
        tally.count(Kind::Cached, Outcome::Accepted) >= MANY
            && tally.count(Kind::Uncached, Outcome::Accepted) >= KEYS
            && tally.count(Kind::Revoked, Outcome::Refused) >= MANY
            && tally.count(Kind::Unknown, Outcome::Refused) >= MANY
    })
    .await;

    load.enter(Phase::During, || ());
    let stale = node.cache.stats().stale;
    place.begin(trouble).await;
    load.add(Kind::Uncached, during.clone());
    load.add(Kind::Revoked, not_asked_since);
    load.until(|tally| {
        tally.count(Kind::Cached, Outcome::Accepted) >= MANY
            && node.cache.stats().stale - stale >= MANY as u64
            && tally.count(Kind::Uncached, Outcome::Unavailable) >= FEW
            && tally.count(Kind::Revoked, Outcome::Unavailable) >= FEW
            && tally.count(Kind::Unknown, Outcome::Unavailable) >= FEW
    })
    .await;

    if trouble == Trouble::Stopped {
        load.enter(Phase::TooLong, || node.clock.advance(STALE_IF_ERROR + TTL));
        load.until(|tally| tally.count(Kind::Cached, Outcome::Unavailable) > 0).await;
        assert_eq!(load.count(Kind::Cached, Outcome::Accepted), 0, "too old to be let in");
    }

    load.enter(Phase::Recovering, || ());
    place.end();
    load.until_right(Kind::Cached, &[cached, before, during].concat()).await;
    load.enter(Phase::After, || ());
    load.add(Kind::Uncached, after);
    load.until(|tally| {
        tally.count(Kind::Cached, Outcome::Accepted) >= MANY
            && tally.count(Kind::Uncached, Outcome::Accepted) >= KEYS
            && tally.count(Kind::Revoked, Outcome::Refused) >= MANY
            && tally.count(Kind::Unknown, Outcome::Refused) >= MANY
    })
    .await;
    load.finish();
}
