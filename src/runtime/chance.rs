//! Times by chance, so that what came together does not come back together.

use std::time::Duration;

/// Up to so long.
pub(crate) fn chance(longest: Duration) -> Duration {
    let part = getrandom::u32().map_or(0.5, |part| f64::from(part) / f64::from(u32::MAX));
    longest.mul_f64(part)
}
