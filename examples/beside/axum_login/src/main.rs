//! Keys of programs beside sessions of people in a browser, on one router: axum-login over tower-sessions.
//!
//! The layers for sessions are one half of `or_else`, so that a request with a key has no session, whatever its
//! cookies say, and no cookie is set for it.
//!
//! ```sh
//! export PASSWORD=$(openssl rand -hex 16)
//! cargo run --manifest-path examples/beside/Cargo.toml -p with-axum-login
//! ```

use std::{convert::Infallible, env, error::Error, fmt, sync::Arc};

use axum::{
    Extension, Form, Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use axum_login::{
    AuthManagerLayerBuilder, AuthSession, AuthUser, AuthnBackend, UserId, login_required,
};
use serde::Deserialize;
use tokio::net::TcpListener;
use tower_api_key::{AuthenticatedKey, KeyFormat, KeyManager, NewKey, store::MemoryStore};
use tower_http::csrf::CsrfLayer;
use tower_sessions::SessionManagerLayer;

#[derive(Clone)]
struct Person {
    name: String,
    password: Arc<str>,
}

/// axum-login logs people at level DEBUG.
impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl AuthUser for Person {
    type Id = String;

    fn id(&self) -> String {
        self.name.clone()
    }

    /// Sessions end with a change of it. In a real service: the hash of the password.
    fn session_auth_hash(&self) -> &[u8] {
        self.password.as_bytes()
    }
}

/// In a real service: a database.
#[derive(Clone)]
struct People {
    ada: Person,
}

#[derive(Deserialize)]
struct Credentials {
    name: String,
    password: String,
}

impl AuthnBackend for People {
    type User = Person;
    type Credentials = Credentials;
    type Error = Infallible;

    /// In a real service: compares a slow hash, such as Argon2, on a thread that may block.
    async fn authenticate(&self, given: Credentials) -> Result<Option<Person>, Infallible> {
        let is_ada = given.name == self.ada.name && given.password == *self.ada.password;
        Ok(is_ada.then(|| self.ada.clone()))
    }

    async fn get_user(&self, name: &UserId<Self>) -> Result<Option<Person>, Infallible> {
        Ok((*name == self.ada.name).then(|| self.ada.clone()))
    }
}

async fn login(
    mut session: AuthSession<People>,
    Form(given): Form<Credentials>,
) -> Result<StatusCode, StatusCode> {
    let failed = |_| StatusCode::INTERNAL_SERVER_ERROR;
    let person = session.authenticate(given).await.map_err(failed)?;
    session.login(&person.ok_or(StatusCode::FORBIDDEN)?).await.map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn logout(mut session: AuthSession<People>) -> StatusCode {
    let ended = session.logout().await;
    ended.map_or(StatusCode::INTERNAL_SERVER_ERROR, |_| StatusCode::NO_CONTENT)
}

/// A request has one identity: `or_else` lets one of the two halves judge it.
async fn whoami(
    key: Option<AuthenticatedKey>,
    session: Option<Extension<AuthSession<People>>>,
) -> Response {
    match (key, session.and_then(|session| session.0.user)) {
        (Some(key), None) => format!("The program {}.\n", key.name()).into_response(),
        (None, Some(person)) => format!("The person {}.\n", person.name).into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn app(keys: &KeyManager, people: People) -> Result<Router, Box<dyn Error>> {
    // `with_secure(false)`: this program has no TLS. A server behind TLS leaves it out.
    let sessions =
        SessionManagerLayer::new(tower_sessions::MemoryStore::default()).with_secure(false);
    let logins = AuthManagerLayerBuilder::new(people, sessions).build();
    // A browser sends a session's cookie by itself, so another site could act with it. `ApiKeyLayer` refuses
    // that for keys in cookies, and cannot for cookies that it does not read.
    let sessions = (CsrfLayer::new(), logins);
    // Without `login_url`: a client of an API reads 401, and is not sent to a page.
    let layer = keys.layer().or_else((sessions.clone(), login_required!(People)))?;

    let guarded = Router::new().route("/whoami", get(whoami).post(whoami)).layer(layer);
    let open = Router::new().route("/login", post(login)).route("/logout", post(logout));
    Ok(guarded.merge(open.layer(sessions)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let password = env::var("PASSWORD").map_err(|_| "PASSWORD is not set")?;
    let ada = Person { name: "ada".to_owned(), password: password.into() };
    let keys = KeyManager::new(MemoryStore::new()).with_format(KeyFormat::new("acme")?);
    let issued = keys.create(NewKey::named("of the night")).await?;
    let app = app(&keys, People { ada })?;

    let addr = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(addr).await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!("curl -H 'X-API-Key: {}' {url}/whoami", issued.secret.expose());
    println!("curl -c cookies -d \"name=ada&password=$PASSWORD\" {url}/login");
    println!("curl -b cookies {url}/whoami");
    axum::serve(listener, app).await?;
    Ok(())
}
