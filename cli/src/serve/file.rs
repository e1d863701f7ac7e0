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
        format!("{line}: {}", error.message())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "[forward_auth]\nproxy = \"nginx\"\npeers = [\"127.0.0.1\"]\n";

    #[test]
    fn an_error_names_the_line_and_no_secret() {
        assert!(parse(LEAST).is_ok());
        for (wrong, line, said) in [
            ("adress = \"x\"", 1, "unknown field `adress`"),
            ("admin_key = hunter2", 1, ""),
            ("admin_key = 4711471147114711", 1, "in quotes"),
            ("admin_key = \"hunter2", 1, ""),
            ("store.url = [\"hunter2\"]", 1, "in quotes"),
            ("store.url = \"a\"\nstore.url = \"hunter2\"", 2, "duplicate"),
            ("\nstore = { url = \"hunter2\", uri = \"hunter2\" }", 2, "unknown field `uri`"),
            ("drain = \"soon\"", 1, "a number and a unit"),
            ("drain = \"9999999d\"", 1, "a number and a unit"),
            ("max_connections = 0", 1, "nonzero"),
            ("cache.bus = \"carrier\"", 1, "unknown variant"),
            ("limits.default = [\"fast\"]", 1, "minute=100/60s"),
        ] {
            let Err(error) = parse(&format!("{wrong}\n{LEAST}")) else { panic!("{wrong}") };
            assert!(error.starts_with(&format!(" line {line}: ")), "{wrong}: {error}");
            assert!(error.contains(said), "{wrong}: {error}");
            assert!(!error.contains("hunter2") && !error.contains("4711"), "{wrong}: {error}");
        }
        for (wrong, said) in [
            ("key_headers = [\"a b\"]", "a b"),
            ("path = \"auth\"", "no path"),
            ("path = \"/{auth}\"", "no path"),
            ("path = \"/health\"", "own"),
            ("trusted_proxies = [\"0.0.0.0/0\"]", "every address"),
            ("trusted_proxies = [\"proxy\"]", "no network"),
            ("[[rule]]\npath = \"/\"", "missing field `scopes`"),
            ("[[rule]]\npath = \"/\"\nscopes = [\"a b\"]", "a b"),
            ("[[rule]]\npath = \"/\"\nscopes = []\nmethods = [\"get\"]", "no method"),
            ("[[rule]]\npath = \"/\"\nscope = []", "unknown field `scope`"),
            ("[verify]", "missing field `peers`"),
            ("[verify]\npeers = [\"0.0.0.0/0\"]", "every address"),
        ] {
            let Err(error) = parse(&format!("{LEAST}{wrong}\n")) else { panic!("{wrong}") };
            assert!(error.starts_with(" line ") && error.contains(said), "{wrong}: {error}");
        }
        let Err(error) = parse("") else { panic!("nothing") };
        assert!(error.contains("missing field `forward_auth`"), "{error}");
    }

    /// An error about a field lists those there are.
    #[test]
    fn the_guide_has_each_field() {
        let guide = include_str!("../../../docs/guide/sidecar.md");
        let mut count = 0;
        for table in ["", "store", "keys", "cache", "limits", "forward_auth", "rule", "verify"] {
            let text = match table {
                "" => format!("nonsense = 1\n{LEAST}"),
                "forward_auth" => format!("{LEAST}nonsense = 1\n"),
                "rule" => format!("{LEAST}[[rule]]\nnonsense = 1\n"),
                table => format!("{LEAST}[{table}]\nnonsense = 1\n"),
            };
            let Err(error) = parse(&text) else { panic!("{table}") };
            for field in error.split('`').skip(3).step_by(2) {
                let name = match table {
                    "" | "rule" => field.to_owned(),
                    table => format!("{table}.{field}"),
                };
                let is_table = ["rule", "verify"].contains(&&*name);
                let is_there = guide.contains(&format!("`{name}")) || is_table;
                assert!(is_there, "{name} is not in the guide: {error}");
                count += 1;
            }
        }
        assert!(count > 30, "{count}");
    }
}
