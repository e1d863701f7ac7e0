//! [`Beats`]: when the primary took each beat, as far as this node can tell.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::super::heartbeat::Pulse;
use crate::runtime::Mutex;

/// The beats of the primary that this node has written or seen, by its own monotonic clock: no two
/// machines' clocks are compared.
///
/// A beat is a random number, so that two servers have one in common only if one copies the other, or both
/// a third. Each comes after a moment at which the one before it was still the latest. A replica that shows
/// it has all changes that were made before that moment.
pub(super) struct Beats {
    /// Older beats are of no use.
    lag_bound: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    beats: VecDeque<Beat>,
    /// The one that the primary showed or took last. The next one comes after this moment.
    latest: Option<Beat>,
}

/// A beat, and a moment.
#[derive(Clone, Copy)]
struct Beat {
    number: i64,
    moment: Instant,
}

impl Beats {
    pub(super) fn new(lag_bound: Duration) -> Self {
        Self { lag_bound, state: Mutex::default() }
    }

    /// The primary showed this to a question that was asked at that moment, or later.
    pub(super) fn seen(&self, pulse: Pulse, asked: Instant) {
        let mut state = self.state.lock();
        // Of one that does not follow on the one before, nothing tells how old it is.
        if let Some(latest) = state.latest
            && pulse.follows(latest.number)
        {
            state.add(Beat { number: pulse.beat, moment: latest.moment }, self.lag_bound);
        }
        state.latest = Some(Beat { number: pulse.beat, moment: asked });
    }

    /// The primary took this beat from this node, which sent it at that moment, or later.
    pub(super) fn written(&self, beat: i64, sent: Instant) {
        let mut state = self.state.lock();
        let beat = Beat { number: beat, moment: sent };
        state.add(beat, self.lag_bound);
        state.latest = Some(beat);
    }

    /// Changes that were made before this moment are known to a server that shows this. `None`: nothing is
    /// known of them.
    pub(super) fn moment_of(&self, pulse: Pulse) -> Option<Instant> {
        let state = self.state.lock();
        let moment_of = |number| {
            let beat = state.beats.iter().rev().find(|beat| beat.number == number);
            beat.map(|beat| beat.moment)
        };
        let latest = || state.latest.filter(|latest| pulse.follows(latest.number));
        moment_of(pulse.beat)
            .or_else(|| latest().map(|latest| latest.moment))
            .or_else(|| moment_of(pulse.previous))
    }
}

impl State {
    fn add(&mut self, beat: Beat, lag_bound: Duration) {
        // A primary that was replaced may show an earlier one again, which has become no younger.
        if self.beats.iter().any(|known| known.number == beat.number) {
            return;
        }
        while self.beats.pop_front_if(|first| first.moment.elapsed() > lag_bound).is_some() {}
        self.beats.push_back(beat);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LAG_BOUND: Duration = Duration::from_mins(1);

    /// Beats by number: each after the one before.
    fn pulse(number: i64) -> Pulse {
        Pulse { beat: number, previous: number - 1 }
    }

    /// How far behind a server is that shows this, at most.
    fn lag(beats: &Beats, pulse: Pulse) -> Option<Duration> {
        beats.moment_of(pulse).map(|moment| moment.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_beat_is_as_old_as_the_moment_at_which_it_was_sent() {
        let beats = Beats::new(LAG_BOUND);
        let sent = Instant::now();
        advance(SECOND / 4).await;
        beats.written(1, sent);
        assert_eq!(lag(&beats, pulse(1)), Some(SECOND / 4));
        advance(SECOND).await;
        assert_eq!(lag(&beats, pulse(1)), Some(SECOND * 5 / 4));
        assert_eq!(lag(&beats, pulse(7)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn another_nodes_beat_came_after_the_one_before_was_seen() {
        let beats = Beats::new(LAG_BOUND);
        beats.seen(pulse(1), Instant::now());
        // It may be of any age.
        assert_eq!(lag(&beats, pulse(1)), None);
        advance(SECOND).await;
        beats.seen(pulse(1), Instant::now());
        assert_eq!(lag(&beats, pulse(1)), None);
        advance(SECOND).await;
        beats.seen(pulse(2), Instant::now());
        // When it was seen says nothing of when it was written.
        assert_eq!(lag(&beats, pulse(2)), Some(SECOND));
        advance(SECOND).await;
        beats.seen(pulse(3), Instant::now());
        assert_eq!(lag(&beats, pulse(3)), Some(SECOND));
        assert_eq!(lag(&beats, pulse(2)), Some(SECOND * 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_beat_that_was_passed_over_has_no_age() {
        let beats = Beats::new(LAG_BOUND);
        beats.seen(pulse(1), Instant::now());
        advance(SECOND).await;
        beats.seen(pulse(3), Instant::now());
        assert_eq!(lag(&beats, pulse(3)), None);
        assert_eq!(lag(&beats, pulse(2)), None);
        advance(SECOND).await;
        beats.seen(pulse(4), Instant::now());
        assert_eq!(lag(&beats, pulse(4)), Some(SECOND));
    }

    /// A replica may have a beat before this node asks the primary again.
    #[tokio::test(start_paused = true)]
    async fn one_that_is_not_seen_yet_is_younger_than_the_one_before() {
        let beats = Beats::new(LAG_BOUND);
        beats.written(1, Instant::now());
        advance(SECOND / 2).await;
        assert_eq!(lag(&beats, pulse(2)), Some(SECOND / 2));
        beats.seen(pulse(1), Instant::now());
        advance(SECOND / 4).await;
        assert_eq!(lag(&beats, pulse(2)), Some(SECOND / 4));
        assert_eq!(lag(&beats, pulse(3)), None);
        beats.seen(pulse(5), Instant::now());
        assert_eq!(lag(&beats, pulse(2)), Some(SECOND * 3 / 4), "by the first");
    }

    /// As after the table was made, where no node may write to it.
    #[tokio::test(start_paused = true)]
    async fn the_row_that_was_made_with_the_table_proves_nothing() {
        let beats = Beats::new(LAG_BOUND);
        let first = Pulse { beat: 0, previous: 0 };
        for _ in 0..3 {
            beats.seen(first, Instant::now());
            assert_eq!(lag(&beats, first), None);
            advance(SECOND).await;
        }
        beats.written(1, Instant::now());
        assert_eq!(lag(&beats, first), None);
    }

    /// A server that was promoted without the last beats shows earlier ones again.
    #[tokio::test(start_paused = true)]
    async fn a_beat_that_comes_back_is_as_old_as_it_was() {
        let beats = Beats::new(LAG_BOUND);
        for number in 1..=3 {
            beats.written(number, Instant::now());
            advance(SECOND).await;
        }
        beats.seen(pulse(2), Instant::now());
        assert_eq!(lag(&beats, pulse(2)), Some(SECOND * 2));
        // It goes on with beats of its own, and servers that copied the old one do not have these.
        advance(SECOND).await;
        let after = Pulse { beat: 13, previous: 2 };
        beats.seen(after, Instant::now());
        assert_eq!(lag(&beats, after), Some(SECOND));
        assert_eq!(lag(&beats, pulse(3)), Some(SECOND * 2));
        assert_eq!(lag(&beats, pulse(4)), Some(SECOND * 2));
    }

    #[tokio::test(start_paused = true)]
    async fn beats_beyond_the_bound_are_forgotten() {
        let beats = Beats::new(LAG_BOUND);
        for number in 1..=100 {
            beats.written(number, Instant::now());
            advance(SECOND).await;
        }
        assert_eq!(beats.state.lock().beats.len(), 61);
        assert_eq!(lag(&beats, pulse(100)), Some(SECOND));
        assert_eq!(lag(&beats, pulse(41)), Some(SECOND * 60));
        assert_eq!(lag(&beats, pulse(10)), None);
    }
}
