//! A script, and how it is run.

use redis::Cmd;

/// Text that Redis runs as one, while nothing else happens.
pub(crate) struct Script {
    text: &'static str,
    /// The hash by which Redis knows a script that it has seen before.
    sha1: Box<str>,
    /// Whether running it twice is the same as running it once.
    pub(crate) repeatable: bool,
}

impl Script {
    pub(crate) fn new(text: &'static str, repeatable: bool) -> Self {
        Self { text, sha1: redis::Script::new(text).get_hash().into(), repeatable }
    }

    /// Runs it from Redis's memory. After a restart there is nothing in it.
    pub(super) fn by_hash(&self, keys: &[String], args: &[&str]) -> Cmd {
        command("EVALSHA", &self.sha1, keys, args)
    }

    /// Runs it from its text, which Redis keeps.
    pub(super) fn by_text(&self, keys: &[String], args: &[&str]) -> Cmd {
        command("EVAL", self.text, keys, args)
    }
}

fn command(name: &str, script: &str, keys: &[String], args: &[&str]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(keys.len()).arg(keys).arg(args);
    command
}
