//! Values of the configuration, each checked where it is read, so that an error names its line.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use http::Method;
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, de::Error};
use tower_api_key::{KeySource, limit::Limit, scope::ScopeRule};
use zeroize::Zeroizing;

use crate::quota;

/// A text as an error repeats it: not where it looks like a URL in a wrong place, with a password in it.
fn told(text: &str) -> String {
    if text.contains("://") || text.contains('@') {
        "a URL".to_owned()
    } else {
        format!("{text:?}")
    }
}

/// An error's text without the words that look like a URL in a wrong place.
pub(super) fn without_urls(text: &str) -> String {
    let told = |word: &str| {
        if word.contains("://") || word.contains('@') {
            "(a URL)".to_owned()
        } else {
            word.to_owned()
        }
    };
    text.split(' ').map(told).collect::<Vec<_>>().join(" ")
}

/// A text that no error and no log repeats.
#[derive(Clone)]
pub(super) struct Secret(pub(super) Zeroizing<String>);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Of any type, since an error about the type would repeat the value.
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self(Zeroizing::new(text))),
            _ => Err(D::Error::custom("must be a text in quotes")),
        }
    }
}

/// A time as arguments of the command line have it, such as `30s` or `5m`.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Time(pub(super) Duration);

impl TryFrom<String> for Time {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // Times are added to others: some 136 years are enough.
        let fits = |time: &Duration| time.as_secs() <= u32::MAX.into();
        let must = "a time is a number and a unit, such as 500ms, 30s, 5m or 1h";
        quota::duration(&text).filter(fits).map(Self).ok_or(must)
    }
}

/// A network, or one address.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Network(pub(super) IpNet);

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let network: IpNet = network.map_err(|_| {
            format!(
                "{} is no network, such as 10.0.0.0/8 or 2001:db8::/32, and no address",
                told(&text)
            )
        })?;
        let network = unwrapped(network).ok_or_else(|| {
            format!("{text} is every address of IPv4 and more: name the proxies alone")
        })?;
        if network.prefix_len() == 0 {
            return Err(format!("{text} is every address: name the proxies alone"));
        }
        Ok(Self(network))
    }
}

/// A network as peers have their addresses: those of IPv4 that IPv6 wraps (`::ffff:0:0/96`) are of IPv4. `None`
/// for one with all of them and others, in which no peer would be found.
fn unwrapped(network: IpNet) -> Option<IpNet> {
    const WRAPPED: u8 = 96;

    let IpNet::V6(wide) = network else { return Some(network) };
    let first = wide.network();
    match (first.to_ipv4_mapped(), wide.prefix_len().checked_sub(WRAPPED)) {
        (Some(address), Some(length)) => Ipv4Net::new(address, length).ok().map(IpNet::V4),
        _ if wide.contains(&Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()) && wide.prefix_len() > 0 => {
            None
        }
        _ => Some(network),
    }
}

/// A limit as `--limit` has it.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct LimitText(pub(super) Limit);

impl TryFrom<String> for LimitText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        quota::limit(&text).map(Self).map_err(|error| format!("a limit {error}"))
    }
}

/// A scope that a rule asks for.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Required(pub(super) ScopeRule);

impl TryFrom<String> for Required {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        ScopeRule::scope(&text).map(Self).map_err(|error| format!("scope {}: {error}", told(&text)))
    }
}

/// A method in capitals. One in small letters is another method, and no request's.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct MethodName(pub(super) Method);

impl TryFrom<String> for MethodName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_method =
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        let method = Method::from_bytes(text.as_bytes()).ok().filter(|_| is_method);
        method.map(Self).ok_or_else(|| format!("{} is no method, such as GET", told(&text)))
    }
}

/// A header in which clients send keys: `X-API-Key`, or `Authorization: Bearer` with a scheme.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct KeyHeader(pub(super) KeySource);

/// Headers that are the connection's or the proxy's, or that tell of the request or of its key: what clients send
/// in them comes as another text or not at all.
fn is_taken(header: &str) -> bool {
    const STARTS: [&str; 4] = ["x-original-", "x-forwarded-", "content-", "proxy-"];
    const NAMES: [&str; 14] = [
        "host",
        "connection",
        "keep-alive",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "forwarded",
        "x-real-ip",
        "x-api-key-id",
        "x-api-key-owner",
        "x-api-key-scopes",
        "x-api-key-status",
    ];
    let header = header.to_ascii_lowercase();
    NAMES.contains(&&*header) || STARTS.iter().any(|start| header.starts_with(start))
}

impl TryFrom<String> for KeyHeader {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let name = text.split(':').next().unwrap_or_default().trim();
        if is_taken(name) {
            return Err(format!("{}: a client's key does not come in this header", told(&text)));
        }
        let source = match text.split_once(':') {
            None => KeySource::header(&text),
            Some((name, scheme)) => match (name.trim(), scheme.trim()) {
                (name, scheme) if !name.eq_ignore_ascii_case("authorization") => {
                    KeySource::header_scheme(name, scheme)
                }
                (_, scheme) if scheme.eq_ignore_ascii_case("bearer") => Ok(KeySource::bearer()),
                (_, scheme) if scheme.eq_ignore_ascii_case("basic") => Ok(KeySource::basic()),
                (name, scheme) => KeySource::header_scheme(name, scheme),
            },
        };
        source.map(Self).map_err(|error| format!("{}: {error}", told(&text)))
    }
}

/// The path at which the proxy asks.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct CheckPath(pub(super) String);

/// Paths of the sidecar's own.
pub(super) const HEALTH: &str = "/health";
pub(super) const READY: &str = "/ready";
pub(super) const METRICS: &str = "/metrics";
pub(super) const VERIFY: &str = "/verify";

impl TryFrom<String> for CheckPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let segments = text.strip_prefix('/').map(|rest| rest.split('/'));
        let is_path = segments.is_some_and(|mut segments| {
            segments
                .all(|segment| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain))
        });
        if !is_path {
            return Err(format!("{} is no path of letters, digits, `-`, `_` and `.`", told(&text)));
        }
        let is_own = [HEALTH, READY, METRICS, VERIFY].iter().any(|own| {
            text.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if is_own {
            return Err(format!("{text} is a path of the sidecar's own"));
        }
        Ok(Self(text))
    }
}

/// The proxy that asks, which decides how it tells of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Flavour {
    Nginx,
    HaProxy,
    Caddy,
    Traefik,
    /// With its filter ext_authz, over gRPC.
    Envoy,
}

/// The carrier of changes to the caches of all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Bus {
    /// The store itself.
    Store,
    Redis,
    None,
}

/// The place where requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Counting {
    Memory,
    Redis,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
