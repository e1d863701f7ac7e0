//! Handlers know their caller by `tonic::RequestExt`, and grpcio gets their answers.

use std::convert::Infallible;

use tower_api_key::{
    ApiKeyLayer, OwnerId, OwnerLayer, Scopes, scope::ScopeRule, store::FixedStore,
};

use crate::{
    grpcio::{Call, outcomes},
    serve::{Asks, KEY, record, serve, service},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_knows_its_caller() {
    let layer = || {
        let known = record(|key| {
            key.owner = Some("user-1".into());
            key.scopes = Scopes::parse(["orders:*"]).unwrap();
        });
        ApiKeyLayer::new(FixedStore::new().with_record(known).unwrap()).allow_anonymous()
    };
    let owners =
        OwnerLayer::new(async |id: OwnerId| Ok::<_, Infallible>(Some(format!("owner {id}"))));
    let scopes = Asks::Scopes(ScopeRule::scope("orders:read").unwrap());
    let services = [
        (service(Asks::Key), "first"),
        (service(Asks::NoKey), "first"),
        (service(scopes), "first"),
        (service(Asks::Owner).layer(owners), "owner user-1"),
    ];
    let mut calls = Vec::new();
    for (service, _) in &services {
        let server = serve(service.clone().layer(layer())).await;
        let call = Call::new(server).with("x-api-key", KEY);
        calls.extend([call.clone(), call.streaming()]);
    }
    // And one that may be anonymous.
    calls.push(Call::new(serve(service(Asks::NoKey).layer(layer())).await));
    let Some(outcomes) = outcomes(&calls).await else { return };
    let texts: Vec<_> = outcomes.into_iter().map(|outcome| outcome.texts).collect();
    let named = services.iter().flat_map(|(_, name)| [vec![*name], vec![*name; 3]]);
    assert_eq!(texts, named.chain([vec!["none"]]).collect::<Vec<_>>());
}
