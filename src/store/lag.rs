//! How far a replica may be behind.

use std::time::Duration;

/// The default of stores that read from replicas, and of caches in front of them.
pub(super) const LAG_BOUND: Duration = Duration::from_mins(1);
