//! Proxies as processes, with the configurations of the guide.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
};

use tempfile::TempDir;

use crate::{
    application::Services,
    nginx,
    process::Reply,
    web_server::{self, TIMEOUT, WebServer},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nginx,
    Caddy,
    HaProxy,
}

/// A running proxy, ended when dropped.
pub(crate) struct Proxy {
    server: WebServer,
    folder: TempDir,
}

impl Kind {
    /// Of the program, and in `TEST_WITHOUT`.
    const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
            Self::HaProxy => "haproxy",
        }
    }

    pub(crate) fn is_left_out(self) -> bool {
        web_server::is_left_out(self.name())
    }

    /// Writes the configuration, and returns the arguments that name it.
    fn configure(self, folder: &Path, address: SocketAddr, services: &Services) -> Vec<String> {
        let place = |text: &str| {
            text.replace("127.0.0.1:9000", &services.forward_auth.to_string())
                .replace("127.0.0.1:8080", &services.application.to_string())
        };
        let write = |name: &str, text: String| fs::write(folder.join(name), text).unwrap();
        let path = |name: &str| folder.join(name).display().to_string();
        match self {
            Self::Nginx => {
                let server =
                    place(&block("nginx")).replace("listen 80", &format!("listen {address}"));
                nginx::configure(folder, &server)
            }
            Self::Caddy => {
                let server = place(&block("caddy"))
                    .replace(":80 {", &format!(":{} {{\nbind 127.0.0.1", address.port()));
                write("configuration", format!("{{\nadmin off\nauto_https off\n}}\n{server}\n"));
                ["run", "--adapter", "caddyfile", "--config", &path("configuration")]
                    .map(str::to_owned)
                    .into()
            }
            Self::HaProxy => {
                write("forward_auth.lua", place(&block("lua")));
                let text = place(&block("haproxy"))
                    .replace("/etc/haproxy/forward_auth.lua", &path("forward_auth.lua"))
                    .replace("bind :80", &format!("bind {address}"));
                write("configuration", text);
                ["-db", "-f", &path("configuration")].map(str::to_owned).into()
            }
        }
    }
}

/// The block of the guide in this language.
fn block(language: &str) -> String {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide/forward_auth.md");
    let guide = fs::read_to_string(guide).unwrap();
    let (_, after) = guide.split_once(&format!("```{language}\n")).unwrap();
    after.split_once("```\n").unwrap().0.to_owned()
}

/// One in front of these services.
pub(crate) fn start(kind: Kind, services: &Services) -> Proxy {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let configure = |address| kind.configure(folder.path(), address, services);
    let server = web_server::start(kind.name(), folder.path(), configure);
    Proxy { server, folder }
}

/// nginx with [a cache](nginx::start_cache) in front of this application.
pub(crate) fn start_cache(application: SocketAddr) -> Proxy {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    Proxy { server: nginx::start_cache(application, folder.path()), folder }
}

impl Proxy {
    /// Sends these lines as they are, and returns the reply.
    pub(crate) fn send(&self, lines: &[&str]) -> Reply {
        let mut stream = TcpStream::connect(self.server.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes()).unwrap();
        let mut reply = Vec::new();
        // A proxy that resets the connection has said all that it had to.
        let end = stream.read_to_end(&mut reply);
        Reply::parse(&reply).unwrap_or_else(|| {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            panic!("{lines:?}: {:?}, {end:?}\n{log}", String::from_utf8_lossy(&reply))
        })
    }

    /// Sends a request line, and these headers after those that each request has.
    pub(crate) fn ask(&self, line: &str, headers: &[&str]) -> Reply {
        let lines = [line, "Host: api.example", "Connection: close"];
        self.send(&[&lines, headers].concat())
    }
}
