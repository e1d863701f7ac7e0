//! [`Lines`]: a few places for each line, and bounded waiting for one.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Mutex;

/// A few places for each of many lines, which numbers tell apart. A task that finds none waits in its
/// line, in which the first to come is the first to get one; so many may wait in a line, and so many in
/// all of them.
///
/// A line takes memory only while a task is in it.
pub(crate) struct Lines {
    state: Arc<Mutex<State>>,
}

struct State {
    bounds: Bounds,
    lines: HashMap<u64, Line>,
    /// In all lines.
    waiting: usize,
}

#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// In each line, one at least.
    pub(crate) places: usize,
    /// How many tasks may wait in a line.
    pub(crate) in_line: usize,
    /// How many tasks may wait in all lines together.
    pub(crate) in_all: usize,
}

struct Line {
    places: Arc<Semaphore>,
    /// Tasks with a place and tasks that wait for one.
    members: usize,
}

impl Lines {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let places = bounds.places.clamp(1, Semaphore::MAX_PERMITS);
        let bounds = Bounds { places, ..bounds };
        Self { state: Arc::new(Mutex::new(State { bounds, lines: HashMap::new(), waiting: 0 })) }
    }

    /// Joins a line; `None` if too many wait already.
    pub(crate) fn join(&self, line: u64) -> Option<Turn> {
        let mut state = self.state.lock();
        let State { bounds, lines, waiting } = &mut *state;
        let members = lines.get(&line).map_or(0, |line| line.members);
        if members >= bounds.places {
            if members - bounds.places >= bounds.in_line || *waiting >= bounds.in_all {
                return None;
            }
            *waiting += 1;
        }
        let joined = lines.entry(line).or_insert_with(|| Line {
            places: Arc::new(Semaphore::new(bounds.places)),
            members: 0,
        });
        joined.members += 1;
        let places = joined.places.clone();
        Some(Turn { places, member: Member { state: self.state.clone(), line } })
    }

    #[cfg(test)]
    fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.lines.len(), state.waiting)
    }
}

/// A task in a line. It leaves the line when this is dropped.
pub(crate) struct Turn {
    places: Arc<Semaphore>,
    member: Member,
}

impl Turn {
    /// The place, or the turn again if there is none now.
    pub(crate) fn now(self) -> Result<Place, Self> {
        match self.places.clone().try_acquire_owned() {
            Ok(permit) => Ok(Place { _permit: permit, _member: self.member }),
            Err(_) => Err(self),
        }
    }

    /// Waits for a place.
    pub(crate) async fn wait(self) -> Option<Place> {
        let Self { places, member } = self;
        let permit = places.acquire_owned().await.ok()?;
        Some(Place { _permit: permit, _member: member })
    }
}

/// A place, until this is dropped: then the next task in the line gets it.
pub(crate) struct Place {
    // First: a line that is begun anew must find no place of this one taken.
    _permit: OwnedSemaphorePermit,
    _member: Member,
}

struct Member {
    state: Arc<Mutex<State>>,
    line: u64,
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        let State { bounds, lines, waiting } = &mut *state;
        let Some(line) = lines.get_mut(&self.line) else { return };
        if line.members > bounds.places {
            *waiting -= 1;
        }
        line.members -= 1;
        if line.members == 0 {
            lines.remove(&self.line);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn lines(places: usize, in_line: usize, in_all: usize) -> Lines {
        Lines::new(Bounds { places, in_line, in_all })
    }

    #[test]
    fn places_are_given_in_order() {
        let lines = lines(2, 10, 10);
        let mut places: Vec<_> =
            (0..2).map(|_| lines.join(7).unwrap().now().ok().unwrap()).collect();
        let turn = lines.join(7).unwrap().now().err().expect("both are taken");
        let mut first = Box::pin(turn.wait());
        let mut second = Box::pin(lines.join(7).unwrap().wait());
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        // Another line has places of its own.
        assert!(lines.join(8).unwrap().now().is_ok());
        drop(places.pop());
        // A task that comes now does not overtake those that wait.
        assert!(lines.join(7).unwrap().now().is_err());
        assert!(second.as_mut().now_or_never().is_none());
        let place = first.as_mut().now_or_never().expect("it is its turn");
        drop(place);
        assert!(second.as_mut().now_or_never().is_some());
    }

    #[test]
    fn waiting_is_bounded_and_leaves_nothing_behind() {
        let lines = lines(1, 2, 3);
        let held: Vec<_> =
            [1, 2, 3].map(|line| lines.join(line).unwrap().now().ok().unwrap()).into();
        let mut waiting = vec![lines.join(1).unwrap(), lines.join(1).unwrap()];
        assert!(lines.join(1).is_none(), "two wait in this line");
        waiting.push(lines.join(2).unwrap());
        assert!(lines.join(3).is_none(), "three wait in all lines");
        assert!(lines.join(4).unwrap().now().is_ok(), "a free place is no waiting");
        assert_eq!(lines.counts(), (3, 3));
        waiting.pop();
        assert!(lines.join(3).is_some(), "one has left");
        drop((waiting, held));
        assert_eq!(lines.counts(), (0, 0));
    }

    #[test]
    fn a_task_that_leaves_while_it_waits_frees_its_room() {
        let lines = lines(1, 1, 10);
        let place = lines.join(1).unwrap().now().ok().unwrap();
        for _ in 0..100 {
            let mut waits = Box::pin(lines.join(1).unwrap().wait());
            assert!(waits.as_mut().now_or_never().is_none());
            assert!(lines.join(1).is_none());
        }
        drop(place);
        assert_eq!(lines.counts(), (0, 0));
        assert!(lines.join(1).unwrap().now().is_ok());
    }
}
