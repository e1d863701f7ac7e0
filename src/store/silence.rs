//! Servers that accept a lookup and say nothing.

use std::{sync::Arc, time::Duration};

use crate::{error::BackEnd, observe, runtime::Circuit};

/// A server that has answered nothing for so long is silent. A lookup takes well under a
/// millisecond, and a connection that has to be made anew some hundreds of them.
const SILENCE: Duration = Duration::from_secs(1);

/// The circuits of what requests wait for. A table that is locked or may not be read says nothing of
/// another one.
#[derive(Clone)]
pub(super) struct Circuits {
    pub(super) keys: Arc<Circuit>,
    pub(super) balances: Arc<Circuit>,
}

impl Circuits {
    pub(super) fn new() -> Self {
        let circuit = || Arc::new(Circuit::new(BackEnd::KeyStore, observe::back_end, SILENCE));
        Self { keys: circuit(), balances: circuit() }
    }

    /// The server has answered something.
    pub(super) fn answered(&self) {
        self.keys.answered();
    }
}
