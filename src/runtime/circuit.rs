//! [`Circuit`]: calls of a back end through a breaker that opens when there is silence.

use std::{future::Future, pin::pin, time::Duration};

use tokio::time::{Instant, timeout};

use super::{
    at_once::{at_once, later},
    breaker::{Breaker, MEMORY, Report, Turn, millis},
    sync::atomic::{AtomicI64, Ordering},
};
use crate::{
    clock::Timestamp,
    error::{BackEnd, StoreError, StoreErrorKind},
};

/// Calls of a back end. Where it says nothing for a while, it is down: a call that waits for longer
/// than that, without an answer to any call since it began, and calls that fail for as long.
///
/// One call that fails at once is an error for its caller and nothing more: it costs no caller any
/// waiting, and a connection that breaks says little about the next one.
pub(crate) struct Circuit {
    breaker: Breaker,
    /// How long a silence may be.
    silence: Duration,
    /// What times count from.
    start: Instant,
    /// When the first of the calls began that failed in a row, and when the last failed, in
    /// milliseconds from 1; zero while none does.
    failing_since: AtomicI64,
    failed_at: AtomicI64,
}

/// How long a caller waits for the call that finds out whether the back end is back: many times what
/// an answer takes.
#[cfg(any(test, feature = "mysql", feature = "postgres", feature = "redis", feature = "sqlite"))]
const PROBE: Duration = Duration::from_millis(100);

impl Circuit {
    /// One that tells the operator through `report` when it opens and closes.
    pub(crate) fn new(back_end: BackEnd, report: Report, silence: Duration) -> Self {
        let breaker = Breaker::new(back_end, report);
        let (failing_since, failed_at) = Default::default();
        // None at all would be over before the first call is made.
        let silence = silence.max(Duration::from_millis(1));
        Self { breaker, silence, start: Instant::now(), failing_since, failed_at }
    }

    /// The part of a caller. While the back end is up, this is one atomic load.
    #[inline]
    pub(crate) fn turn(&self) -> Turn {
        self.breaker.turn(|| self.now())
    }

    /// The error of callers that did not ask.
    #[cold]
    pub(crate) fn down(&self) -> StoreError {
        const WHY: &str = "it does not answer, and is asked once a second until it does";
        StoreError::unavailable(WHY).of(self.breaker.back_end())
    }

    /// Makes a call, unless the back end is down. One call a second is made all the same, in a task
    /// of its own: its caller does not wait for long.
    #[cfg(any(
        test,
        feature = "mysql",
        feature = "postgres",
        feature = "redis",
        feature = "sqlite"
    ))]
    pub(crate) async fn call<T, F>(
        self: &std::sync::Arc<Self>,
        call: impl FnOnce() -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        match (self.turn(), tokio::runtime::Handle::try_current()) {
            (Turn::Probe, Ok(runtime)) => {
                let (this, call) = (self.clone(), call());
                let probe = runtime.spawn(async move { this.watch(call).await });
                let answer = timeout(PROBE, probe).await.map_err(|_| self.down())?;
                answer.map_err(|_| self.down())?
            }
            (Turn::Up | Turn::Probe, _) => self.watch(call()).await,
            (Turn::Down, _) => Err(self.down()),
        }
    }

    /// Makes a call in any case, and learns from how it ends.
    pub(crate) async fn watch<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let (mut call, answers, began) = (pin!(call), self.breaker.answers(), self.now());
        let answer = if let Some(answer) = at_once(call.as_mut()).await {
            answer
        } else {
            let mut call = pin!(later(call));
            loop {
                match timeout(self.silence, call.as_mut()).await {
                    Ok(answer) => break answer,
                    // The next caller need not find out anew.
                    Err(_) => self.breaker.failed(self.now(), answers),
                }
            }
        };
        match &answer {
            Err(error) if error.is_outage() => self.failed(began, answers),
            // It has not asked the back end.
            Err(error) if error.kind() == StoreErrorKind::Overloaded => {}
            _ => self.answered(),
        }
        answer
    }

    /// The back end has answered a call that was not made here.
    pub(crate) fn answered(&self) {
        self.breaker.answered();
        if self.failing_since.load(Ordering::Relaxed) != 0 {
            self.failing_since.store(0, Ordering::Relaxed);
        }
    }

    fn failed(&self, began: Timestamp, answers: u64) {
        if self.breaker.answers() != answers {
            return;
        }
        let (now, began) = (self.now(), began.as_unix_millis());
        let last = self.failed_at.swap(now.as_unix_millis(), Ordering::Relaxed);
        let since = self.failing_since.load(Ordering::Relaxed);
        let is_in_a_row = since != 0 && now.as_unix_millis() - last < millis(MEMORY);
        let since = if is_in_a_row { since.min(began) } else { began };
        self.failing_since.store(since, Ordering::Relaxed);
        if now.as_unix_millis() - since >= millis(self.silence) {
            self.breaker.failed(now, answers);
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(1).saturating_add(self.start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::Arc};

    use tokio::time::{advance, sleep};

    use super::*;

    const SILENCE: Duration = Duration::from_millis(100);
    const MILLI: Duration = Duration::from_millis(1);

    fn circuit() -> Arc<Circuit> {
        Arc::new(Circuit::new(BackEnd::Bus, |_, _| {}, SILENCE))
    }

    async fn silent() -> Result<(), StoreError> {
        pending().await
    }

    async fn fails() -> Result<(), StoreError> {
        Err(StoreError::unavailable("it is not there"))
    }

    async fn answers() -> Result<(), StoreError> {
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_answer_opens_it_for_the_others() {
        let circuit = circuit();
        let mut hangs = pin!(circuit.call(silent));
        assert!(timeout(SILENCE / 2, hangs.as_mut()).await.is_err());
        assert_eq!(circuit.turn(), Turn::Up);
        assert!(timeout(SILENCE, hangs.as_mut()).await.is_err());
        for _ in 0..100 {
            let error = circuit.call(silent).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.back_end()),
                (StoreErrorKind::Unavailable, BackEnd::Bus)
            );
        }
        // One a second finds out, and its answer is the end of it.
        advance(Duration::from_secs(1)).await;
        circuit.call(answers).await.unwrap();
        assert_eq!(circuit.turn(), Turn::Up);
    }

    /// It goes on without its caller.
    #[tokio::test(start_paused = true)]
    async fn the_call_that_finds_out_is_not_waited_for() {
        let circuit = circuit();
        assert!(timeout(SILENCE * 2, circuit.call(silent)).await.is_err());
        for _ in 0..5 {
            advance(Duration::from_secs(1)).await;
            let start = Instant::now();
            circuit.call(silent).await.unwrap_err();
            assert_eq!(start.elapsed(), PROBE);
        }
        advance(Duration::from_secs(1)).await;
        let late = || async {
            sleep(PROBE * 3).await;
            answers().await
        };
        circuit.call(late).await.unwrap_err();
        sleep(PROBE * 3).await;
        assert_eq!(circuit.turn(), Turn::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_call_opens_nothing_while_others_are_answered() {
        let circuit = circuit();
        let mut slow = pin!(circuit.call(silent));
        assert!(timeout(SILENCE / 2, slow.as_mut()).await.is_err());
        circuit.call(answers).await.unwrap();
        assert!(timeout(SILENCE * 20, slow.as_mut()).await.is_err());
        assert_eq!(circuit.turn(), Turn::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_closes_it() {
        let circuit = circuit();
        let late = async || {
            sleep(SILENCE * 3).await;
            answers().await
        };
        let mut late = pin!(circuit.watch(late()));
        assert!(timeout(SILENCE * 2, late.as_mut()).await.is_err());
        assert_eq!(circuit.turn(), Turn::Down);
        late.await.unwrap();
        assert_eq!(circuit.turn(), Turn::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_open_it_when_they_last() {
        let circuit = circuit();
        let start = Instant::now();
        while circuit.turn() == Turn::Up {
            circuit.call(fails).await.unwrap_err();
            advance(10 * MILLI).await;
        }
        assert_eq!(start.elapsed(), SILENCE + 10 * MILLI);
        // An answer in between begins anew, and so does a while without any call.
        for answered in [true, false] {
            let circuit = self::circuit();
            circuit.call(fails).await.unwrap_err();
            if answered {
                advance(SILENCE).await;
                circuit.call(answers).await.unwrap();
            } else {
                advance(MEMORY).await;
            }
            circuit.call(fails).await.unwrap_err();
            assert_eq!(circuit.turn(), Turn::Up);
        }
    }

    /// An error that the back end itself gives is an answer; that it was not asked is none.
    #[tokio::test(start_paused = true)]
    async fn errors_that_are_no_outage() {
        for (kind, is_answer) in [
            (StoreErrorKind::Corrupt, true),
            (StoreErrorKind::Duplicate, true),
            (StoreErrorKind::Unsupported, true),
            (StoreErrorKind::Overloaded, false),
        ] {
            let circuit = circuit();
            assert!(timeout(SILENCE * 2, circuit.call(silent)).await.is_err());
            let call = async { Err::<(), _>(StoreError::new(kind)) };
            circuit.watch(call).await.unwrap_err();
            assert_eq!(circuit.turn() == Turn::Up, is_answer, "{kind:?}");
        }
    }

    /// Without a timer: not every runtime has one.
    #[test]
    fn an_answer_at_once_needs_no_runtime() {
        let circuit = circuit();
        let mut call = pin!(circuit.call(answers));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(call.as_mut().poll(&mut context).is_ready());
    }
}
