//! Credits: never more than there are, and all of them.

mod leasing;
mod managing;
mod repository;
mod spending;
mod support;
