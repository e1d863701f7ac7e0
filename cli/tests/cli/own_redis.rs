//! A Redis that belongs to one test: the command line has no prefix of its own there.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
};

use tempfile::TempDir;

use crate::servers::Server;

/// Ended when dropped; it keeps nothing.
pub(crate) struct OwnRedis {
    port: u16,
    child: Child,
    /// Of a node of a cluster.
    directory: Option<TempDir>,
}

impl OwnRedis {
    /// Starts one on a port that is free. `None` when tests with Redis are left out.
    pub(crate) fn start(options: &[&str]) -> Option<Self> {
        Server::Redis.url()?;
        // Somebody else may take the port meanwhile.
        (0..20).find_map(|_| Self::try_start(options)).or_else(|| panic!("it does not start"))
    }

    fn try_start(options: &[&str]) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program());
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
        command.args(options).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut server = Self { port, child: command.spawn().unwrap(), directory: None };
        let mut lines = BufReader::new(server.child.stdout.take().unwrap()).lines();
        let ready =
            lines.by_ref().map_while(Result::ok).any(|line| line.contains("Ready to accept"));
        // It must never wait for somebody to read what it has to say.
        thread::spawn(move || lines.for_each(drop));
        ready.then_some(server)
    }

    /// Starts a cluster of one node.
    pub(crate) fn start_cluster() -> Option<Self> {
        // By default it would be another 10000 above, where there may be no port.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let port = port.to_string();
        let directory = tempfile::tempdir().unwrap();
        let nodes = directory.path().join("nodes.conf").display().to_string();
        let mut node = Self::start(&[
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &port,
            "--cluster-config-file",
            &nodes,
        ])?;
        let mut connection = redis::Client::open(node.url()).unwrap().get_connection().unwrap();
        let mut cluster = |args: &[&str]| -> redis::Value {
            redis::cmd("CLUSTER").arg(args).query(&mut connection).unwrap()
        };
        cluster(&["ADDSLOTSRANGE", "0", "16383"]);
        while !format!("{:?}", cluster(&["INFO"])).contains("cluster_state:ok") {
            thread::yield_now();
        }
        node.directory = Some(directory);
        Some(node)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Redis, or Valkey where that is installed instead.
fn program() -> &'static str {
    let is_there = |program: &&str| Command::new(program).arg("--version").output().is_ok();
    let program = ["redis-server", "valkey-server"].into_iter().find(is_there);
    program.expect("`redis-server` must be installed, or Redis left out with TEST_WITHOUT=redis")
}
