//! Servers that accept a lookup and say nothing.

use std::time::Duration;

use crate::{error::BackEnd, observe, runtime::Circuit};

/// A server that has answered nothing for so long is silent. A lookup takes well under a
/// millisecond, and a connection that has to be made anew some hundreds of them.
const SILENCE: Duration = Duration::from_secs(1);

/// The circuit of what requests wait for.
pub(super) fn circuit() -> Circuit {
    Circuit::new(BackEnd::KeyStore, observe::back_end, SILENCE)
}
