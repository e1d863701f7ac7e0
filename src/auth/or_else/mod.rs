//! [`OrElseLayer`]: keys of ours beside another way to authenticate, told apart by their shape.

mod body;
mod future;

use std::{
    any::Any,
    fmt,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use self::future::Then;
pub use self::{body::OrElseBody, future::OrElseFuture};
use super::{
    authenticate, config::Config, extract::Precedence, layer::ApiKeyLayer, service::ApiKeyAuth,
    shadow::ShadowLayer,
};
use crate::{
    error::ConfigError, key::KeyFormat, rejection::checked_challenge, request::RequestHead,
};

/// Two ways to authenticate on one router; see [`ApiKeyLayer::or_else`].
#[derive(Clone)]
#[must_use]
pub struct OrElseLayer<L> {
    keys: ApiKeyLayer,
    other: L,
}

impl ApiKeyLayer {
    /// Judges keys of this layer's formats, and leaves every other request to another layer: one for JSON Web
    /// Tokens or sessions, say, or an `ApiKeyLayer` over another store.
    ///
    /// The *shape* of a credential decides, never a failed lookup:
    ///
    /// - A request with a credential that begins with the prefix of one of this layer's
    ///   [formats](Self::with_formats), in one of its sources, is judged by this layer alone. If it is unknown,
    ///   mistyped or revoked, it is denied, and the other layer does not see it.
    /// - Every other request goes to the other layer, with a credential or without. That layer has to deny
    ///   what it does not accept: nothing else does.
    /// - Two credentials in the sources of this layer, one of which is ours, are ambiguous as ever. Name every
    ///   place that the other layer reads among the [sources](Self::with_sources), where it is one: a key in
    ///   `X-API-Key` beside a session in a cookie that this layer does not read is judged here, and what is
    ///   inside may find the session by itself.
    ///
    /// The bypass and the check of the transport hold for both. A request that goes to the other layer has no
    /// [`AuthenticatedKey`](crate::AuthenticatedKey), also if a layer further out has attached one, so scope
    /// layers inside refuse it unless they
    /// [allow requests without one](crate::RequireScopesLayer::allow_anonymous).
    ///
    /// A 401 of either half asks for both: the challenges of this layer are added to the other's, and its
    /// denials have those of the other if that is an `ApiKeyLayer`, or
    /// [what is said here](OrElseLayer::with_challenge). Responses of both [vary] on this layer's headers.
    ///
    /// The service is always ready: it waits for the half that a request needs once it has the request, so that
    /// neither half holds a place that the other one needs.
    ///
    /// # Errors
    ///
    /// A [`Contradiction`](ConfigError::Contradiction) where shape cannot decide: this layer accepts
    /// [opaque](crate::KeyFormat::opaque) keys, as it does by default and with legacy hashes, or both halves are
    /// `ApiKeyLayer`s and keys of the other begin like this one's; and where it decides already, with [`allow_anonymous`](Self::allow_anonymous)
    /// or [`Precedence::FirstSource`]. Also where the other is one [in shadow](Self::shadow_until), which denies
    /// nothing.
    ///
    /// ```
    /// use tower_api_key::{KeyFormat, KeyManager, store::MemoryStore};
    /// # #[derive(Clone)]
    /// # struct JwtLayer;
    ///
    /// # fn build(jwt: JwtLayer) -> Result<(), tower_api_key::ConfigError> {
    /// let keys = KeyManager::new(MemoryStore::new()).with_format(KeyFormat::new("acme")?);
    /// // `Bearer acme_…` is judged by its key, any other `Bearer` by `jwt`.
    /// let layer = keys.layer().or_else(jwt)?;
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [vary]: https://www.rfc-editor.org/rfc/rfc9110#section-12.5.5
    pub fn or_else<L: 'static>(self, other: L) -> Result<OrElseLayer<L>, ConfigError> {
        let mut keys = self;
        check(keys.config())?;
        if let Some(other) = (&other as &dyn Any).downcast_ref::<Self>() {
            check_both(keys.config(), other.config())?;
            let challenges: Vec<_> = other.config().renderer.challenges().collect();
            keys = keys.with_foreign_challenges(challenges);
        }
        if (&other as &dyn Any).is::<ShadowLayer>() {
            return Err(contradiction("shadow_until", "a layer in shadow denies nothing"));
        }
        Ok(OrElseLayer { keys, other })
    }
}

/// Whether shape can decide.
fn check(config: &Config) -> Result<(), ConfigError> {
    #[cfg(feature = "legacy-hashes")]
    if config.legacy.is_some() {
        return Err(contradiction(
            "with_legacy_hashes",
            "keys of another system have no shape of ours",
        ));
    }
    if config.formats.iter().any(|format| format.prefix().is_empty()) {
        return Err(contradiction("KeyFormat::opaque", "opaque keys have no shape of ours"));
    }
    if config.allow_anonymous {
        return Err(contradiction(
            "allow_anonymous",
            "the other layer judges requests without a key",
        ));
    }
    if config.precedence == Precedence::FirstSource {
        return Err(contradiction("Precedence::FirstSource", "shape decides between credentials"));
    }
    Ok(())
}

fn check_both(one: &Config, other: &Config) -> Result<(), ConfigError> {
    let is_taken = |prefix: &str| one.formats.iter().any(|ours| prefix.starts_with(ours.prefix()));
    if other.formats.iter().map(KeyFormat::prefix).any(is_taken) {
        return Err(contradiction("with_formats", "keys of the other layer begin like this one's"));
    }
    Ok(())
}

const fn contradiction(setting: &'static str, problem: &'static str) -> ConfigError {
    ConfigError::Contradiction { settings: ["or_else", setting], problem }
}

impl<L> OrElseLayer<L> {
    /// Adds a challenge of the other layer (RFC 9110 §11.6.1), such as `Bearer realm="accounts"`, to the 401 of
    /// this one's keys. A text that is none is [`SourceName`](ConfigError::SourceName).
    pub fn with_challenge(self, challenge: &str) -> Result<Self, ConfigError> {
        let challenge = checked_challenge(challenge)?;
        Ok(Self { keys: self.keys.with_foreign_challenges([challenge]), ..self })
    }
}

impl<S: Clone, L: Layer<S>> Layer<S> for OrElseLayer<L> {
    type Service = OrElse<S, L::Service>;

    fn layer(&self, inner: S) -> Self::Service {
        OrElse { keys: self.keys.layer(inner.clone()), other: self.other.layer(inner) }
    }
}

/// The middleware that [`OrElseLayer`] puts around a service.
#[derive(Clone)]
#[must_use]
pub struct OrElse<S, O> {
    keys: ApiKeyAuth<S>,
    other: O,
}

impl<S, O, B, KeysBody, OtherBody> Service<Request<B>> for OrElse<S, O>
where
    S: Service<Request<B>, Response = Response<KeysBody>> + Clone,
    O: Service<Request<B>, Response = Response<OtherBody>, Error = S::Error> + Clone,
{
    type Response = Response<OrElseBody<KeysBody, OtherBody>>;
    type Error = S::Error;
    type Future = OrElseFuture<S, O, B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let config = self.keys.config();
        if is_ours(config, &RequestHead::from(&request)) {
            return OrElseFuture::of_keys(self.keys.clone(), request);
        }
        // Without an identity, also of a layer further out.
        let plan = authenticate::leave_to_other(config, &mut request);
        let then = Then { config: config.clone(), plan };
        OrElseFuture::of_other(self.other.clone(), request, then)
    }
}

/// Whether a request is judged by the layer for keys: by the shape of its credential, or before any is looked
/// for.
fn is_ours(config: &Config, request: &RequestHead<'_>) -> bool {
    let has_prefix = |key: &[u8]| {
        config.formats.iter().any(|format| key.starts_with(format.prefix().as_bytes()))
    };
    authenticate::decide_early(config, request).is_some()
        || config.sources.iter().any(|source| source.any(request, has_prefix))
}

impl<L: fmt::Debug> fmt::Debug for OrElseLayer<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrElseLayer").field("keys", &self.keys).field("other", &self.other).finish()
    }
}

impl<S: fmt::Debug, O: fmt::Debug> fmt::Debug for OrElse<S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrElse").field("keys", &self.keys).field("other", &self.other).finish()
    }
}
