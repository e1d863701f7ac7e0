//! [`ResponseBody`]: the inner service's body, or a denial's.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response of this crate's services: the inner service's, or a denial's.
    ///
    /// It has a default where the inner body has one, as layers outside ask that make responses
    /// themselves, such as those for CORS and timeouts of `tower-http`. It is a [`Body`] where the
    /// inner body's data can be made of [`Bytes`], with the same data and the same error.
    ///
    /// ```
    /// use std::{convert::Infallible, time::Duration};
    ///
    /// use http::{Request, Response, StatusCode};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    /// use tower_api_key::{ApiKeyLayer, auth::ResponseBody, store::MemoryStore};
    /// use tower_http::{cors::CorsLayer, timeout::TimeoutLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Infallible> {
    /// let service = ServiceBuilder::new()
    ///     .layer(CorsLayer::permissive())
    ///     .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(9)))
    ///     .layer(ApiKeyLayer::new(MemoryStore::new()))
    ///     .service(service_fn(async |_: Request<String>| {
    ///         Ok::<_, Infallible>(Response::new("let in".to_owned()))
    ///     }));
    /// let response: Response<ResponseBody<String>> = service.oneshot(Request::default()).await?;
    /// assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    /// # Ok(())
    /// # }
    /// ```
    #[derive(Clone, Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    #[derive(Clone, Debug)]
    enum Kind<B> {
        Inner { #[pin] body: B },
        // Empty once it was read.
        Denial { rest: Bytes },
    }
}

impl<B> ResponseBody<B> {
    pub(crate) const fn denial(body: Bytes) -> Self {
        Self { kind: Kind::Denial { rest: body } }
    }

    /// The body of a denial that was made by the outermost layer.
    pub(crate) fn denial_text(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::Inner { .. } => None,
            Kind::Denial { rest } => Some(rest),
        }
    }
}

impl<B> From<B> for ResponseBody<B> {
    #[inline]
    fn from(body: B) -> Self {
        Self { kind: Kind::Inner { body } }
    }
}

/// As it is where it is the router's, so that nothing is boxed twice.
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl From<ResponseBody<axum::body::Body>> for axum::body::Body {
    fn from(body: ResponseBody<Self>) -> Self {
        match body.kind {
            Kind::Inner { body } => body,
            Kind::Denial { rest } => rest.into(),
        }
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        B::default().into()
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.project().kind.project() {
            KindProjection::Inner { body } => body.poll_frame(cx),
            KindProjection::Denial { rest } if rest.is_empty() => Poll::Ready(None),
            KindProjection::Denial { rest } => {
                Poll::Ready(Some(Ok(Frame::data(mem::take(rest).into()))))
            }
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Denial { rest } => rest.is_empty(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Denial { rest } => SizeHint::with_exact(rest.len() as u64),
        }
    }
}
