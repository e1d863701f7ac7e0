//! A Redis that belongs to one test: the command line has no prefix of its own there.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
};

use crate::servers::Server;

/// Ended when dropped; it keeps nothing.
pub(crate) struct OwnRedis {
    port: u16,
    child: Child,
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
        let mut server = Self { port, child: command.spawn().unwrap() };
        let mut lines = BufReader::new(server.child.stdout.take().unwrap()).lines();
        let ready =
            lines.by_ref().map_while(Result::ok).any(|line| line.contains("Ready to accept"));
        // It must never wait for somebody to read what it has to say.
        thread::spawn(move || lines.for_each(drop));
        ready.then_some(server)
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
