//! The families of challenges that a layer's sources make.

use http::header::AUTHORIZATION;

use super::{
    extract::{KeySource, SourceKind},
    resource_metadata::ResourceMetadataUrl,
};
use crate::rejection::{API_KEY_SCHEME, Challenges, bare, quoted};

/// What a 401 of a layer with these sources asks for. Of them, `Bearer` names the metadata.
pub(super) fn challenges(
    realm: &str,
    metadata: Option<&ResourceMetadataUrl>,
    sources: &[KeySource],
) -> Challenges {
    Challenges::new(&families(realm, metadata, sources))
}

fn families(
    realm: &str,
    metadata: Option<&ResourceMetadataUrl>,
    sources: &[KeySource],
) -> Vec<String> {
    let bare = bare(realm);
    let realm = quoted(realm);
    let mut challenges: Vec<String> = Vec::new();
    let names = |family: &str| {
        let names = sources.iter().filter(|s| s.family() == family).filter_map(KeySource::name);
        names.collect::<Vec<_>>().join(",")
    };
    for source in sources {
        if !source.is_asked_for() {
            continue;
        }
        let by_place = || {
            let family = source.family();
            let names = quoted(&names(family));
            format!("{API_KEY_SCHEME} realm={realm}, in=\"{family}\", name={names}")
        };
        let challenge = match source.kind() {
            SourceKind::Scheme { header, scheme } if *header == AUTHORIZATION => {
                let metadata = metadata.filter(|_| scheme.eq_ignore_ascii_case("Bearer"));
                let metadata = metadata.map(ResourceMetadataUrl::parameter).unwrap_or_default();
                format!("{scheme} realm={realm}{metadata}")
            }
            SourceKind::Basic => format!("Basic realm={realm}"),
            SourceKind::Custom(custom) => custom.challenge().map_or_else(by_place, str::to_owned),
            _ => by_place(),
        };
        if !challenges.contains(&challenge) {
            challenges.push(challenge);
        }
    }
    if challenges.is_empty() {
        challenges.push(bare);
    }
    challenges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::ChallengeError;

    fn texts(
        sources: &[KeySource],
        error: Option<ChallengeError>,
        scope: Option<&str>,
    ) -> Vec<String> {
        let challenges = challenges("the \"api\"", None, sources);
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

    /// Only schemes of `Authorization` are challenges of their own.
    #[test]
    fn a_scheme_in_another_header_is_named_by_its_header() {
        let sources = [KeySource::header_scheme("x-auth", "Token").unwrap()];
        assert_eq!(
            texts(&sources, None, None),
            [r#"ApiKey realm="the \"api\"", in="header", name="x-auth""#]
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

    /// A browser would ask its user for a name and a password.
    #[test]
    fn none_for_what_browsers_ask_their_user() {
        let schemes = ["Digest", "nEgOtIaTe", "NTLM"];
        let schemes = schemes.map(|name| KeySource::header_scheme("authorization", name).unwrap());
        for scheme in schemes.into_iter().chain([KeySource::basic()]) {
            assert_eq!(texts(std::slice::from_ref(&scheme), None, None), texts(&[], None, None));
            let bearer = [KeySource::bearer()];
            let both = [scheme, KeySource::bearer()];
            assert_eq!(texts(&both, None, None), texts(&bearer, None, None));
        }
        let asked_for = KeySource::basic().with_challenge();
        assert_eq!(texts(&[asked_for], None, None), [r#"Basic realm="the \"api\"""#]);
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
