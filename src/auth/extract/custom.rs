//! [`CustomSource`]: keys in places that the application reads itself.

use std::fmt;

use http::{Extensions, HeaderMap, HeaderName, Request, Uri};

use super::{
    Credential,
    source::{header_name, is_token},
};
use crate::{error::ConfigError, rejection::checked_challenge, request::RequestHead};

/// A place for keys that the application reads itself, for [`KeySource::custom`](super::KeySource::custom).
///
/// What a layer does for its own sources, such a source has to say: where responses depend on a header,
/// [which one](Self::in_header); how a client is [asked for the key](Self::with_challenge); whether
/// [browsers](Self::sent_by_browsers) send it by themselves; how [OpenAPI](Self::with_description) describes it.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, KeySource, auth::CustomSource, store::MemoryStore};
///
/// // `X-Signature: v=1;key=<key>`
/// let source = CustomSource::new(
///     "signature",
///     |request| {
///         let values = request.headers.get_all("x-signature").iter();
///         let parts = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
///         parts.filter_map(|part| part.strip_prefix(b"key=")).collect()
///     },
///     |request, _| {
///         request.headers.remove("x-signature");
///     },
/// )?
/// .in_header("x-signature")?;
/// let layer = ApiKeyLayer::new(MemoryStore::new()).with_source(KeySource::custom(source));
/// # let _ = layer;
/// # Ok::<(), tower_api_key::ConfigError>(())
/// ```
#[must_use]
pub struct CustomSource {
    name: Box<str>,
    find: Box<Find>,
    hide: Box<Hide>,
    header: Option<HeaderName>,
    challenge: Option<Box<str>>,
    #[cfg_attr(not(feature = "openapi"), expect(dead_code, reason = "documents show it"))]
    description: Option<Box<str>>,
    is_ambient: bool,
}

type Find = dyn for<'r> Fn(&RequestHead<'r>) -> Vec<&'r [u8]> + Send + Sync;
type Hide = dyn Fn(HiddenPlaces<'_>, &dyn Fn(&[u8]) -> bool) + Send + Sync;

/// The parts of a request from which a [`CustomSource`] hides keys.
#[derive(Debug)]
#[non_exhaustive]
pub struct HiddenPlaces<'r> {
    /// The target.
    pub uri: &'r mut Uri,
    /// The headers.
    pub headers: &'r mut HeaderMap,
    /// Attachments of outer layers and of the server.
    pub extensions: &'r mut Extensions,
}

impl CustomSource {
    /// A source with a `name`, a token (RFC 9110 §5.6.2) by which documents and challenges call it. A layer
    /// looks into one source of a name.
    ///
    /// `find` returns all the keys in its place: with two, the request is ambiguous. They may be in the
    /// extensions, where a layer outside has decoded something.
    ///
    /// `hide` takes keys out for [`hide_credentials`](crate::ApiKeyLayer::hide_credentials): those for which
    /// the function that it gets is true, and nothing else. `find` must find none of them afterwards.
    pub fn new(
        name: &str,
        find: impl for<'r> Fn(&RequestHead<'r>) -> Vec<&'r [u8]> + Send + Sync + 'static,
        hide: impl Fn(HiddenPlaces<'_>, &dyn Fn(&[u8]) -> bool) + Send + Sync + 'static,
    ) -> Result<Self, ConfigError> {
        if !is_token(name) {
            return Err(ConfigError::SourceName { family: "custom" });
        }
        Ok(Self {
            name: name.into(),
            find: Box::new(find),
            hide: Box::new(hide),
            header: None,
            challenge: None,
            description: None,
            is_ambient: false,
        })
    }

    /// The keys are in this header: it is marked as sensitive, responses vary on it, and challenges and
    /// documents name it.
    pub fn in_header(self, name: &str) -> Result<Self, ConfigError> {
        Ok(Self { header: Some(header_name(name)?), ..self })
    }

    /// Asks for this source with this challenge (RFC 9110 §11.6.1), such as `Signature realm="api"`, in
    /// place of one that names it.
    pub fn with_challenge(self, challenge: &str) -> Result<Self, ConfigError> {
        checked_challenge(challenge)?;
        Ok(Self { challenge: Some(challenge.into()), ..self })
    }

    /// Describes the place in OpenAPI documents.
    pub fn with_description(self, description: &str) -> Self {
        Self { description: Some(description.into()), ..self }
    }

    /// Browsers send such a key along by themselves, so it is judged as a
    /// [cookie](super::KeySource::cookie) is.
    pub fn sent_by_browsers(self) -> Self {
        Self { is_ambient: true, ..self }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn header(&self) -> Option<&HeaderName> {
        self.header.as_ref()
    }

    pub(crate) fn challenge(&self) -> Option<&str> {
        self.challenge.as_deref()
    }

    #[cfg(feature = "openapi")]
    pub(crate) fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    pub(super) fn is_ambient(&self) -> bool {
        self.is_ambient
    }

    pub(super) fn each<'r>(&self, head: &RequestHead<'r>, found: impl FnMut(Credential<'r>)) {
        (self.find)(head).into_iter().map(Credential::plain).for_each(found);
    }

    pub(super) fn hide<B>(&self, request: &mut Request<B>, is_ours: &dyn Fn(&[u8]) -> bool) {
        // A request lends one part at a time.
        let (mut uri, mut extensions) =
            (std::mem::take(request.uri_mut()), std::mem::take(request.extensions_mut()));
        let headers = request.headers_mut();
        (self.hide)(HiddenPlaces { uri: &mut uri, headers, extensions: &mut extensions }, is_ours);
        *request.uri_mut() = uri;
        *request.extensions_mut() = extensions;
    }
}

/// Two sources of one name are the same.
impl PartialEq for CustomSource {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for CustomSource {}

impl fmt::Debug for CustomSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomSource")
            .field("name", &self.name)
            .field("header", &self.header)
            .field("challenge", &self.challenge)
            .field("is_ambient", &self.is_ambient)
            .finish_non_exhaustive()
    }
}
