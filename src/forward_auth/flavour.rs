//! [`Flavour`]: in which headers a proxy tells of a request, and which statuses reach its client.

use http::{HeaderName, StatusCode};

/// The conventions of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    Nginx,
    Traefik,
    Caddy,
    HaProxy,
}

/// The headers in which a proxy tells of the request that it asks about.
pub(super) struct Family {
    pub(super) method: HeaderName,
    pub(super) scheme: HeaderName,
    pub(super) host: HeaderName,
    pub(super) uri: HeaderName,
}

pub(super) const FORWARDED: Family = Family {
    method: HeaderName::from_static("x-forwarded-method"),
    scheme: HeaderName::from_static("x-forwarded-proto"),
    host: HeaderName::from_static("x-forwarded-host"),
    uri: HeaderName::from_static("x-forwarded-uri"),
};

pub(super) const ORIGINAL: Family = Family {
    method: HeaderName::from_static("x-original-method"),
    scheme: HeaderName::from_static("x-original-proto"),
    host: HeaderName::from_static("x-original-host"),
    uri: HeaderName::from_static("x-original-uri"),
};

impl Flavour {
    pub(super) const fn family(self) -> Family {
        match self {
            Self::Traefik | Self::Caddy => FORWARDED,
            Self::Nginx | Self::HaProxy => ORIGINAL,
        }
    }

    /// Whether the proxy takes every other status of a denial than 401 and 403 for a failure.
    pub(super) const fn knows_two_denials(self) -> bool {
        matches!(self, Self::Nginx)
    }

    /// The status with which such a proxy is answered.
    pub(super) fn status(self, decided: StatusCode) -> StatusCode {
        let survives = !self.knows_two_denials()
            || decided.is_success()
            || decided == StatusCode::UNAUTHORIZED;
        if survives { decided } else { StatusCode::FORBIDDEN }
    }
}
