//! The commands of the guide, as a newcomer types them.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use crate::{guide, process, web_server};

#[test]
fn the_commands_of_the_guide_lead_to_a_guarded_service() {
    if web_server::is_left_out("nginx") {
        return;
    }
    // Another program may have been told one of the ports.
    let is_done = (0..20).any(|_| try_commands());
    assert!(is_done, "there are no free ports");
}

/// Whether the ports were free.
fn try_commands() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let reserved = [(); 3].map(|()| web_server::reserve());
    let [client, application, sidecar] =
        reserved.each_ref().map(|port| port.local_addr().unwrap().to_string());
    let place = |text: &str| {
        text.replace("127.0.0.1:8000", &client)
            .replace("127.0.0.1:8080", &application)
            .replace("127.0.0.1:9000", &sidecar)
    };
    fs::write(folder.path().join("nginx.conf"), place(&guide::block("nginx"))).unwrap();
    fs::write(folder.path().join("sidecar.toml"), place(&guide::block("toml"))).unwrap();
    fs::write(folder.path().join(".curlrc"), "max-time = 60\n").unwrap();

    let commands = guide::blocks("sidecar.md", "sh");
    let [_install, begin, end, ..] = commands.as_slice() else { panic!("{commands:?}") };
    assert_eq!(begin.lines().filter(|line| !line.starts_with("export")).count(), 3, "{begin}");
    let (typed, expected) = session(&place(&guide::block("console")));
    // A person is slower than the sidecar, and a script is not.
    let wait = "for n in $(seq 600); do curl -s -o ready $SIDECAR/health && break; sleep 0.1; done";
    let script = format!("{begin}\n{wait}\n{typed}\n{end}\nwait\necho \"ended: $?\" >&2\n");
    let program_folder = Path::new(env!("CARGO_BIN_EXE_tower-api-key")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut shell = Command::new("bash");
    shell
        .args(["-c", &script])
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", format!("{}:{path}:/usr/sbin", program_folder.display()))
        .env("CURL_HOME", folder.path())
        .env("NO_PROXY", "*")
        .env("SIDECAR", format!("http://{sidecar}"))
        .env("ADDR", &sidecar);
    let finished = process::run(&mut shell);
    let log = fs::read_to_string(folder.path().join("nginx.log")).unwrap_or_default();
    if [&log, &finished.stderr].iter().any(|text| text.to_lowercase().contains("in use")) {
        return false;
    }
    let screen = finished.stdout.replace(&format!("Listening on http://{sidecar}\n"), "");
    assert_eq!(screen.trim_end(), expected.trim_end(), "{finished:?}\n{log}");
    assert!(finished.stderr.contains("ended: 0"), "{finished:?}");
    true
}

/// The lines behind `$`, and the screen that they make.
fn session(text: &str) -> (String, String) {
    let (mut typed, mut screen) = (String::new(), String::new());
    for line in text.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => writeln!(typed, "{command}").unwrap(),
            None => writeln!(screen, "{line}").unwrap(),
        }
    }
    (typed, screen)
}
