//! The scripts, and the names of the keys that they work on.

use redis::Cmd;

/// Text that Redis runs as one, while nothing else happens.
pub(super) struct Script {
    text: &'static str,
    /// What Redis knows a script by that it has seen before.
    sha1: Box<str>,
    /// Whether running it twice is the same as running it once.
    pub(super) repeatable: bool,
}

impl Script {
    fn new(text: &'static str, repeatable: bool) -> Self {
        Self { text, sha1: redis::Script::new(text).get_hash().into(), repeatable }
    }

    /// Runs it from Redis's memory. After a restart there is nothing in it.
    pub(super) fn by_hash(&self, keys: &Keys, args: &[&str]) -> Cmd {
        command("EVALSHA", &self.sha1, keys, args)
    }

    /// Runs it from its text, which Redis keeps.
    pub(super) fn by_text(&self, keys: &Keys, args: &[&str]) -> Cmd {
        command("EVAL", self.text, keys, args)
    }
}

fn command(name: &str, script: &str, keys: &Keys, args: &[&str]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(keys.names.len()).arg(&keys.names[..]).arg(args);
    command
}

pub(super) struct Scripts {
    pub(super) migrate: Script,
    pub(super) find: Script,
    pub(super) get: Script,
    pub(super) list: Script,
    pub(super) apply: Script,
    pub(super) record_uses: Script,
    pub(super) purge: Script,
    pub(super) purge_balances: Script,
    pub(super) balances: Script,
    pub(super) record_usage: Script,
    pub(super) usage: Script,
    pub(super) forget_usage: Script,
}

/// A script with what all of them begin with.
macro_rules! script {
    (repeatable $file:literal) => {
        Script::new(concat!(include_str!("common.lua"), include_str!($file)), true)
    };
    ($file:literal) => {
        Script::new(concat!(include_str!("common.lua"), include_str!($file)), false)
    };
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            migrate: script!(repeatable "migrate.lua"),
            find: script!(repeatable "find.lua"),
            get: script!(repeatable "get.lua"),
            list: script!(repeatable "list.lua"),
            apply: script!("apply.lua"),
            record_uses: script!("record_uses.lua"),
            purge: script!("purge.lua"),
            purge_balances: script!(repeatable "purge_balances.lua"),
            balances: script!(repeatable "balances.lua"),
            record_usage: script!("record_usage.lua"),
            usage: script!(repeatable "usage.lua"),
            forget_usage: script!("forget_usage.lua"),
        }
    }
}

/// The keys in Redis, in the order in which `common.lua` takes them.
pub(super) struct Keys {
    pub(super) prefix: Box<str>,
    names: [String; 15],
}

impl Keys {
    /// For a prefix, which was checked. In braces it decides alone which node of a cluster a key
    /// is on (the "hash tag" of the cluster specification).
    pub(super) fn new(prefix: &str) -> Self {
        let parts = [
            "schema",
            "keys",
            "digests",
            "uses",
            "last_used",
            "ids",
            "owners",
            "ended",
            "requests",
            "legacy",
            "balances",
            "lines",
            "usage",
            "usage_hours",
            "usage_lines",
        ];
        Self { prefix: prefix.into(), names: parts.map(|part| format!("{{{prefix}}}:{part}")) }
    }
}
