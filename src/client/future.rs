//! [`ResponseFuture`]: held back, sent, or refused.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use super::attach::{Config, Sent};

pin_project! {
    /// The response of an [`AttachApiKey`](super::AttachApiKey).
    #[must_use = "a future does nothing unless it is polled"]
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, S::Future, S::Response>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B, F, R> {
        // Boxed: a request and a service are large, and few requests are held back.
        Held { held: Option<Box<Held<S, B>>> },
        Sent { sent: Option<Sent>, #[pin] future: F },
        Refused { response: Option<R>, check: Check },
    }
}

/// How long a request sleeps at a time: another key ends the pause.
const LOOK: Duration = Duration::from_secs(1);

type Check = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A request to a server that has asked for a pause.
struct Held<S, B> {
    config: Arc<Config>,
    server: usize,
    service: S,
    request: Request<B>,
    until: Instant,
    /// Made when it is first polled: that is in a runtime.
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whether the service was polled and may have reserved a slot, or a turn to get one.
    is_polled: bool,
    /// It waits no longer, whatever the server asks other requests meanwhile.
    latest: Instant,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    pub(super) fn sent(sent: Option<Sent>, future: S::Future) -> Self {
        Self { state: State::Sent { sent, future } }
    }

    pub(super) fn held(
        config: Arc<Config>,
        server: usize,
        until: Instant,
        service: S,
        request: Request<B>,
    ) -> Self {
        let latest = Instant::now() + config.max_wait;
        let until = until.min(latest).min(Instant::now() + LOOK);
        let held =
            Held { config, server, service, request, until, sleep: None, is_polled: false, latest };
        Self { state: State::Held { held: Some(Box::new(held)) } }
    }
}

impl<S, B, ResBody> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<ResBody>> + Clone,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project().state.project() {
                StateProjection::Sent { sent, future } => {
                    let response = ready!(future.poll(cx))?;
                    let (status, headers) = (response.status(), response.headers());
                    match sent.take().and_then(|sent| sent.note(status, headers)) {
                        None => return Poll::Ready(Ok(response)),
                        Some(check) => {
                            State::Refused { response: Some(response), check: Box::pin(check) }
                        }
                    }
                }
                StateProjection::Held { held } => {
                    let waiting = held.as_deref_mut().expect(POLLED_AFTER_COMPLETION);
                    ready!(waiting.poll_ready(cx))?;
                    let Held { config, server, mut service, mut request, .. } =
                        *held.take().expect(POLLED_AFTER_COMPLETION);
                    // Only now: the key may have been replaced meanwhile.
                    let sent = config.attach(server, &mut request);
                    State::Sent { sent: Some(sent), future: service.call(request) }
                }
                StateProjection::Refused { response, check } => {
                    ready!(check.as_mut().poll(cx));
                    let response = response.take().expect(POLLED_AFTER_COMPLETION);
                    return Poll::Ready(Ok(response));
                }
            };
            self.as_mut().project().state.set(next);
        }
    }
}

const POLLED_AFTER_COMPLETION: &str = "`ResponseFuture` polled after completion";

impl<S, B> Held<S, B>
where
    S: Service<Request<B>> + Clone,
{
    /// Once the pause is over and the service is ready.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        loop {
            let until = self.until;
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(until)));
            ready!(sleep.as_mut().poll(cx));
            match self.config.paused_until(self.server).map(|until| until.min(self.latest)) {
                Some(until) if until > Instant::now() => {
                    sleep.as_mut().reset(until.min(Instant::now() + LOOK));
                    if mem::take(&mut self.is_polled) {
                        // A clone has reserved nothing. Requests to other origins could not go on
                        // while this one sleeps with a slot.
                        self.service = self.service.clone();
                    }
                }
                _ => {
                    self.is_polled = true;
                    return self.service.poll_ready(cx);
                }
            }
        }
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Held { .. } => "ResponseFuture::Held",
            State::Sent { .. } => "ResponseFuture::Sent",
            State::Refused { .. } => "ResponseFuture::Refused",
        })
    }
}
