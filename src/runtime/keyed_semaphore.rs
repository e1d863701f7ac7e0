//! [`KeyedSemaphore`]: a few permits for each key, and bounded waiting for one.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Mutex;

/// A few permits for each of many keys, which are numbers. A task that finds none waits, and of one key
/// the first to come is the first to get one; so many tasks may wait for a key, and so many for all of
/// them.
///
/// A key takes memory only while a task has a permit of it or waits for one.
pub(crate) struct KeyedSemaphore {
    state: Arc<Mutex<State>>,
}

struct State {
    bounds: Bounds,
    keys: HashMap<u64, Entry>,
    /// Tasks that wait, for all keys.
    waiting: usize,
}

#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// Of each key, one at least.
    pub(crate) permits: usize,
    /// How many tasks may wait for a key.
    pub(crate) waiting_per_key: usize,
    /// How many tasks may wait for all keys together.
    pub(crate) waiting: usize,
}

/// Of a key.
struct Entry {
    permits: Arc<Semaphore>,
    /// Tasks with a permit and tasks that wait for one.
    members: usize,
}

impl KeyedSemaphore {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let permits = bounds.permits.clamp(1, Semaphore::MAX_PERMITS);
        let bounds = Bounds { permits, ..bounds };
        Self { state: Arc::new(Mutex::new(State { bounds, keys: HashMap::new(), waiting: 0 })) }
    }

    /// A ticket for a permit of this key; `None` if too many tasks wait already.
    pub(crate) fn join(&self, key: u64) -> Option<Ticket> {
        let mut state = self.state.lock();
        let State { bounds, keys, waiting } = &mut *state;
        let members = keys.get(&key).map_or(0, |entry| entry.members);
        if members >= bounds.permits {
            if members - bounds.permits >= bounds.waiting_per_key || *waiting >= bounds.waiting {
                return None;
            }
            *waiting += 1;
        }
        let entry = keys.entry(key).or_insert_with(|| Entry {
            permits: Arc::new(Semaphore::new(bounds.permits)),
            members: 0,
        });
        entry.members += 1;
        let permits = entry.permits.clone();
        Some(Ticket { permits, member: Member { state: self.state.clone(), key } })
    }

    #[cfg(test)]
    fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.keys.len(), state.waiting)
    }
}

/// Of a task that wants a permit. Dropped, it makes room for another.
pub(crate) struct Ticket {
    permits: Arc<Semaphore>,
    member: Member,
}

impl Ticket {
    /// The permit, or the ticket again if there is none now.
    pub(crate) fn now(self) -> Result<Permit, Self> {
        match self.permits.clone().try_acquire_owned() {
            Ok(permit) => Ok(Permit { _permit: permit, _member: self.member }),
            Err(_) => Err(self),
        }
    }

    /// Waits for a permit.
    pub(crate) async fn wait(self) -> Option<Permit> {
        let Self { permits, member } = self;
        let permit = permits.acquire_owned().await.ok()?;
        Some(Permit { _permit: permit, _member: member })
    }
}

/// Held until this is dropped: then the next task that waits for the key gets it.
pub(crate) struct Permit {
    // First: an entry that is made anew must find no permit of this one taken.
    _permit: OwnedSemaphorePermit,
    _member: Member,
}

struct Member {
    state: Arc<Mutex<State>>,
    key: u64,
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        let State { bounds, keys, waiting } = &mut *state;
        let Some(entry) = keys.get_mut(&self.key) else { return };
        if entry.members > bounds.permits {
            *waiting -= 1;
        }
        entry.members -= 1;
        if entry.members == 0 {
            keys.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn semaphore(permits: usize, waiting_per_key: usize, waiting: usize) -> KeyedSemaphore {
        KeyedSemaphore::new(Bounds { permits, waiting_per_key, waiting })
    }

    #[test]
    fn permits_are_given_in_order() {
        let semaphore = semaphore(2, 10, 10);
        let mut permits: Vec<_> =
            (0..2).map(|_| semaphore.join(7).unwrap().now().ok().unwrap()).collect();
        let ticket = semaphore.join(7).unwrap().now().err().expect("both are taken");
        let mut first = Box::pin(ticket.wait());
        let mut second = Box::pin(semaphore.join(7).unwrap().wait());
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        // Another key has permits of its own.
        assert!(semaphore.join(8).unwrap().now().is_ok());
        drop(permits.pop());
        // A task that comes now does not overtake those that wait.
        assert!(semaphore.join(7).unwrap().now().is_err());
        assert!(second.as_mut().now_or_never().is_none());
        let permit = first.as_mut().now_or_never().expect("it is the first");
        drop(permit);
        assert!(second.as_mut().now_or_never().is_some());
    }

    #[test]
    fn waiting_is_bounded_and_leaves_nothing_behind() {
        let semaphore = semaphore(1, 2, 3);
        let held: Vec<_> =
            [1, 2, 3].map(|key| semaphore.join(key).unwrap().now().ok().unwrap()).into();
        let mut waiting = vec![semaphore.join(1).unwrap(), semaphore.join(1).unwrap()];
        assert!(semaphore.join(1).is_none(), "two wait for this key");
        waiting.push(semaphore.join(2).unwrap());
        assert!(semaphore.join(3).is_none(), "three wait for all keys");
        assert!(semaphore.join(4).unwrap().now().is_ok(), "with a free permit no task waits");
        assert_eq!(semaphore.counts(), (3, 3));
        waiting.pop();
        assert!(semaphore.join(3).is_some(), "one has left");
        drop((waiting, held));
        assert_eq!(semaphore.counts(), (0, 0));
    }

    #[test]
    fn a_task_that_leaves_while_it_waits_frees_its_room() {
        let semaphore = semaphore(1, 1, 10);
        let permit = semaphore.join(1).unwrap().now().ok().unwrap();
        for _ in 0..100 {
            let mut waits = Box::pin(semaphore.join(1).unwrap().wait());
            assert!(waits.as_mut().now_or_never().is_none());
            assert!(semaphore.join(1).is_none());
        }
        drop(permit);
        assert_eq!(semaphore.counts(), (0, 0));
        assert!(semaphore.join(1).unwrap().now().is_ok());
    }
}
