//! The unit of the guide, before systemd's own eyes.

use std::{fs, process::Command};

use crate::{guide, process, web_server};

#[test]
fn systemd_takes_the_unit_as_it_is() {
    if web_server::is_left_out("systemd") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let unit = guide::block("ini");
    let unit = unit.replace("/usr/local/bin/tower-api-key", env!("CARGO_BIN_EXE_tower-api-key"));
    let written = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let good = written("tower-api-key.service", &unit);
    let finished = process::run(Command::new("systemd-analyze").arg("verify").arg(&good));
    assert!(finished.status.success() && finished.stderr.is_empty(), "{finished:?}");

    // It would say so.
    let wrong = written("wrong.service", &unit.replace("PrivateTmp=", "PrivateTemp="));
    let finished = process::run(Command::new("systemd-analyze").arg("verify").arg(&wrong));
    assert!(finished.stderr.contains("PrivateTemp"), "{finished:?}");
}
