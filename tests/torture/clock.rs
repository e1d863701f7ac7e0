//! The clock that all processes of a run share.

use nix::time::{ClockId, clock_gettime};

use crate::history::Moment;

/// The time since the machine started.
pub(crate) fn now() -> Moment {
    clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap().into()
}
