//! [`Origin`]: scheme, host and port, as the target of a request names them.

use std::{fmt, net::Ipv6Addr};

use http::{
    HeaderMap, Uri,
    header::HOST,
    uri::{Authority, Scheme},
};

use crate::{error::ConfigError, request::is_this_machine};

/// An origin to which a key may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    is_tls: bool,
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// In lower case. An IPv4 address is one, too.
    Name(Box<str>),
    V6(Ipv6Addr),
}

/// The origin that a target names, by the reader of its text.
#[derive(Clone, Copy)]
pub(super) struct Target<'t> {
    is_tls: bool,
    host: &'t str,
    port: u16,
}

impl Origin {
    /// Reads `https://host` or `https://host:port`; the number is for the error.
    pub(super) fn read(
        text: &str,
        number: usize,
        allows_plaintext: bool,
    ) -> Result<Self, ConfigError> {
        let bad = |problem| ConfigError::Origin { number, problem };
        let uri: Uri = text.parse().map_err(|_| bad(FORM))?;
        // The parser passes over a fragment.
        let is_bare = uri.path() == "/" && uri.query().is_none() && !text.contains('#');
        let target = Target::of(&uri).filter(|_| is_bare).ok_or_else(|| bad(FORM))?;
        let host = match v6(target.host) {
            Some(address) => Host::V6(address),
            None if target.host.starts_with('[') => return Err(bad(FORM)),
            None if !target.host.bytes().all(is_of_name) => return Err(bad(FORM)),
            None => Host::Name(target.host.to_ascii_lowercase().into()),
        };
        if !target.is_tls && !is_this_machine(target.host) && !allows_plaintext {
            return Err(bad(PLAINTEXT));
        }
        Ok(Self { is_tls: target.is_tls, host, port: target.port })
    }

    pub(super) fn is(&self, target: Target<'_>) -> bool {
        let is_host = match &self.host {
            Host::Name(name) => name.eq_ignore_ascii_case(target.host),
            Host::V6(address) => v6(target.host).as_ref() == Some(address),
        };
        is_host && self.is_tls == target.is_tls && self.port == target.port
    }

    /// Whether a `Host` field, if there is one, names this origin.
    pub(super) fn agrees_with(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        let Some(host) = hosts.next() else { return true };
        let host = host.to_str().ok().and_then(|host| Target::read(host, self.is_tls));
        host.is_some_and(|host| self.is(host)) && hosts.next().is_none()
    }
}

impl<'t> Target<'t> {
    /// `None` where the target does not name an origin, or in an unusual way.
    pub(super) fn of(uri: &'t Uri) -> Option<Self> {
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return None,
        };
        Self::read(uri.authority().map(Authority::as_str)?, is_tls)
    }

    /// A host, perhaps with a port. User information is refused: parsers differ in where it ends.
    fn read(authority: &'t str, is_tls: bool) -> Option<Self> {
        let ends_at = match authority.strip_prefix('[') {
            Some(address) => address.find(']')? + 2,
            None => authority.find(':').unwrap_or(authority.len()),
        };
        let (host, rest) = authority.split_at(ends_at);
        let port = match rest.strip_prefix(':') {
            // `parse` would take a sign.
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok()?,
            None if rest.is_empty() => {
                if is_tls {
                    443
                } else {
                    80
                }
            }
            _ => return None,
        };
        let is_plain = !host.is_empty() && !host.contains('@');
        is_plain.then_some(Self { is_tls, host, port })
    }
}

const FORM: &str = "is not like https://api.example.com or https://api.example.com:8443";
const PLAINTEXT: &str = "is http on a host that is not this one, so that the key could be read on the way: use https, or \
     `AttachApiKeyLayer::insecure`";

/// A `*` would be taken for a wildcard, which there is none.
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

fn v6(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_tls { "https://" } else { "http://" })?;
        match &self.host {
            Host::Name(name) => f.write_str(name)?,
            Host::V6(address) => write!(f, "[{address}]")?,
        }
        match (self.is_tls, self.port) {
            (true, 443) | (false, 80) => Ok(()),
            (_, port) => write!(f, ":{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Origin, ConfigError> {
        Origin::read(text, 1, false)
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (text, shown) in [
            ("https://api.example.com", "https://api.example.com"),
            ("https://api.example.com/", "https://api.example.com"),
            ("HTTPS://API.Example.COM:443", "https://api.example.com"),
            ("https://api.example.com:8443", "https://api.example.com:8443"),
            ("https://192.0.2.7", "https://192.0.2.7"),
            ("https://[2001:DB8:0:0::1]:443", "https://[2001:db8::1]"),
            ("http://127.0.0.1:80", "http://127.0.0.1"),
            ("http://127.1.2.3:8080", "http://127.1.2.3:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://LocalHost:8080", "http://localhost:8080"),
        ] {
            assert_eq!(read(text).expect(text).to_string(), shown);
        }
    }

    #[test]
    fn anything_else_is_an_error() {
        for text in [
            "",
            "api.example.com",
            "api.example.com:443",
            "/path",
            "*",
            "ftp://api.example.com",
            "wss://api.example.com",
            "https://",
            "https://:443",
            "https://api.example.com:",
            "https://api.example.com:99999",
            "https://api.example.com:+443",
            "https://user@api.example.com",
            "https://user:password@api.example.com",
            "https://api.example.com/path",
            "https://api.example.com?query",
            "https://api.example.com#fragment",
            "https://api.example.com/#fragment",
            "https://[::1",
            "https://[::g]",
            "https://[fe80::1%25eth0]",
            "https://*.example.com",
            "https://api.example.com ",
        ] {
            let error = read(text).expect_err(text);
            assert_eq!(error, ConfigError::Origin { number: 1, problem: FORM }, "{text}");
        }
    }

    #[test]
    fn plaintext_is_for_this_host_unless_allowed() {
        for text in [
            "http://api.example.com",
            "http://192.0.2.7",
            "http://10.0.0.1:8080",
            "http://localhost.example.com",
            "http://api.localhost",
            "http://127.0.0.1.example.com",
            "http://[::2]",
            "http://[::ffff:7f00:1]",
            "http://0.0.0.0",
        ] {
            let error = read(text).expect_err(text);
            assert_eq!(error, ConfigError::Origin { number: 1, problem: PLAINTEXT }, "{text}");
            assert!(Origin::read(text, 1, true).is_ok(), "{text}");
        }
    }

    #[test]
    fn targets_are_compared_with_all_three() {
        let origins = ["https://api.example.com", "http://127.0.0.1:8080", "https://[::1]"];
        for (origin, target, is_same) in [
            (0, "https://api.example.com/orders?a=b", true),
            (0, "https://API.example.com:443", true),
            (0, "https://api.example.com:8443", false),
            (0, "http://api.example.com", false),
            (0, "http://api.example.com:443", false),
            (0, "https://example.com", false),
            (0, "https://api.example.com.", false),
            (0, "https://api.example.com.evil.example", false),
            (0, "https://evil.example/api.example.com", false),
            (0, "https://api.example.com@evil.example", false),
            (0, "https://evil.example@api.example.com", false),
            (0, "https://api.example.com:99999", false),
            (0, "https://api.example.com:", false),
            (0, "ftp://api.example.com", false),
            (0, "api.example.com:443", false),
            (0, "/orders", false),
            (0, "*", false),
            (1, "http://127.0.0.1:8080/", true),
            (1, "http://127.0.0.1", false),
            (1, "http://localhost:8080", false),
            (1, "https://127.0.0.1:8080", false),
            (2, "https://[0:0:0:0:0:0:0:1]:443/", true),
            (2, "https://[::2]", false),
            (2, "https://127.0.0.1", false),
        ] {
            let origin = read(origins[origin]).unwrap();
            // A target that is none is not reached, either.
            let Ok(uri) = target.parse::<Uri>() else {
                assert!(!is_same, "{target}");
                continue;
            };
            let is = Target::of(&uri).is_some_and(|target| origin.is(target));
            assert_eq!(is, is_same, "{origin} {target}");
        }
    }

    #[test]
    fn a_host_field_must_name_the_same() {
        let origin = read("https://api.example.com").unwrap();
        let agrees = |hosts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, http::HeaderValue::from_static(host));
            }
            origin.agrees_with(&headers)
        };
        assert!(agrees(&[]) && agrees(&["api.example.com"]) && agrees(&["API.example.com:443"]));
        for hosts in [
            &["evil.example"][..],
            &["api.example.com:80"],
            &[""],
            &["user@api.example.com"],
            &["api.example.com", "evil.example"],
            &["api.example.com", "api.example.com"],
        ] {
            assert!(!agrees(hosts), "{hosts:?}");
        }
    }
}
