//! Credits: never more than there are, and all of them.

mod managing;
mod spending;
mod support;
