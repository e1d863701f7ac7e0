//! `Send`, `Sync`, `Clone` and `'static`, which servers ask for. Checked by the compiler.

use std::convert::Infallible;

use http::{Request, Response};
use tower::{Layer, service_fn, util::BoxCloneSyncService, util::ServiceFn};
use tower_api_key::{
    ApiKeyAuth, ApiKeyLayer, AuthenticatedKey, ConfigError, KeyHasher, KeyManager, KeyRecord,
    ManageError, Peppers, Rejection, RequireScopes, RequireScopesLayer, ResponseFuture, SecretKey,
    store::{FixedStore, MemoryStore, StoreError},
};

type Answer = std::future::Ready<Result<Response<String>, Infallible>>;
type Inner = ServiceFn<fn(Request<()>) -> Answer>;

#[test]
fn what_servers_share_can_be_shared() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<ApiKeyLayer>();
    shared::<ApiKeyAuth<Inner>>();
    shared::<RequireScopesLayer>();
    shared::<RequireScopes<Inner>>();
    shared::<MemoryStore>();
    shared::<FixedStore>();
    shared::<KeyManager>();
    shared::<KeyHasher>();
    shared::<Peppers>();
    shared::<AuthenticatedKey>();
    shared::<KeyRecord>();
    shared::<Rejection>();
}

#[test]
fn futures_and_errors_cross_threads() {
    fn send<T: Send + 'static>() {}
    fn error<T: std::error::Error + Send + Sync + 'static>() {}

    send::<ResponseFuture<Inner, ()>>();
    send::<SecretKey>();
    error::<Rejection>();
    error::<ConfigError>();
    error::<ManageError>();
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
