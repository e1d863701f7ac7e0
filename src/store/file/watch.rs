//! Looking at a file again and again, off the threads that serve requests.

use std::{
    io,
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{task::spawn_blocking, time::timeout};

use super::{
    error::{Fault, FileError},
    keys::{Keys, Seen},
};

pub(super) const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// Between two looks at a file that has changed.
const SETTLE: Duration = Duration::from_millis(200);

impl Keys {
    pub(super) fn set_interval(&self, interval: Duration) {
        self.interval.send_replace(interval.max(MIN_INTERVAL));
    }
}

/// Reads the file with `f` where blocking delays no other task.
pub(super) async fn blocking<T: Send + 'static>(
    path: &Arc<Path>,
    f: impl FnOnce(&Arc<Path>) -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    let path = path.clone();
    let done = spawn_blocking({
        let path = path.clone();
        move || f(&path)
    });
    done.await
        .unwrap_or_else(|error| Err(FileError { path, fault: Fault::from(io::Error::from(error)) }))
}

/// Looks at the file until the keys are dropped.
pub(super) fn start(keys: &Arc<Keys>) {
    let mut interval = keys.interval.subscribe();
    let keys = Arc::downgrade(keys);
    tokio::spawn(async move {
        // The result of the last look, if that is new.
        let mut last: Option<Seen> = None;
        loop {
            let interval_now = *interval.borrow_and_update();
            let wait = if last.is_some() { SETTLE.min(interval_now) } else { interval_now };
            match timeout(wait, interval.changed()).await {
                Err(_) => {}
                Ok(Ok(())) => continue,
                // The keys are gone.
                Ok(Err(_)) => return,
            }
            let Some(keys) = Weak::upgrade(&keys) else { return };
            last = look(keys, last).await;
        }
    });
}

async fn look(keys: Arc<Keys>, last: Option<Seen>) -> Option<Seen> {
    let looking = keys.clone();
    match spawn_blocking(move || looking.look(last.as_ref())).await {
        Ok(seen) => seen,
        // A panic in a parser. The same file will not be parsed again.
        Err(error) => {
            keys.keep(Fault::from(io::Error::from(error)));
            None
        }
    }
}
