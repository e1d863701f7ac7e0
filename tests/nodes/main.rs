//! Several nodes: what one changes, the others hear. [`contract`] and [`wire`] are what
//! every bus must do, [`changes`] which changes reach another node, [`promptly`] how soon, [`lost`] what happens while
//! the bus is away, and [`race`] what may not happen meanwhile.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[macro_use]
mod place;
mod changes;
mod contract;
mod deaf;
mod gate;
mod lost;
mod network;
mod node;
mod promptly;
#[path = "../support/proxy.rs"]
mod proxy;
mod race;
mod redis_user;
mod rotation;
#[path = "../support/servers.rs"]
mod servers;
mod silence;
mod streams;
mod watched;
mod wire;
