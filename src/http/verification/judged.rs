//! [`Judging`]: a statement goes through a real layer, around a service that hands back the identity.

use std::{
    convert::Infallible,
    future::{Ready, poll_fn, ready},
    task::{Context, Poll},
};

use axum::response::Response as Answered;
use http::{Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use super::question::Answer;
use crate::{
    auth::{ApiKeyAuth, ApiKeyLayer, AuthenticatedKey, authenticated, stated::Statement},
    http::body,
    key::RejectionKind,
    rejection::{Problem, Rejection, respond_plainly},
    request::RequestHead,
};

/// A layer that judges statements.
#[derive(Clone)]
pub(super) struct Judging(ApiKeyAuth<LetIn>);

impl Judging {
    pub(super) fn new(layer: &ApiKeyLayer) -> Self {
        Self(layer.layer(LetIn))
    }

    /// The answer to the program; 503 where it cannot be told.
    pub(super) async fn answer(mut self, statement: Statement) -> Result<Answered, Problem> {
        let Self(service) = &mut self;
        let Ok(()) = poll_fn(|cx| Service::<Request<()>>::poll_ready(service, cx)).await;
        let Ok(response) = service.call(statement.into_request()).await;
        if let Some(Good(key)) = response.extensions().get() {
            return Ok(body::json(StatusCode::OK, &good(key)));
        }
        // Every response that is not good is a denial. Were it none, it could not be told.
        let rejection = response.extensions().get::<Rejection>().cloned();
        let rejection = rejection.unwrap_or_else(|| Rejection::new(RejectionKind::Unavailable));
        let (kind, retry_after) = (rejection.kind(), rejection.retry_after_seconds());
        if kind.status() == StatusCode::SERVICE_UNAVAILABLE {
            let problem = Problem::new(kind.status(), kind.code(), kind.detail());
            return Err(problem.with_retry_after(retry_after.unwrap_or(1)));
        }
        let code = Some(service.config().renderer.code(kind));
        Ok(body::json(StatusCode::OK, &Answer { code, retry_after, ..Answer::default() }))
    }
}

fn good(key: &AuthenticatedKey) -> Answer<'_> {
    Answer {
        valid: true,
        key_id: Some(key.id()),
        owner: key.owner(),
        scopes: Some(key.scopes()),
        expires_at: key.record().ends_at(),
        ..Answer::default()
    }
}

/// The identity of a request that is let in, in its response.
#[derive(Clone)]
struct Good(AuthenticatedKey);

/// The service inside the layer: it asks for the scopes.
#[derive(Clone)]
struct LetIn;

impl Service<Request<()>> for LetIn {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let response = identity(&request).map_or_else(
            |rejection| {
                rejection.observe();
                respond_plainly(rejection, None).map(|_| String::new())
            },
            |key| {
                let mut response = Response::new(String::new());
                response.extensions_mut().insert(Good(key));
                response
            },
        );
        ready(Ok(response))
    }
}

fn identity(request: &Request<()>) -> Result<AuthenticatedKey, Rejection> {
    let cannot_tell = |_| Rejection::new(RejectionKind::Unavailable);
    let key = authenticated::require(request.extensions())
        .map_err(|absence| absence.denial().unwrap_or_else(cannot_tell))?;
    let Some(Statement { scopes, .. }) = Statement::of(&RequestHead::from(request)) else {
        return Err(Rejection::new(RejectionKind::Unavailable));
    };
    key.check(scopes)?;
    Ok(key.clone())
}
