//! The floor with records of its own for each thread: two threads share nothing.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower_service::Service;

use crate::{
    by_hand::{Answer, Record, Records, check},
    inner::NoOp,
    requests::X_API_KEY,
};

/// The floor, whose clones have copies of all records.
#[derive(Debug)]
pub struct Sharded {
    inner: NoOp,
    records: Records,
}

impl Sharded {
    /// In front of this service.
    pub fn new(inner: NoOp, records: &Records) -> Self {
        let copy = |(digest, record): (&[u8; 32], &Arc<Record>)| {
            (*digest, Arc::new(Record::clone(record)))
        };
        Self { inner, records: records.iter().map(copy).collect() }
    }
}

impl Clone for Sharded {
    fn clone(&self) -> Self {
        Self::new(self.inner, &self.records)
    }
}

impl Service<Request<()>> for Sharded {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<()>>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, mut request: Request<()>) -> Answer {
        match check::<true>(&self.records, request.headers().get(X_API_KEY)) {
            Some(record) => {
                let record = record.clone();
                request.extensions_mut().insert(record);
                Answer::Inner(self.inner.call(request))
            }
            None => Answer::Empty,
        }
    }
}
