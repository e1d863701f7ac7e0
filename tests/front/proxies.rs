//! Proxies as processes, with the configurations of the guide.

use std::{
    env, fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{application::Services, process::Reply};

/// Far longer than a proxy takes to start or to answer.
const TIMEOUT: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nginx,
    Caddy,
    HaProxy,
}

/// A running proxy, ended when dropped.
pub(crate) struct Proxy {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Its only process: none of them forks as it is started here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Kind {
    /// The program, which Debian may put where only root looks.
    const fn programs(self) -> [&'static str; 2] {
        match self {
            Self::Nginx => ["nginx", "/usr/sbin/nginx"],
            Self::Caddy => ["caddy", "/usr/bin/caddy"],
            Self::HaProxy => ["haproxy", "/usr/sbin/haproxy"],
        }
    }

    pub(crate) fn is_left_out(self) -> bool {
        let without = env::var("TEST_WITHOUT").unwrap_or_default();
        let [name, _] = self.programs();
        let is_left_out = without.split(',').any(|left_out| left_out.trim() == name);
        if is_left_out {
            let _ = writeln!(std::io::stderr(), "TEST_WITHOUT: a test with {name} is left out");
        }
        is_left_out
    }

    /// Writes the configuration, and returns the arguments that name it.
    fn configure(self, folder: &Path, address: SocketAddr, services: &Services) -> Vec<String> {
        let place = |text: &str| {
            text.replace("127.0.0.1:9000", &services.forward_auth.to_string())
                .replace("127.0.0.1:8080", &services.application.to_string())
        };
        let root = folder.display();
        let write = |name: &str, text: String| fs::write(folder.join(name), text).unwrap();
        let path = |name: &str| folder.join(name).display().to_string();
        match self {
            Self::Nginx => {
                let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|name| format!("{name}_temp_path {root}/{name};"))
                    .join("\n");
                let server =
                    place(&block("nginx")).replace("listen 80", &format!("listen {address}"));
                let text = format!(
                    "daemon off;\nmaster_process off;\npid {root}/pid;\nerror_log {root}/log;\n\
                     events {{}}\nhttp {{\naccess_log off;\n{temporary}{server}\n}}\n"
                );
                write("configuration", text);
                ["-e", &path("log"), "-c", &path("configuration")].map(str::to_owned).into()
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
    let give_up = Instant::now() + TIMEOUT;
    loop {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let arguments = kind.configure(folder.path(), address, services);
        let log = folder.path().join("log");
        let start = |program: &&str| {
            let errors = fs::File::options().create(true).append(true).open(&log).unwrap();
            Command::new(program)
                .args(&arguments)
                .env("HOME", folder.path())
                .env_remove("XDG_CONFIG_HOME")
                .env_remove("XDG_DATA_HOME")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(errors)
                .spawn()
                .ok()
        };
        let Some(child) = kind.programs().iter().find_map(start) else {
            let [name, _] = kind.programs();
            panic!(
                "there is no {name} to test with: install it, as scripts/test does, or leave its \
                 tests out with TEST_WITHOUT={name}"
            )
        };
        let mut proxy = Proxy { child, address, _folder: folder };
        // Another program may have taken the port meanwhile: then the proxy ends.
        while proxy.child.try_wait().unwrap().is_none() {
            if TcpStream::connect(address).is_ok() {
                return proxy;
            }
            assert!(Instant::now() < give_up, "{kind:?} does not listen");
            thread::yield_now();
        }
        let log = fs::read_to_string(&log).unwrap_or_default();
        assert!(log.to_lowercase().contains("in use"), "{kind:?} does not start: {log}");
        assert!(Instant::now() < give_up, "{kind:?} does not start: {log}");
    }
}

impl Proxy {
    /// Sends these lines as they are, and returns the reply.
    pub(crate) fn send(&self, lines: &[&str]) -> Reply {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes()).unwrap();
        let mut reply = Vec::new();
        // A proxy that resets the connection has said all that it had to.
        let _ = stream.read_to_end(&mut reply);
        Reply::parse(&reply).unwrap_or_else(|| panic!("{lines:?}: {reply:?}"))
    }

    /// Sends a request line, and these headers after those that each request has.
    pub(crate) fn ask(&self, line: &str, headers: &[&str]) -> Reply {
        let lines = [line, "Host: api.example", "Connection: close"];
        self.send(&[&lines, headers].concat())
    }
}
