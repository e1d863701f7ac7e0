//! `Send`, `Sync`, `Clone` and `'static`, which servers ask for. Checked by the compiler.

use std::convert::Infallible;

use http::{Request, Response};
use tower::{Layer, Service, service_fn, util::BoxCloneSyncService, util::ServiceFn};
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, ConfigError, IssuerSecrets, KeyHasher, KeyManager, Owner,
    OwnerLayer, Peppers, Rejection, RequireScopesLayer, SecretKey,
    auth::{ApiKeyAuth, ResponseBody, ResponseFuture},
    key::KeyRecord,
    manage::ManageError,
    owner::{OwnerError, ResolveOwner},
    scope::RequireScopes,
    store::{FixedStore, MemoryStore, StoreError},
};

type Answer = std::future::Ready<Result<Response<String>, Infallible>>;
struct NotClone;
type Inner = ServiceFn<fn(Request<()>) -> Answer>;

#[test]
fn what_servers_share_can_be_shared() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<ApiKeyLayer>();
    shared::<ApiKeyAuth<Inner>>();
    shared::<RequireScopesLayer>();
    shared::<RequireScopes<Inner>>();
    // An owner need not be cloned.
    shared::<OwnerLayer<NotClone>>();
    shared::<ResolveOwner<Inner, NotClone>>();
    shared::<Owner<NotClone>>();
    shared::<MemoryStore>();
    shared::<FixedStore>();
    shared::<KeyManager>();
    shared::<KeyHasher>();
    shared::<Peppers>();
    shared::<IssuerSecrets>();
    shared::<AuthenticatedKey>();
    shared::<KeyRecord>();
    shared::<Rejection>();
    shared::<ResponseBody<String>>();
}

#[test]
fn futures_and_errors_cross_threads() {
    fn send<T: Send + 'static>() {}
    fn error<T: std::error::Error + Send + Sync + 'static>() {}

    send::<ResponseFuture<Inner, ()>>();
    send::<<ResolveOwner<Inner, NotClone> as Service<Request<()>>>::Future>();
    send::<SecretKey>();
    error::<Rejection>();
    error::<ConfigError>();
    error::<ManageError>();
    error::<OwnerError>();
    error::<StoreError>();
}

#[test]
fn the_service_can_be_boxed() {
    fn answer(_: Request<()>) -> Answer {
        std::future::ready(Ok(Response::default()))
    }
    let service = ApiKeyLayer::new(MemoryStore::new()).layer(service_fn(answer));
    let _: BoxCloneSyncService<Request<()>, _, Infallible> = BoxCloneSyncService::new(service);
}
