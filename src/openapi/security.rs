//! [`Security`]: the security of a layer, for a document.

use std::fmt::{self, Write};

use http::{HeaderName, StatusCode, header::AUTHORIZATION};
use utoipa::openapi::{
    OpenApi, RefOr, Response,
    extensions::Extensions,
    path::{Operation, PathItem},
    security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
};

use super::{examples, responses, schemas};
use crate::{
    auth::{ApiKeyLayer, KeySource, config::Config, extract::SourceKind},
    key::RejectionKind,
    limit::RateLimits,
};

/// The security of a layer, in the words of OpenAPI: a security scheme for each place where
/// it looks for keys, and its denials. Made by [`ApiKeyLayer::security`] from the layer's own
/// configuration, so that the document agrees with the layer.
#[derive(Clone)]
pub struct Security {
    schemes: Vec<(String, SecurityScheme)>,
    scopes: Vec<String>,
    is_optional: bool,
    denials: Vec<Denial>,
    /// Whether denials are problem details, as far as we know.
    are_problems: bool,
}

#[derive(Clone)]
struct Denial {
    status: StatusCode,
    code: &'static str,
    detail: &'static str,
}

impl ApiKeyLayer {
    /// The security of this layer, for the OpenAPI document of the routes behind it.
    ///
    /// A [bypass](Self::with_bypass) is a function that cannot be described: leave the operations
    /// that it lets through out of the document that is secured, and add them afterwards.
    pub fn security(&self) -> Security {
        Security::of(self.config())
    }
}

impl Security {
    fn of(config: &Config) -> Self {
        let denials = RejectionKind::all().filter(|kind| can_deny(config, *kind)).map(|kind| {
            let (code, detail) = config.renderer.words(kind);
            Denial { status: config.renderer.status(kind), code, detail }
        });
        Self {
            schemes: config.sources.iter().map(|source| (name(source), scheme(source))).collect(),
            scopes: Vec::new(),
            is_optional: config.allow_anonymous,
            denials: denials.collect(),
            are_problems: config.renderer.hook.is_none(),
        }
    }

    /// The same for routes that also ask for all of these scopes, with a
    /// [`RequireScopesLayer`](crate::RequireScopesLayer).
    pub fn with_scopes<T: AsRef<str>>(mut self, scopes: impl IntoIterator<Item = T>) -> Self {
        self.scopes.extend(scopes.into_iter().map(|scope| scope.as_ref().to_owned()));
        if !self.scopes.is_empty() {
            let kind = RejectionKind::InsufficientScope;
            self.denials.push(Denial {
                status: kind.status(),
                code: kind.code(),
                detail: kind.detail(),
            });
        }
        self
    }

    /// A security scheme for each source, with its name. The same source has the same name in
    /// every layer.
    ///
    /// A credential behind a scheme other than `Bearer` is described as an `apiKey` in its header, the
    /// scheme being a part of its value and named by the extension `x-scheme`: OpenAPI's own schemes say
    /// what is in the credentials, and that is not a key. Places that OpenAPI does not know, a segment of
    /// the path or one of the application's own, have the extension `x-in`: what stands in the fields of such
    /// a scheme is no header, since an operation without any scheme would seem open to all.
    pub fn schemes(&self) -> impl Iterator<Item = (&str, &SecurityScheme)> {
        self.schemes.iter().map(|(name, scheme)| (name.as_str(), scheme))
    }

    /// The alternatives: a request has to hold one of these.
    pub fn requirements(&self) -> Vec<SecurityRequirement> {
        let one = |(name, _): &(String, _)| SecurityRequirement::new(name, &self.scopes);
        let keys = self.schemes.iter().map(one);
        keys.chain(self.is_optional.then(SecurityRequirement::default)).collect()
    }

    /// Adds this to a document: the schemes to its components, and to each of its operations that
    /// says nothing about security yet the requirement and the answers to denied requests.
    ///
    /// Where an operation has an answer with the same status already, that one stays, and its
    /// description tells of the denials as well.
    pub fn secure(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        for (name, scheme) in &self.schemes {
            components.add_security_scheme(name, scheme.clone());
        }
        schemas::add_problem(components);
        for operation in document.paths.paths.values_mut().flat_map(operations) {
            if operation.security.is_none() {
                operation.security = Some(self.requirements());
                self.add_denials(operation);
            }
        }
    }

    fn add_denials(&self, operation: &mut Operation) {
        for denial in &self.denials {
            let status = denial.status.as_str().to_owned();
            let line = format!("- `{}`: {}", denial.code, denial.detail);
            let documented = operation
                .responses
                .responses
                .entry(status)
                .or_insert_with(|| RefOr::T(self.denied(denial.status)));
            // All operations share the description of a component.
            let RefOr::T(response) = documented else { continue };
            if self.are_problems {
                examples::add(response, denial.status, denial.code, denial.detail);
            }
            if !response.description.contains(&line) {
                response.description = format!("{}\n{line}", response.description);
            }
        }
    }

    fn denied(&self, status: StatusCode) -> Response {
        if self.are_problems { responses::denied(status) } else { Response::new("Denied:") }
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schemes: Vec<_> = self.schemes().map(|(name, _)| name).collect();
        f.debug_struct("Security")
            .field("schemes", &schemes)
            .field("scopes", &self.scopes)
            .field("is_optional", &self.is_optional)
            .finish_non_exhaustive()
    }
}

/// Whether a request can be denied like this by such a layer, or behind it whatever the route is.
fn can_deny(config: &Config, kind: RejectionKind) -> bool {
    match kind {
        RejectionKind::Missing => !config.allow_anonymous,
        RejectionKind::InsecureTransport => config.secure_transport.is_some(),
        RejectionKind::CrossSite => config.sources.iter().any(KeySource::is_ambient),
        RejectionKind::RateLimited => config.rate_limits.is_some(),
        RejectionKind::LimiterUnavailable => {
            config.rate_limits.as_ref().is_some_and(RateLimits::fails_closed)
        }
        RejectionKind::CreditsExhausted => config.credits.is_some(),
        RejectionKind::TooManyFailures => config.throttle.is_some(),
        // Routes say so, see `with_scopes`; only a proxy is refused.
        RejectionKind::InsufficientScope | RejectionKind::ForwardAuthRefused => false,
        _ => true,
    }
}

fn scheme(source: &KeySource) -> SecurityScheme {
    match source.kind() {
        SourceKind::Header(name) => SecurityScheme::ApiKey(ApiKey::Header(value(name.as_str()))),
        SourceKind::Query(name) => SecurityScheme::ApiKey(ApiKey::Query(value(name))),
        SourceKind::Cookie(name) => SecurityScheme::ApiKey(ApiKey::Cookie(value(name))),
        SourceKind::Scheme { header, scheme } if is_bearer(header, scheme) => {
            SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer))
        }
        SourceKind::Scheme { header, scheme } => {
            let name = if *header == AUTHORIZATION { "Authorization" } else { header.as_str() };
            let text = format!("`{scheme}`, a space, and the API key.");
            described(name, text, Some(("x-scheme", scheme)))
        }
        SourceKind::Basic => {
            let mut basic = Http::new(HttpAuthScheme::Basic);
            basic.description = Some("The API key as the user name, and no password.".to_owned());
            SecurityScheme::Http(basic)
        }
        SourceKind::WebSocketProtocol(name) => {
            let text = format!("Of a WebSocket: `{name}`, a comma, and the API key.");
            described("Sec-WebSocket-Protocol", text, Some(("x-protocol", name)))
        }
        // OpenAPI has no place for it, and an operation without a scheme would seem open to all.
        SourceKind::PathSegment(prefix) => {
            let text =
                format!("No header: the API key is the segment of the path after `{prefix}`.");
            described("path", text, Some(("x-in", "path")))
        }
        SourceKind::Custom(custom) => {
            let text =
                custom.description().unwrap_or("The API key, in a form of the service's own.");
            match custom.header() {
                Some(header) => described(header.as_str(), text.to_owned(), None),
                None => described(custom.name(), text.to_owned(), Some(("x-in", "custom"))),
            }
        }
    }
}

fn is_bearer(header: &HeaderName, scheme: &str) -> bool {
    *header == AUTHORIZATION && scheme.eq_ignore_ascii_case("bearer")
}

/// A key in a header, in some form.
fn described(header: &str, text: String, extension: Option<(&str, &str)>) -> SecurityScheme {
    let mut value = value(header);
    value.description = Some(text);
    value.extensions = extension.map(|extension| Extensions::from_iter([extension]));
    SecurityScheme::ApiKey(ApiKey::Header(value))
}

fn value(name: &str) -> ApiKeyValue {
    ApiKeyValue::new(name)
}

/// Such as `header.x-api-key`. Names of components have few characters: others are written as
/// their bytes, `.` among them, so that no two sources have one name.
fn name(source: &KeySource) -> String {
    let (family, own) = match source.kind() {
        SourceKind::Scheme { header, scheme } => {
            let scheme = scheme.to_ascii_lowercase();
            let is_usual = *header == AUTHORIZATION;
            (source.family(), if is_usual { scheme } else { format!("{header} {scheme}") })
        }
        SourceKind::Basic => (source.family(), "basic".to_owned()),
        SourceKind::Custom(custom) => ("custom", custom.name().to_owned()),
        _ => (source.family(), source.name().unwrap_or_default().to_owned()),
    };
    let mut name = format!("{family}.");
    for byte in own.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => name.push(byte.into()),
            // Writing to a `String` cannot fail.
            _ => {
                let _ = write!(name, ".{byte:02x}");
            }
        }
    }
    name
}

/// Every operation of a path.
pub(super) fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, options, head, patch, trace, query, .. } = item;
    [get, put, post, delete, options, head, patch, trace, query].into_iter().flatten()
}
