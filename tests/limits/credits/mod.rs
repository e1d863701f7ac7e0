//! Credits: never more than there are, and all of them.

mod spending;
mod support;
