//! [`Watch`]: looks after one key for as long as something waits for its end.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::watch::Sender,
    time::{Instant, timeout},
};

use super::owners::OwnerQuestion;
use crate::{
    auth::{attached::OwnerLayers, authenticated::AuthenticatedKey, config::Config},
    error::{StoreError, StoreErrorKind},
    key::{KeyRecord, RejectionKind},
    observe,
    runtime::{Backoff, chance},
    store::LookupHint,
};

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Good,
    /// The store has not answered for longer than what it said is used.
    Silent,
    Ended(RejectionKind),
}

impl State {
    pub(super) const fn has_ended(self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

/// Between the first two lookups while the store fails.
const PAUSE: Duration = Duration::from_secs(1);

/// Between later ones, but for stores whose answers are used for less.
const BACKOFF: Backoff = Backoff::new(PAUSE, Duration::from_hours(24));

/// A lookup for each time that the store's [`KeyWatch`](crate::store::KeyWatch) names, however many streams
/// wait.
pub(super) struct Watch {
    config: Arc<Config>,
    record: Arc<KeyRecord>,
    states: Sender<State>,
    /// When the store last answered, and how long it is left alone since.
    answered: Instant,
    backoff: Backoff,
    /// What asks for an active owner, when that was last found, and the question that is under way.
    owner_layers: OwnerLayers,
    owner_answered: Instant,
    owner_question: Option<OwnerQuestion>,
    /// No lookup was made yet.
    is_new: bool,
}

impl Watch {
    pub(super) fn new(config: Arc<Config>, key: &AuthenticatedKey, states: Sender<State>) -> Self {
        let now = Instant::now();
        Self {
            config,
            record: key.record().clone(),
            states,
            answered: now,
            backoff: BACKOFF,
            owner_layers: key.owner_layers().clone(),
            owner_answered: now,
            owner_question: None,
            is_new: true,
        }
    }

    /// Until the key has come to its end, or nothing waits for that any more.
    pub(super) async fn run(&mut self) {
        loop {
            // Before the lookup: what changes from now on is heard.
            let digest = self.record.digest;
            let watch = self.config.store.watch_key(&digest);
            let is_answered = self.look().await;
            if self.states.borrow().has_ended() {
                return;
            }
            if self.record.digest != digest {
                continue;
            }
            let pause = if is_answered { self.next(watch.every) } else { self.pause(watch.every) };
            self.ask_for_owner();
            // An owner is asked for once between two looks, so the last answer may be that old.
            let silence = (watch.silence, watch.silence.saturating_add(watch.every));
            self.say(self.without_end(silence));
            let mut changed = watch.changed;
            let states = self.states.clone();
            let mut closed = pin!(states.closed());
            let is_over = poll_fn(|context| {
                if closed.as_mut().poll(context).is_ready() {
                    return Poll::Ready(true);
                }
                // Beside the wait: a slow answer about the owner holds up no news of the key.
                self.poll_owner(silence, context);
                if self.states.borrow().has_ended() {
                    return Poll::Ready(true);
                }
                changed.as_mut().poll(context).map(|()| false)
            });
            if timeout(pause, is_over).await == Ok(true) {
                return;
            }
        }
    }

    /// The state of a key that has not come to its end, by how long the store and the owner's resolver may be
    /// silent.
    fn without_end(&self, (of_store, of_owner): (Duration, Duration)) -> State {
        let is_silent =
            self.answered.elapsed() >= of_store || self.owner_answered.elapsed() >= of_owner;
        if is_silent { State::Silent } else { State::Good }
    }

    /// Has the owner resolved, unless that is under way.
    fn ask_for_owner(&mut self) {
        let owner = self.record.owner.as_ref();
        if self.owner_question.as_ref().is_some_and(|question| question.is_of(owner)) {
            return;
        }
        self.owner_question = OwnerQuestion::new(&self.owner_layers, owner);
        if self.owner_question.is_none() {
            self.owner_answered = Instant::now();
        }
    }

    fn poll_owner(&mut self, silence: (Duration, Duration), context: &mut Context<'_>) {
        let Some(question) = &mut self.owner_question else { return };
        let Poll::Ready(answer) = Pin::new(question).poll(context) else { return };
        self.owner_question = None;
        match answer {
            Some(true) => {
                self.owner_answered = Instant::now();
                self.say(self.without_end(silence));
            }
            Some(false) => self.say(State::Ended(RejectionKind::InactiveOwner)),
            None => {}
        }
    }

    /// Looks the key up, and says whether the store has answered.
    async fn look(&mut self) -> bool {
        let answer = timeout(self.config.lookup_timeout, self.lookup()).await;
        match answer.unwrap_or_else(|_| Err(StoreError::timeout())) {
            Ok(Some(record)) if record.id == self.record.id && !record.is_deleted() => {
                self.record = record;
                if let Some(kind) = self.record.status(self.config.clock.now()).rejection() {
                    self.say(State::Ended(kind));
                }
            }
            Ok(_) => self.say(State::Ended(RejectionKind::Unknown)),
            Err(error) => {
                observe::lookup_failed(&error);
                // What is known says when it ends, also while the store is silent.
                if let Some(kind) = self.record.status(self.config.clock.now()).rejection() {
                    self.say(State::Ended(kind));
                }
                return false;
            }
        }
        (self.is_new, self.answered) = (false, Instant::now());
        self.backoff.reset();
        true
    }

    // Mutable, since what waits for the owner is not to be shared.
    async fn lookup(&mut self) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let (store, digest) = (&self.config.store, &self.record.digest);
        // From memory, if that knows the key: then nothing was heard of it since the request.
        if self.is_new
            && let Some(record) = store.find_for(digest, LookupHint::new()).await?
        {
            return Ok(Some(record));
        }
        // By its id: its digest may have been renewed.
        match store.find_by_id(self.record.id).await {
            Err(error) if error.kind() == StoreErrorKind::Unsupported => {
                store.find_fresh(digest).await
            }
            // A cache holds this one to what was announced of the key.
            Ok(None) => store.find_for(digest, LookupHint::new()).await,
            answer => answer,
        }
    }

    fn say(&self, new: State) {
        self.states.send_if_modified(|state| mem::replace(state, new) != new);
    }

    /// How long the key is good without another look.
    fn next(&self, every: Duration) -> Duration {
        let every = every.saturating_sub(chance(every / 10));
        let left = self.record.ends_at().map(|end| end.saturating_since(self.config.clock.now()));
        // Clocks count in milliseconds, and some are late by a tick.
        left.map_or(every, |left| every.min(left + Duration::from_millis(1)))
    }

    /// How long the store is left alone after a failure: no longer than while it answers.
    fn pause(&mut self, every: Duration) -> Duration {
        let pause = self.backoff.pause().min(every.max(PAUSE));
        // Or all streams would ask together.
        pause.saturating_sub(chance(pause / 2))
    }
}
