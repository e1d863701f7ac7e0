//! [`ResourceMetadataUrl`]: where a service describes itself (RFC 9728), for `Bearer` challenges.

use http::Uri;

use crate::{error::ConfigError, rejection::quoted, request::is_this_machine};

/// A URL that was checked, so that it can stand in a quoted string as it is.
#[derive(Clone, Debug)]
pub(crate) struct ResourceMetadataUrl(Box<str>);

/// Printable characters that have no place in a URL (RFC 3986 §2).
const NOT_IN_URLS: &[u8] = b"\"\\<>^`{|}";

/// The longest URL, in bytes. It is in each challenge, and clients bound the headers of a response, some at
/// 8 KiB in all.
const MAX_LENGTH: usize = 2_048;

impl ResourceMetadataUrl {
    pub(super) fn parse(url: &str) -> Result<Self, ConfigError> {
        match problem(url) {
            None => Ok(Self(url.into())),
            Some(problem) => Err(ConfigError::ResourceMetadata { problem }),
        }
    }

    /// The parameter of a challenge (RFC 9728 §5.1), for one that has others before it.
    pub(super) fn parameter(&self) -> String {
        format!(", resource_metadata={}", quoted(&self.0))
    }
}

fn problem(url: &str) -> Option<&'static str> {
    if url.len() > MAX_LENGTH {
        return Some("is longer than 2048 bytes");
    }
    if !url.bytes().all(|byte| byte.is_ascii_graphic() && !NOT_IN_URLS.contains(&byte)) {
        return Some("has a character that must be percent-encoded");
    }
    // Parsing would drop it.
    if url.contains('#') {
        return Some("has a fragment");
    }
    let uri: Option<Uri> = url.parse().ok();
    let parts = uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.authority()?)));
    let Some((scheme, authority)) = parts.filter(|(_, authority)| !authority.host().is_empty())
    else {
        return Some("is not absolute: it begins with `https://` and a host");
    };
    if authority.as_str().contains('@') {
        return Some("has a user in it, which every client would see");
    }
    match scheme {
        "https" => None,
        "http" if is_this_machine(authority.host()) => None,
        "http" => {
            Some("begins with `http://`, which is for the local machine alone: use `https://`")
        }
        _ => Some("has another scheme than `https`"),
    }
}
