//! The other side: [`AttachApiKeyLayer`] sends an API key along with the requests of a client.

mod attach;
mod credential;
mod file_error;
mod future;
mod header;
mod key;
mod key_file;
mod layer;
mod notice;
mod origin;
mod pause;
mod retry_after;
mod service;

pub use self::{
    file_error::{KeyFileError, KeyFileErrorKind},
    future::ResponseFuture,
    key::ClientKey,
    layer::AttachApiKeyLayer,
    service::AttachApiKey,
};
