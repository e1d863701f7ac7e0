//! Progress is shown on a terminal, and nowhere else.

use crate::{process, session::Shell};

/// What a command shows on a terminal.
fn on_terminal(shell: &Shell, command: &str) -> String {
    let mut terminal = shell.command("script");
    let done = process::run(terminal.env("TERM", "xterm").args(["-qec", command, "/dev/null"]));
    assert!(done.status.success(), "{done:?}");
    done.stdout
}

/// Every phase of an import, with count, rate and the time left.
#[test]
fn of_an_import() {
    let shell = Shell::on_sqlite();
    let file = |is_active: u8| {
        let row = |number: usize| format!("{number:064x},{is_active}\n");
        format!("key_hash,is_active\n{}", (0..2000).map(row).collect::<String>())
    };
    shell.write("before.csv", &file(1));
    shell.write("after.csv", &file(0));

    let mut import = shell.command("tower-api-key");
    let quiet = process::run(import.args(["import", "before.csv"]));
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("Imported: 2000", ""));

    let shown = on_terminal(&shell, "tower-api-key import after.csv --end-ended");
    for phase in ["Read and checked: ", "Written: ", "Ended: "] {
        let is_whole = |line: &str| {
            line.strip_prefix(phase).is_some_and(|rest| {
                rest.contains(" of ") && rest.contains("/s, ") && rest.contains(" left")
            })
        };
        let lines = shown.split(['\r', '\n']).map(|line| line.trim_start_matches("\u{1b}[2K"));
        assert!(lines.into_iter().any(is_whole), "{phase}{shown:?}");
    }
    assert!(shown.contains("Ended here as they have there: 2000"), "{shown}");

    // The end of a table is known from the start, and that of a pipe is not.
    let shown = on_terminal(
        &shell,
        "tower-api-key import keys.db --column key_hash=digest --ignore-other-columns --dry-run",
    );
    assert!(shown.contains("Read and checked: 1 of 2,000, "), "{shown}");
    let shown = on_terminal(&shell, "cat after.csv | tower-api-key import - --dry-run");
    assert!(shown.contains("Read and checked: 1, "), "{shown}");
    assert!(!shown.contains("Read and checked: 2 of"), "{shown}");
}
