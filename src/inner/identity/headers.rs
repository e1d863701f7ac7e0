//! [`IdentityHeaders`]: which headers carry an identity, and what clients send in their place.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::value;
use crate::{
    auth::AuthenticatedKey,
    error::ConfigError,
    request::{is_read_as, remove_connection_options},
};

/// The names of the headers that tell a service of the caller: by default `X-Api-Key-Id`,
/// `X-Api-Key-Owner` and `X-Api-Key-Scopes`.
///
/// Each is always there, once, and empty where there is nothing to say: a key without an owner or scopes,
/// a request without a key. The id is a UUID, the owner is percent-encoded, and the scopes have spaces
/// between them, each percent-encoded.
///
/// ```
/// use tower_api_key::identity::IdentityHeaders;
///
/// let names = IdentityHeaders::new().with_owner_name("X-Tenant")?;
/// assert_eq!(names.names().map(|name| name.as_str()), [
///     "x-api-key-id",
///     "x-tenant",
///     "x-api-key-scopes",
/// ]);
/// # Ok::<(), tower_api_key::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct IdentityHeaders {
    id: HeaderName,
    owner: HeaderName,
    scopes: HeaderName,
}

impl Default for IdentityHeaders {
    fn default() -> Self {
        Self {
            id: HeaderName::from_static("x-api-key-id"),
            owner: HeaderName::from_static("x-api-key-owner"),
            scopes: HeaderName::from_static("x-api-key-scopes"),
        }
    }
}

/// Copies of a request's target, in which a key may stand. No source of a layer looks there, so no layer
/// takes it out. Some servers take such a header for the target, in any spelling.
const COPIES_OF_THE_TARGET: [&str; 5] =
    ["referer", "x-forwarded-uri", "x-original-uri", "x-original-url", "x-rewrite-url"];

impl IdentityHeaders {
    /// The names above.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts the key's id into this header.
    ///
    /// # Errors
    ///
    /// [`SourceName`](ConfigError::SourceName) for a name that does not begin with `x-`, has anything but
    /// letters, digits and `-`, or is used otherwise, such as `X-Forwarded-For`;
    /// [`Contradiction`](ConfigError::Contradiction) for the name of another part.
    pub fn with_id_name(self, name: &str) -> Result<Self, ConfigError> {
        Self { id: parse(name)?, ..self }.checked()
    }

    /// Puts the owner into this header.
    ///
    /// # Errors
    ///
    /// As [`with_id_name`](Self::with_id_name).
    pub fn with_owner_name(self, name: &str) -> Result<Self, ConfigError> {
        Self { owner: parse(name)?, ..self }.checked()
    }

    /// Puts the scopes into this header.
    ///
    /// # Errors
    ///
    /// As [`with_id_name`](Self::with_id_name).
    pub fn with_scopes_name(self, name: &str) -> Result<Self, ConfigError> {
        Self { scopes: parse(name)?, ..self }.checked()
    }

    fn checked(self) -> Result<Self, ConfigError> {
        if self.id == self.owner || self.owner == self.scopes || self.scopes == self.id {
            return Err(ConfigError::Contradiction {
                settings: ["IdentityHeaders", "IdentityHeaders"],
                problem: "two parts of an identity would be in one header",
            });
        }
        Ok(self)
    }

    /// The names, of the id, the owner and the scopes.
    pub fn names(&self) -> [&HeaderName; 3] {
        [&self.id, &self.owner, &self.scopes]
    }

    /// Whether a service behind may take a header of this name for one of these, and it is none:
    /// gateway interfaces such as CGI and WSGI give `x_api_key_id` and `x.api.key.id` the same variable.
    pub(crate) fn are_imitated_by(&self, name: &str) -> bool {
        self.names().iter().any(|ours| ours.as_str() != name && is_read_as(name, ours.as_str()))
    }

    /// Whether one of them is there, with a value.
    pub(crate) fn are_in(&self, headers: &HeaderMap) -> bool {
        let values = self.names().into_iter().flat_map(|name| headers.get_all(name));
        values.into_iter().any(|value| !value.is_empty())
    }

    /// Takes out whatever a client has sent in place of the identity, and copies of the target.
    pub(crate) fn remove(&self, headers: &mut HeaderMap) {
        for name in self.names() {
            headers.remove(name);
        }
        let goes = |name: &&HeaderName| {
            let is_copy = |copy: &str| is_read_as(name.as_str(), copy);
            self.are_imitated_by(name.as_str()) || COPIES_OF_THE_TARGET.into_iter().any(is_copy)
        };
        let others: Vec<HeaderName> = headers.keys().filter(goes).cloned().collect();
        for name in others {
            headers.remove(name);
        }
        self.keep_from_connection(headers);
    }

    /// Whether an option of `Connection` names one of them.
    pub(crate) fn are_named_by(&self, option: &str) -> bool {
        self.names().iter().any(|name| is_read_as(option, name.as_str()))
    }

    /// A header that `Connection` names goes no further than the next proxy (RFC 9110 §7.6.1): named by a
    /// client, the identity would not reach the service behind it.
    fn keep_from_connection(&self, headers: &mut HeaderMap) {
        remove_connection_options(headers, |option| self.are_named_by(option));
    }

    /// Sets all of them: of this key, or empty.
    pub(crate) fn set(&self, key: Option<&AuthenticatedKey>, headers: &mut HeaderMap) {
        let nothing = || HeaderValue::from_static("");
        let id = key.and_then(|key| HeaderValue::try_from(key.id().to_string()).ok());
        let owner = key.and_then(AuthenticatedKey::owner).map(|owner| value::text(owner.as_str()));
        let scopes = key.map(|key| value::scopes(key.scopes()));
        headers.insert(&self.id, id.unwrap_or_else(nothing));
        headers.insert(&self.owner, owner.unwrap_or_else(nothing));
        headers.insert(&self.scopes, scopes.unwrap_or_else(nothing));
    }
}

/// A name of our own: one that begins with `x-` has no meaning to servers in between, and one without `_`
/// is passed on by all of them.
fn parse(name: &str) -> Result<HeaderName, ConfigError> {
    let error = || ConfigError::SourceName { family: "identity header" };
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| error())?;
    let is_good = name.as_str().strip_prefix("x-").is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    });
    let is_taken =
        ["x-forwarded-", "x-original-"].iter().any(|taken| name.as_str().starts_with(taken))
            || TAKEN.contains(&name.as_str());
    if is_good && !is_taken { Ok(name) } else { Err(error()) }
}

/// Of keys, and of [forward-auth](crate::forward_auth)'s answers.
const TAKEN: [&str; 3] = ["x-api-key", "x-api-key-problem", "x-api-key-status"];
