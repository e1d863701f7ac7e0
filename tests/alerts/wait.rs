//! [`wait_until`]: for what happens soon, and not after a certain time.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Far longer than anything takes. The slowest is a lag of a minute.
const PATIENCE: Duration = Duration::from_mins(4);

/// Asks again and again whether it is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_for(|| if is_so() { Ok(()) } else { Err(what.to_owned()) });
}

/// Asks again and again, until there is no error.
pub(crate) fn wait_for<T>(mut ask: impl FnMut() -> Result<T, String>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(missing) => assert!(Instant::now() < give_up, "not within {PATIENCE:?}: {missing}"),
        }
        thread::sleep(Duration::from_millis(500));
    }
}
