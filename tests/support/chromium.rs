//! A page in a real browser, and what it tells of itself.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use serde_json::Value;

/// Debian's name for it, and others'.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A running browser, ended when dropped.
pub(crate) struct Browser {
    child: Child,
    _profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `None` when its tests are left out.
pub(crate) fn browse(url: &str) -> Option<Browser> {
    let without = env::var("TEST_WITHOUT").unwrap_or_default();
    if without.split(',').any(|name| name.trim() == "chromium") {
        let _ = writeln!(std::io::stderr(), "TEST_WITHOUT: the tests with Chromium are left out");
        return None;
    }
    let profile = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut start = |program: &str| {
        Command::new(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
            .args(["--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"])
            .args(["--no-proxy-server"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()
    };
    let Some(child) = PROGRAMS.into_iter().find_map(&mut start) else {
        panic!(
            "there is no Chromium to test with: install it, as scripts/test does, or leave its \
             tests out with TEST_WITHOUT=chromium"
        )
    };
    Some(Browser { child, _profile: profile })
}

/// Serves the page to one browser, and tells what it found.
pub(crate) fn page(listener: TcpListener, page: String) -> mpsc::Receiver<Value> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (tell, page) = (tell.clone(), page.clone());
            // The browser opens more connections than it uses.
            thread::spawn(move || serve(&stream.unwrap(), &page, &tell));
        }
    });
    told
}

fn serve(stream: &TcpStream, page: &str, tell: &mpsc::Sender<Value>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim() {
            "" => break,
            line => lines.push(line.to_lowercase()),
        }
    }
    let length = lines.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let (status, answer) = match &**lines.first()? {
        "get / http/1.1" => ("200 OK", page),
        "post /results http/1.1" => {
            tell.send(serde_json::from_slice(&body).unwrap()).ok()?;
            ("200 OK", "")
        }
        _ => ("404 Not Found", ""),
    };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    )
    .ok()
}
