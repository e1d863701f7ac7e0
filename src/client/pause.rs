//! [`Pause`]: the time for which an origin asks to be left alone.

use std::time::Duration;

use tokio::time::Instant;

use crate::{key::KeyDigest, runtime::Mutex};

/// A warning of an origin's pauses is given once in this time.
const WARNED: Duration = Duration::from_mins(1);

/// The pause of an origin, for the key that it was asked for with.
#[derive(Default)]
pub(super) struct Pause(Mutex<State>);

#[derive(Default)]
struct State {
    end: Option<(Instant, KeyDigest)>,
    warned_at: Option<Instant>,
}

/// How a pause that begins is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    WithWarning,
    Quietly,
}

impl Pause {
    /// The end of the pause, if that is not over. It is over once the key is another.
    pub(super) fn end(&self, is_current: impl FnOnce(KeyDigest) -> bool) -> Option<Instant> {
        let mut state = self.0.lock();
        let (until, key) = state.end?;
        if until <= Instant::now() || !is_current(key) {
            state.end = None;
        }
        state.end.map(|(until, _)| until)
    }

    /// Begins a pause, or makes it longer; `None` for the latter.
    pub(super) fn begin(&self, key: KeyDigest, wait: Duration) -> Option<Begun> {
        let now = Instant::now();
        let mut state = self.0.lock();
        let running = state.end.filter(|(until, of)| *until > now && *of == key);
        let until = now + wait;
        state.end = Some((running.map_or(until, |(running, _)| running.max(until)), key));
        if running.is_some() {
            return None;
        }
        let was_warned = |at: Instant| now.saturating_duration_since(at) < WARNED;
        if state.warned_at.is_some_and(was_warned) {
            return Some(Begun::Quietly);
        }
        state.warned_at = Some(now);
        Some(Begun::WithWarning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyHasher;

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_of_one_key() {
        let key = |text| KeyHasher::sha256().digest(text);
        let (old, new) = (key("old"), key("new"));
        let pause = Pause::default();
        let start = Instant::now();
        let end = |of: KeyDigest| pause.end(|key| key == of).map(|until| (until - start).as_secs());
        let begin = |key, seconds| pause.begin(key, Duration::from_secs(seconds));

        assert_eq!(end(old), None);
        assert_eq!(begin(old, 10), Some(Begun::WithWarning));
        assert_eq!(begin(old, 20), None, "longer");
        assert_eq!(begin(old, 5), None, "no shorter");
        assert_eq!(end(old), Some(20));
        assert_eq!(end(new), None);
        assert_eq!(end(old), None, "it has ended");
        assert_eq!(begin(new, 5), Some(Begun::Quietly));
        assert_eq!(end(new), Some(5));
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(end(new), None);
        assert_eq!(begin(new, 5), Some(Begun::WithWarning));
    }
}
