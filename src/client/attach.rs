//! [`Config`]: to which requests the key goes, and what their responses say.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName, Request, StatusCode, Uri};
use tokio::time::Instant;

use super::{
    key::ClientKey,
    notice::{Notice, Told},
    origin::{Origin, Target},
    retry_after::pause,
};
use crate::{clock::Clock, key::KeyDigest, observe, runtime::Mutex};

/// What services of a layer share.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) key: ClientKey,
    pub(super) header: HeaderName,
    pub(super) is_bearer: bool,
    pub(super) origins: Arc<[Server]>,
    /// Of requests that name none.
    pub(super) default_origin: Option<usize>,
    pub(super) max_wait: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) has_warned: Arc<AtomicBool>,
}

/// An origin to which the key goes, and what it has said.
pub(super) struct Server {
    pub(super) origin: Origin,
    /// The end of the pause that it has asked for.
    pause: Mutex<Option<Instant>>,
    told: Mutex<Told>,
}

impl Server {
    pub(super) fn new(origin: Origin) -> Self {
        Self { origin, pause: Mutex::default(), told: Mutex::default() }
    }
}

/// A request that went out with the key.
pub(super) struct Sent {
    config: Arc<Config>,
    server: usize,
    key: KeyDigest,
}

impl Config {
    /// The server to which the request goes; `None` if the key is not for it.
    pub(super) fn server_of<B>(&self, request: &Request<B>) -> Option<usize> {
        let (uri, headers) = (request.uri(), request.headers());
        let index = match Target::of(uri) {
            Some(target) => self.origins.iter().position(|server| server.origin.is(target))?,
            None if is_relative(uri) => self.default_origin.or_else(|| self.warn_once())?,
            None => return None,
        };
        // A server may host others, and goes by this field.
        self.origins[index].origin.agrees_with(headers).then_some(index)
    }

    #[cold]
    fn warn_once(&self) -> Option<usize> {
        if !self.has_warned.swap(true, Relaxed) {
            observe::client_request_without_origin();
        }
        None
    }

    /// Takes the key out of a request that goes elsewhere: a layer further out, or a redirection of a
    /// request that had it, may have put it there.
    pub(super) fn remove(&self, headers: &mut HeaderMap) {
        let is_there = |headers: &HeaderMap| {
            headers.get_all(&self.header).iter().any(|value| self.key.is(value))
        };
        if !is_there(headers) {
            return;
        }
        let values: Vec<_> = headers.get_all(&self.header).iter().cloned().collect();
        headers.remove(&self.header);
        for value in values.into_iter().filter(|value| !self.key.is(value)) {
            headers.append(self.header.clone(), value);
        }
    }

    /// Gives the request the key, in the place of any other in that header.
    pub(super) fn attach<B>(self: &Arc<Self>, server: usize, request: &mut Request<B>) -> Sent {
        let key = self.key.current();
        request.headers_mut().insert(self.header.clone(), key.value(self.is_bearer));
        Sent { config: self.clone(), server, key: key.digest() }
    }

    /// The end of the server's pause, if that is not over.
    pub(super) fn paused_until(&self, server: usize) -> Option<Instant> {
        let mut pause = self.origins[server].pause.lock();
        if pause.is_some_and(|until| until <= Instant::now()) {
            *pause = None;
        }
        *pause
    }
}

impl Sent {
    /// Notes what the response says. Returns what to wait for before the response is handed on.
    pub(super) fn note(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<impl Future<Output = ()> + use<>> {
        let config = &*self.config;
        let server = &config.origins[self.server];
        if let Some(notice) = Notice::of(headers, self.key)
            && server.told.lock().is_news(&notice, Instant::now())
        {
            let (deprecation, sunset) = (notice.deprecation.as_ref(), notice.sunset.as_ref());
            observe::client_key_ends(
                &server.origin,
                deprecation.map(|said| said as _),
                sunset.map(|said| said as _),
            );
        }
        if let Some(asked) = pause(status, headers, || config.clock.now()) {
            self.pause(asked);
        }
        if status == StatusCode::UNAUTHORIZED { config.key.check(self.key) } else { None }
    }

    fn pause(&self, asked: Duration) {
        let server = &self.config.origins[self.server];
        let wait = asked.min(self.config.max_wait);
        if wait.is_zero() {
            return;
        }
        let now = Instant::now();
        let mut pause = server.pause.lock();
        let is_news = pause.is_none_or(|until| until <= now);
        *pause = (*pause).max(Some(now + wait));
        drop(pause);
        if is_news {
            observe::client_pauses(&server.origin, asked, wait);
        }
    }
}

/// Whether a target names no origin at all, as over a connection to one.
fn is_relative(uri: &Uri) -> bool {
    uri.scheme().is_none() && uri.authority().is_none()
}
