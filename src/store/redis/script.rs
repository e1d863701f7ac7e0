//! The scripts, and the names of the keys that they work on.

use std::ops::Deref;

use crate::redis::Script;

pub(super) struct Scripts {
    pub(super) migrate: Script,
    pub(super) find: Script,
    pub(super) find_many: Script,
    pub(super) get: Script,
    pub(super) identity: Script,
    pub(super) list: Script,
    pub(super) known: Script,
    pub(super) added: Script,
    pub(super) apply: Script,
    pub(super) lock: Script,
    pub(super) record_uses: Script,
    pub(super) purge: Script,
    pub(super) purge_balances: Script,
    pub(super) balances: Script,
    pub(super) request: Script,
    pub(super) purge_requests: Script,
    pub(super) record_usage: Script,
    pub(super) usage: Script,
    pub(super) watermarks: Script,
    pub(super) unwritten: Script,
    pub(super) remove_watermark: Script,
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
            find_many: script!(repeatable "find_many.lua"),
            get: script!(repeatable "get.lua"),
            identity: script!(repeatable "identity.lua"),
            list: script!(repeatable "list.lua"),
            known: script!(repeatable "known.lua"),
            added: script!(repeatable "added.lua"),
            apply: script!("apply.lua"),
            lock: script!("lock.lua"),
            record_uses: script!("record_uses.lua"),
            purge: script!("purge.lua"),
            purge_balances: script!(repeatable "purge_balances.lua"),
            balances: script!(repeatable "balances.lua"),
            request: script!(repeatable "request.lua"),
            purge_requests: script!(repeatable "purge_requests.lua"),
            record_usage: script!("record_usage.lua"),
            usage: script!(repeatable "usage.lua"),
            watermarks: script!(repeatable "watermarks.lua"),
            unwritten: script!(repeatable "unwritten.lua"),
            remove_watermark: script!(repeatable "remove_watermark.lua"),
            forget_usage: script!("forget_usage.lua"),
        }
    }
}

/// The keys in Redis, in the order in which `common.lua` takes them.
pub(super) struct Keys {
    pub(super) prefix: Box<str>,
    names: [String; 18],
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
            "acts",
            "act_times",
            "watermarks",
        ];
        Self { prefix: prefix.into(), names: parts.map(|part| format!("{{{prefix}}}:{part}")) }
    }
}

/// As scripts take them.
impl Deref for Keys {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.names
    }
}
