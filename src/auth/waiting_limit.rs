//! [`WaitingLimit`]: how many requests may wait in a layer.

use std::{
    fmt, mem,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{AcqRel, Relaxed},
        },
    },
};

use http::{HeaderName, HeaderValue};

use crate::{
    error::{StoreError, StoreErrorKind},
    observe,
    request::RequestHead,
};

/// The bound of requests that wait in a layer for a store, a limiter or a resolver of owners, in
/// number and in memory.
///
/// A back end that is slow makes requests wait, and each of them holds its head, its connection's
/// buffers and a task. Where more wait than the bound, a further request that would have to wait is
/// denied at once as [`Overloaded`](crate::RejectionKind::Overloaded) (503), with a `Retry-After`
/// that differs from one denial to the next, so that the clients do not come back together. A
/// request whose answer is in memory never waits, and is never denied for this. Requests whose key is
/// known, and which wait for its limits or credits, have a quarter of the bound more: a flood of unknown
/// keys leaves that to them.
///
/// Each [`ApiKeyLayer`](crate::ApiKeyLayer), [`OwnerLayer`](crate::OwnerLayer) and
/// [`ExtraCostLayer`](crate::extra_cost::ExtraCostLayer) has a limit of its own with the defaults;
/// layers that were made from one share its limit. Give a clone of one limit to several layers to
/// bound all of them together.
///
/// # Memory
///
/// The size of a request is an estimate: its target and headers, and 5.5 KiB for the tasks and
/// timers that belong to it. Not counted are its body, which is not read meanwhile, its extensions,
/// and the buffers of its connection, which the server bounds.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, auth::WaitingLimit, store::MemoryStore};
///
/// let waiting = WaitingLimit::builder().with_max_requests(1_000).with_max_bytes(8 << 20).build();
/// let layer = ApiKeyLayer::new(MemoryStore::new()).with_waiting_limit(waiting.clone());
/// assert_eq!(waiting.requests(), 0);
/// # let _ = layer;
/// ```
#[derive(Clone)]
pub struct WaitingLimit(Arc<Inner>);

struct Inner {
    max_requests: usize,
    max_bytes: usize,
    requests: AtomicUsize,
    bytes: AtomicUsize,
    shed: AtomicU64,
    /// Requests were denied since the last time that there was much room.
    is_full: AtomicBool,
    /// The metrics know of the bound.
    is_told: AtomicBool,
    /// Requests beyond the bound are not denied.
    is_in_shadow: bool,
}

/// Makes a [`WaitingLimit`]: [`WaitingLimit::builder`] begins, [`build`](Self::build) ends.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct WaitingLimitBuilder {
    max_requests: usize,
    max_bytes: usize,
    is_in_shadow: bool,
}

const DEFAULT_MAX_REQUESTS: usize = 10_000;
const DEFAULT_MAX_BYTES: usize = 64 << 20;

/// Of each request, beside its head: its future, the lookup's task, timers and entries of maps.
const BESIDE_HEAD: usize = 5_632;

/// Of each header, beside its bytes: an entry of a [`HeaderMap`](http::HeaderMap) and its index.
const HEADER: usize =
    mem::size_of::<HeaderName>() + mem::size_of::<HeaderValue>() + 5 * mem::size_of::<usize>();

impl WaitingLimit {
    /// The defaults: 10,000 requests and 64 MiB.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Like [`new`](Self::new), with other settings than the defaults.
    pub const fn builder() -> WaitingLimitBuilder {
        let (max_requests, max_bytes) = (DEFAULT_MAX_REQUESTS, DEFAULT_MAX_BYTES);
        WaitingLimitBuilder { max_requests, max_bytes, is_in_shadow: false }
    }

    /// How many requests wait.
    pub fn requests(&self) -> usize {
        self.0.requests.load(Relaxed)
    }

    /// How much memory the waiting requests take, in bytes: an estimate.
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Relaxed)
    }

    /// How many requests were denied because too many waited.
    pub fn shed(&self) -> u64 {
        self.0.shed.load(Relaxed)
    }

    /// Lets a request wait, until the permit is dropped.
    #[cold]
    pub(crate) fn admit(&self, request: &RequestHead<'_>) -> Result<WaitingPermit, StoreError> {
        let Inner { max_requests, max_bytes, .. } = *self.0;
        self.admit_within(request, max_requests, max_bytes)
    }

    /// Lets a request wait whose key is known: there is a quarter of the bound for these beside it,
    /// which those of unknown keys cannot fill.
    #[cold]
    pub(crate) fn admit_known(
        &self,
        request: &RequestHead<'_>,
    ) -> Result<WaitingPermit, StoreError> {
        let and_a_quarter = |max: usize| max.saturating_add((max / 4).max(1));
        let Inner { max_requests, max_bytes, .. } = *self.0;
        self.admit_within(request, and_a_quarter(max_requests), and_a_quarter(max_bytes))
    }

    fn admit_within(
        &self,
        request: &RequestHead<'_>,
        max_requests: usize,
        max_bytes: usize,
    ) -> Result<WaitingPermit, StoreError> {
        let (inner, bytes) = (&*self.0, size(request));
        if take(&inner.requests, 1, max_requests) {
            if take(&inner.bytes, bytes, max_bytes) {
                return Ok(self.permit(bytes));
            }
            inner.requests.fetch_sub(1, AcqRel);
        }
        inner.shed.fetch_add(1, Relaxed);
        let is_news = !inner.is_full.swap(true, Relaxed);
        if !inner.is_in_shadow {
            observe::request_shed(self.requests(), self.bytes(), is_news);
        }
        Err(StoreError::new(StoreErrorKind::Overloaded).with_source("too many requests wait"))
    }

    /// Lets a request wait again that has waited before: it is denied for no other that came later.
    #[cold]
    pub(crate) fn admit_again(&self, request: &RequestHead<'_>) -> WaitingPermit {
        let bytes = size(request);
        self.0.requests.fetch_add(1, AcqRel);
        self.0.bytes.fetch_add(bytes, AcqRel);
        self.permit(bytes)
    }

    fn permit(&self, bytes: usize) -> WaitingPermit {
        let inner = &*self.0;
        if !inner.is_told.load(Relaxed) && !inner.is_told.swap(true, Relaxed) {
            observe::waiting_limit(inner.max_requests, inner.max_bytes, true);
        }
        observe::request_waits(bytes, true);
        WaitingPermit { limit: self.clone(), bytes }
    }
}

impl WaitingLimitBuilder {
    /// Lets at most so many requests wait; 10,000 by default, and at least one.
    pub const fn with_max_requests(mut self, requests: usize) -> Self {
        self.max_requests = if requests == 0 { 1 } else { requests };
        self
    }

    /// Lets at most so many bytes of requests wait; 64 MiB by default. A request that is larger
    /// than this can never wait.
    pub const fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Requests beyond the bound are undecided.
    pub(super) const fn in_shadow(mut self) -> Self {
        self.is_in_shadow = true;
        self
    }

    /// The limit. No request waits yet.
    pub fn build(self) -> WaitingLimit {
        WaitingLimit(Arc::new(Inner {
            max_requests: self.max_requests,
            max_bytes: self.max_bytes,
            requests: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            shed: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
            is_in_shadow: self.is_in_shadow,
        }))
    }
}

/// Counts a request as waiting until it is dropped.
#[must_use]
pub(crate) struct WaitingPermit {
    limit: WaitingLimit,
    bytes: usize,
}

impl Drop for WaitingPermit {
    fn drop(&mut self) {
        let inner = &*self.limit.0;
        let requests = inner.requests.fetch_sub(1, AcqRel) - 1;
        let bytes = inner.bytes.fetch_sub(self.bytes, AcqRel) - self.bytes;
        observe::request_waits(self.bytes, false);
        if requests <= inner.max_requests / 2
            && bytes <= inner.max_bytes / 2
            && inner.is_full.load(Relaxed)
        {
            inner.is_full.store(false, Relaxed);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if *self.is_told.get_mut() {
            observe::waiting_limit(self.max_requests, self.max_bytes, false);
        }
    }
}

/// Adds to the counter, unless it would exceed the bound.
fn take(counter: &AtomicUsize, amount: usize, max: usize) -> bool {
    let add = |taken: usize| taken.checked_add(amount).filter(|sum| *sum <= max);
    counter.fetch_update(AcqRel, Relaxed, add).is_ok()
}

/// The estimated memory of a request that waits.
fn size(request: &RequestHead<'_>) -> usize {
    let target = request.uri.path_and_query().map_or(0, |target| target.as_str().len())
        + request.uri.authority().map_or(0, |authority| authority.as_str().len());
    let headers = request.headers;
    let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    BESIDE_HEAD
        + target
        + headers.capacity().max(headers.len()) * HEADER
        + headers.iter().map(bytes).sum::<usize>()
}

impl Default for WaitingLimit {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WaitingLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingLimit")
            .field("max_requests", &self.0.max_requests)
            .field("max_bytes", &self.0.max_bytes)
            .field("requests", &self.requests())
            .field("bytes", &self.bytes())
            .field("shed", &self.shed())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_requests_of_64_mib_wait_by_default() {
        let WaitingLimitBuilder { max_requests, max_bytes, .. } = WaitingLimit::builder();
        assert_eq!((max_requests, max_bytes), (10_000, 64 * 1024 * 1024));
    }

    #[test]
    fn a_request_takes_the_more_the_more_is_in_it() {
        let size = |uri: &str, headers: &[&'static str]| {
            let mut request = http::Request::get(uri).body(()).unwrap();
            request.headers_mut().reserve(8);
            for value in headers {
                let value = HeaderValue::from_static(value);
                request.headers_mut().append(HeaderName::from_static("cookie"), value);
            }
            super::size(&RequestHead::from(&request))
        };
        let least = size("/", &[]);
        assert!(least > BESIDE_HEAD + 8 * HEADER && HEADER > 72, "{least}");
        assert_eq!(size("/orders?page=2", &[]) - least, 13);
        assert_eq!(size("https://api.example/", &[]) - least, 11);
        assert_eq!(size("/", &["a=1", "b=23"]) - least, 19);
    }
}
