//! The project itself: what its files say of each other, and how its source is laid out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod builders;
mod dependencies;
mod face;
mod facts;
mod grafana;
mod guides;
mod imports;
mod readme;
mod threat_model;
mod words;
