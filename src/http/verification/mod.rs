//! [`verification_router`]: keys judged for programs that see the requests themselves.

mod guard;
mod judged;
mod question;

use std::sync::Arc;

use axum::{
    Router,
    extract::{FromRequest, Request, State},
    middleware::map_response,
    response::Response,
    routing::{any, post},
};

pub use self::guard::VerificationGuard;
use self::{judged::Judging, question::Question};
use super::{
    body::JsonBody,
    no_store,
    parameters::{NoFilters, Outside},
};
use crate::{auth::ApiKeyLayer, error::ConfigError, rejection::Problem};

/// One route that says whether a key is good, by the decision of this layer: for gateways and services in
/// any language, which see the requests themselves. For [`Router::nest`] under a path of your choice, after
/// the application's own layers. The guard decides which programs may ask, and there is no router without one.
///
/// ```
/// use std::net::SocketAddr;
///
/// use axum::{Router, extract::ConnectInfo};
/// use tower_api_key::{
///     KeyManager,
///     axum::{VerificationGuard, verification_router},
///     store::MemoryStore,
/// };
///
/// let keys = KeyManager::new(MemoryStore::new());
/// // Programs send a key with the scope `keys:verify`, from a private address.
/// let programs = keys.layer().with_client_address(|request| {
///     let peer = request.extensions.get::<ConnectInfo<SocketAddr>>()?;
///     Some(peer.ip())
/// });
/// let verification = verification_router(keys.layer(), VerificationGuard::keys(programs))?;
/// let app: Router = Router::new().nest("/verify", verification);
/// # let _ = app;
/// # Ok::<(), tower_api_key::ConfigError>(())
/// ```
///
/// `POST` takes a JSON object, of which all but `key` may be left out:
///
/// | field | |
/// |---|---|
/// | `key` | the key as the client sent it, without a scheme such as `Bearer` |
/// | `address` | the address of that client. Without it, or `null`, the address is unknown: a key with [`allowed_addresses`](crate::key::KeyDetails::allowed_addresses) is refused |
/// | `scopes` | a list of scopes, all of which the key needs |
/// | `spend` | `true`: the request counts, as one that comes through the layer. By default it does not |
/// | `cost` | how many requests it counts for, and how many credits it spends, where it spends: 1 by default and at most 100,000, in place of the costs that the layer computes. More than the burst of a limit is let in once nothing is owed, and the key has to wait for as long as it takes then |
///
/// The answer is 200, for a bad key as well, with the same members each time:
///
/// | member | of a good key | of every other |
/// |---|---|---|
/// | `valid` | `true` | `false` |
/// | `code` | `null` | the code of the denial, see [`RejectionKind`](crate::RejectionKind) |
/// | `key_id` | the id | `null` |
/// | `owner` | the owner, or `null` | `null` |
/// | `scopes` | all scopes of the key | `null` |
/// | `expires_at` | when it ends, by its own time or that of its [grace](crate::manage::RotationGrace); `null` for never | `null` |
/// | `retry_after` | `null` | after how many seconds to try again, where that is known |
///
/// Nothing but the code is told of a key that is refused, though it exists: a program that looks at `key_id`
/// in place of `valid` lets no revoked key in. The answer never repeats the key, and no cache may keep it.
///
/// Where the store, or a rate limiter that fails closed, cannot tell, or too many requests wait, it is 503
/// with `Retry-After`: the key may well be good. Other errors are problem details as those of a
/// [`management_router`](super::management_router): 422 for an unknown field or a bad value, which names
/// it, and 400, 405, 408, 413 and 415. `null` is a bad value of all fields but `address`: a program's empty
/// variable must not ask for less.
///
/// # The decision
///
/// Steps 4 to 10 are those of [the layer](crate#what-happens-to-a-request), with its store, formats,
/// peppers, clock, status, uniform denials and hook of events. Scopes come last, as with a
/// [`RequireScopesLayer`](crate::RequireScopesLayer) inside, so a request that lacks one has been
/// counted. Steps 1 to 3 are about a request that is not here: the program judges the transport, and
/// finds the key. A layer with a bypass, or one that lets anonymous callers in, is a
/// [`Contradiction`](ConfigError::Contradiction), and one in shadow is no `ApiKeyLayer`. Owners are not
/// resolved: a key of an inactive owner is good here.
///
/// Guesses are charged to the `address` that the program states, by the layer's
/// [throttle](crate::auth::FailureThrottle), whether or not the request counts. Without an address they
/// are charged to none: the program's own would lock out all of its clients for the guesses of one. Let
/// programs state it, and give `keys:verify` to those alone that may be believed.
///
/// With `spend`, rate limits, credits and uses are counted; a key that is used for the first time begins the
/// grace of the one it replaced, and digests are stored anew under the current pepper. It is no idempotent
/// request: sent again, it counts again. Without `spend`, none of this happens, and limits and credits are
/// not looked at: the key may have used them up. A key with limits or credits that the layer does not
/// enforce is 503 in both. The address of the last use is not recorded: a recorder reads that from a
/// request.
pub fn verification_router<S>(
    layer: ApiKeyLayer,
    guard: VerificationGuard,
) -> Result<Router<S>, ConfigError>
where
    S: Clone + Send + Sync + 'static,
{
    let mut parameters = Outside::default();
    parameters.add(guard.query_parameters());
    let verifier = Verifier {
        looking: Judging::new(&layer.clone().judging_statements(false)?),
        spending: Judging::new(&layer.judging_statements(true)?),
        parameters: Arc::new(parameters),
    };
    let methods = post(verify).fallback(async || Problem::no_such_method());
    // A service for all methods, as the routes of management are: a stranger does not learn the method.
    let routes = Router::new()
        .route_service("/", methods.with_state(verifier))
        .fallback_service(any(async || Problem::no_such_path()));
    Ok(guard.protect(routes).layer(map_response(no_store)).with_state(()))
}

/// The layer, for requests that count and for others.
#[derive(Clone)]
struct Verifier {
    looking: Judging,
    spending: Judging,
    parameters: Arc<Outside>,
}

/// `POST /`
async fn verify(State(verifier): State<Verifier>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let NoFilters = verifier.parameters.read(&parts)?;
    let body = JsonBody::from_request(Request::from_parts(parts, body), &()).await?;
    let (statement, spends) = body.object::<Question>()?.into_statement();
    drop(body);
    let judging = if spends { verifier.spending } else { verifier.looking };
    judging.answer(statement).await
}
