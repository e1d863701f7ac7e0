//! [`Plan`]: how a request is judged in shadow.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Sleep, sleep},
};

use super::{
    enforcement::{Enforcement, Unidentified},
    would_deny::WouldDeny,
};
use crate::{
    auth::{
        authenticate::{Admission, Answer, Outcome, Waiting, inspect, resume},
        authenticated::AuthenticatedKey,
        config::Config,
    },
    key::RejectionKind,
    observe::{self, Decided},
    rejection::Rejection,
    request::RequestHead,
};

/// How long a request waits for its decision in shadow. It could have gone on without.
const MAX_WAIT: Duration = Duration::from_millis(50);

/// The settings under which requests are judged.
pub(super) struct Plan {
    /// Of the layer that enforces, where some keys are [enforced](Enforcement).
    enforced: Option<Enforced>,
    pub(super) apart: Arc<Config>,
    /// Of steps 1 to 9.
    first: Arc<Config>,
}

struct Enforced {
    enforcement: Enforcement,
    config: Arc<Config>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let enforcement = self.enforced.as_ref().map(|enforced| &enforced.enforcement);
        f.debug_struct("Plan").field("enforcement", &enforcement).finish_non_exhaustive()
    }
}

/// The end of a decision.
pub(super) enum Decision {
    /// The request would be let in like this, with this identity.
    Admit(Decided, Option<AuthenticatedKey>),
    Deny(Rejection),
    /// The decision would have taken too long, or too many requests wait for theirs.
    Undecided,
    /// The layer enforces, and goes on from here.
    Enforce(Outcome),
}

impl Decision {
    /// Counts the request. One that is enforced is counted as it goes on.
    pub(super) fn count(&self) {
        observe::decided(match self {
            Self::Admit(decided, _) => *decided,
            Self::Deny(_) => Decided::WouldDeny,
            Self::Undecided => Decided::Undecided,
            Self::Enforce(_) => return,
        });
    }
}

/// The next thing to do.
pub(super) enum Step {
    Decided(Decision),
    Wait(Deciding),
}

/// A decision that waits.
pub(super) struct Deciding {
    /// Until it is given up.
    waiting: Option<Waiting>,
    part: Part,
    /// From the first time that it has to be waited for.
    time_out: Option<Pin<Box<Sleep>>>,
}

/// The part of a decision.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Up to the pause, where there is one.
    First,
    /// After it, of a key that is not enforced.
    Second,
}

impl Plan {
    pub(super) fn new(config: &Arc<Config>, enforcement: Option<Enforcement>) -> Self {
        let apart = Arc::new(config.apart());
        let first = match enforcement.as_ref().map(Enforcement::unidentified) {
            None => apart.clone(),
            Some(Unidentified::Shadow) => Arc::new(apart.with_pause()),
            Some(Unidentified::Enforce) => Arc::new(config.with_pause()),
        };
        let enforced =
            enforcement.map(|enforcement| Enforced { enforcement, config: config.clone() });
        Self { enforced, apart, first }
    }

    /// Begins to judge a request; `None` where a layer in shadow further out would have denied it.
    pub(super) fn begin(&self, request: &RequestHead<'_>) -> Option<Step> {
        if self.enforced.is_none() && request.extensions.get::<WouldDeny>().is_some() {
            return None;
        }
        Some(self.next(request, inspect(&self.first, request), Part::First, None))
    }

    /// Goes on with an answer.
    fn resume(
        &self,
        request: &RequestHead<'_>,
        answer: Answer,
        part: Part,
        time_out: Option<Pin<Box<Sleep>>>,
    ) -> Step {
        if let (Answer::Good(found), Some(enforced)) = (&answer, &self.enforced) {
            if enforced.enforcement.is_of(Some(found.record())) {
                let outcome = resume(&enforced.config, request, answer);
                return Step::Decided(Decision::Enforce(outcome));
            }
            let outcome = resume(&self.apart, request, answer);
            return self.next(request, outcome, Part::Second, time_out);
        }
        let config = if part == Part::First { &self.first } else { &self.apart };
        self.next(request, resume(config, request, answer), part, time_out)
    }

    fn next(
        &self,
        request: &RequestHead<'_>,
        outcome: Outcome,
        part: Part,
        time_out: Option<Pin<Box<Sleep>>>,
    ) -> Step {
        let decision = match outcome {
            Outcome::Wait(waiting) => {
                return Step::Wait(Deciding { waiting: Some(waiting), part, time_out });
            }
            Outcome::Admit(Admission::Authenticated { key, .. }) => {
                Decision::Admit(Decided::Accepted, Some(key))
            }
            outcome if part == Part::First && self.enforces(&outcome) => Decision::Enforce(outcome),
            Outcome::Admit(admission) => Decision::Admit(admission.decided(), None),
            Outcome::Reject(rejection) if rejection.kind() == RejectionKind::Overloaded => {
                Decision::Undecided
            }
            Outcome::Reject(rejection) => {
                self.apart.denied(&rejection, Some(request));
                Decision::Deny(rejection)
            }
            // The layer is put together in a way in which it cannot judge requests. It says so once it
            // enforces.
            Outcome::Mistake(_) => Decision::Undecided,
        };
        Step::Decided(decision)
    }

    /// Whether the layer enforces this outcome, which it has before the pause.
    fn enforces(&self, outcome: &Outcome) -> bool {
        let Some(Enforced { enforcement, .. }) = &self.enforced else { return false };
        let record = match outcome {
            Outcome::Reject(rejection) => rejection.record(),
            _ => None,
        };
        enforcement.is_of(record.map(|record| &**record))
    }

    fn waits_for_record(&self, part: Part) -> bool {
        let unidentified =
            self.enforced.as_ref().map(|enforced| enforced.enforcement.unidentified());
        part == Part::First && unidentified == Some(Unidentified::Enforce)
    }
}

impl Deciding {
    /// Drives the decision on; it is over when this is ready.
    pub(super) fn poll(
        &mut self,
        plan: &Plan,
        request: &RequestHead<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Decision> {
        loop {
            let Some(waiting) = &mut self.waiting else { return Poll::Ready(Decision::Undecided) };
            let Poll::Ready(answer) = waiting.as_mut().poll(cx) else {
                return self.poll_time_out(plan, cx);
            };
            match plan.resume(request, answer, self.part, self.time_out.take()) {
                Step::Decided(decision) => return Poll::Ready(decision),
                Step::Wait(next) => *self = next,
            }
        }
    }

    fn poll_time_out(&mut self, plan: &Plan, cx: &mut Context<'_>) -> Poll<Decision> {
        // The store's answer decides whether the request is enforced. The lookup has its own end.
        if plan.waits_for_record(self.part) {
            return Poll::Pending;
        }
        let time_out = self.time_out.get_or_insert_with(|| Box::pin(sleep(MAX_WAIT)));
        ready!(time_out.as_mut().poll(cx));
        // A slow store is asked no more often for it: the wait keeps its place until the store has answered,
        // or its timeout is over.
        if let (Some(waiting), Ok(runtime)) = (self.waiting.take(), Handle::try_current()) {
            runtime.spawn(waiting);
        }
        Poll::Ready(Decision::Undecided)
    }
}
