//! Rotation under load: during its grace no request with the old key or the new one fails on any
//! node, and the first one after it does, with the old one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, task::JoinSet, time::timeout};
use tower_api_key::{
    ApiKeyLayer, NewKey, RejectionKind, clock::SettableClock, manage::RotationGrace,
};

use crate::{
    node::{Node, ask},
    place::Place,
    watched::TIMEOUT,
};

everywhere!(rotation_under_load, the_first_use_on_one_node_starts_the_grace_on_all);

const GRACE: Duration = Duration::from_hours(1);
/// Tasks for each node and key.
const CALLERS: usize = 4;
/// Requests of all of them in each part of the story.
const REQUESTS: usize = 400;

/// What became of requests.
#[derive(Default)]
struct Tally {
    admitted: AtomicUsize,
    refused: AtomicUsize,
    /// Whether the key works, as far as a request can tell that begins or ends now.
    phase: AtomicU8,
    progress: Notify,
}

const WORKS: u8 = 0;
/// The clock is being moved.
const ENDS: u8 = 1;
const HAS_ENDED: u8 = 2;

impl Tally {
    fn counts(&self) -> (usize, usize) {
        (self.admitted.load(Ordering::SeqCst), self.refused.load(Ordering::SeqCst))
    }

    /// Waits for so many more requests.
    async fn more(&self, requests: usize) {
        let sum = |(admitted, refused)| admitted + refused;
        let goal = sum(self.counts()) + requests;
        let waiting = async {
            while sum(self.counts()) < goal {
                self.progress.notified().await;
            }
        };
        assert!(timeout(TIMEOUT, waiting).await.is_ok(), "nobody asks any more");
    }
}

/// Callers with one key, on every node.
fn call(layers: &[ApiKeyLayer], key: &str, callers: &mut JoinSet<()>) -> Arc<Tally> {
    let tally = Arc::new(Tally::default());
    for layer in layers.iter().cycle().take(layers.len() * CALLERS) {
        let (layer, key, tally) = (layer.clone(), key.to_owned(), tally.clone());
        callers.spawn(async move {
            loop {
                let before = tally.phase.load(Ordering::SeqCst);
                let answer = ask(&layer, &key).await.map(drop);
                let after = tally.phase.load(Ordering::SeqCst);
                match answer {
                    Ok(()) => {
                        assert!(before < HAS_ENDED, "admitted after the grace");
                        tally.admitted.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(kind) => {
                        assert_eq!(kind, RejectionKind::Expired);
                        assert!(after > WORKS, "refused within the grace");
                        tally.refused.fetch_add(1, Ordering::SeqCst);
                    }
                }
                tally.progress.notify_one();
                tokio::task::yield_now().await;
            }
        });
    }
    tally
}

/// Two nodes with caches, on one clock.
async fn nodes(place: &Place) -> (Vec<Node>, Vec<ApiKeyLayer>, SettableClock) {
    let nodes = vec![Node::of(place).await, Node::of(place).await];
    let clock = nodes[0].clock.clone();
    let layers = nodes.iter().map(|node| node.layer.clone().with_clock(clock.clone())).collect();
    (nodes, layers, clock)
}

async fn rotation_under_load(place: &Place) {
    let (nodes, layers, clock) = nodes(place).await;
    let manager = place.manager().await.with_clock(clock.clone());
    let old = manager.create(NewKey::named("k")).await.unwrap();
    let mut callers = JoinSet::new();
    let with_old = call(&layers, old.secret.expose(), &mut callers);
    with_old.more(REQUESTS).await;

    let new = manager.rotate(old.record.id, RotationGrace::FromNow(GRACE)).await.unwrap();
    let with_new = call(&layers, new.secret.expose(), &mut callers);
    with_new.more(REQUESTS).await;
    // Every node has heard of both acts, and trusts what it has looked up since.
    for node in &nodes {
        node.until(|progress| progress.heard >= 2).await;
    }
    with_old.more(REQUESTS).await;
    clock.advance(GRACE.saturating_sub(Duration::from_millis(1)));
    with_old.more(REQUESTS).await;
    with_new.more(REQUESTS).await;
    assert_eq!((with_old.counts().1, with_new.counts().1), (0, 0));

    with_old.phase.store(ENDS, Ordering::SeqCst);
    clock.advance(Duration::from_millis(1));
    with_old.phase.store(HAS_ENDED, Ordering::SeqCst);
    for layer in &layers {
        assert_eq!(ask(layer, old.secret.expose()).await.unwrap_err(), RejectionKind::Expired);
    }
    with_old.more(REQUESTS).await;
    with_new.more(REQUESTS).await;
    let (_, refused) = with_old.counts();
    assert!(refused >= REQUESTS / 2, "{refused} refused");
    assert_eq!(with_new.counts().1, 0);
    assert!(callers.try_join_next().is_none(), "a caller has failed");
}

/// The node whose layer sees the new key first writes when the old one ends, and the others hear.
async fn the_first_use_on_one_node_starts_the_grace_on_all(place: &Place) {
    let (nodes, layers, clock) = nodes(place).await;
    let manager = place.manager().await.with_clock(clock.clone());
    let old = manager.create(NewKey::named("k")).await.unwrap();
    let new = manager.rotate(old.record.id, RotationGrace::FromFirstUse(GRACE)).await.unwrap();
    clock.advance(GRACE * 100);
    for layer in &layers {
        ask(layer, old.secret.expose()).await.unwrap();
    }
    ask(&manager.layer(), new.secret.expose()).await.unwrap();
    // Of the creation, the rotation and the first use.
    for node in &nodes {
        node.until(|progress| progress.heard >= 3).await;
    }
    clock.advance(GRACE.saturating_sub(Duration::from_millis(1)));
    for layer in &layers {
        ask(layer, old.secret.expose()).await.unwrap();
    }
    clock.advance(Duration::from_millis(1));
    for layer in &layers {
        assert_eq!(ask(layer, old.secret.expose()).await.unwrap_err(), RejectionKind::Expired);
        ask(layer, new.secret.expose()).await.unwrap();
    }
}
