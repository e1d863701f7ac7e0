//! Keys of programs beside JSON Web Tokens of people, on one router.
//!
//! A credential that begins with `acme_` is a key and nothing else. Every other request is the business of
//! `check_token`, which denies what is no good token.
//!
//! ```sh
//! export JWT_SECRET=$(openssl rand -hex 32)
//! cargo run --manifest-path examples/beside/Cargo.toml -p with-jsonwebtoken
//! ```

use std::{env, error::Error, sync::Arc};

use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{
        HeaderMap, StatusCode,
        header::{AUTHORIZATION, WWW_AUTHENTICATE},
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, get_current_timestamp,
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tower_api_key::{AuthenticatedKey, KeyFormat, KeyManager, NewKey, store::MemoryStore};

const ISSUER: &str = "https://accounts.example";
const AUDIENCE: &str = "https://api.example";
const CHALLENGE: &str = r#"Bearer realm="accounts""#;
/// The shortest secret, in bytes: as long as what it makes (RFC 7518 §3.2). A shorter one can be guessed.
const MIN_SECRET: usize = 32;
const BAD_TOKEN: &str = r#"Bearer realm="accounts", error="invalid_token""#;

#[derive(Clone, Deserialize, Serialize)]
struct Claims {
    sub: String,
    iss: String,
    aud: String,
    exp: u64,
}

/// The key and the rules that tokens are checked against.
struct Tokens {
    key: DecodingKey,
    rules: Validation,
}

impl Tokens {
    fn new(secret: &[u8]) -> Result<Self, Box<dyn Error>> {
        if secret.len() < MIN_SECRET {
            return Err(format!("JWT_SECRET is shorter than {MIN_SECRET} bytes").into());
        }
        // One algorithm: the header of a token is its sender's text.
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&[AUDIENCE]);
        // Not by default: a token may say from when on it is good.
        rules.validate_nbf = true;
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Ok(Self { key: DecodingKey::from_secret(secret)?, rules })
    }
}

/// Lets in the bearer of a good token, and denies every other request.
async fn check_token(
    State(tokens): State<Arc<Tokens>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(token) = bearer(request.headers()) else { return denied(CHALLENGE) };
    match decode::<Claims>(token, &tokens.key, &tokens.rules) {
        Ok(token) => {
            request.extensions_mut().insert(token.claims);
            next.run(request).await
        }
        Err(_) => denied(BAD_TOKEN),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn denied(challenge: &'static str) -> Response {
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)]).into_response()
}

/// A request has one identity: `or_else` lets one of the two layers judge it.
async fn whoami(key: Option<AuthenticatedKey>, person: Option<Extension<Claims>>) -> Response {
    match (key, person) {
        (Some(key), None) => format!("The program {}.\n", key.name()).into_response(),
        (None, Some(person)) => format!("The person {}.\n", person.sub).into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let secret = env::var("JWT_SECRET").map_err(|_| "JWT_SECRET is not set")?;
    let tokens = Arc::new(Tokens::new(secret.as_bytes())?);
    let keys = KeyManager::new(MemoryStore::new()).with_format(KeyFormat::new("acme")?);
    let issued = keys.create(NewKey::named("of the night")).await?;

    // `X-API-Key` and `Authorization: Bearer` are looked at for keys, so a key and a token on one request are
    // two credentials, and refused.
    let tokens = from_fn_with_state(tokens, check_token);
    let layer = keys.layer().or_else(tokens)?.with_challenge(CHALLENGE)?;
    let app = Router::new().route("/whoami", get(whoami)).layer(layer);

    let addr = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(addr).await?;
    let url = format!("http://{}/whoami", listener.local_addr()?);
    // Where others may reach it, the output may be kept, too, and a key or token in it would be theirs.
    if listener.local_addr()?.ip().is_loopback() {
        println!("curl -H 'X-API-Key: {}' {url}", issued.secret.expose());
        println!("curl -H 'Authorization: Bearer {}' {url}", token_of("Ada", secret.as_bytes())?);
    } else {
        println!("listening at {url}");
    }
    axum::serve(listener, app).await?;
    Ok(())
}

/// A token for an hour. In a real system, another service makes it.
fn token_of(name: &str, secret: &[u8]) -> jsonwebtoken::errors::Result<String> {
    let claims = Claims {
        sub: name.to_owned(),
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        exp: get_current_timestamp() + 3600,
    };
    encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret)?)
}
