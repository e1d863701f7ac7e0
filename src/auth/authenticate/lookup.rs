//! 6. Look up: a key of which memory cannot tell.
//!
//! Where the layer has a throttle, the lookup goes on without its client. It settles whether the request was
//! a guess, also if the client has gone away by then: a guess must not be free for a client that hangs
//! up.

use std::{future::Future, pin::Pin};

use tokio::{
    runtime::Handle,
    sync::oneshot,
    time::{Instant, timeout_at},
};

#[cfg(feature = "legacy-hashes")]
use super::slow_hash::SlowHash;
use super::{Answer, Attempt, LookupResult, Outcome};
use crate::{
    auth::{
        config::Config,
        waiting_limit::{WaitingLimit, WaitingPermit},
    },
    error::{StoreError, StoreErrorKind},
    observe::Began,
    rejection::Rejection,
    request::RequestHead,
    runtime::{Carried, at_once, later},
    store::LookupHint,
    throttle::{Guess, NotNow},
};

/// What the store is told of the request.
pub(super) fn hint(config: &Config, request: &RequestHead<'_>, current: &Attempt) -> LookupHint {
    let hint = config.hint(request);
    #[cfg(feature = "legacy-hashes")]
    let hint = hint.with_slow_hash(SlowHash::may_exist(config, request, current));
    #[cfg(not(feature = "legacy-hashes"))]
    let _ = current;
    hint
}

/// Waits for `lookup`, which asks the store, and then for slow hashes.
pub(super) fn wait(
    config: &Config,
    request: &RequestHead<'_>,
    current: Attempt,
    may_exist: impl FnOnce() -> bool,
    lookup: impl Future<Output = (Attempt, LookupResult)> + Send + 'static,
) -> Outcome {
    let mut current = current;
    let permit = match current.may_wait(config, request, WaitingLimit::admit) {
        Ok(permit) => permit,
        Err(error) => return Outcome::Reject(Rejection::from_store_error(error)),
    };
    let deadline = current.set_deadline(config);
    let search = Search {
        current,
        deadline,
        _permit: permit,
        // Boxed: a future that passes it on would hold it twice.
        lookup: Box::pin(lookup),
        #[cfg(feature = "legacy-hashes")]
        slow_hash: SlowHash::new(config, request, &current),
    };
    #[cfg(feature = "legacy-hashes")]
    let may_exist = || may_exist() || search.slow_hash.as_ref().is_some_and(SlowHash::may_be);
    let Some(guess) = config.guess(request) else {
        return Outcome::Wait(Box::pin(search.for_client()));
    };
    let may_exist = may_exist();
    Outcome::Wait(Box::pin(search.for_throttle(guess, may_exist)))
}

struct Search {
    /// Under the current pepper.
    current: Attempt,
    deadline: Instant,
    /// To wait. A lookup that goes on without its client has it to the end.
    _permit: WaitingPermit,
    /// Of the store.
    lookup: Pin<Box<dyn Future<Output = (Attempt, LookupResult)> + Send>>,
    #[cfg(feature = "legacy-hashes")]
    slow_hash: Option<SlowHash>,
}

/// The end of a search.
enum End {
    Answer(Attempt, LookupResult),
    /// No request waited any more, so no slow hash was computed.
    #[cfg(feature = "legacy-hashes")]
    GivenUp,
}

impl Search {
    /// Ends when the client goes away.
    async fn for_client(mut self) -> Answer {
        #[cfg(feature = "legacy-hashes")]
        if self.slow_hash.is_some() {
            let (current, deadline) = (self.current, self.deadline);
            return match timeout_at(deadline, self.run(std::future::pending())).await {
                Ok(End::Answer(attempt, answer)) => Answer::Lookup(attempt, answer),
                Ok(End::GivenUp) => Answer::Lookup(current, Err(given_up())),
                Err(_) => Answer::Lookup(current, Err(StoreError::timeout())),
            };
        }
        let (attempt, answer) = self.ask().await;
        Answer::Lookup(attempt, answer)
    }

    /// Goes on when the client goes away, but for the time before it begins.
    async fn for_throttle(self, guess: Guess, may_exist: bool) -> Answer {
        let (current, deadline) = (self.current, self.deadline);
        let failed = |error| Answer::Lookup(current, Err(error));
        let guess = if may_exist {
            guess
        } else {
            match timeout_at(deadline, guess.pend()).await {
                Ok(Ok(guess)) => guess,
                Ok(Err(NotNow::Throttled(wait))) => return Answer::Throttled(wait),
                Ok(Err(NotNow::Full)) | Err(_) => return failed(too_many()),
            }
        };
        let runtime = match Handle::try_current() {
            Ok(runtime) => runtime,
            Err(error) => return failed(StoreError::unavailable(error)),
        };
        let (client, answer) = oneshot::channel();
        // Not carried on by the client's request, which may not be polled: then it would stay pending.
        Carried::new(runtime, self.settle(guess, client)).begin();
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => failed(given_up()),
            Err(_) => failed(StoreError::timeout()),
        }
    }

    async fn settle(self, guess: Guess, mut client: oneshot::Sender<Answer>) {
        #[cfg(feature = "legacy-hashes")]
        let deadline = self.deadline;
        let answer = match self.run(client.closed()).await {
            End::Answer(attempt, Ok(None)) => {
                guess.failed();
                Answer::Lookup(Attempt { is_settled: true, ..attempt }, Ok(None))
            }
            End::Answer(attempt, answer) => {
                drop(guess);
                Answer::Lookup(attempt, answer)
            }
            // The store does not know the key, and its client did not stay for the rest. One that was
            // not answered in time is no guesser for that.
            #[cfg(feature = "legacy-hashes")]
            End::GivenUp => {
                if Instant::now() < deadline {
                    guess.failed();
                }
                return;
            }
        };
        drop(client.send(answer));
    }

    /// The store, within the time of a lookup; then slow hashes, which end when the client has
    /// `gone`.
    #[cfg_attr(
        not(feature = "legacy-hashes"),
        expect(unused_variables, reason = "without slow hashes nothing is left out")
    )]
    async fn run(mut self, gone: impl Future<Output = ()>) -> End {
        #[cfg(feature = "legacy-hashes")]
        let (slow_hash, current) = (self.slow_hash.take(), self.current);
        let (attempt, answer) = self.ask().await;
        #[cfg(feature = "legacy-hashes")]
        if let (Ok(None), Some(slow_hash)) = (&answer, slow_hash)
            && slow_hash.may_be()
        {
            return match slow_hash.prove(std::pin::pin!(gone)).await {
                // The digest of the current pepper is the one that was stored.
                Some(answer) => End::Answer(current, answer),
                None => End::GivenUp,
            };
        }
        End::Answer(attempt, answer)
    }

    /// The store, within the time of a lookup.
    async fn ask(&mut self) -> (Attempt, LookupResult) {
        let began = Began::now();
        let (attempt, answer) = match at_once(self.lookup.as_mut()).await {
            Some(answer) => answer,
            None => timeout_at(self.deadline, later(self.lookup.as_mut()))
                .await
                .unwrap_or_else(|_| (self.current, Err(StoreError::timeout()))),
        };
        began.lookup(&answer);
        (Attempt { has_waited: true, ..attempt }, answer)
    }
}

fn too_many() -> StoreError {
    let error = StoreError::new(StoreErrorKind::Overloaded);
    error.with_source("too many lookups of this network wait")
}

fn given_up() -> StoreError {
    StoreError::unavailable("the lookup was given up")
}
