//! Checks a second of a proxy, and the processor time that a server needs for one.
//!
//! ```text
//! checks [--short] [--rounds N] [--milliseconds N]
//! checks serve NAME --port N --folder FOLDER
//! ```
//!
//! Each server is a process of its own. They take turns within each round, and the program that asks them runs
//! on the same processors. Each is compared with the bare one before it: of the same protocol and the same
//! answers, without a decision.

use std::{
    env, fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use bytes::Bytes;
use peers::{
    arguments,
    checks::{
        load::{self, CALLS, CONNECTIONS},
        questions::{of_envoy, over_http},
        servers::{self, SERVERS},
    },
    http_load::{self, Answers},
    process::{Process, free_port, wait_for},
    statistics::median,
};

fn main() -> ExitCode {
    let result = if env::args().nth(1).as_deref() == Some("serve") { serve() } else { compare() };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("checks: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    let name = env::args().nth(2).unwrap_or_default();
    let port = arguments::number("--port").and_then(|port| port.try_into().ok());
    let folder = arguments::option("--folder");
    let (Some(port), Some(folder)) = (port, folder) else {
        return Err(io::Error::other("serve NAME --port N --folder FOLDER"));
    };
    servers::serve(&name, port, Path::new(&folder))
}

/// The questions to a server, in the protocol that it speaks.
enum Questions {
    Http(Vec<Vec<u8>>),
    Grpc(Vec<Bytes>),
}

/// A server that runs, or the same one with other questions.
struct Running {
    title: String,
    process: usize,
    address: SocketAddr,
    questions: Questions,
    /// Checks a second, and microseconds of the server for one, by round.
    figures: Vec<(f64, f64)>,
}

fn compare() -> io::Result<()> {
    let is_short = arguments::flag("--short");
    let rounds = if is_short { 1 } else { arguments::number("--rounds").unwrap_or(5) };
    let milliseconds = arguments::number("--milliseconds").unwrap_or(2_000);
    let turn = Duration::from_millis(if is_short { 40 } else { milliseconds as u64 });
    let folder = Folder::new()?;
    let (mut processes, mut running) = (Vec::new(), Vec::new());
    for name in SERVERS {
        let (process, address, keys) = start(name, &folder.0)?;
        let mut add = |title: &str, questions| {
            let title = format!("{name}{title}");
            let (process, figures) = (processes.len(), Vec::new());
            running.push(Running { title, process, address, questions, figures });
        };
        if name.ends_with("tonic") || name.starts_with("ext") {
            let questions =
                |is_raw| Questions::Grpc(keys.iter().map(|key| of_envoy(key, is_raw)).collect());
            add(", headers joined", questions(false));
            add(", headers raw", questions(true));
        } else {
            add("", Questions::Http(keys.iter().map(|key| over_http(key)).collect()));
        }
        processes.push(process);
    }
    for round in 0..=rounds {
        for server in &mut running {
            server.take_turn(&processes[server.process], turn, round > 0)?;
        }
    }
    if is_short {
        println!("{} servers answer as they should", processes.len());
    } else {
        report(&running);
    }
    Ok(())
}

fn start(name: &str, folder: &Path) -> io::Result<(Process, SocketAddr, Vec<String>)> {
    let folder = folder.join(name);
    fs::create_dir(&folder)?;
    let port = free_port()?;
    let mut command = Command::new(env::current_exe()?);
    command.args(["serve", name, "--port", &port.to_string(), "--folder"]).arg(&folder);
    let mut process = Process::start(command.stdin(Stdio::null()))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait_for(&mut process, address, Duration::from_secs(30))?;
    let keys = fs::read_to_string(folder.join("keys"))?;
    Ok((process, address, keys.lines().map(str::to_owned).collect()))
}

impl Running {
    fn take_turn(&mut self, process: &Process, turn: Duration, counts: bool) -> io::Result<()> {
        let before = process.cpu();
        let answers = match &self.questions {
            Questions::Http(questions) => {
                http_load::load(self.address, http_load::CONNECTIONS, questions, 200, turn)
            }
            Questions::Grpc(questions) => load::load(self.address, questions, turn),
        };
        let answers = answers.map_err(|error| io::Error::other(format!("{}: {error}", self.title)));
        let Answers { expected, others, time, .. } = answers?;
        let cpu = process.cpu().saturating_sub(before);
        if others > 0 || expected == 0 {
            return Err(io::Error::other(format!("{}: {others} wrong answers", self.title)));
        }
        if counts {
            let rate = expected as f64 / time.as_secs_f64();
            self.figures.push((rate, cpu.as_secs_f64() * 1e6 / expected as f64));
        }
        Ok(())
    }
}

/// The medians of all rounds, and of the ratios to the bare server within each.
fn report(running: &[Running]) {
    println!(
        "HTTP/1.1: {} connections, a question at a time on each. gRPC: {CONNECTIONS} connections, {CALLS} \
         calls at a time on each.",
        http_load::CONNECTIONS
    );
    for (at, server) in running.iter().enumerate() {
        // Of the same protocol, with the same questions.
        let bare = match at {
            0 | 1 => &running[0],
            _ => &running[2 + at % 2],
        };
        let rate = median(server.figures.iter().map(|(rate, _)| *rate).collect());
        let cpu = median(server.figures.iter().map(|(_, cpu)| *cpu).collect());
        let ratios = server.figures.iter().zip(&bare.figures);
        let ratio = median(ratios.map(|((rate, _), (bare, _))| rate / bare).collect());
        println!(
            "{:28} {rate:9.0} checks/s {:6.1} % of bare {cpu:8.2} µs of processor time each",
            server.title,
            ratio * 100.0
        );
    }
}

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let folder = env::temp_dir().join(format!("checks.{}", std::process::id()));
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
