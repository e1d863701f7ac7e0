//! A request with a key, and its answer.

use std::convert::Infallible;

use http::{Request as HttpRequest, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, Rejection, RejectionKind, key::KeyRecord, limit::Limit,
};

use crate::{
    history::{Life, Moment, Request, Verdict, books::Admitted},
    world::{World, verdict_of},
};

/// A client of a node.
pub(crate) struct Client {
    pub(crate) world: World,
    pub(crate) layer: ApiKeyLayer,
    pub(crate) life: Life,
    /// The number of its key.
    pub(crate) key: usize,
    /// Whether it asks for what costs more than others.
    pub(crate) is_dear: bool,
}

impl Client {
    /// Whether its node is of an earlier version.
    fn reads_rows(&self) -> bool {
        self.world.history().marks.read_rows.contains(&self.life)
    }
}

/// Asks a node, and writes down its answer.
pub(crate) async fn request(client: &Client) -> Verdict {
    let Client { world, layer, life, key, is_dear } = client;
    let service = layer.layer(service_fn(|request: HttpRequest<()>| async move {
        let mut response = Response::new(());
        response.extensions_mut().extend(request.extensions().clone());
        Ok::<_, Infallible>(response)
    }));
    let text = world.key(*key).0.expect("clients have it");
    let began = world.now();
    let uri = if *is_dear { "/dear" } else { "/" };
    let request = HttpRequest::builder().uri(uri).header("x-api-key", text).body(()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    let ended = world.now();
    // A node that has crashed answers no longer.
    if world.has_ended(*life) {
        return Verdict::Refused(RejectionKind::Unavailable);
    }
    let verdict = if let Some(rejection) = response.extensions().get::<Rejection>() {
        Verdict::Refused(rejection.kind())
    } else {
        let key = response.extensions().get::<AuthenticatedKey>().unwrap();
        // What is let in is what the record says.
        assert_eq!(verdict_of(key.record()), Verdict::Accepted);
        if ended > began && world.is_made_up_for(key.record()) {
            world.saw("a watermark that was made up was disproved");
        }
        write_down(client, key.record(), began, ended);
        Verdict::Accepted
    };
    let has_waited = ended > began;
    match verdict {
        Verdict::Accepted if has_waited => world.saw("a request waited and was let in"),
        Verdict::Accepted => world.saw("a request was let in from memory"),
        Verdict::Refused(RejectionKind::Revoked) => world.saw("a revoked key was refused"),
        Verdict::Refused(RejectionKind::Disabled) => world.saw("a disabled key was refused"),
        Verdict::Refused(RejectionKind::Unknown) => world.saw("an unknown key was refused"),
        Verdict::Refused(RejectionKind::RateLimited) => {
            world.saw("a request was beyond its limit");
        }
        Verdict::Refused(RejectionKind::CreditsExhausted) => world.saw("credits were exhausted"),
        Verdict::Refused(RejectionKind::LimiterUnavailable) => {
            world.saw("a request was denied since its limit could not be counted");
        }
        Verdict::Refused(RejectionKind::Expired) if has_waited => {
            world.saw("a replaced key was refused");
        }
        Verdict::Refused(RejectionKind::Expired) => world.saw("a grace ended in a cache"),
        Verdict::Refused(_) => world.saw("a request was denied for now"),
    }
    if verdict == Verdict::Accepted && world.is_restored(*key) {
        world.saw("a key was let in that was restored from a backup");
    }
    if world.is_unwritten(*key) {
        match verdict {
            Verdict::Refused(RejectionKind::Revoked) => {
                world.saw("a watermark refused a key whose row was not written yet");
            }
            Verdict::Accepted if client.reads_rows() => {
                world.saw("an earlier version let in a key whose row was not written yet");
            }
            _ => {}
        }
    }
    let node = life.node;
    world.trace(|| {
        format!("node {node}, key {key}: {verdict:?} after {:?}", ended.saturating_sub(began))
    });
    world.history().requests.push(Request { node, key: *key, began, ended, verdict });
    verdict
}

/// What a request used up.
fn write_down(client: &Client, record: &KeyRecord, began: Moment, ended: Moment) {
    let cost = if client.is_dear { 3 } else { 1 };
    client.world.trace(|| format!("{:?} let in {}", client.life, record.id));
    client.world.history().books.admitted.push(Admitted {
        life: client.life,
        key: record.id,
        lineage: record.lineage(),
        began,
        ended,
        quota: record.details.limits.first().map(Limit::quota),
        credits: record.details.credits.map(|epoch| (epoch, cost)),
    });
}
