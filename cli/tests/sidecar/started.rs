//! Sidecars, proxies in front of them, and requests.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    guide,
    process::{self, Finished, Reply, Server},
    web_server::{self, TIMEOUT, WebServer},
};

/// A folder with a file for the sidecar, and the URL of its store.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) url: String,
}

impl Place {
    /// With a new SQLite file, and the file of the guide.
    pub(crate) fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("keys.db").display());
        let place = Self { folder, url };
        place.command("migrate").output().unwrap();
        place.configure(&guide::block("toml"));
        place
    }

    /// With this store, and the file of the guide.
    pub(crate) fn on(url: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap(), url: url.to_owned() };
        place.configure(&guide::block("toml"));
        place
    }

    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.folder.path().join("sidecar.toml"), text).unwrap();
    }

    /// The file of the guide, with these lines before it.
    pub(crate) fn add(&self, lines: &str) {
        self.configure(&format!("{lines}\n{}", guide::block("toml")));
    }

    /// The command line in this place, with one argument to begin with.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tower-api-key"));
        command
            .arg(name)
            .current_dir(self.folder.path())
            .env_clear()
            .env("USER", "tester")
            .env("DATABASE_URL", &self.url);
        command
    }

    /// `serve`, on a port that is free.
    pub(crate) fn serve(&self) -> Command {
        let mut command = self.command("serve");
        command.args(["--config", "sidecar.toml"]).env("ADDR", "127.0.0.1:0");
        command
    }

    pub(crate) fn start(&self) -> Server {
        Server::start(&mut self.serve())
    }

    /// The end of a sidecar that does not start.
    pub(crate) fn fail(&self) -> Finished {
        process::run(&mut self.serve())
    }

    /// Issues a key with these arguments.
    pub(crate) fn key(&self, args: &[&str]) -> String {
        let finished = process::run(self.command("create").args(["--name", "test"]).args(args));
        assert!(finished.status.success(), "{finished:?}");
        finished.stdout.trim().to_owned()
    }
}

/// nginx as the guide has it, in front of the sidecar and of its own service.
pub(crate) fn nginx(folder: &Path, sidecar: SocketAddr) -> WebServer {
    let root = folder.display().to_string();
    let reserved = web_server::reserve();
    let behind = reserved.local_addr().unwrap();
    web_server::start("nginx", folder, |address| {
        let text = guide::block("nginx")
            .replace("nginx.log", &format!("{root}/log"))
            .replace("127.0.0.1:8000", &address.to_string())
            .replace("127.0.0.1:8080", &behind.to_string())
            .replace("127.0.0.1:9000", &sidecar.to_string());
        let text = format!("daemon off;\nmaster_process off;\n{text}");
        fs::write(folder.join("nginx.conf"), text).unwrap();
        ["-e", &format!("{root}/log"), "-p", &root, "-c", "nginx.conf"].map(str::to_owned).into()
    })
}

/// Sends bytes, and returns all that came back; empty where the connection was closed or reset.
pub(crate) fn send(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    // The other side may have closed already.
    let _ = stream.write_all(bytes);
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    reply
}

/// Sends a request line and headers.
pub(crate) fn ask(to: SocketAddr, line: &str, headers: &[&str]) -> Reply {
    let first = [line, "Host: api.example", "Connection: close"];
    let text = [&first, headers].concat().join("\r\n") + "\r\n\r\n";
    let reply = send(to, text.as_bytes());
    Reply::parse(&reply).unwrap_or_else(|| panic!("{line}: {reply:?}"))
}

/// `GET /orders/7` with this key.
pub(crate) fn order(to: SocketAddr, key: &str) -> Reply {
    ask(to, "GET /orders/7 HTTP/1.1", &[&format!("X-API-Key: {key}")])
}

/// The check of `GET` of this target that nginx would ask for.
pub(crate) fn check(to: SocketAddr, target: &str, headers: &[&str]) -> Reply {
    let target = format!("X-Original-URI: {target}");
    let told = [
        "X-Original-Method: GET",
        "X-Original-Proto: http",
        "X-Original-Host: api.example",
        &target,
    ];
    ask(to, "GET /auth HTTP/1.1", &[&told, headers].concat())
}

/// The code of a denial.
pub(crate) fn code(reply: &Reply) -> String {
    reply.json()["code"].as_str().unwrap_or_else(|| panic!("{reply:?}")).to_owned()
}

/// Repeats until it is so, for as long as anything may take.
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < give_up, "it does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}
