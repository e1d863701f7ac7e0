//! Tests that need a process of their own run themselves again as a child.

use std::{
    env,
    ffi::OsStr,
    process::{Command, Stdio},
};

/// Set in the children, where it says which half of the test to run.
const CHILD: &str = "TOWER_API_KEY_TEST_CHILD";

/// The variable that [`run`] sets.
pub(crate) const VARIABLE: &str = "TOWER_API_KEY_TEST_SECRET";

pub(crate) fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

/// Runs the test of this name, and no other, in a child with [`VARIABLE`] set (or not), and
/// returns everything it printed. The test must pass there.
pub(crate) fn run(test: &str, value: Option<&OsStr>) -> String {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture"]).env(CHILD, "1").env_remove(VARIABLE);
    if let Some(value) = value {
        child.env(VARIABLE, value);
    }
    let output = child.stdin(Stdio::null()).output().unwrap();
    let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("1 passed"), "no test of this name: {test}\n{printed}");
    printed
}
