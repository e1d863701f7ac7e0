//! [`until_end`]: a stream of messages that ends with its key.

use futures_util::{FutureExt, Stream, StreamExt, stream};
use tonic::Status;
use tower_api_key::{Rejection, RejectionKind};

/// These messages until the end of the key, and then the reason as an error. Without it, the client could not
/// tell a stream that was cut off from a whole one. Messages that come to an end of their own have none.
pub(crate) fn until_end<T>(
    messages: impl Stream<Item = Result<T, Status>>,
    end: impl Future<Output = RejectionKind>,
) -> impl Stream<Item = Result<T, Status>> {
    let end = end.shared();
    let ended = end.clone();
    let reason = stream::once(async move { ended.now_or_never() }).flat_map(stream::iter);
    messages.take_until(end).chain(reason.map(|reason| Err(Rejection::new(reason).into())))
}
