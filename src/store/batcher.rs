//! One statement for the lookups of several keys, without a timer: what comes while statements are under
//! way goes into the next one.
//!
//! A lookup never joins a statement that has begun, which may have read the state before a change: a
//! lookup that comes after the change must not get its answer.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::oneshot,
    time::{Instant, timeout},
};

#[cfg(feature = "cache")]
use super::KeyStore;
use crate::{
    error::StoreError,
    key::{KeyDigest, KeyRecord},
    runtime::Mutex,
};

type Answer = Result<Option<Arc<KeyRecord>>, StoreError>;

/// A statement that has no answer for so long is no longer one of them: it may be on a connection that
/// the network has forgotten, and the next one finds out whether the store answers.
const SLOW: Duration = Duration::from_millis(250);

/// Slow statements that are waited for beside them.
const MAX_SLOW: usize = 16;

/// What finds many keys with one statement.
pub(super) trait Source: Clone + Send + Sync + 'static {
    /// One answer for each digest, in the same order.
    fn find_each(&self, digests: &[KeyDigest]) -> impl Future<Output = Vec<Answer>> + Send;

    /// The answer for a digest alone.
    fn find_alone(&self, digest: KeyDigest) -> impl Future<Output = Answer> + Send;

    /// How many digests a statement may have.
    fn max_batch(&self) -> usize;
}

#[cfg(feature = "cache")]
impl<S: KeyStore> Source for Arc<S> {
    async fn find_each(&self, digests: &[KeyDigest]) -> Vec<Answer> {
        (**self).find_many(digests).await
    }

    async fn find_alone(&self, digest: KeyDigest) -> Answer {
        let mut answers = (**self).find_many(&[digest]).await;
        if answers.len() == 1 { answers.remove(0) } else { Err(not_one_each()) }
    }

    fn max_batch(&self) -> usize {
        (**self).max_batch()
    }
}

/// The lookups of a source.
pub(super) struct Batcher {
    /// How many may be under way at a time. With more, there are fewer keys in each and the store has
    /// more work.
    statements: usize,
    /// Of a statement.
    timeout: Option<Duration>,
    state: Mutex<State>,
}

/// No lookup waits while there is room for its statement.
#[derive(Default)]
struct State {
    /// Those that go first.
    listed: VecDeque<Waiting>,
    others: VecDeque<Waiting>,
    /// The statements under way, in the order in which they began.
    under_way: VecDeque<Begun>,
    slow: usize,
    next_number: u64,
}

/// A statement that is under way.
struct Begun {
    number: u64,
    at: Instant,
}

/// A lookup that waits for its statement.
struct Waiting {
    /// Tells it from others.
    #[cfg_attr(not(feature = "cache"), expect(dead_code, reason = "for `find_together`"))]
    number: u64,
    digest: KeyDigest,
    answer: oneshot::Sender<Answer>,
    runtime: Handle,
}

impl State {
    /// Whether no lookup waits for a statement.
    fn is_idle(&self) -> bool {
        self.listed.is_empty() && self.others.is_empty()
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

    /// Whether another statement may begin. One that is slow counts no longer, unless too many are.
    fn has_room(&mut self, statements: usize) -> bool {
        if self.under_way.len() >= statements
            && self.slow < MAX_SLOW
            && self.under_way.pop_front_if(|begun| begun.at.elapsed() >= SLOW).is_some()
        {
            self.slow += 1;
        }
        self.under_way.len() < statements
    }

    fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn begin(&mut self) -> u64 {
        let number = self.next_number();
        self.under_way.push_back(Begun { number, at: Instant::now() });
        number
    }

    fn end(&mut self, number: u64) {
        match self.under_way.iter().position(|begun| begun.number == number) {
            Some(place) => drop(self.under_way.remove(place)),
            None => self.slow -= 1,
        }
    }
}

impl Batcher {
    pub(super) fn new(statements: usize, timeout: Option<Duration>) -> Arc<Self> {
        Arc::new(Self { statements, timeout, state: Mutex::default() })
    }

    /// A lookup: by itself, if there is room for its statement, or else with the next that begins.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(super) async fn find<S: Source>(self: &Arc<Self>, source: &S, digest: KeyDigest) -> Answer {
        let number = {
            let mut state = self.state.lock();
            (state.is_idle() && state.has_room(self.statements)).then(|| state.begin())
        };
        if let Some(number) = number {
            return self.statement(source, number).find(digest).await;
        }
        let (_, answered) = self.queue(digest, false)?;
        self.begin_next(source, Handle::try_current().ok());
        self.wait(source, answered).await
    }

    /// A lookup, with the others of this moment. Where not all have room in a statement, those of
    /// listed digests go first.
    #[cfg(feature = "cache")]
    pub(super) async fn find_together<S: Source>(
        self: &Arc<Self>,
        source: &S,
        digest: KeyDigest,
        is_listed: bool,
    ) -> Answer {
        let (own, answered) = self.queue(digest, is_listed)?;
        moment().await;
        match self.next(source) {
            // No other waits for this one, which needs no task of its own.
            Some((number, batch)) if batch.len() == 1 && batch[0].number == own => {
                drop(batch);
                self.statement(source, number).find(digest).await
            }
            Some((number, batch)) => {
                Handle::current().spawn(self.statement(source, number).answer(batch));
                self.wait(source, answered).await
            }
            None => self.wait(source, answered).await,
        }
    }

    fn queue(
        &self,
        digest: KeyDigest,
        is_listed: bool,
    ) -> Result<(u64, oneshot::Receiver<Answer>), StoreError> {
        let runtime = Handle::try_current().map_err(StoreError::unavailable)?;
        let (answer, answered) = oneshot::channel();
        let mut state = self.state.lock();
        let number = state.next_number();
        let queue = if is_listed { &mut state.listed } else { &mut state.others };
        queue.push_back(Waiting { number, digest, answer, runtime });
        Ok((number, answered))
    }

    /// Waits for the statement of a lookup. Those that wait look after slow statements: the tasks of
    /// these may be on a runtime that is busy.
    async fn wait<S: Source>(
        self: &Arc<Self>,
        source: &S,
        mut answered: oneshot::Receiver<Answer>,
    ) -> Answer {
        loop {
            match timeout(SLOW, &mut answered).await {
                Ok(answer) => {
                    let given_up = |_| Err(StoreError::unavailable("the lookup was given up"));
                    return answer.unwrap_or_else(given_up);
                }
                Err(_) => self.begin_next(source, None),
            }
        }
    }

    /// The next statement, if there is something to ask and not enough are under way.
    fn next<S: Source>(&self, source: &S) -> Option<(u64, Vec<Waiting>)> {
        let mut state = self.state.lock();
        if state.is_idle() || !state.has_room(self.statements) {
            return None;
        }
        let batch = state.take(source.max_batch().max(1));
        (!batch.is_empty()).then(|| (state.begin(), batch))
    }

    fn statement<S: Source>(self: &Arc<Self>, source: &S, number: u64) -> Statement<S> {
        Statement { batcher: self.clone(), source: source.clone(), number }
    }

    /// Begins a statement, if there is something to ask and not enough are under way. On this runtime,
    /// or on that of a lookup that waits: one that has ended or is busy may be another's.
    ///
    /// In a task of its own: a caller that goes away takes no other caller's answer along.
    fn begin_next<S: Source>(self: &Arc<Self>, source: &S, runtime: Option<Handle>) {
        // A runtime that has ended drops the statement within `spawn`, which takes the lock.
        let Some((number, batch)) = self.next(source) else { return };
        let runtime = runtime.unwrap_or_else(|| batch[0].runtime.clone());
        runtime.spawn(self.statement(source, number).answer(batch));
    }
}

/// Lets other tasks go first. A task that has just begun goes to the end of the queue at the second of the
/// two.
#[cfg(feature = "cache")]
async fn moment() {
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
}

/// A statement that is under way. Its end begins the next one, also that of a panic.
struct Statement<S: Source> {
    batcher: Arc<Batcher>,
    source: S,
    number: u64,
}

impl<S: Source> Statement<S> {
    /// For a lookup alone.
    async fn find(self, digest: KeyDigest) -> Answer {
        self.in_time(self.source.find_alone(digest)).await?
    }

    async fn answer(self, batch: Vec<Waiting>) {
        let digests: Vec<_> = batch.iter().map(|waiting| waiting.digest).collect();
        match self.ask(&digests).await {
            Ok(answers) => batch.into_iter().zip(answers).for_each(|(waiting, answer)| {
                // An error says that the lookup is no longer waited for.
                let _ = waiting.answer.send(answer);
            }),
            Err(error) => batch.into_iter().for_each(|waiting| {
                let _ = waiting.answer.send(Err(error.clone()));
            }),
        }
    }

    async fn in_time<T>(&self, answer: impl Future<Output = T>) -> Result<T, StoreError> {
        match self.batcher.timeout {
            Some(limit) => timeout(limit, answer).await.map_err(|_| StoreError::timeout()),
            None => Ok(answer.await),
        }
    }

    /// One answer for each digest.
    async fn ask(&self, digests: &[KeyDigest]) -> Result<Vec<Answer>, StoreError> {
        let answers = self.in_time(self.source.find_each(digests)).await?;
        if answers.len() == digests.len() { Ok(answers) } else { Err(not_one_each()) }
    }
}

impl<S: Source> Drop for Statement<S> {
    fn drop(&mut self) {
        self.batcher.state.lock().end(self.number);
        self.batcher.begin_next(&self.source, None);
    }
}

fn not_one_each() -> StoreError {
    StoreError::corrupt("the store has not one answer for each digest")
}

#[cfg(test)]
mod tests;
