//! [`Config`]: what a layer and its services share.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use http::HeaderValue;

use super::{
    attached::LayerId,
    counted::OuterLayer,
    extract::{self, Credential, KeySource, Precedence},
    resource_metadata::ResourceMetadataUrl,
    waiting_limit::WaitingLimit,
};
use crate::{
    clock::Clock,
    credits::Credits,
    key::{self, EventHook, EventId, KeyAction, KeyEvent, KeyFormat, KeyHasher, Needs},
    limit::RateLimits,
    rejection::{Rejection, Renderer},
    request::{ClientAddress, Hook, RequestHead, have_no_repeats},
    store::{KeyStore, LookupHint, WriteBack},
    throttle::{FailureThrottle, Guess},
    usage::UsageRecorder,
};

/// The settings that a layer and its services share.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub(crate) struct Config {
    pub(crate) id: LayerId,
    pub(crate) store: Arc<dyn KeyStore>,
    pub(crate) sources: Vec<KeySource>,
    pub(crate) precedence: Precedence,
    /// Whether all sources are headers that browsers do not send by themselves.
    pub(crate) has_plain_sources: bool,
    /// Whether a source is a segment of the path.
    pub(crate) reads_path: bool,
    /// Whether a source is a sub-protocol of `WebSocket`s.
    pub(crate) reads_websocket: bool,
    pub(crate) formats: Vec<KeyFormat>,
    pub(crate) hasher: KeyHasher,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) lookup_timeout: Duration,
    pub(crate) waiting: WaitingLimit,
    pub(crate) bypass: Option<Hook<bool>>,
    pub(crate) secure_transport: Option<Hook<bool>>,
    pub(crate) client_address: Option<Hook<ClientAddress>>,
    pub(crate) allow_anonymous: bool,
    pub(crate) hide_credentials: bool,
    pub(crate) write_back: Option<WriteBack>,
    pub(crate) events: Option<EventHook>,
    #[cfg(feature = "legacy-hashes")]
    pub(crate) legacy: Option<crate::legacy::LegacyHashes>,
    pub(crate) throttle: Option<FailureThrottle>,
    pub(crate) rate_limits: Option<RateLimits>,
    pub(crate) credits: Option<Credits>,
    /// What keys may need: what this layer enforces, and what it was told to pass over.
    pub(crate) enforced: Needs,
    pub(crate) usage: Option<UsageRecorder>,
    /// Whether responses have an `AccessRecord`.
    pub(crate) tells_access: bool,
    /// Off when the application looks after caches itself.
    pub(crate) cache_headers: bool,
    pub(crate) vary: Option<HeaderValue>,
    pub(crate) renderer: Renderer,
    pub(crate) realm: Box<str>,
    pub(crate) resource_metadata: Option<ResourceMetadataUrl>,
    /// Of layers beside this one.
    pub(crate) foreign_challenges: Vec<HeaderValue>,
    pub(crate) outer: OuterLayer,
    /// Whether a good key is judged no further than step 9 at first: see
    /// [`shadow`](super::shadow).
    pub(crate) pauses: bool,
    /// Whether step 10 has anything to do.
    pub(crate) has_step_10: bool,
}

impl Config {
    /// Recomputes the settings that follow from others. After every change.
    pub(crate) fn derive(&mut self) {
        self.has_step_10 = self.counts() || self.pauses;
    }

    /// Whether a request's key can be read, judged and marked in one go: it is in a header, if there is
    /// one, several credentials are refused, no header is there twice, and no caller has to wait.
    #[inline]
    pub(crate) fn reads_in_passing(&self, request: &RequestHead<'_>) -> bool {
        self.precedence == Precedence::RefuseSeveral
            && have_no_repeats(request.headers)
            && (self.has_plain_sources
                || !extract::may_hold_other_than_plain(&self.sources, request))
            && !self.throttle.as_ref().is_some_and(FailureThrottle::is_busy)
    }

    /// Of step 4: whether the key in this source, which has the form of one with a checksum, ends with
    /// its own.
    #[cold]
    pub(crate) fn has_checksum(&self, request: &RequestHead<'_>, source: u16) -> bool {
        let source = self.sources.get(usize::from(source));
        source.and_then(|source| source.with_only(request, key::has_checksum)).unwrap_or(false)
    }

    /// 4. Parse: gives the key to `read` if it is one of an accepted format.
    #[inline]
    pub(crate) fn with_key<T>(
        &self,
        credential: &Credential<'_>,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        credential.with_key(|key| key::is_accepted(&self.formats, key).then(|| read(key)))?
    }

    /// Whether requests are counted in any way.
    pub(crate) const fn counts(&self) -> bool {
        self.rate_limits.is_some() || self.credits.is_some() || self.usage.is_some()
    }

    fn client(&self, request: &RequestHead<'_>) -> ClientAddress {
        self.client_address.as_ref().map_or(ClientAddress::default(), |address| address(request))
    }

    /// The client's address, where it can be told.
    pub(crate) fn address(&self, request: &RequestHead<'_>) -> Option<IpAddr> {
        self.client(request).known()
    }

    /// The address that failures and lookups are charged to.
    pub(crate) fn charged_address(&self, request: &RequestHead<'_>) -> Option<IpAddr> {
        self.client(request).charged()
    }

    /// What a lookup says of its request.
    pub(crate) fn hint(&self, request: &RequestHead<'_>) -> LookupHint {
        LookupHint::new().with_address(self.charged_address(request))
    }

    /// The denial of a caller who has failed too often and has to wait.
    #[inline]
    pub(crate) fn throttled(
        &self,
        request: &RequestHead<'_>,
        credential: &Credential<'_>,
    ) -> Option<Rejection> {
        match &self.throttle {
            Some(throttle) if throttle.is_busy() => {
                self.throttled_by(throttle, request, credential)
            }
            _ => None,
        }
    }

    /// The lookup of this request's key, as the throttle sees it.
    pub(crate) fn guess(&self, request: &RequestHead<'_>) -> Option<Guess> {
        let throttle = self.throttle.as_ref()?;
        let address = self.charged_address(request)?;
        let credential = extract::find(&self.sources, self.precedence, request).ok()??;
        credential.with_key(|key| throttle.guess(address, key))
    }

    #[inline(never)]
    fn throttled_by(
        &self,
        throttle: &FailureThrottle,
        request: &RequestHead<'_>,
        credential: &Credential<'_>,
    ) -> Option<Rejection> {
        let address = self.charged_address(request)?;
        let wait = credential.with_key(|key| throttle.must_wait(address, key))??;
        Some(Rejection::too_many_failures(wait))
    }

    /// Reports a denial to the hook, the usage recorder and the throttle. The request of a denial
    /// that was made inside is gone.
    #[inline]
    pub(crate) fn denied(&self, rejection: &Rejection, request: Option<&RequestHead<'_>>) {
        if let Some(hook) = &self.events {
            self.tell_hook(hook, rejection, request);
        }
        if let (Some(usage), Some(record)) = (&self.usage, rejection.record()) {
            usage.denied(record, rejection.kind());
        }
        if let (Some(throttle), Some(request)) = (&self.throttle, request)
            && FailureThrottle::is_failure(rejection.kind())
            && !rejection.is_counted()
        {
            self.count_failure(throttle, request);
        }
    }

    #[cold]
    fn count_failure(&self, throttle: &FailureThrottle, request: &RequestHead<'_>) {
        let credential = extract::find(&self.sources, self.precedence, request);
        if let (Some(address), Ok(Some(credential))) = (self.charged_address(request), credential) {
            credential.with_key(|key| throttle.failed(address, key));
        }
    }

    #[cold]
    fn tell_hook(
        &self,
        hook: &EventHook,
        rejection: &Rejection,
        request: Option<&RequestHead<'_>>,
    ) {
        let now = self.clock.now();
        // Without random bytes there is no name for the event; the denial is in the log.
        let Ok(id) = EventId::generate(now) else { return };
        let mut event = KeyEvent::new(id, now, KeyAction::Denied(rejection.kind()));
        event.key = rejection.key();
        event.address = request.and_then(|request| self.address(request));
        hook(&event);
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("sources", &self.sources)
            .field("precedence", &self.precedence)
            .field("formats", &self.formats)
            .field("hasher", &self.hasher)
            .field("lookup_timeout", &self.lookup_timeout)
            .field("waiting", &self.waiting)
            .field("bypass", &self.bypass.is_some())
            .field("secure_transport", &self.secure_transport.is_some())
            .field("client_address", &self.client_address.is_some())
            .field("allow_anonymous", &self.allow_anonymous)
            .field("hide_credentials", &self.hide_credentials)
            .field("throttle", &self.throttle)
            .field("rate_limits", &self.rate_limits)
            .field("credits", &self.credits)
            .field("cache_headers", &self.cache_headers)
            .field("renderer", &self.renderer)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}
