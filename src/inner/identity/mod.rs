//! [`IdentityLayer`]: tells services behind this one, in any language, of the caller, in headers.

mod headers;
mod layer;
mod value;

pub use self::{
    headers::IdentityHeaders,
    layer::{Identity, IdentityLayer},
};
