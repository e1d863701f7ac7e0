//! `WWW-Authenticate`: how to authenticate instead (RFC 9110 §11.6.1, RFC 6750 §3).

use std::fmt::Write;

use http::HeaderValue;

use super::extract::{KeySource, SourceKind};
use crate::key::ChallengeError;

/// The scheme of challenges for keys outside `Authorization`. There is no registered one; the
/// name follows OpenAPI's `apiKey` scheme, and `in` and `name` are its fields.
const API_KEY_SCHEME: &str = "ApiKey";

/// One challenge per family of sources: each authorization scheme, header, query, cookie.
///
/// Without sources there is the scheme alone, since a 401 has at least one challenge
/// (RFC 9110 §15.5.2).
#[derive(Clone, Debug)]
pub(crate) struct Challenges {
    /// Without an error, as they are for a request without a credential: built once.
    plain: Vec<HeaderValue>,
    /// With `error="invalid_token"`, the other common case.
    invalid_token: Vec<HeaderValue>,
}

impl Challenges {
    pub(crate) fn new(realm: &str, sources: &[KeySource]) -> Self {
        let families = families(realm, sources);
        let with = |error| families.iter().map(|family| value(family, error, None)).collect();
        Self { plain: with(None), invalid_token: with(Some(ChallengeError::InvalidToken)) }
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
        Self::new("api", &[])
    }
}

fn families(realm: &str, sources: &[KeySource]) -> Vec<String> {
    let realm = quoted(realm);
    if sources.is_empty() {
        return vec![format!("{API_KEY_SCHEME} realm={realm}")];
    }
    let mut challenges: Vec<String> = Vec::new();
    let names = |family: &str| {
        let names = sources.iter().filter(|s| s.family() == family).filter_map(KeySource::name);
        names.collect::<Vec<_>>().join(",")
    };
    for source in sources {
        let challenge = if let SourceKind::Authorization(scheme) = source.kind() {
            format!("{scheme} realm={realm}")
        } else {
            let family = source.family();
            format!(
                "{API_KEY_SCHEME} realm={realm}, in=\"{family}\", name={}",
                quoted(&names(family))
            )
        };
        if !challenges.contains(&challenge) {
            challenges.push(challenge);
        }
    }
    challenges
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

/// A quoted-string (RFC 9110 §5.6.4); characters that cannot be in one are replaced.
fn quoted(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(
        sources: &[KeySource],
        error: Option<ChallengeError>,
        scope: Option<&str>,
    ) -> Vec<String> {
        let challenges = Challenges::new("the \"api\"", sources);
        challenges.values(error, scope).map(|v| v.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn one_challenge_for_each_family() {
        let sources = [
            KeySource::header("x-api-key").unwrap(),
            KeySource::header("x-old-key").unwrap(),
            KeySource::bearer(),
            KeySource::query("api_key").unwrap(),
        ];
        assert_eq!(
            texts(&sources, None, None),
            [
                r#"ApiKey realm="the \"api\"", in="header", name="x-api-key,x-old-key""#,
                r#"Bearer realm="the \"api\"""#,
                r#"ApiKey realm="the \"api\"", in="query", name="api_key""#,
            ]
        );
    }

    #[test]
    fn without_sources_there_is_the_scheme() {
        assert_eq!(texts(&[], None, None), [r#"ApiKey realm="the \"api\"""#]);
        assert_eq!(
            texts(&[], Some(ChallengeError::InvalidToken), None),
            [r#"ApiKey realm="the \"api\"", error="invalid_token""#]
        );
    }

    #[test]
    fn errors_and_scopes_are_named() {
        let sources = [KeySource::bearer()];
        assert_eq!(
            texts(&sources, Some(ChallengeError::InsufficientScope), Some("a b")),
            [r#"Bearer realm="the \"api\"", error="insufficient_scope", scope="a b""#]
        );
        assert_eq!(
            texts(&sources, Some(ChallengeError::InvalidToken), None),
            [r#"Bearer realm="the \"api\"", error="invalid_token""#]
        );
    }
}
