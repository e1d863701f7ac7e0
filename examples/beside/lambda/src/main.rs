//! The layer around an AWS Lambda function: `lambda_http`, for HTTP APIs of API Gateway and function URLs.
//!
//! Lambda stops the process once it has the answer, and may never let it go on. So uses are written before the
//! answer, and not by a task in the background. What the layer writes by itself off the path of a request, such as
//! the start of a rotation's grace, may wait for the next request. What is in memory is of one instance of many:
//! limits and credits need a store that all share, and a `CachedStore` hears of no revocation while the process is
//! stopped, so there is none here.
//!
//! ```sh
//! cargo lambda build --release --package with-lambda-http   # in examples/beside
//! ```

use std::{convert::Infallible, env, net::IpAddr, time::Duration};

use lambda_http::{
    Body, Error, IntoResponse, Request, Response,
    http::{
        HeaderValue,
        header::{HeaderName, SET_COOKIE},
    },
    request::RequestContext,
};
use tokio::time::timeout;
use tower::{Service, ServiceBuilder};
use tower_api_key::{
    AuthenticatedKey, KeyManager, NewKey, RequireScopesLayer, Scopes, UsageRecorder,
    auth::RequestHead, key::KeyDigest, manage::ImportKey, store::MemoryStore,
};

/// An answer waits so long for a store that is slow to count a use.
const FLUSH: Duration = Duration::from_secs(1);

async fn hello(request: Request) -> Result<Response<Body>, Infallible> {
    let key = request.extensions().get::<AuthenticatedKey>();
    let name = key.map_or("stranger", AuthenticatedKey::name);
    Ok(Response::new(format!("Hello, {name}.\n").into()))
}

/// As API Gateway saw it. `X-Forwarded-For` begins with text of the client.
fn client_address(request: &RequestHead<'_>) -> Option<IpAddr> {
    match request.extensions.get()? {
        RequestContext::ApiGatewayV2(context) => context.http.source_ip.as_deref()?.parse().ok(),
        _ => None,
    }
}

/// These events have one value for each header, and `lambda_http` sends the first of several: of a 401, one
/// challenge of all.
fn with_one_value_each<B>(mut response: Response<B>) -> Response<B> {
    let headers = response.headers_mut();
    let is_list = |name: &&HeaderName| **name != SET_COOKIE;
    let names: Vec<_> = headers.keys().filter(is_list).cloned().collect();
    for name in names {
        let values: Vec<_> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
        if let (true, Ok(list)) =
            (values.len() > 1, HeaderValue::from_bytes(&values.join(&b", "[..])))
        {
            headers.insert(name, list);
        }
    }
    response
}

fn service(
    keys: &KeyManager,
    usage: &UsageRecorder,
) -> Result<
    impl Service<Request, Response = impl IntoResponse, Error = Infallible, Future: Send>,
    Error,
> {
    let usage = usage.clone();
    Ok(ServiceBuilder::new()
        .map_response(with_one_value_each)
        .then(move |answer: Result<_, Infallible>| async move {
            // What could not be written is kept for the next request, if there is one.
            let _ = timeout(FLUSH, usage.flush()).await;
            answer
        })
        .layer(keys.layer().with_client_address(client_address))
        .layer(RequireScopesLayer::all(["hello"])?)
        .service_fn(hello))
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    // Once, before the first event. In a real function: a `PostgresStore` or a `RedisStore`, which connects here,
    // in place of a key whose SHA-256 is in the environment.
    let store = MemoryStore::new();
    let usage = UsageRecorder::new(store.clone())?;
    let keys = KeyManager::new(store).with_usage(usage.clone());
    let digest = env::var("API_KEY_SHA256").ok().and_then(|hex| KeyDigest::from_hex(&hex));
    let digest = digest.ok_or("API_KEY_SHA256 is not the SHA-256 of a key, in hexadecimal")?;
    let scopes = Scopes::parse(["hello"])?;
    let new = NewKey { scopes, ..NewKey::named("of the environment") };
    keys.import(&[ImportKey::from_digest(digest, new)]).await?;

    lambda_http::run(service(&keys, &usage)?).await
}

#[cfg(test)]
mod tests;
