//! `verify`: a request with the key goes through a real layer.

use std::{
    convert::Infallible,
    future::{Ready, poll_fn, ready},
    io::{self, IsTerminal, Read},
    net::IpAddr,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response};
use serde::Serialize;
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, KeyFormat, KeyId, KeySource, Rejection, RejectionKind,
    RequireScopesLayer, SecretKey,
    scope::Scope,
    store::{KeyQuery, StoreError},
};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    database::Database,
    environment::variable,
    failure::{Failure, causes},
    issuing::Format,
    output::{Output, note},
    view::{self, Shown},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A scope that the key must be allowed; more than one with commas between them
    #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
    scope: Vec<Scope>,
    /// The address that the key is used from
    #[arg(long)]
    address: Option<IpAddr>,
    #[command(flatten)]
    format: Format,
    /// Accepts keys with the prefix only, as a service does that was not told of other formats
    #[arg(long)]
    only_prefix: bool,
    /// Of keys like 17|secret, as Laravel Sanctum issues them, looks for the secret
    #[arg(long)]
    numbered: bool,
    // Only so that a key given here by mistake is not repeated in an error.
    #[arg(hide = true)]
    key: Vec<String>,
}

/// Such a key is refused before it is looked for, unless the service was told of other formats.
const FOREIGN: &str = "A service whose layer knows only the format of the keys issued here refuses it as \
                       malformed_key: see with_formats and KeyFormat::opaque().";

pub(crate) async fn run(args: Args, database: &Database, out: &mut Output) -> Result<(), Failure> {
    if !args.key.is_empty() {
        let text = "a key does not belong on a command line, where every user of this machine \
                    sees it: set API_KEY, or send it to standard input";
        return Err(Failure::Usage(text.to_owned()));
    }
    let key = read_key()?;
    let rejection = match ask(&args, database, &key).await? {
        Ok(good_key) => {
            good(&good_key, database, out).await?;
            if !args.format.get(&database.hasher)?.recognizes(key.expose()) {
                note(FOREIGN);
            }
            return Ok(());
        }
        Err(rejection) => rejection,
    };
    let kind = rejection.kind();
    if matches!(kind, RejectionKind::Unavailable | RejectionKind::Overloaded) {
        let cause = std::error::Error::source(&rejection);
        return Err(match cause.and_then(|cause| cause.downcast_ref::<StoreError>()) {
            Some(error) => Failure::store("", error),
            None => Failure::Unavailable(causes(&rejection)),
        });
    }
    refused(&rejection, out)?;
    if kind == RejectionKind::AddressNotAllowed && args.address.is_none() {
        note("The key may be used from some networks only: say which with --address.");
    }
    if kind == RejectionKind::Unknown && has_slow_hashes(database).await? {
        note("Keys that were imported with a slow hash and not used since are not looked for.");
    }
    Err(Failure::Answered)
}

/// Proving one would store its digest, and looking is to change nothing.
async fn has_slow_hashes(database: &Database) -> Result<bool, Failure> {
    let mut query = KeyQuery::new(1);
    query.legacy = true;
    Ok(!database.manager.list(&query).await?.items.is_empty())
}

fn read_key() -> Result<SecretKey, Failure> {
    /// Far longer than any key: the layer is to judge those that are too long.
    const MAX: u64 = 4096;
    if let Some(key) = variable("API_KEY")? {
        return Ok(SecretKey::new(key.as_str()));
    }
    if io::stdin().is_terminal() {
        note("The key, please:");
    }
    // The whole capacity at once: growing would leave copies of the secret behind.
    let mut text = String::with_capacity(8192);
    let read = io::stdin().take(MAX).read_to_string(&mut text);
    let unreadable = |_| Failure::Usage("the key on standard input is not text".to_owned());
    read.map_err(unreadable)?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(SecretKey::new(text))
}

/// The answer of the layer.
async fn ask(
    args: &Args,
    database: &Database,
    key: &SecretKey,
) -> Result<Result<AuthenticatedKey, Rejection>, Failure> {
    let mut request = Request::new(());
    if !key.expose().is_empty() {
        let Ok(mut value) = HeaderValue::from_str(key.expose()) else {
            // No request can hold it.
            return Ok(Err(Rejection::new(RejectionKind::Malformed)));
        };
        value.set_sensitive(true);
        request.headers_mut().insert("x-api-key", value);
    }
    let mut formats = vec![args.format.get(&database.hasher)?];
    if !args.only_prefix {
        formats.push(KeyFormat::opaque());
    }
    let address = args.address;
    let hasher = database.hasher.clone();
    let hasher = if args.numbered { hasher.with_numbered_keys() } else { hasher };
    // Not the manager's layer, which stores digests anew and starts graces: looking is no use.
    let layer = ApiKeyLayer::new(database.repository.clone())
        .with_sources([KeySource::x_api_key()])
        .with_formats(formats)
        .with_hasher(hasher)
        // They are for the service to count.
        .ignoring_limits()
        .ignoring_credits()
        .with_client_address(move |_| address);
    let scopes = RequireScopesLayer::all(args.scope.iter().map(Scope::as_str));
    let scopes = scopes.map_err(|error| Failure::Usage(error.to_string()))?;
    let mut service = layer.layer(scopes.layer(LetIn));
    let Ok(()) = poll_fn(|cx| service.poll_ready(cx)).await;
    let Ok(mut response) = service.call(request).await;
    let extensions = response.extensions_mut();
    match (extensions.remove::<Rejection>(), extensions.remove::<AuthenticatedKey>()) {
        (None, Some(key)) => Ok(Ok(key)),
        (Some(rejection), _) => Ok(Err(rejection)),
        (None, None) => Err(Failure::Unavailable("the layer gave no answer".to_owned())),
    }
}

/// The service behind the layer: it hands back the identity.
#[derive(Clone)]
struct LetIn;

impl Service<Request<()>> for LetIn {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let mut response = Response::new(());
        if let Some(key) = request.extensions().get::<AuthenticatedKey>() {
            response.extensions_mut().insert(key.clone());
        }
        ready(Ok(response))
    }
}

async fn good(
    key: &AuthenticatedKey,
    database: &Database,
    out: &mut Output,
) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Good<'r> {
        good: bool,
        #[serde(flatten)]
        key: Shown<'r>,
    }
    let balance = database.balance(key.record()).await?;
    if out.is_json() {
        return out.object(&Good { good: true, key: Shown::new(key.record(), balance.as_ref()) });
    }
    out.say("The key is good.")?;
    out.table(&view::fields(key.record(), balance.as_ref()))
}

fn refused(rejection: &Rejection, out: &mut Output) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Refused<'r> {
        good: bool,
        code: &'r str,
        detail: &'r str,
        id: Option<KeyId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        missing_scopes: Option<&'r tower_api_key::Scopes>,
    }
    let kind = rejection.kind();
    if out.is_json() {
        return out.object(&Refused {
            good: false,
            code: kind.code(),
            detail: kind.detail(),
            id: rejection.key(),
            missing_scopes: rejection.missing_scopes(),
        });
    }
    let mut text = format!("The key is refused: {}. {}", kind.code(), kind.detail());
    if let Some(scopes) = rejection.missing_scopes() {
        text = format!("{text} It lacks {}.", scopes.as_str());
    }
    if let Some(id) = rejection.key() {
        text = format!("{text} It is the key {id}.");
    }
    out.say(&text)
}
