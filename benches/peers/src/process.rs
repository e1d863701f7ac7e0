//! Servers as processes, and the time that they use.

use std::{
    collections::HashMap,
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command},
    time::{Duration, Instant},
};

/// A process that is ended with its owner, and all that it has started.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts it.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(Self)
    }

    /// Whether it ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    /// The processor time of it and of all that it has started.
    pub fn cpu(&self) -> Duration {
        self.family().into_iter().map(cpu).sum()
    }

    /// It, and all that it has started.
    fn family(&self) -> Vec<u32> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        for id in entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
            if let Some(fields) = stat(id)
                && let Ok(parent) = fields[1].parse()
            {
                children.entry(parent).or_default().push(id);
            }
        }
        let mut family = vec![self.0.id()];
        let mut next = 0;
        while let Some(id) = family.get(next) {
            family.extend(children.get(id).into_iter().flatten());
            next += 1;
        }
        family
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let family = self.family();
        for id in family.iter().rev() {
            // As a manager of processes asks: workers end with their parents.
            drop(Command::new("kill").args(["-TERM", &id.to_string()]).output());
        }
        for _ in 0..50 {
            if self.has_ended() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The fields of a process from its state on.
fn stat(id: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before may have spaces in it.
    Some(text.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

/// The processor time of a process, all its threads together. Linux counts it in hundredths of a
/// second.
fn cpu(id: u32) -> Duration {
    let ticks = |fields: &[String]| {
        let user: u64 = fields.get(11)?.parse().ok()?;
        let system: u64 = fields.get(12)?.parse().ok()?;
        Some(user + system)
    };
    let ticks = stat(id).and_then(|fields| ticks(&fields)).unwrap_or(0);
    Duration::from_millis(ticks * 10)
}

/// A port of this machine that is free now.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Waits until the server takes connections.
pub fn wait_for(process: &mut Process, server: SocketAddr, most: Duration) -> io::Result<()> {
    let start = Instant::now();
    while TcpStream::connect(server).is_err() {
        if process.has_ended() || start.elapsed() > most {
            return Err(io::Error::other("the server does not answer"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
