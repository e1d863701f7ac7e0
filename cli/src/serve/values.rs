//! Values of the configuration, each checked where it is read, so that an error names its line.

use std::{fmt, net::IpAddr, time::Duration};

use http::Method;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error};
use tower_api_key::{KeySource, limit::Limit, scope::ScopeRule};
use zeroize::Zeroizing;

use crate::quota;

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
            format!("{text:?} is no network, such as 10.0.0.0/8 or 2001:db8::/32, and no address")
        })?;
        if network.prefix_len() == 0 {
            return Err(format!("{text} is every address: name the proxies alone"));
        }
        Ok(Self(network))
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
        ScopeRule::scope(&text).map(Self).map_err(|error| format!("scope {text:?}: {error}"))
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
        method.map(Self).ok_or_else(|| format!("{text:?} is no method, such as GET"))
    }
}

/// A header in which clients send keys: `X-API-Key`, or `Authorization: Bearer` with a scheme.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct KeyHeader(pub(super) KeySource);

impl TryFrom<String> for KeyHeader {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
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
        source.map(Self).map_err(|error| format!("{text:?}: {error}"))
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
            segments.all(|segment| !segment.is_empty() && segment.bytes().all(is_plain))
        });
        if !is_path {
            return Err(format!("{text:?} is no path of letters, digits, `-`, `_` and `.`"));
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
