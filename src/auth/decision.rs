//! The span of a decision: what is told of it, and for how long it is open.

use std::task::{Context, Poll};

use http::Request;

use super::{
    authenticate::{Admission, Answer, Waiting},
    config::Config,
    extract::{self, KeySource},
};
use crate::{
    key::RejectionKind,
    observe::{self, Decided, Decision, DecisionSpan},
    rejection::Rejection,
    request::RequestHead,
};

/// What is told of a request that waits, for the span of its decision.
pub(crate) struct Waited {
    span: Option<DecisionSpan>,
    has_asked_store: bool,
}

impl Waited {
    /// The request begins to wait.
    pub(crate) fn begin() -> Self {
        let span = observe::wants_decisions().then(DecisionSpan::of_waiting).flatten();
        Self { span, has_asked_store: false }
    }

    /// What is waited for happens inside of the span.
    pub(crate) fn poll(&mut self, waiting: &mut Waiting, cx: &mut Context<'_>) -> Poll<Answer> {
        let _entered = self.span.as_ref().map(DecisionSpan::enter);
        let answer = waiting.as_mut().poll(cx);
        self.has_asked_store |= matches!(answer, Poll::Ready(Answer::Lookup(..)));
        answer
    }
}

impl Admission {
    /// Tells that the request is let in.
    #[inline]
    pub(super) fn observe(&self, config: &Config) {
        observe::decided(self.decided());
        if observe::wants_decisions() {
            self.tell_at_once(config);
        }
    }

    /// The same, of a request that has waited.
    pub(super) fn observe_after(&self, config: &Config, waited: &Waited) {
        observe::decided(self.decided());
        if let Some(span) = &waited.span {
            self.tell(config, span, !waited.has_asked_store);
        }
    }

    #[cold]
    fn tell_at_once(&self, config: &Config) {
        if let Some(span) = DecisionSpan::at_once(self.decided(), None) {
            self.tell(config, &span, true);
        }
    }

    /// The outcome that it counts as.
    #[inline]
    pub(super) const fn decided(&self) -> Decided {
        match self {
            Self::Authenticated { .. } => Decided::Accepted,
            Self::Anonymous => Decided::Anonymous,
            Self::PassBy => Decided::Bypassed,
            Self::Preflight => Decided::Preflight,
        }
    }

    fn tell(&self, config: &Config, span: &DecisionSpan, is_cached: bool) {
        let decided = self.decided();
        span.tell(&match self {
            Self::Authenticated { key, source, .. } => Decision {
                key: Some(key.id()),
                owner: key.owner(),
                source: config.sources.get(usize::from(*source)).map(KeySource::family),
                is_cached: Some(is_cached),
                ..Decision::new(decided)
            },
            Self::PassBy | Self::Preflight | Self::Anonymous => Decision::new(decided),
        });
    }
}

/// Tells that the request is left to another layer.
pub(super) fn observe_elsewhere() {
    observe::decided(Decided::Elsewhere);
    if observe::wants_decisions()
        && let Some(span) = DecisionSpan::at_once(Decided::Elsewhere, None)
    {
        span.tell(&Decision::new(Decided::Elsewhere));
    }
}

/// Tells that the request is denied.
pub(super) fn observe_denial<B>(
    config: &Config,
    rejection: &Rejection,
    request: &Request<B>,
    waited: Option<Waited>,
) {
    observe::decided(Decided::Denied);
    let head = RequestHead::from(request);
    let span = observe::wants_decisions().then(|| span_of_denial(config, rejection, &head, waited));
    let _entered = span.flatten().as_ref().map(DecisionSpan::enter);
    rejection.observe();
    config.denied(rejection, Some(&head));
}

#[cold]
fn span_of_denial(
    config: &Config,
    rejection: &Rejection,
    request: &RequestHead<'_>,
    waited: Option<Waited>,
) -> Option<DecisionSpan> {
    let (kind, decided) = (rejection.kind(), Decided::Denied);
    let has_asked_store = waited.as_ref().is_some_and(|waited| waited.has_asked_store);
    let at_once = || DecisionSpan::at_once(decided, Some(kind));
    let span = waited.map_or_else(at_once, |waited| waited.span)?;
    // The source is not known any more. It is looked for again, of the few that are told.
    let credential = extract::find(&config.sources, config.precedence, request).ok().flatten();
    let source =
        credential.and_then(|credential| config.sources.get(usize::from(credential.source)));
    let was_looked_for =
        has_asked_store || rejection.key().is_some() || kind == RejectionKind::Unknown;
    span.tell(&Decision {
        decided,
        denied: Some(kind),
        key: rejection.key(),
        owner: rejection.record().and_then(|record| record.owner.as_ref()),
        source: source.map(KeySource::family),
        is_cached: was_looked_for.then_some(!has_asked_store),
    });
    Some(span)
}
