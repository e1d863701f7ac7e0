//! The body of responses: the inner service's, or a denial's.

use std::{convert::Infallible, future::ready};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{FutureExt, stream};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_key::{ApiKeyLayer, RequireScopesLayer, Scopes, auth::ResponseBody};

use crate::{
    grpc::as_grpc,
    stores::TestStore,
    support::{KEY, OTHER_KEY, get, record, record_with, with_key},
};

/// A request that is let in.
fn good() -> Request<()> {
    with_key(KEY)
}

/// What a request is answered behind two layers, whose inner service answers with this body.
fn body_of<B>(inner: impl Fn() -> B, request: Request<()>) -> ResponseBody<ResponseBody<B>> {
    let scopes = Scopes::parse(["orders"]).unwrap();
    let keys = [record_with(KEY, |record| record.scopes = scopes), record(OTHER_KEY)];
    let service = ServiceBuilder::new()
        .layer(ApiKeyLayer::new(TestStore::new(keys)))
        .layer(RequireScopesLayer::all(["orders"]).unwrap())
        .service(service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(inner())))));
    service.oneshot(request).now_or_never().unwrap().unwrap().into_body()
}

/// The next frame of a body that does not wait.
fn next<B: Body + Unpin>(body: &mut B) -> Option<Result<Frame<B::Data>, B::Error>> {
    body.frame().now_or_never().expect("it does not wait")
}

#[test]
fn a_denials_is_whole_and_tells_its_size() {
    // By the layer outside, and by the one inside.
    for request in [get("/"), with_key(OTHER_KEY)] {
        let mut body = body_of(Full::<Bytes>::default, request);
        assert!(!body.is_end_stream());
        let size = body.size_hint().exact().unwrap();
        let data = next(&mut body).unwrap().unwrap().into_data().unwrap();
        assert!(data.starts_with(b"{") && data.len() as u64 == size, "{data:?}");
        assert!(body.is_end_stream() && body.size_hint().exact() == Some(0));
        assert!(next(&mut body).is_none());
    }
}

/// So that a gRPC denial is trailers alone.
#[test]
fn an_empty_one_has_ended_before_it_is_read() {
    let mut body = body_of(|| Full::<Bytes>::from("inner"), as_grpc(get("/"), "application/grpc"));
    assert!(body.is_end_stream());
    assert!(next(&mut body).is_none());
}

#[test]
fn an_inner_one_passes_as_it_is() {
    let body = body_of(|| Full::<Bytes>::from("inner"), good());
    assert_eq!(body.size_hint().exact(), Some(5));
    assert!(body_of(Full::<Bytes>::default, good()).is_end_stream());

    let frames = || {
        let trailers = HeaderMap::from_iter([(http::header::ETAG, "\"1\"".parse().unwrap())]);
        [Ok(Frame::data(Bytes::from("one"))), Ok(Frame::trailers(trailers)), Err("its own error")]
    };
    let mut body = body_of(|| StreamBody::new(stream::iter(frames())), good());
    assert!(!body.is_end_stream() && body.size_hint().exact().is_none());
    assert_eq!(next(&mut body).unwrap().unwrap().into_data().unwrap(), "one");
    assert_eq!(next(&mut body).unwrap().unwrap().into_trailers().unwrap()["etag"], "\"1\"");
    assert_eq!(next(&mut body).unwrap().unwrap_err(), "its own error");
    assert!(next(&mut body).is_none());
}

/// An inner service's data may be of another type, as long as it can be made of [`Bytes`].
#[test]
fn a_denials_data_are_of_the_inner_ones_type() {
    type Inner = StreamBody<stream::Empty<Result<Frame<BytesMut>, Infallible>>>;
    let mut body = body_of(|| -> Inner { StreamBody::new(stream::empty()) }, get("/"));
    let data: BytesMut = next(&mut body).unwrap().unwrap().into_data().unwrap();
    assert_eq!(data.chunk()[0], b'{');
}

#[test]
fn it_is_made_of_an_inner_one_or_of_its_default() {
    let empty = ResponseBody::<Full<Bytes>>::default();
    assert!(empty.is_end_stream());
    let made = ResponseBody::from(Full::<Bytes>::from("made"));
    let copy = made.clone().collect().now_or_never().unwrap().unwrap().to_bytes();
    assert_eq!(copy, "made");
    assert_eq!(made.size_hint().exact(), Some(4));
}
