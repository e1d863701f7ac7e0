//! Credits: never more than there are, and all of them.

mod adjusting;
mod clocks;
mod leasing;
mod managing;
mod nodes;
mod repository;
mod simulation;
mod spending;
mod support;
