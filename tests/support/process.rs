//! Runs the examples as real processes, and the real `curl` against them.
//!
//! Nothing here sleeps: whoever waits, waits for a line of output or for an exit, and gives up
//! with all that the process said.

#![allow(dead_code, reason = "every test binary uses its own part of this")]

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

/// Far longer than anything takes, even on a machine that is busy with something else.
const TIMEOUT: Duration = Duration::from_mins(2);

/// The executable of the example `name`, from the build that this test is of.
pub(crate) fn example(name: &str) -> PathBuf {
    // target/<profile>/deps/<this test>
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let path = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.exists(),
        "{} is not there. A plain `cargo test` builds the examples; with `--test` or `--lib`, run \
         `cargo build --all-features --examples` before.",
        path.display()
    );
    path
}

/// A running example. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    stdout: Output,
    stderr: Output,
    address: SocketAddr,
}

/// So long after the first signal, another one is a second one.
#[allow(dead_code, reason = "not every test binary sends two")]
pub(crate) const REPEATED_WITHIN: Duration = Duration::from_millis(1100);

impl Server {
    /// Starts `command` and waits until a line of its output tells the address, as in
    /// `http://127.0.0.1:3000`.
    pub(crate) fn start(command: &mut Command) -> Self {
        let (mut child, stdout, stderr) = spawn(command);
        let Some(address) = stdout.wait_for(address_in) else {
            let _ = child.kill();
            let status = child.wait().unwrap();
            panic!("no address: {status}\n{}\n{}", stdout.text(), stderr.text());
        };
        Self { child, stdout, stderr, address }
    }

    #[allow(dead_code, reason = "not every test binary looks into the process")]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it printed on stdout so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it printed on stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits for a line of stdout for which `read` finds something.
    pub(crate) fn wait_for_stdout<T>(&self, read: impl Fn(&str) -> Option<T>) -> T {
        self.stdout.wait_for(read).unwrap_or_else(|| panic!("not printed: {}", self.stdout()))
    }

    /// Waits for a line of stderr that contains `text`.
    pub(crate) fn wait_for_stderr(&self, text: &str) {
        self.stderr
            .wait_for(|line| line.contains(text).then_some(()))
            .unwrap_or_else(|| panic!("{text:?} not logged: {}", self.stderr()));
    }

    /// Sends a signal such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(status.success(), "kill -s {name} {pid}");
    }

    /// Ends the process at once, as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until the process ends by itself, and returns everything it printed.
    pub(crate) fn wait(mut self) -> Finished {
        finish(&mut self.child, &self.stdout, &self.stderr)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `command` to its end.
pub(crate) fn run(command: &mut Command) -> Finished {
    let (mut child, stdout, stderr) = spawn(command);
    finish(&mut child, &stdout, &stderr)
}

fn spawn(command: &mut Command) -> (Child, Output, Output) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = Output::read(child.stdout.take().unwrap());
    let stderr = Output::read(child.stderr.take().unwrap());
    (child, stdout, stderr)
}

/// Both outputs close when the process ends.
fn finish(child: &mut Child, stdout: &Output, stderr: &Output) -> Finished {
    for output in [stdout, stderr] {
        if !output.wait_for_end() {
            let _ = child.kill();
            panic!("it goes on and on:\n{}\n{}", stdout.text(), stderr.text());
        }
    }
    Finished { status: child.wait().unwrap(), stdout: stdout.text(), stderr: stderr.text() }
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    let end = rest.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The lines of a stream, read as they come by a thread of their own.
#[derive(Clone, Default)]
struct Output(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Output {
    fn read(stream: impl Read + Send + 'static) -> Self {
        let output = Self::default();
        let writer = output.clone();
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                writer.change(|lines| lines.lines.push(text));
                line.clear();
            }
            writer.change(|lines| lines.ended = true);
        });
        output
    }

    fn change(&self, change: impl FnOnce(&mut Lines)) {
        change(&mut self.lines());
        self.0.1.notify_all();
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.0.lock().unwrap()
    }

    fn text(&self) -> String {
        self.lines().lines.join("\n")
    }

    /// What `read` finds in the first line where it finds something; `None` when the stream ends
    /// or the time is up.
    fn wait_for<T>(&self, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let mut seen = 0;
        let mut found = None;
        self.wait_until(|lines| {
            found = lines.lines[seen..].iter().find_map(|line| read(line));
            seen = lines.lines.len();
            found.is_some() || lines.ended
        });
        found
    }

    /// Whether the stream ended before the time was up.
    fn wait_for_end(&self) -> bool {
        self.wait_until(|lines| lines.ended)
    }

    fn wait_until(&self, mut done: impl FnMut(&Lines) -> bool) -> bool {
        let give_up = Instant::now() + TIMEOUT;
        let mut lines = self.lines();
        while !done(&lines) {
            let Some(left) = give_up.checked_duration_since(Instant::now()) else { return false };
            lines = self.0.1.wait_timeout(lines, left).unwrap().0;
        }
        true
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    /// Reads a response as it stands on the wire, or as `curl -i` prints it. Interim responses
    /// (`100 Continue`) before it are passed over.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(text);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        if status < 200 {
            return Self::parse(body.as_bytes());
        }
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
        Some(Self { status, headers: headers.collect(), body: body.to_owned() })
    }

    /// The first value of a header; `name` in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.header_all(name).next()
    }

    /// Every value of a header; `name` in lower case.
    pub(crate) fn header_all<'r>(&'r self, name: &str) -> impl Iterator<Item = &'r str> {
        self.headers.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// Runs `curl` with these arguments.
pub(crate) fn curl(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Reply {
    // `-q`: whatever the user's configuration file says. No proxy belongs in between either.
    let mut command = Command::new("curl");
    command.args(["-q", "-sS", "-i", "--max-time", "120", "--noproxy", "*"]).args(args);
    let output = command.output().expect("`curl` must be installed");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Reply::parse(&output.stdout)
        .unwrap_or_else(|| panic!("{command:?}: {}", String::from_utf8_lossy(&output.stdout)))
}
