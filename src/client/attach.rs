//! [`Config`]: to which requests the key goes, and what their responses say.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Uri, uri::PathAndQuery};
use tokio::time::Instant;

use super::{
    header::keep_past_proxies,
    key::ClientKey,
    notice::{Notice, Told},
    origin::{Origin, Target},
    pause::{Begun, Pause},
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
    pause: Pause,
    told: Mutex<Told>,
}

impl Server {
    pub(super) fn new(origin: Origin) -> Self {
        Self { origin, pause: Pause::default(), told: Mutex::default() }
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
        // A proxy reads the headers of a request for a tunnel.
        if request.method() == Method::CONNECT {
            return None;
        }
        let index = match Target::of(uri) {
            Some(target) => self.origins.iter().position(|server| server.origin.is(target))?,
            None if !is_relative(uri) => return None,
            None => {
                let index = self.default_origin.or_else(|| self.warn_once())?;
                is_path_alone(uri).then_some(index)?
            }
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
        keep_past_proxies(&self.header, request.headers_mut());
        request.headers_mut().insert(self.header.clone(), key.value(self.is_bearer));
        Sent { config: self.clone(), server, key: key.digest() }
    }

    /// The end of the server's pause, if that is not over.
    pub(super) fn paused_until(&self, server: usize) -> Option<Instant> {
        // Another layer with the same servers may have set one.
        if self.max_wait.is_zero() {
            return None;
        }
        self.origins[server].pause.end(|key| self.key.is_current(key))
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
        // A late response to the old key says nothing of the new one.
        if wait.is_zero() || !self.config.key.is_current(self.key) {
            return;
        }
        if let Some(begun) = server.pause.begin(self.key, wait) {
            let is_warning = begun == Begun::WithWarning;
            observe::client_pauses(&server.origin, asked, wait, is_warning);
        }
    }
}

/// Whether a target names no origin at all, as over a connection to one.
fn is_relative(uri: &Uri) -> bool {
    uri.scheme().is_none() && uri.authority().is_none()
}

/// Whether no parser reads a host in such a target: `//host` is a reference to another one, and some
/// take `/\host` for the same.
fn is_path_alone(uri: &Uri) -> bool {
    let target = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let is_path = |path: &str| !path.starts_with(['/', '\\']);
    target == "*" || target.strip_prefix('/').is_some_and(is_path)
}
