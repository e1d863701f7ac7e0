//! `WWW-Authenticate`: how to authenticate instead (RFC 9110 §11.6.1, RFC 6750 §3).

use std::{collections::BTreeSet, fmt::Write};

use http::HeaderValue;

use crate::{error::ConfigError, key::ChallengeError, runtime::Mutex};

/// The scheme of challenges for keys outside `Authorization`. There is no registered one; the
/// name follows OpenAPI's `apiKey` scheme, and `in` and `name` are its fields.
pub(crate) const API_KEY_SCHEME: &str = "ApiKey";

/// One challenge per family of sources: each authorization scheme, header, query, cookie.
#[derive(Clone, Debug)]
pub(crate) struct Challenges {
    /// Without an error, as they are for a request without a credential: built once.
    plain: Vec<HeaderValue>,
    /// With `error="invalid_token"`, the other common case.
    invalid_token: Vec<HeaderValue>,
    /// Of layers beside the one that denies: as they are, since the error is not theirs.
    foreign: Vec<HeaderValue>,
}

impl Challenges {
    /// Of these families, each a scheme and its parameters.
    pub(crate) fn new(families: &[String]) -> Self {
        let value = |family: &String, error| {
            let value = value(family, error, None);
            value.to_str().ok().and_then(|text| uncounted(text.to_owned())).unwrap_or(value)
        };
        let with = |error| families.iter().map(|family| value(family, error)).collect();
        Self {
            plain: with(None),
            invalid_token: with(Some(ChallengeError::InvalidToken)),
            foreign: Vec::new(),
        }
    }

    pub(crate) fn with_foreign(self, challenges: &[HeaderValue]) -> Self {
        Self { foreign: challenges.to_vec(), ..self }
    }

    /// Those of other layers, for a denial that asks for a credential.
    pub(super) fn foreign(&self) -> impl Iterator<Item = &HeaderValue> {
        self.foreign.iter().filter(|foreign| !self.plain.contains(foreign))
    }

    /// The challenges for a denial with this error. `scope` lists the scopes that are missing.
    pub(crate) fn values(
        &self,
        error: Option<ChallengeError>,
        scope: Option<&str>,
    ) -> impl Iterator<Item = HeaderValue> {
        let prepared = match error {
            Some(ChallengeError::InvalidToken) => &self.invalid_token,
            _ => &self.plain,
        };
        let extra = match error {
            None | Some(ChallengeError::InvalidToken) => None,
            Some(other) => Some(other),
        };
        prepared.iter().map(move |challenge| match (extra, challenge.to_str()) {
            (Some(error), Ok(family)) => value(family, Some(error), scope),
            _ => challenge.clone(),
        })
    }
}

/// Of the realm `api`, without sources: for denials that no layer outside completes.
impl Default for Challenges {
    fn default() -> Self {
        Self::new(&[bare("api")])
    }
}

/// A challenge of the application's own, or of another layer.
pub(crate) fn checked_challenge(text: &str) -> Result<HeaderValue, ConfigError> {
    let value = HeaderValue::from_str(text).ok().filter(|_| !text.is_empty());
    value.ok_or(ConfigError::SourceName { family: "challenge" })
}

/// The scheme alone, where there are no sources: a 401 has at least one challenge
/// (RFC 9110 §15.5.2).
pub(crate) fn bare(realm: &str) -> String {
    format!("{API_KEY_SCHEME} realm={}", quoted(realm))
}

fn value(family: &str, error: Option<ChallengeError>, scope: Option<&str>) -> HeaderValue {
    let mut text = family.to_owned();
    if let Some(error) = error {
        // Writing to a `String` cannot fail.
        let _ = write!(text, ", error=\"{}\"", error.as_str());
    }
    if let Some(scope) = scope {
        let _ = write!(text, ", scope={}", quoted(scope));
    }
    // Everything in it was checked or quoted above; a bare scheme is still a challenge.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(API_KEY_SCHEME))
}

/// A header value for as long as the program runs, whose clones count nothing: all threads would write
/// the count. Each text is kept once, and there are as many as the program has layers of different
/// realms and sources, or a thousand: a further value counts its clones. `None` if it is no header value.
pub(crate) fn uncounted(text: String) -> Option<HeaderValue> {
    static KEPT: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    const MOST: usize = 1_000;
    let value = HeaderValue::from_str(&text).ok().filter(|_| text.is_ascii())?;
    let mut kept = KEPT.lock();
    if kept.len() >= MOST && !kept.contains(text.as_str()) {
        return Some(value);
    }
    let text = kept.get(text.as_str()).copied().unwrap_or_else(|| {
        let text: &'static str = text.leak();
        kept.insert(text);
        text
    });
    Some(HeaderValue::from_static(text))
}

/// A quoted-string (RFC 9110 §5.6.4); characters that cannot be in one are replaced.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}
