//! [`Rejection`]: why a request was denied, and how that is said. [`RejectionKind`] lists the
//! reasons; [`Problem`] writes errors of your own in the same form.

mod challenge;
pub(crate) mod fields;
mod grpc;
mod problem;
mod response;
#[cfg(feature = "tonic")]
mod tonic_status;

use std::{
    error::Error,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use http::HeaderMap;

#[cfg(feature = "tonic")]
pub(crate) use self::tonic_status::mistaken;
pub(crate) use self::{
    challenge::{API_KEY_SCHEME, Challenges, bare, checked_challenge, quoted, uncounted},
    grpc::GrpcDenials,
    response::{Renderer, respond_plainly, respond_with_mistake},
};
pub use self::{problem::Problem, response::RejectionResponse};
pub use crate::key::rejection_kind::RejectionKind;
use crate::{
    clock::whole_seconds,
    error::{BackEnd, StoreError, StoreErrorKind},
    key::{KeyId, KeyRecord, Scopes},
    observe,
    text::Text,
};

/// The reason of a denial, with all that is known about it.
///
/// Every denial carries one in its response's extensions, for outer layers to log or count.
/// It holds the key's public id once the key is known, and never the key.
///
/// Handlers may make their own; with feature `axum` it is a response, and with feature `tonic` a status.
#[derive(Clone, Debug)]
pub struct Rejection {
    kind: RejectionKind,
    key: Option<DeniedKey>,
    retry_after: Option<Duration>,
    missing_scopes: Option<Arc<Scopes>>,
    /// What was used up.
    exhausted: Option<Arc<Exhausted>>,
    source: Option<Arc<dyn Error + Send + Sync>>,
    /// Whether the request looked like a CORS preflight: then the problem says where the CORS
    /// layer belongs.
    of_preflight: bool,
    /// Whether the lookup has counted the failure already.
    is_counted: bool,
    /// Set once a layer has answered with it, so that a layer further out leaves it alone.
    rendered: bool,
}

/// What a key has used up.
#[derive(Debug)]
enum Exhausted {
    /// The limit of this name, with the fields that report it.
    Rate {
        limit: Option<Text>,
        fields: HeaderMap,
    },
    Credits {
        remaining: u64,
    },
}

/// What is known of the key that was denied.
#[derive(Clone)]
enum DeniedKey {
    Id(KeyId),
    Record(Arc<KeyRecord>),
}

impl DeniedKey {
    fn id(&self) -> KeyId {
        match self {
            Self::Id(id) => *id,
            Self::Record(record) => record.id,
        }
    }
}

impl fmt::Debug for DeniedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id().fmt(f)
    }
}

impl Rejection {
    /// A denial of this kind.
    pub const fn new(kind: RejectionKind) -> Self {
        Self {
            kind,
            key: None,
            retry_after: None,
            missing_scopes: None,
            exhausted: None,
            source: None,
            of_preflight: false,
            is_counted: false,
            rendered: false,
        }
    }

    /// A denial for lack of these scopes.
    pub fn insufficient_scope(missing: Scopes) -> Self {
        Self {
            missing_scopes: Some(Arc::new(missing)),
            ..Self::new(RejectionKind::InsufficientScope)
        }
    }

    /// A denial because the limit of this name is used up. `fields` report it to the client.
    pub(crate) fn rate_limited(
        limit: Option<Text>,
        fields: HeaderMap,
        retry_after: Duration,
    ) -> Self {
        let exhausted = Some(Arc::new(Exhausted::Rate { limit, fields }));
        Self { exhausted, ..Self::new(RejectionKind::RateLimited) }.with_retry_after(retry_after)
    }

    /// A denial because so many credits are not enough; they may come back.
    pub(crate) fn credits_exhausted(remaining: u64, retry_after: Option<Duration>) -> Self {
        Self {
            exhausted: Some(Arc::new(Exhausted::Credits { remaining })),
            retry_after,
            ..Self::new(RejectionKind::CreditsExhausted)
        }
    }

    /// A denial because the client has failed too often, for so long.
    pub(crate) fn too_many_failures(retry_after: Duration) -> Self {
        Self::new(RejectionKind::TooManyFailures).with_retry_after(retry_after)
    }

    /// A denial because the store or the rate limiter could not tell.
    pub(crate) fn from_store_error(error: StoreError) -> Self {
        Self::unavailable(RejectionKind::from(&error), error)
    }

    /// A denial because a back end could not tell, and this is why.
    pub(crate) fn unavailable(
        kind: RejectionKind,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        let after = match kind {
            RejectionKind::Overloaded => spread(),
            _ => RETRY_BACK_END_AFTER,
        };
        Self { source: Some(Arc::new(source)), ..Self::new(kind) }.with_retry_after(after)
    }

    /// Says that the request looked like a CORS preflight.
    #[cold]
    pub(crate) fn of_preflight(self) -> Self {
        Self { of_preflight: true, ..self }
    }

    /// Says that a throttle knows of the failure already.
    pub(crate) fn counted(self) -> Self {
        Self { is_counted: true, ..self }
    }

    pub(crate) const fn is_counted(&self) -> bool {
        self.is_counted
    }

    /// Says which key was denied.
    #[must_use]
    pub fn with_key(mut self, key: KeyId) -> Self {
        self.key = Some(DeniedKey::Id(key));
        self
    }

    /// Says which key was denied, so that its denials can be counted.
    pub(crate) fn with_record(mut self, record: &Arc<KeyRecord>) -> Self {
        self.key = Some(DeniedKey::Record(record.clone()));
        self
    }

    /// The denied key as stored, if a layer has denied it.
    pub(crate) fn record(&self) -> Option<&Arc<KeyRecord>> {
        match &self.key {
            Some(DeniedKey::Record(record)) => Some(record),
            _ => None,
        }
    }

    /// Says when to try again. Sent as whole seconds, rounded up, at least 1.
    #[must_use]
    pub const fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Logs and counts the denial.
    pub(crate) fn observe(&self) {
        observe::denied(self.kind, self.key(), self.source());
    }

    /// Logs and counts the denial that a layer in shadow would have answered with.
    pub(crate) fn observe_in_shadow(&self) {
        observe::would_deny(self.kind, self.key(), self.missing_scopes(), self.limit());
    }

    /// The reason.
    pub const fn kind(&self) -> RejectionKind {
        self.kind
    }

    /// The denied key, where it is known.
    pub fn key(&self) -> Option<KeyId> {
        self.key.as_ref().map(DeniedKey::id)
    }

    /// The scopes that the key lacks; set for [`RejectionKind::InsufficientScope`].
    pub fn missing_scopes(&self) -> Option<&Scopes> {
        self.missing_scopes.as_deref()
    }

    /// The name of the rate limit that is used up; set for [`RejectionKind::RateLimited`] by a
    /// layer.
    pub fn limit(&self) -> Option<&str> {
        match self.exhausted.as_deref()? {
            Exhausted::Rate { limit, .. } => limit.as_deref(),
            Exhausted::Credits { .. } => None,
        }
    }

    /// How many credits there are, which are not enough; set for
    /// [`RejectionKind::CreditsExhausted`] by a layer.
    pub fn credits_remaining(&self) -> Option<u64> {
        match self.exhausted.as_deref()? {
            Exhausted::Credits { remaining } => Some(*remaining),
            Exhausted::Rate { .. } => None,
        }
    }

    /// The fields that report the limit that is used up.
    fn limit_fields(&self) -> Option<&HeaderMap> {
        match self.exhausted.as_deref()? {
            Exhausted::Rate { fields, .. } => Some(fields),
            Exhausted::Credits { .. } => None,
        }
    }

    /// After how many whole seconds to try again.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        Some(whole_seconds(self.retry_after?).max(1))
    }
}

/// A back end that fails now is worth another try soon; long enough not to make its trouble worse.
const RETRY_BACK_END_AFTER: Duration = Duration::from_secs(1);

/// The longest wait of a request that was denied because there were too many. Denials name each
/// second up to it in turn: told the same, the clients would come back together.
const SPREAD_OVER: u32 = 8;

/// When a request that was denied because there were too many is to come back.
fn spread() -> Duration {
    static TURN: AtomicU32 = AtomicU32::new(0);
    let turn = TURN.fetch_add(1, Relaxed);
    Duration::from_secs(u64::from(1 + turn % SPREAD_OVER))
}

/// How a request is denied that a back end failed with this error.
impl From<&StoreError> for RejectionKind {
    fn from(error: &StoreError) -> Self {
        match (error.back_end(), error.kind()) {
            (BackEnd::RateLimiter, _) => Self::LimiterUnavailable,
            (_, StoreErrorKind::Overloaded) => Self::Overloaded,
            _ => Self::Unavailable,
        }
    }
}

impl From<RejectionKind> for Rejection {
    fn from(kind: RejectionKind) -> Self {
        Self::new(kind)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "denied: {}", self.kind.code())
    }
}

impl Error for Rejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|error| error as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up_and_never_zero() {
        for (wait, seconds) in [(0, 1), (1, 1), (999, 1), (1_000, 1), (1_001, 2)] {
            let rejection = Rejection::new(RejectionKind::RateLimited)
                .with_retry_after(Duration::from_millis(wait));
            assert_eq!(rejection.retry_after_seconds(), Some(seconds), "{wait} ms");
        }
    }
}
