//! A running server and short ways of asking it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tower_api_key::KeyFormat;

use crate::process::{Reply, Server, curl, example};

/// What tests set `ADMIN_API_KEY` to.
pub(crate) const ADMIN_KEY: &str = "an-administrators-key-for-tests";

/// The server's command with nothing of the environment that it would read.
pub(crate) fn command() -> Command {
    let mut command = Command::new(example("server"));
    for variable in [
        "ADDR",
        "DATABASE_URL",
        "REDIS_URL",
        "CACHE_TTL",
        "CLIENT_TIMEOUT",
        "MAX_CONNECTIONS",
        "TRUSTED_PROXIES",
        "TRUSTED_PROXY_HEADER",
        "CORS_ORIGINS",
        "FAILURES_PER_MINUTE",
        "ADMIN_API_KEY",
        "KEY_SEAL",
        "KEY_SEAL_NEXT",
        "KEY_SEAL_RETIRED",
        "KEY_SEALED_ONLY",
        "RUST_LOG",
    ] {
        command.env_remove(variable);
    }
    command
}

/// The command for a server on a free port that keeps its keys in this file.
pub(crate) fn command_on(database: &Path) -> Command {
    let mut command = command();
    command
        .env("ADDR", "127.0.0.1:0")
        .env("DATABASE_URL", format!("sqlite://{}", database.display()))
        .env("ADMIN_API_KEY", ADMIN_KEY);
    command
}

/// A directory that is removed when dropped.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A server with a database of its own.
pub(crate) struct Running {
    pub(crate) server: Server,
    directory: TempDir,
}

impl Running {
    /// What the server keeps its keys in.
    pub(crate) fn database(&self) -> PathBuf {
        self.directory.path().join(DATABASE)
    }
}

const DATABASE: &str = "keys.db";

/// The server that tests share which only look at their own keys. It lives as long as any of
/// them: a static that owned it would never be dropped.
pub(crate) fn shared() -> Arc<Running> {
    static SHARED: Mutex<Weak<Running>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let directory = directory();
        let server = Server::start(&mut command_on(&directory.path().join(DATABASE)));
        let running = Arc::new(Running { server, directory });
        *shared = Arc::downgrade(&running);
        running
    })
}

/// A key that was just created.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) id: String,
    pub(crate) key: String,
}

/// Asking a server.
pub(crate) trait Ask {
    fn server(&self) -> &Server;

    /// A request with further arguments of `curl`.
    fn ask(&self, method: &str, path: &str, args: &[&str]) -> Reply {
        let url = self.server().url(path);
        // `--globoff`: URLs are what they are.
        curl(["--globoff", "-X", method, &url].iter().chain(args))
    }

    /// A request with an API key.
    fn ask_as(&self, key: &str, method: &str, path: &str) -> Reply {
        self.ask(method, path, &["-H", &format!("X-API-Key: {key}")])
    }

    /// A request of the administrator without a body.
    fn admin(&self, method: &str, path: &str) -> Reply {
        self.ask(method, path, &["-H", &format!("X-Admin-Key: {ADMIN_KEY}")])
    }

    /// A request of the administrator with a JSON body and further arguments of `curl`.
    fn admin_sends(&self, method: &str, path: &str, body: &str, args: &[&str]) -> Reply {
        let admin = format!("X-Admin-Key: {ADMIN_KEY}");
        let with_body =
            ["-H", &admin, "-H", "Content-Type: application/json", "--data-binary", body];
        self.ask(method, path, &[&with_body, args].concat())
    }

    fn create(&self, new: &Value) -> Created {
        let reply = self.admin_sends("POST", "/admin/api-keys", &new.to_string(), &[]);
        assert_eq!(reply.status, 201, "{reply:?}");
        let body = reply.json();
        let text = |field: &str| body[field].as_str().unwrap().to_owned();
        Created { id: text("id"), key: text("key") }
    }

    fn change(&self, created: &Created, change: &Value) -> Value {
        let path = format!("/admin/api-keys/{}", created.id);
        let reply = self.admin_sends("PATCH", &path, &change.to_string(), &[]);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()
    }
}

impl Ask for Server {
    fn server(&self) -> &Server {
        self
    }
}

impl Ask for Running {
    fn server(&self) -> &Server {
        &self.server
    }
}

/// A key of the right form that nobody has issued.
pub(crate) fn unknown_key() -> String {
    KeyFormat::new("key").unwrap().generate().unwrap().expose().to_owned()
}

/// Checks that this is a problem document with this status and code, and not to be cached.
#[track_caller]
pub(crate) fn assert_problem(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
    let problem = reply.json();
    assert_eq!(problem["type"], "about:blank", "{problem}");
    assert_eq!(problem["status"], status, "{problem}");
    assert_eq!(problem["code"], code, "{problem}");
    assert!(problem["title"].is_string(), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    let challenged = reply.header("www-authenticate").is_some();
    assert!(challenged || status != 401, "{reply:?}");
}

/// A connection for what `curl` would not send.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(2))).unwrap();
    stream
}

/// Sends these bytes and reads until the server closes the connection.
pub(crate) fn send_raw(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}
