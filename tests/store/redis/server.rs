//! Servers that belong to one test, which may do anything to them.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use ::redis::Connection;
use tempfile::TempDir;

use super::{connect, run};
use crate::servers::Server;

/// A server that writes down every change at once. Ended when dropped.
pub(crate) struct OwnServer {
    directory: TempDir,
    port: u16,
    options: Vec<String>,
    child: Option<Child>,
}

impl OwnServer {
    /// Starts one on a port that is free. `None` when tests with Redis are left out.
    pub(crate) fn start(options: &[&str]) -> Option<Self> {
        Server::Redis.url()?;
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let directory = tempfile::tempdir().unwrap();
        let mut server = Self { directory, port: 0, options, child: None };
        // Somebody else may take the port meanwhile.
        for _ in 0..20 {
            server.port = free_port();
            if server.try_start() {
                return Some(server);
            }
        }
        panic!("redis-server does not start");
    }

    /// Starts it again, with the data that it had.
    pub(super) fn start_again(&mut self) {
        assert!(self.try_start(), "redis-server does not start again");
    }

    /// Whether it got so far as to answer.
    fn try_start(&mut self) -> bool {
        let port = self.port.to_string();
        let cluster_port = free_port().to_string();
        let mut command = Command::new(program());
        command.args(["--bind", "127.0.0.1", "--port", &port, "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        command.arg("--dir").arg(self.directory.path());
        if self.options.iter().any(|option| option == "--cluster-enabled") {
            command.args(["--cluster-port", &cluster_port]);
        }
        command.args(&self.options).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready =
            lines.by_ref().map_while(Result::ok).any(|line| line.contains("Ready to accept"));
        // It must never wait for somebody to read what it has to say.
        thread::spawn(move || lines.for_each(drop));
        self.child = Some(child);
        if !ready {
            self.kill();
        }
        ready
    }

    /// Ends it as `kill -9` does.
    pub(super) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // An error means that it has ended already.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Sends a signal: `STOP` makes it silent, `CONT` wakes it.
    pub(super) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(status.success(), "kill -s {name} {pid}");
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn connect(&self) -> Connection {
        connect(&self.url())
    }

    /// What `INFO` or `CLUSTER INFO` says about one thing.
    pub(super) fn info(&self, command: &[&str], name: &str) -> String {
        let text: String = run(&mut self.connect(), command);
        let start = format!("{name}:");
        let value = text.lines().find_map(|line| line.strip_prefix(&start));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Redis, or Valkey where that is installed instead.
fn program() -> &'static str {
    let is_there = |program: &&str| Command::new(program).arg("--version").output().is_ok();
    let program = ["redis-server", "valkey-server"].into_iter().find(is_there);
    program.expect("`redis-server` must be installed, or Redis left out with TEST_WITHOUT=redis")
}

/// Comes back when it is so; a test that waits in vain ends all the same.
pub(super) fn wait_until(mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_mins(2);
    while !is_so() {
        assert!(Instant::now() < give_up, "it never comes to be");
        thread::yield_now();
    }
}

/// A port that nobody listens on.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A node of a cluster, with these slots.
pub(super) fn start_node(slots: &[&str]) -> Option<OwnServer> {
    let server = OwnServer::start(&["--cluster-enabled", "yes"])?;
    let _: () = run(&mut server.connect(), &[&["CLUSTER", "ADDSLOTSRANGE"][..], slots].concat());
    Some(server)
}

/// Until all of the cluster answers.
pub(super) fn wait_for(nodes: &[&OwnServer], size: &str) {
    for node in nodes {
        wait_until(|| {
            node.info(&["CLUSTER", "INFO"], "cluster_state") == "ok"
                && node.info(&["CLUSTER", "INFO"], "cluster_size") == size
        });
    }
}
