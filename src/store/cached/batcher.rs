//! One statement for the lookups of several keys, without a timer: what comes while statements are under
//! way goes into the next one.
//!
//! A lookup never joins a statement that has begun, which may have read the state before a change: a
//! lookup that comes after the change must not get its answer.

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::oneshot, time::timeout};

use crate::{
    error::StoreError,
    key::{KeyDigest, KeyRecord},
    runtime::Mutex,
    store::KeyStore,
};

type Answer = Result<Option<Arc<KeyRecord>>, StoreError>;

/// Statements under way at a time. With one, a statement that gets no answer would stop all others
/// until its time is up; with more, there are fewer keys in each and the store has more work.
const STATEMENTS: usize = 2;

/// The lookups of a store that finds many keys at once.
pub(super) struct Batcher<S> {
    store: Arc<S>,
    /// Of a statement.
    timeout: Duration,
    state: Mutex<State>,
}

/// No lookup waits while fewer statements than [`STATEMENTS`] are under way.
#[derive(Default)]
struct State {
    /// Those that go first.
    listed: VecDeque<Waiting>,
    others: VecDeque<Waiting>,
    under_way: usize,
    /// One of them takes what waits as soon as it runs: also what comes until then.
    is_starting: bool,
}

/// A lookup that waits for its statement.
struct Waiting {
    digest: KeyDigest,
    answer: oneshot::Sender<Answer>,
    runtime: Handle,
}

impl State {
    fn add(&mut self, waiting: Waiting, is_listed: bool) {
        let queue = if is_listed { &mut self.listed } else { &mut self.others };
        queue.push_back(waiting);
    }

    /// The lookups of the next statement. Those that are no longer waited for are left out.
    fn take(&mut self, size: usize) -> Vec<Waiting> {
        let mut batch = Vec::new();
        for queue in [&mut self.listed, &mut self.others] {
            while batch.len() < size
                && let Some(waiting) = queue.pop_front()
            {
                if !waiting.answer.is_closed() {
                    batch.push(waiting);
                }
            }
        }
        batch
    }
}

impl<S: KeyStore> Batcher<S> {
    pub(super) fn new(store: Arc<S>, timeout: Duration) -> Arc<Self> {
        Arc::new(Self { store, timeout, state: Mutex::default() })
    }

    /// A lookup, with the next statement that begins. Where not all have room in it, those of listed
    /// digests go first.
    pub(super) async fn find(self: Arc<Self>, digest: KeyDigest, is_listed: bool) -> Answer {
        let runtime = Handle::try_current().map_err(StoreError::unavailable)?;
        let (answer, answered) = oneshot::channel();
        self.state.lock().add(Waiting { digest, answer, runtime }, is_listed);
        self.begin_next();
        let given_up = |_| Err(StoreError::unavailable("the lookup was given up"));
        answered.await.unwrap_or_else(given_up)
    }

    /// Begins a statement, if there is something to ask and not enough are under way.
    ///
    /// In a task of its own: a caller that goes away takes no other caller's answer along.
    fn begin_next(self: &Arc<Self>) {
        let size = self.store.max_batch().max(1);
        let mut state = self.state.lock();
        if state.is_starting || state.under_way >= STATEMENTS {
            return;
        }
        let batch = state.take(size);
        let Some(runtime) = batch.first().map(|waiting| waiting.runtime.clone()) else { return };
        state.under_way += 1;
        state.is_starting = true;
        // A runtime that has ended drops the statement within `spawn`, which takes the lock.
        drop(state);
        let statement = Statement { batcher: self.clone(), batch, is_starting: true };
        runtime.spawn(statement.run());
    }
}

/// A statement that is under way. Its end begins the next one, also that of a panic.
struct Statement<S: KeyStore> {
    batcher: Arc<Batcher<S>>,
    batch: Vec<Waiting>,
    is_starting: bool,
}

impl<S: KeyStore> Statement<S> {
    /// Adds what has come since it was made, as further digests of the same key.
    fn fill(&mut self) {
        let room = self.batcher.store.max_batch().saturating_sub(self.batch.len());
        let mut state = self.batcher.state.lock();
        self.batch.extend(state.take(room));
        (self.is_starting, state.is_starting) = (false, false);
        drop(state);
        // Not all may have had room in it.
        self.batcher.begin_next();
    }

    async fn run(mut self) {
        self.fill();
        let digests: Vec<_> = self.batch.iter().map(|waiting| waiting.digest).collect();
        let answers = self.batcher.store.find_many(&digests);
        let answers = timeout(self.batcher.timeout, answers).await;
        let failed = match &answers {
            Ok(answers) if answers.len() == digests.len() => None,
            Ok(_) => Some(StoreError::corrupt("the store has not one answer for each digest")),
            Err(_) => Some(StoreError::timeout()),
        };
        let answers = answers.unwrap_or_default();
        let batch = mem::take(&mut self.batch);
        match failed {
            None => batch.into_iter().zip(answers).for_each(|(waiting, answer)| {
                // An error says that the lookup is no longer waited for.
                let _ = waiting.answer.send(answer);
            }),
            Some(error) => batch.into_iter().for_each(|waiting| {
                let _ = waiting.answer.send(Err(error.clone()));
            }),
        }
    }
}

impl<S: KeyStore> Drop for Statement<S> {
    fn drop(&mut self) {
        let mut state = self.batcher.state.lock();
        state.under_way -= 1;
        if self.is_starting {
            state.is_starting = false;
        }
        drop(state);
        self.batcher.begin_next();
    }
}

#[cfg(test)]
mod tests;
