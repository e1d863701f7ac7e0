//! The body of a request: it must come in time, and a rest that no handler reads is still taken from the
//! network, within bounds.

use std::{
    error::Error,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use http::{Request, StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::activity::Busy;

/// Of a body that is refused, this much is taken from the network, so that a client that is busy
/// sending comes to read why. A client that sends more is cut off.
const DISCARD: u64 = 1024 * 1024;

/// And for this long.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// A body that must have come by a deadline, and that does not get lost when it is not read.
pub(super) struct Timely {
    /// There until this is dropped.
    body: Option<Incoming>,
    taken: u64,
    deadline: Instant,
    /// Once the body has to be waited for.
    late: Option<Pin<Box<Sleep>>>,
    unread: Unread,
}

/// The rest of a body that was not read to its end.
#[derive(Clone)]
pub(super) struct Unread {
    /// And how much of it was read.
    left: Arc<Mutex<Option<(Incoming, u64)>>>,
    /// Whether the client sends nothing before it is asked to, or before some time has gone by. It
    /// is asked when a handler begins to read.
    waits: bool,
    is_http2: bool,
}

impl Timely {
    pub(super) fn of(request: Request<Incoming>, deadline: Instant) -> (Request<Body>, Unread) {
        let waits = request.headers().contains_key(header::EXPECT);
        let is_http2 = request.version() == Version::HTTP_2;
        let unread = Unread { left: Arc::default(), waits, is_http2 };
        let request = request.map(|body| {
            let unread = unread.clone();
            Body::new(Self { body: Some(body), taken: 0, deadline, late: None, unread })
        });
        (request, unread)
    }
}

impl HttpBody for Timely {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            this.taken += data.map_or(0, |data| data.len() as u64);
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let deadline = this.deadline;
        let late = this.late.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(late.as_mut().poll(context));
        Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::TimedOut).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Drop for Timely {
    fn drop(&mut self) {
        let left = self.body.take().map(|body| (body, self.taken));
        *self.unread.left.lock().unwrap_or_else(PoisonError::into_inner) = left;
    }
}

impl Unread {
    /// Takes what is left of the body, before the answer is sent. Without this, a client that
    /// sends while it is refused may see a broken connection instead of the refusal. Meanwhile the connection may
    /// make way for another.
    pub(super) async fn discard(self, status: StatusCode, deadline: Instant, busy: &Busy) {
        // Where there is too much to do, this would be more of it.
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return;
        }
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((mut body, mut taken)) = left else { return };
        let nothing_comes = self.waits && taken == 0;
        if nothing_comes && !self.is_http2 {
            return;
        }
        if taken + body.size_hint().lower() > DISCARD {
            return;
        }
        let rest = async move {
            while taken <= DISCARD
                && let Some(Ok(frame)) = body.frame().await
            {
                taken += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
        };
        let rest = timeout_at(deadline.min(Instant::now() + DISCARD_TIME), rest);
        if nothing_comes {
            // To let go of the body would reset the stream, which some clients take for the answer.
            tokio::spawn(rest);
        } else {
            let _discarding = busy.discards();
            let _ = rest.await;
        }
    }
}
