//! [`management_router`]: keys managed over HTTP. [`verification_router`]: keys judged for programs.

mod body;
mod change;
mod create;
mod credits;
mod end;
mod events;
mod extractors;
mod fields;
mod guard;
mod idempotency;
mod list;
mod parameters;
mod precondition;
mod problem;
mod range;
mod repeated;
mod requirement;
mod rotate;
mod sets;
mod usage;
mod verification;
mod view;

use axum::{
    Router,
    middleware::map_response,
    response::Response,
    routing::{MethodRouter, any, get, post},
};
use http::{HeaderValue, header};

pub use self::{
    body::JsonBody,
    guard::{ManagementCaller, ManagementGuard},
    requirement::ManagementScopes,
    verification::{VerificationGuard, verification_router},
};
use crate::{manage::KeyManager, rejection::Problem};

/// Routes to manage keys with, for [`Router::nest`] under a path of your choice. The guard decides
/// which callers may use them, and there is no router without one.
///
/// ```
/// use axum::Router;
/// use tower_api_key::{
///     ApiKeyLayer, KeyManager, KeySource,
///     axum::{ManagementGuard, management_router},
///     store::{FixedStore, MemoryStore},
/// };
///
/// # fn app() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = KeyManager::new(MemoryStore::new());
/// // Administrators, who know the key in this variable, manage the keys of all owners.
/// let administrators = ApiKeyLayer::new(FixedStore::from_env("ADMIN_API_KEY")?)
///     .with_sources([KeySource::header("x-admin-key")?]);
/// // The holders of a key manage those of the same owner.
/// let holders = keys.layer();
///
/// let app: Router = Router::new()
///     .nest("/admin/api-keys", management_router(keys.clone(), ManagementGuard::keys(administrators)))
///     .nest("/me/api-keys", management_router(keys, ManagementGuard::owner(holders)));
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
///
/// | route | body | answer |
/// |---|---|---|
/// | `POST /` | a new key's fields, see [`NewKey`] | 201: the key's [view](crate::manage::KeyView) and `key`, the key itself |
/// | `GET /?owner=&status=&scope=&prefix=&expires_before=&expires_after=&last_used_before=&last_used_after=&cursor=&limit=` | | `{items, next_cursor}` |
/// | `GET /{id}` | | the view |
/// | `PATCH /{id}` | the fields to change, see [`KeyPatch`]; `null` takes one away | the view |
/// | `DELETE /{id}` | | 204 |
/// | `POST /{id}/revoke` | `{reason?, descendants?: true}` or nothing; with those that were [created with it](crate::KeyManager::revoke_with_descendants), also where it was deleted before | the view; 204 with the descendants of a deleted key |
/// | `POST /{id}/rotate` | `{grace_seconds?, grace_from?: "now" or "first_use"}` or nothing | 201, as for a new key |
/// | `POST /revoke`, `/disable`, `/delete` | `{owner?, ids?, issued_before?, reason?}`, one of the first three at least, see [`KeySet`](crate::manage::KeySet) | `{changed, already_ended: [id], unknown: [id]}`; by time alone, `changed` counts the rows that are written so far, and `pending` says whether there are more |
/// | `POST /{id}/credits` | `{add}` or `{subtract, or_less?}`, a number of credits; administrators alone | the view; of a subtraction with `subtracted` |
/// | `GET /{id}/usage?since=&until=&by=` | | `{since, until, by, items: [{at, outcome, count}], total}` |
/// | `GET /usage?owner=&since=&until=&by=` | | the same of all keys |
/// | `GET /usage/top?owner=&since=&until=&limit=` | | `{since, until, items: [{key, count}]}`, the busiest first |
/// | `GET /{id}/events?since=&until=&cursor=&limit=` | | `{items, next_cursor}` |
/// | `GET /events?owner=&since=&until=&cursor=&limit=` | | `{items, next_cursor}` |
///
/// No path has a slash at its end. axum's `nest` does not take the path that it nests under with
/// one: the application's fallback answers `/admin/api-keys/`. Nest the routes *after*
/// `.layer(…)` with the layer for the application's own routes, which would judge these as well.
///
/// A parameter that a route does not know, or that is sent twice, is 400 and named: passed over,
/// `?owner_id=` would list the keys of all owners. See
/// [`with_query_parameters`](ManagementGuard::with_query_parameters) for those that are meant for
/// others.
///
/// `limit` is 1 to 100, 20 by default. Times are RFC 3339: those that are sent may have any offset,
/// and those in answers are in UTC with exactly three digits of a second's fraction. `expires_at`
/// may be a date alone, for the end of that day in UTC; `infinity` and the year 9999 are never. An
/// end that has come already is 422, unless it is the one that the key has.
///
/// `limits` are written as [`Limits`](crate::limit::Limits) are in JSON, and `credits` as
/// [`NewCredits`](crate::credits::NewCredits): `1000`, or
/// `{"remaining":1000,"refill":{"amount":1000, "interval":"month"}}`. In a change, a member of the
/// credits that is left out stays, at every depth (see [`CreditsPatch`](crate::credits::CreditsPatch)):
/// `{"remaining":5}` leaves the refill as it is, and `{"refill":{"amount":5}}` its interval. Lists
/// and `metadata` are one value each, which replaces the old one. To subtract more than there is
/// is 409 `not_enough_credits`, which says how many are `remaining`; with `"or_less":true`, those
/// are subtracted.
///
/// # Usage
///
/// `by` is `day` (by default) or `hour`, in UTC. Counts are of whole days or hours: `since` and
/// `until` are moved outward to where one begins, and come back in the answer. By default, a range
/// ends with the day or hour that it is now, and has 30 days or 24 hours; at most it has 366 days,
/// or 31 days by the hour. Without requests there is no item; `total` has the sum for each outcome
/// that occurred: `accepted`, or the `code` of a denial. [`top`](crate::KeyManager::busiest) counts
/// whole hours of at most 366 days, by default those of the last 30 days, and names the first key
/// of each [lineage](crate::key::KeyRecord::lineage). A store that keeps no usage is 501.
///
/// # Repeated requests
///
/// A key itself is in the answers to its creation and its rotation, and nowhere else. A creation
/// with an `Idempotency-Key` (1 to 255 visible ASCII characters) makes one key however often it is
/// sent: again, it is 409 and names the key, so that a client that lost the answer rotates it. So
/// does a rotation: again, it is 409 and names the new key as `rotated_to`. Adding and subtracting
/// credits with one happens once, and the answer is repeated. The same `Idempotency-Key` with
/// another amount, for a new key that is to be another (but for its times), or on another of these
/// routes of the same lineage is 409 `request_id_reused`. Each is kept for 30 days at least,
/// also when the key is gone.
/// On other routes, which do no harm when they are repeated, it is passed over. A store that cannot
/// keep them is 501, and nothing was done.
///
/// Views carry an `ETag`. A change of the key or of its credits, a revocation, a rotation or a
/// deletion with `If-Match` is 412 once the key has changed: of two administrators who change a key
/// at once, one learns of the other.
///
/// A set is changed in one: all of its keys or none. Keys that had ended and ids that no key has are
/// reported and stop nothing; the id of another owner's key does.
///
/// `expires_before` and `expires_after` list keys that end, before a moment or then and later, and
/// `last_used_before` those that were last used before, or never.
///
/// Errors are problem details (RFC 9457) with a stable `code`, also for unknown paths and methods.
/// Nothing may be cached. Bodies have at most 64 KiB. How long they may take is for the server to
/// say: a body that fails with an [`io::Error`](std::io::Error) of kind
/// [`TimedOut`](std::io::ErrorKind::TimedOut) is 408.
///
/// # Who may do what
///
/// Owners ([`ManagementGuard::owner`], [`ManagementCaller::owner`]) manage keys of their own; other
/// owners' are 404, for every method. The guard names the owner, and no body does. The fields that
/// the provider decides, `owner`, `tier`, `limits`, `credits` and `metadata`, no owner can send.
/// Owners see the usage of their own keys. In the audit log they see each act, and not by which
/// administrator.
///
/// Nothing that an owner does goes beyond the key that it is done with, see
/// [`OwnerBounds`](crate::manage::OwnerBounds):
///
/// | | otherwise |
/// |---|---|
/// | The key has the scope `keys:read` for `GET` and `keys:write` for the rest, but for looking at itself and revoking itself; see [`ManagementGuard::requiring`] | 403 `insufficient_scope` |
/// | A new key has the tier, limits, metadata and lineage of that key, and shares its credits | |
/// | Scopes, start, end and networks of a key that is created, widened, enabled or rotated are within those of that key | 403 `beyond_own_key`, with `field` |
/// | Another key that is widened, enabled or rotated has the same tier and limits | 403 `beyond_own_key`, `field` `tier` or `limits` |
/// | If that key spends credits, another key that is widened, enabled or rotated shares them | 403 `beyond_own_key`, `field` `credits` |
/// | The scopes of a key that is changed, revoked or deleted are within those of that key | 403 `beyond_own_key`, `field` `scopes` |
/// | A key that is enabled was disabled by an owner | 403 `beyond_own_key`, `field` `disabled` |
/// | An owner has at most 25 keys, see [`KeyManager::with_max_keys_per_owner`] | 403 `too_many_keys` |
/// | An owner creates, changes and rotates at most 30 times a minute on each node: on `n` nodes, `n` times as often | 429 `rate_limited`, with `Retry-After` |
///
/// Without a guard this is no program:
///
/// ```compile_fail,E0061
/// use tower_api_key::{KeyManager, axum::management_router, store::MemoryStore};
///
/// let keys = KeyManager::new(MemoryStore::new());
/// let routes: axum::Router = management_router(keys);
/// ```
///
/// [`NewKey`]: crate::NewKey
/// [`KeyPatch`]: crate::KeyPatch
pub fn management_router<S>(manager: KeyManager, guard: ManagementGuard) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let routes = [
        ("/", get(list::list).post(create::create)),
        ("/events", get(events::of_all)),
        ("/revoke", post(sets::revoke)),
        ("/disable", post(sets::disable)),
        ("/delete", post(sets::delete)),
        ("/{id}", get(end::show).patch(change::change).delete(end::delete)),
        ("/{id}/revoke", post(end::revoke)),
        ("/{id}/rotate", post(rotate::rotate)),
        ("/{id}/events", get(events::of_one)),
        ("/{id}/usage", get(usage::of_one)),
        ("/usage", get(usage::of_all)),
        ("/usage/top", get(usage::top)),
    ];
    let of_administrators = [("/{id}/credits", post(credits::adjust))];
    // Inside the guard: a caller that may not use a route learns neither its methods nor its path.
    let answering = |(path, methods): (&'static str, MethodRouter<_>)| {
        (path, methods.fallback(async || Problem::no_such_method()))
    };
    let (routes, of_administrators) = (routes.map(answering), of_administrators.map(answering));
    guard
        .protect(routes, of_administrators, any(async || Problem::no_such_path()), manager)
        .layer(map_response(no_store))
        .with_state(())
}

/// Nothing about keys belongs in a cache, least of all a new one.
async fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
