//! The file of `serve`, in TOML. A table or a field that is not known is refused.

use std::{
    collections::BTreeMap,
    fs,
    num::{NonZeroU32, NonZeroUsize},
    path::Path,
    time::Duration,
};

use serde::Deserialize;
use zeroize::Zeroizing;

use super::values::{
    Bus, CheckPath, Counting, Flavour, KeyHeader, LimitText, MethodName, Network, Required, Secret,
    Time,
};
use crate::failure::Failure;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) addr: Option<String>,
    pub(super) admin_key: Option<Secret>,
    #[serde(default = "yes")]
    pub(super) metrics: bool,
    #[serde(default = "yes")]
    pub(super) credits: bool,
    #[serde(default = "yes")]
    pub(super) usage: bool,
    #[serde(default = "no_time")]
    pub(super) stop_delay: Time,
    #[serde(default = "ten_seconds")]
    pub(super) drain: Time,
    #[serde(default = "ten_seconds")]
    pub(super) client_timeout: Time,
    pub(super) max_connections: Option<NonZeroUsize>,
    #[serde(default)]
    pub(super) store: Store,
    #[serde(default)]
    pub(super) keys: Keys,
    #[serde(default)]
    pub(super) cache: Cache,
    #[serde(default)]
    pub(super) limits: Limits,
    pub(super) forward_auth: ForwardAuth,
    #[serde(default, rename = "rule")]
    pub(super) rules: Vec<Rule>,
    /// None: no program may ask about keys.
    pub(super) verify: Option<Verify>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Store {
    pub(super) url: Option<Secret>,
    #[serde(default)]
    pub(super) replicas: Vec<Secret>,
    pub(super) table: Option<String>,
    pub(super) redis_url: Option<Secret>,
    pub(super) lookup_timeout: Option<Time>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    pub(super) prefix: Option<String>,
    #[serde(default)]
    pub(super) other_formats: bool,
    #[serde(default)]
    pub(super) legacy_hashes: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cache {
    pub(super) ttl: Option<Time>,
    pub(super) capacity: Option<NonZeroUsize>,
    pub(super) stale_if_error: Option<Time>,
    pub(super) bus: Option<Bus>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) counted_in: Option<Counting>,
    #[serde(default)]
    pub(super) default: Vec<LimitText>,
    #[serde(default)]
    pub(super) tiers: BTreeMap<String, Vec<LimitText>>,
    pub(super) failures_per_minute: Option<NonZeroU32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ForwardAuth {
    pub(super) proxy: Flavour,
    pub(super) peers: Vec<Network>,
    pub(super) path: Option<CheckPath>,
    pub(super) key_headers: Option<Vec<KeyHeader>>,
    pub(super) client_address_header: Option<String>,
    #[serde(default)]
    pub(super) trusted_proxies: Vec<Network>,
    #[serde(default)]
    pub(super) identity_headers: IdentityNames,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdentityNames {
    pub(super) id: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) scopes: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) path: String,
    /// None: all methods without a rule of their own.
    pub(super) methods: Option<Vec<MethodName>>,
    /// All of them. There is no default, which would be any good key.
    pub(super) scopes: Vec<Required>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Verify {
    pub(super) peers: Vec<Network>,
    /// Whether a program needs a key of its own.
    #[serde(default = "yes")]
    pub(super) key: bool,
}

const fn yes() -> bool {
    true
}

const fn no_time() -> Time {
    Time(Duration::ZERO)
}

const fn ten_seconds() -> Time {
    Time(Duration::from_secs(10))
}

/// Reads the file. Errors name the line, and repeat nothing of it: a secret may stand there.
pub(super) fn read(path: &Path) -> Result<File, Failure> {
    let name = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("{name} cannot be read: {error}")))?;
    parse(&Zeroizing::new(text)).map_err(|error| Failure::Usage(format!("{name}{error}")))
}

fn parse(text: &str) -> Result<File, String> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start));
        let line = line.map_or_else(String::new, |before| {
            format!(" line {}", before.bytes().filter(|byte| *byte == b'\n').count() + 1)
        });
        format!("{line}: {}", without_values(error.message()))
    })
}

/// A message of serde without the value that it repeats: a secret may stand in a wrong place. Messages of
/// `values` stay, which tell of networks, paths and the like.
fn without_values(message: &str) -> String {
    let starts = |with: &[&str]| with.iter().any(|start| message.starts_with(start));
    // The last of these words are serde's, and what follows is of this program: a value may hold them, too.
    let split = |at| message.rsplit_once(at);
    if starts(&["invalid type: ", "invalid value: ", "invalid length: "]) {
        let expected = split(", expected ").map_or("another value", |(_, expected)| expected);
        return format!("expected {expected}");
    }
    if starts(&["unknown variant `"]) {
        let expected = split("`, expected ").map_or("another value", |(_, expected)| expected);
        return format!("unknown variant, expected {expected}");
    }
    if let Some((before, expected)) = split("`, expected ")
        && let Some(name) = before.strip_prefix("unknown field `")
        && !looks_like_a_field(name)
    {
        return format!("unknown field, expected {expected}");
    }
    message.to_owned()
}

/// Whether it may be a mistyped name: longer ones than the longest are more likely to be secrets.
fn looks_like_a_field(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    name.len() <= "client_address_header".len() && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests;
