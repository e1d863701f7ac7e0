//! [`WebServer`]: nginx, Caddy or `HAProxy` as a process on this host.

use std::{
    env, fs,
    io::Write,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tokio::net::TcpSocket;

/// Far longer than one takes to start or to answer.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);

/// A running server, ended when dropped.
pub(crate) struct WebServer {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Drop for WebServer {
    fn drop(&mut self) {
        // Its only process: none of them forks as it is started here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn is_left_out(name: &str) -> bool {
    let without = env::var("TEST_WITHOUT").unwrap_or_default();
    let is_left_out = without.split(',').any(|left_out| left_out.trim() == name);
    if is_left_out {
        let _ = writeln!(std::io::stderr(), "TEST_WITHOUT: a test with {name} is left out");
    }
    is_left_out
}

/// A free port, which no other program is given while this lives; a server that is told to may listen on it.
///
/// It does not listen. Each process that is started inherits what is open until its own program begins: a
/// listener, dropped here, would go on there for that moment, take a connection and answer nothing.
pub(crate) fn reserve() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    socket
}

/// Starts the program of this name, which Debian may put where only root looks. `configure` writes the
/// configuration for an address into the folder, where the log is, too, and returns the arguments.
pub(crate) fn start(
    name: &str,
    folder: &Path,
    mut configure: impl FnMut(SocketAddr) -> Vec<String>,
) -> WebServer {
    let give_up = Instant::now() + TIMEOUT;
    let log = folder.join("log");
    loop {
        let reserved = reserve();
        let address = reserved.local_addr().unwrap();
        let arguments = configure(address);
        let start = |program: String| {
            let errors = fs::File::options().create(true).append(true).open(&log).unwrap();
            Command::new(program)
                .args(&arguments)
                .env("HOME", folder)
                .env_remove("XDG_CONFIG_HOME")
                .env_remove("XDG_DATA_HOME")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(errors)
                .spawn()
                .ok()
        };
        let programs = ["", "/usr/sbin/", "/usr/bin/"];
        let Some(child) = programs.iter().find_map(|place| start(format!("{place}{name}"))) else {
            panic!(
                "there is no {name} to test with: install it, as scripts/test does, or leave its \
                 tests out with TEST_WITHOUT={name}"
            )
        };
        let mut server = WebServer { child, address };
        // A program that was told this port may have taken it all the same: then the server ends.
        while server.child.try_wait().unwrap().is_none() {
            if TcpStream::connect(address).is_ok() {
                return server;
            }
            assert!(Instant::now() < give_up, "{name} does not listen");
            thread::yield_now();
        }
        let log = fs::read_to_string(&log).unwrap_or_default();
        assert!(log.to_lowercase().contains("in use"), "{name} does not start: {log}");
        assert!(Instant::now() < give_up, "{name} does not start: {log}");
    }
}
