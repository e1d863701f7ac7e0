//! `/verify`: keys judged for programs that see requests themselves.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header::CACHE_CONTROL};
use ipnet::IpNet;
use tower_api_key::{
    ApiKeyLayer, KeyHasher, KeyManager, Rejection, RejectionKind,
    auth::{FailureThrottle, RequestHead},
    axum::{VerificationGuard, verification_router},
};

use super::{check::peer, config::Config, file::Verify, values::VERIFY};
use crate::failure::Failure;

impl Config {
    /// The route, for the programs that the file names, if it names any. `layer` judges.
    pub(super) fn verification(
        &self,
        layer: ApiKeyLayer,
        keys: &KeyManager,
        hasher: &KeyHasher,
        throttle: Option<FailureThrottle>,
    ) -> Result<Option<Router>, Failure> {
        let Some(Verify { peers, key }) = &self.file.verify else { return Ok(None) };
        if peers.is_empty() {
            return Err(self.wrong("verify.peers", "is empty: no program could ask"));
        }
        let networks: Arc<[IpNet]> = peers.iter().map(|network| network.0).collect();
        let guard = if *key {
            let mut programs =
                keys.layer().with_formats(self.formats(hasher)?).with_client_address(peer);
            if let Some(throttle) = throttle {
                programs = programs.with_failure_throttle(throttle)?;
            }
            VerificationGuard::keys(programs)
        } else if networks.iter().all(is_of_this_machine) {
            VerificationGuard::loopback(peer)
        } else {
            let problem =
                "is false, which is for programs on this machine alone: name no other peers";
            return Err(self.wrong("verify.key", problem));
        };
        let router = verification_router(layer, guard)
            .map_err(|error| self.wrong("verify", error))?
            .layer(from_fn(move |request, next| of_peers(networks.clone(), request, next)));
        Ok(Some(Router::new().nest(VERIFY, router)))
    }
}

fn is_of_this_machine(network: &IpNet) -> bool {
    network.network().to_canonical().is_loopback()
        && network.broadcast().to_canonical().is_loopback()
}

/// Refuses connections of other peers, also with a good key.
async fn of_peers(networks: Arc<[IpNet]>, request: Request, next: Next) -> Response {
    let peer = peer(&RequestHead::from(&request)).map(|peer| peer.to_canonical());
    if peer.is_some_and(|peer| networks.iter().any(|network| network.contains(&peer))) {
        return next.run(request).await;
    }
    let mut response = Rejection::new(RejectionKind::AddressNotAllowed).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
