//! Requests a second over HTTP, and the processor time that a server needs for one.
//!
//! ```text
//! over_http [--short] [--rounds N] [--milliseconds N] [--services FILE] [--only NAME,NAME…] [--json FILE]
//! over_http serve NAME --port N --folder FOLDER
//! ```
//!
//! Each server is a process. They take turns within each round, with 64 connections that are kept;
//! what sends the requests runs on the same processors. `--services` names a file with services that
//! other programs run.

use std::{
    env, fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use peers::{
    arguments,
    http_load::{self, Answers},
    http_server::{self, SERVERS},
    process::{Process, free_port, wait_for},
    requests::Carrier,
    statistics::median,
};
use serde::Deserialize;
use serde_json::{Value, json};

fn main() -> ExitCode {
    let result = if env::args().nth(1).as_deref() == Some("serve") { serve() } else { compare() };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("over_http: {error}");
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
    http_server::serve(&name, port, Path::new(&folder))
}

/// A service that another program runs.
#[derive(Deserialize)]
struct Service {
    name: String,
    title: String,
    path: String,
    /// The header of the key, up to the key.
    header: String,
    /// The status of the answer to an unknown key.
    denied: u16,
    /// Connections, where the usual number would take minutes.
    #[serde(default)]
    connections: Option<usize>,
    /// Programs that are run before, such as one that makes keys.
    #[serde(default)]
    prepare: Vec<Vec<String>>,
    command: Vec<String>,
}

/// A server that runs.
struct Running {
    name: String,
    title: String,
    process: Process,
    address: SocketAddr,
    connections: usize,
    /// Whether it is a service of another program, without which the others go on.
    is_other: bool,
    /// The requests of each outcome, and the status of their answers.
    outcomes: Vec<(&'static str, Vec<Vec<u8>>, u16)>,
    /// Requests a second and microseconds of each round, by outcome.
    figures: Vec<Vec<(f64, f64)>>,
}

fn compare() -> io::Result<()> {
    let is_short = arguments::flag("--short");
    let rounds = if is_short { 1 } else { arguments::number("--rounds").unwrap_or(5) };
    let milliseconds = arguments::number("--milliseconds").unwrap_or(1_000);
    let turn = Duration::from_millis(if is_short { 40 } else { milliseconds as u64 });
    let only = arguments::option("--only");
    let is_wanted = |name: &str| {
        name == "bare"
            || only.as_ref().is_none_or(|only| only.split(',').any(|other| other == name))
    };
    let folder = env::temp_dir().join(format!("peers.{}", std::process::id()));
    fs::create_dir(&folder)?;
    let _removed = Removed(folder.clone());

    let mut running = Vec::new();
    for server in SERVERS.iter().filter(|server| is_wanted(server.name)) {
        running.push(start_own(server, &folder)?);
    }
    if let Some(file) = arguments::option("--services") {
        let services: Vec<Service> = serde_json::from_str(&fs::read_to_string(&file)?)?;
        let source = Path::new(&file).parent().unwrap_or(Path::new("."));
        for service in services.iter().filter(|service| is_wanted(&service.name)) {
            match start_other(service, source, &folder) {
                Ok(service) => running.push(service),
                // It is left out, and the others go on.
                Err(error) => eprintln!("{}: {error}", service.name),
            }
        }
    }
    for round in 0..=rounds {
        let mut failed = None;
        running.retain_mut(|server| match server.take_turn(turn, round > 0) {
            Ok(()) => true,
            Err(error) if server.is_other => {
                eprintln!("left out: {error}");
                false
            }
            Err(error) => {
                failed = Some(error);
                true
            }
        });
        failed.map_or(Ok(()), Err)?;
    }
    let servers = report(&running, is_short);
    if let Some(file) = arguments::option("--json") {
        let report = json!({
            "rounds": rounds, "seconds": turn.as_secs_f64(),
            "connections": http_load::CONNECTIONS, "servers": servers,
        });
        fs::write(file, serde_json::to_string_pretty(&report)?)?;
    }
    if is_short {
        println!("{} servers answer as they should", running.len());
    }
    Ok(())
}

/// A folder that is removed in the end.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// One of this program's servers.
fn start_own(server: &http_server::Server, folder: &Path) -> io::Result<Running> {
    let folder = folder.join(server.name);
    fs::create_dir(&folder)?;
    let port = free_port()?;
    let mut command = Command::new(env::current_exe()?);
    command.args(["serve", server.name, "--port", &port.to_string(), "--folder"]).arg(&folder);
    let header = match server.carrier {
        Carrier::Own => "x-api-key: ",
        Carrier::Bearer => "authorization: Bearer ",
    };
    let process = Process::start(command.stdin(Stdio::null()))?;
    let mut running = started(server.name, server.title, process, port)?;
    let (mut valid, unknown) = keys(&folder.join("keys"), "/orders", header)?;
    if server.carrier == Carrier::Bearer {
        valid.truncate(1);
    }
    running.outcomes.push(("valid", valid, 200));
    if server.has_keys {
        running.outcomes.push(("unknown", unknown, 401));
    }
    running.figures = vec![Vec::new(); running.outcomes.len()];
    Ok(running)
}

/// A service of another program, whose source is in this folder, and which makes its own keys.
fn start_other(service: &Service, source: &Path, folder: &Path) -> io::Result<Running> {
    let folder = folder.join(&service.name);
    fs::create_dir(&folder)?;
    let port = free_port()?;
    let run = |line: &[String]| {
        let port = port.to_string();
        // A module of Node's stands beside its packages.
        let module = env::var("NODE_MODULE").unwrap_or_default();
        let words =
            line.iter().map(|word| word.replace("{port}", &port).replace("{module}", &module));
        let mut words = words.collect::<Vec<_>>().into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).current_dir(source).env("FOLDER", &folder).env("PORT", &port);
        let log = fs::File::create(folder.join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        io::Result::Ok(command)
    };
    let with_log = |error: io::Error| {
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        io::Error::other(format!("{error}: {}", &log[log.len().saturating_sub(2_000)..]))
    };
    for line in &service.prepare {
        if !run(line)?.status()?.success() {
            return Err(with_log(io::Error::other(line.join(" "))));
        }
    }
    let process = Process::start(&mut run(&service.command)?)?;
    let mut running = started(&service.name, &service.title, process, port).map_err(with_log)?;
    running.is_other = true;
    running.connections = service.connections.unwrap_or(running.connections);
    let (valid, unknown) = keys(&folder.join("keys"), &service.path, &service.header)?;
    for (outcome, requests, status) in [("valid", valid, 200), ("unknown", unknown, service.denied)]
    {
        let first = std::slice::from_ref(&requests[0]);
        let answers = http_load::load(running.address, 1, first, status, Duration::ZERO)?;
        if answers.others > 0 {
            let error = format!("{outcome} keys are answered with {}", answers.status);
            return Err(with_log(io::Error::other(error)));
        }
        running.outcomes.push((outcome, requests, status));
    }
    running.figures = vec![Vec::new(); running.outcomes.len()];
    Ok(running)
}

fn started(name: &str, title: &str, mut process: Process, port: u16) -> io::Result<Running> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait_for(&mut process, address, Duration::from_secs(30))?;
    let (name, title) = (name.to_owned(), title.to_owned());
    let connections = http_load::CONNECTIONS;
    let (outcomes, figures) = (Vec::new(), Vec::new());
    let is_other = false;
    Ok(Running { name, title, process, address, connections, is_other, outcomes, figures })
}

type Requests = Vec<Vec<u8>>;

/// The requests with the keys of this file: valid ones, and unknown ones.
fn keys(file: &Path, path: &str, header: &str) -> io::Result<(Requests, Requests)> {
    let text = fs::read_to_string(file)?;
    let of = |kind: &str| {
        let keys = text.lines().filter_map(|line| line.strip_prefix(kind));
        let requests: Requests =
            keys.map(|key| http_load::rendered(path, Some(&format!("{header}{key}")))).collect();
        if requests.is_empty() { Err(io::Error::other("no keys")) } else { Ok(requests) }
    };
    Ok((of("valid ")?, of("unknown ")?))
}

impl Running {
    fn take_turn(&mut self, turn: Duration, counts: bool) -> io::Result<()> {
        for (number, (outcome, requests, status)) in self.outcomes.iter().enumerate() {
            let before = self.process.cpu();
            let answers = http_load::load(self.address, self.connections, requests, *status, turn);
            let Answers { expected, others, status, time } =
                answers.map_err(|error| io::Error::other(format!("{}: {error}", self.name)))?;
            let cpu = self.process.cpu().saturating_sub(before);
            if others > 0 {
                let error = format!(
                    "{}: {others} of {} answers to {outcome} keys were {status}",
                    self.name,
                    expected + others,
                );
                return Err(io::Error::other(error));
            }
            if counts {
                let rate = expected as f64 / time.as_secs_f64();
                let each = cpu.as_secs_f64() * 1e6 / expected as f64;
                self.figures[number].push((rate, each));
            }
        }
        Ok(())
    }
}

/// The medians of all rounds, and of the ratios to bare axum within each.
fn report(running: &[Running], is_short: bool) -> Vec<Value> {
    let bare = &running[0].figures[0];
    let mut servers = Vec::new();
    for server in running {
        for (number, (outcome, ..)) in server.outcomes.iter().enumerate() {
            let figures = &server.figures[number];
            let rate = median(figures.iter().map(|(rate, _)| *rate).collect());
            let cpu = median(figures.iter().map(|(_, cpu)| *cpu).collect());
            let ratios = figures.iter().zip(bare).map(|((rate, _), (bare, _))| rate / bare);
            let ratio = median(ratios.collect());
            let (name, title) = (&server.name, &server.title);
            if !is_short {
                println!(
                    "{name:20} {outcome:8} {rate:9.0} requests/s {:6.1} % of bare {cpu:8.2} µs",
                    ratio * 100.0
                );
            }
            servers.push(json!({
                "name": name, "title": title, "outcome": outcome, "connections": server.connections,
                "rate": rate, "ratio": ratio, "cpu": cpu,
            }));
        }
    }
    servers
}
