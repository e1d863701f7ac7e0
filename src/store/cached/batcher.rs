//! One statement for the lookups of several keys, without a timer: what comes while statements are under
//! way goes into the next one.
//!
//! A lookup never joins a statement that has begun, which may have read the state before a change: a
//! lookup that comes after the change must not get its answer.

use std::{collections::VecDeque, mem, pin::pin, sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::oneshot, task::yield_now, time::timeout};

use crate::{
    error::StoreError,
    key::{KeyDigest, KeyRecord},
    runtime::Mutex,
    store::KeyStore,
};

type Answer = Result<Option<Arc<KeyRecord>>, StoreError>;

/// Statements under way at a time. With more, there are fewer keys in each and the store has more work.
const STATEMENTS: usize = 2;

/// A statement that has no answer for so long is no longer one of them: it may be on a connection that
/// the network has forgotten, and the next one finds out whether the store answers.
const SLOW: Duration = Duration::from_millis(250);

/// Slow statements that are waited for beside them.
const MAX_SLOW: usize = 16;

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
    slow: usize,
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
        self.state.lock().add(Waiting { digest, answer, runtime: runtime.clone() }, is_listed);
        // What comes at the same moment goes into the same statement.
        yield_now().await;
        self.begin_next(Some(runtime));
        let given_up = |_| Err(StoreError::unavailable("the lookup was given up"));
        answered.await.unwrap_or_else(given_up)
    }

    /// Begins a statement, if there is something to ask and not enough are under way. On this runtime,
    /// or on that of a lookup that waits: one that has ended or is busy may be another's.
    ///
    /// In a task of its own: a caller that goes away takes no other caller's answer along.
    fn begin_next(self: &Arc<Self>, runtime: Option<Handle>) {
        let size = self.store.max_batch().max(1);
        let mut state = self.state.lock();
        if state.under_way >= STATEMENTS {
            return;
        }
        let batch = state.take(size);
        let Some(first) = batch.first() else { return };
        let runtime = runtime.unwrap_or_else(|| first.runtime.clone());
        state.under_way += 1;
        // A runtime that has ended drops the statement within `spawn`, which takes the lock.
        drop(state);
        let statement = Statement { batcher: self.clone(), batch, is_slow: false };
        runtime.spawn(statement.run());
    }
}

/// A statement that is under way. Its end begins the next one, also that of a panic.
struct Statement<S: KeyStore> {
    batcher: Arc<Batcher<S>>,
    batch: Vec<Waiting>,
    is_slow: bool,
}

impl<S: KeyStore> Statement<S> {
    async fn run(mut self) {
        let digests: Vec<_> = self.batch.iter().map(|waiting| waiting.digest).collect();
        let batcher = self.batcher.clone();
        let mut answers = pin!(timeout(batcher.timeout, batcher.store.find_many(&digests)));
        let answers = loop {
            match timeout(SLOW, answers.as_mut()).await {
                Ok(answers) => break answers,
                Err(_) => self.let_others_begin(),
            }
        };
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

    /// This one is slow: it counts as under way no longer, unless too many are.
    fn let_others_begin(&mut self) {
        let mut state = self.batcher.state.lock();
        if self.is_slow || state.slow >= MAX_SLOW {
            return;
        }
        state.slow += 1;
        state.under_way -= 1;
        self.is_slow = true;
        drop(state);
        self.batcher.begin_next(None);
    }
}

impl<S: KeyStore> Drop for Statement<S> {
    fn drop(&mut self) {
        let mut state = self.batcher.state.lock();
        if self.is_slow {
            state.slow -= 1;
        } else {
            state.under_way -= 1;
        }
        drop(state);
        self.batcher.begin_next(None);
    }
}

#[cfg(test)]
mod tests;
