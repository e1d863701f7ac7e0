use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::{
    clock::{SettableClock, Timestamp},
    runtime::SharedCall,
};

const START: i64 = 1_000_000;

struct Fixture {
    budget: Arc<Budget>,
    clock: SettableClock,
}

impl Fixture {
    fn new(per_second: u32) -> Self {
        let clock = SettableClock::new(Timestamp::from_unix_millis(START));
        let per_second = NonZeroU32::new(per_second).unwrap();
        Self { budget: Budget::new(per_second, 50, Arc::new(clock.clone())), clock }
    }

    fn at(&self, millis: i64) {
        self.clock.set(Timestamp::from_unix_millis(START + millis));
    }

    /// Lookups, one after the other, that find nothing until one is refused.
    fn spend(&self) -> usize {
        let spend = |_: &usize| match self.budget.admit(1, Claim::default()) {
            Admission::Granted(reservation) => {
                reservation.begin();
                true
            }
            Admission::Queued(..) | Admission::Shared(..) => panic!("nothing is under way"),
            Admission::Refused => false,
        };
        (0..2_000_000).take_while(spend).count()
    }

    /// So many lookups that find nothing, beside others that are under way.
    fn spend_beside(&self, lookups: usize) {
        drop((0..lookups).map(|_| self.granted()).collect::<Vec<_>>());
    }

    fn granted(&self) -> Arc<Reservation> {
        self.granted_for(1)
    }

    /// A reservation for so many lookups, the first of which has begun.
    fn granted_for(&self, lookups: u32) -> Arc<Reservation> {
        match self.budget.admit(lookups, Claim::default()) {
            Admission::Granted(reservation) => {
                reservation.begin();
                reservation
            }
            _ => panic!("there is a token"),
        }
    }

    fn queued(&self) -> oneshot::Receiver<Turn> {
        self.queued_for(1)
    }

    fn queued_for(&self, lookups: u32) -> oneshot::Receiver<Turn> {
        match self.budget.admit(lookups, Claim::default()) {
            Admission::Queued(turn, _) => turn,
            _ => panic!("every token is held"),
        }
    }

    fn is_refused(&self, lookups: u32) -> bool {
        matches!(self.budget.admit(lookups, Claim::default()), Admission::Refused)
    }

    /// How many milliseconds it is until time brings the next one its turn.
    fn due(&self) -> Option<u128> {
        self.budget.hand_out().map(|due| due.as_millis())
    }
}

#[test]
fn a_seconds_worth_at_once_and_then_at_the_rate() {
    let fixture = Fixture::new(100);
    for (millis, allowed) in [(0, 100), (9, 0), (10, 1), (510, 50), (60_000, 100)] {
        fixture.at(millis);
        assert_eq!(fixture.spend(), allowed, "after {millis} ms");
    }
}

#[test]
fn exact_for_rates_that_do_not_divide_a_second() {
    for per_second in [1, 3, 7, 999, 999_999] {
        let fixture = Fixture::new(per_second);
        assert_eq!(fixture.spend(), per_second as usize, "{per_second} at once");
        let later: usize = (1..=10_000)
            .map(|millis| {
                fixture.at(millis);
                fixture.spend()
            })
            .sum();
        // Ten seconds' worth, less what rounding takes away.
        let allowed = 10 * per_second as usize;
        let missing = allowed - later;
        assert!(missing <= 1 + allowed / 1_000, "{later} of {allowed}");
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_close_it() {
    let fixture = Fixture::new(100);
    for (millis, allowed) in [
        (3_600_000, 100),
        (0, 100),
        // By less than a second, it is closed for as long.
        (-500, 0),
        (10, 1),
    ] {
        fixture.at(millis);
        assert_eq!(fixture.spend(), allowed, "at {millis} ms");
    }
}

#[test]
fn what_is_found_costs_nothing() {
    let fixture = Fixture::new(3);
    for _ in 0..1_000 {
        fixture.granted().found();
    }
    assert_eq!(fixture.spend(), 3);
}

/// Tokens that come back after the bucket has filled up again must not make it overflow: the
/// store is asked for no more than a second's worth at once in any second.
#[test]
fn a_token_that_comes_back_late_is_no_second_one() {
    let fixture = Fixture::new(10);
    let held: Vec<_> = (0..10).map(|_| fixture.granted()).collect();
    fixture.at(60_000);
    assert!(
        matches!(fixture.budget.admit(1, Claim::default()), Admission::Queued(..)),
        "they are still held"
    );
    for reservation in &held {
        reservation.found();
    }
    drop(held);
    assert_eq!(fixture.spend(), 10);
}

#[test]
fn when_all_are_held_the_next_waits_for_one_to_come_back() {
    let fixture = Fixture::new(1);
    let first = fixture.granted();
    let (mut second, mut third) = (fixture.queued(), fixture.queued());
    assert!(second.try_recv().is_err());
    first.found();
    drop(first);
    let second = second.try_recv().unwrap().expect("a token");
    assert!(third.try_recv().is_err(), "one at a time");
    second.begin();
    drop(second);
    assert!(third.try_recv().unwrap().is_none(), "the only token is spent");
    assert!(fixture.is_refused(1));
}

#[test]
fn a_lookup_that_stopped_waiting_keeps_no_token() {
    let fixture = Fixture::new(1);
    let first = fixture.granted();
    drop(fixture.queued());
    let mut left_too_late = fixture.queued();
    let mut last = fixture.queued();
    first.found();
    drop(first);
    left_too_late.close();
    drop(left_too_late);
    assert!(last.try_recv().unwrap().is_some());
}

/// What comes back for one that waits is not for the next who asks.
#[test]
fn a_lookup_overtakes_none_that_waits() {
    let fixture = Fixture::new(2);
    let (first, _second) = (fixture.granted(), fixture.granted());
    let mut needs_both = fixture.queued_for(2);
    first.found();
    drop(first);
    assert!(needs_both.try_recv().is_err());
    assert!(fixture.queued().try_recv().is_err());
}

#[test]
fn places_to_wait_are_bounded() {
    let fixture = Fixture::new(1);
    let _held = fixture.granted();
    let waiting: Vec<_> = (0..MAX_WAITING).map(|_| fixture.queued()).collect();
    assert!(fixture.is_refused(1));
    drop(waiting);
    fixture.queued();
}

#[test]
fn time_brings_tokens_to_those_who_wait() {
    let fixture = Fixture::new(10);
    let held: Vec<_> = (0..5).map(|_| fixture.granted()).collect();
    fixture.spend_beside(5);
    let (mut first, mut second) = (fixture.queued(), fixture.queued());
    for (millis, due) in [(0, 100), (1, 99), (99, 1)] {
        fixture.at(millis);
        assert_eq!(fixture.due(), Some(due), "after {millis} ms");
    }
    assert!(first.try_recv().is_err());
    fixture.at(100);
    assert_eq!(fixture.due(), Some(100), "the second one's");
    let _first = first.try_recv().unwrap().expect("a token");
    assert!(second.try_recv().is_err());
    fixture.at(250);
    assert_eq!(fixture.due(), None);
    let _second = second.try_recv().unwrap().expect("a token");
    drop(held);
    assert_eq!(fixture.due(), None, "nobody waits any more");
}

#[test]
fn time_brings_nothing_while_a_whole_bucket_is_held() {
    let fixture = Fixture::new(10);
    let mut held: Vec<_> = (0..10).map(|_| fixture.granted()).collect();
    let mut turn = fixture.queued();
    fixture.at(60_000);
    assert_eq!(fixture.due(), None);
    // Found nothing: its token is spent, and comes back with time.
    held.pop();
    assert_eq!(fixture.due(), Some(100));
    assert!(turn.try_recv().is_err());
    fixture.at(60_100);
    assert_eq!(fixture.due(), None);
    assert!(turn.try_recv().unwrap().is_some());
}

/// One of them watches the clock; when it goes away, another does.
#[tokio::test(start_paused = true)]
async fn who_waits_is_woken_by_time() {
    let fixture = Fixture::new(10);
    let mut held: Vec<_> = (0..10).map(|_| fixture.granted()).collect();
    let mut waiting: Vec<_> = (0..4)
        .map(|_| {
            let (budget, turn) = (fixture.budget.clone(), fixture.queued());
            tokio::spawn(async move { budget.wait_for(turn).await })
        })
        .collect();
    let pass = async |millis: u64| {
        fixture.clock.advance(Duration::from_millis(millis));
        tokio::time::sleep(Duration::from_millis(millis)).await;
    };
    let are_waiting = |waiting: &[JoinHandle<Turn>]| waiting.iter().all(|one| !one.is_finished());
    pass(1_000).await;
    assert!(are_waiting(&waiting), "time brings nothing");
    waiting.remove(0).abort();
    for turn in 1..=3 {
        // One is spent, and comes back with time.
        drop(held.remove(0));
        pass(99).await;
        assert!(are_waiting(&waiting), "turn {turn}");
        pass(1).await;
        held.push(waiting.remove(0).await.unwrap().expect("a token"));
    }
}

#[test]
fn the_lookups_of_one_key_are_reserved_and_spent_together() {
    let fixture = Fixture::new(10);
    for _ in 0..1_000 {
        let reservation = fixture.granted_for(3);
        reservation.begin();
        reservation.found();
    }
    let held: Vec<_> = (0..3).map(|_| fixture.granted_for(3)).collect();
    let mut turn = fixture.queued_for(3);
    held[0].begin();
    drop(held);
    // Three have spent four: six are left.
    let turn = turn.try_recv().unwrap().expect("three of them");
    drop(turn);
    assert_eq!(fixture.spend(), 6);
}

#[test]
fn a_key_that_needs_more_than_is_left_is_refused() {
    let fixture = Fixture::new(10);
    fixture.spend_beside(8);
    assert!(fixture.is_refused(3));
    drop(fixture.granted_for(2));
    assert_eq!(fixture.spend(), 1);
}

#[test]
fn a_small_bucket_is_reserved_as_a_whole() {
    let fixture = Fixture::new(1);
    let reservation = fixture.granted_for(3);
    reservation.begin();
    reservation.begin();
    let mut turn = fixture.queued_for(3);
    reservation.found();
    drop(reservation);
    let reservation = turn.try_recv().unwrap().expect("the whole");
    for _ in 0..3 {
        reservation.begin();
    }
    drop(reservation);
    fixture.at(999);
    assert!(fixture.is_refused(1));
    fixture.at(1_000);
    assert_eq!(fixture.spend(), 1);
}

const fn listed() -> Claim {
    Claim { rank: Rank::Listed, network: None }
}

/// Beside one that waits for more. It comes when that waits already, or they wait for a token that is held.
#[tokio::test(start_paused = true)]
async fn a_listed_one_is_woken_as_soon_as_time_brings_its_token() {
    for comes_later in [true, false] {
        let fixture = Fixture::new(10);
        let mut held: Vec<_> = (0..10).map(|_| fixture.granted()).collect();
        let wait = |turn| {
            let budget = fixture.budget.clone();
            tokio::spawn(async move { budget.wait_for(turn).await })
        };
        let listed = || match fixture.budget.admit(1, listed()) {
            Admission::Queued(turn, _) => wait(turn),
            _ => panic!("every token is held or spent"),
        };
        let other = wait(fixture.queued_for(5));
        yield_now().await;
        let one = if comes_later {
            held.truncate(5);
            yield_now().await;
            assert_eq!(fixture.due(), Some(500));
            listed()
        } else {
            let one = listed();
            yield_now().await;
            held.truncate(5);
            one
        };
        yield_now().await;
        fixture.clock.advance(Duration::from_millis(100));
        let turn = timeout(Duration::from_millis(150), one).await;
        turn.expect("it is woken").unwrap().expect("a token");
        assert!(!other.is_finished());
    }
}

#[test]
fn the_one_that_is_promoted_is_the_one_that_is_listed() {
    let fixture = Fixture::new(1);
    let held = fixture.granted();
    let queued = || match fixture.budget.admit(1, Claim::default()) {
        Admission::Queued(turn, number) => (turn, number),
        _ => panic!("every token is held"),
    };
    let ((mut first, _), (mut second, number)) = (queued(), queued());
    fixture.budget.promote(number);
    held.found();
    drop(held);
    let _second = second.try_recv().unwrap().expect("a token");
    assert!(first.try_recv().is_err());
}

#[tokio::test]
async fn a_shared_reservation_is_for_its_lookups_alone() {
    let (fixture, other) = (Fixture::new(10), Fixture::new(10));
    for (owner, most) in [(&fixture, 2), (&other, 0)] {
        let earlier = owner.granted_for(3);
        let mut held = Vec::new();
        for number in 0..4 {
            let (call, waiter) = SharedCall::new();
            call.answer(Arc::downgrade(&earlier));
            let admission = Admission::Shared(waiter, 1, Claim::default());
            let reservation = fixture.budget.reserve(admission).await.expect("tokens");
            assert_eq!(Arc::ptr_eq(&earlier, &reservation), number < most);
            held.push(reservation);
        }
        for reservation in held {
            reservation.found();
        }
    }
}

#[test]
fn what_a_network_holds_is_not_left_to_it_as_well() {
    let fixture = Fixture::new(800);
    let claim = Claim { rank: Rank::Unlisted, network: Some(7) };
    let admit = || fixture.budget.admit(1, claim);
    let held: Vec<_> = (0..200)
        .map(|_| match admit() {
            Admission::Granted(reservation) => reservation,
            _ => panic!("there is half"),
        })
        .collect();
    assert!(matches!(admit(), Admission::Refused));
    drop(held);
    assert!(matches!(admit(), Admission::Granted(_)));
}

#[test]
fn what_a_network_gets_beyond_its_share_is_no_debt() {
    let fixture = Fixture::new(800);
    // 400 for unlisted ones, and 50 of these for each network.
    let claim = Claim { rank: Rank::Unlisted, network: Some(7) };
    let spend = || {
        let Admission::Granted(reservation) = fixture.budget.admit(1, claim) else {
            panic!("there is half")
        };
        reservation.begin();
    };
    (0..150).for_each(|_| spend());
    let has_share = || {
        let now = fixture.budget.now();
        !fixture.budget.state.lock().is_beyond_share(claim, 1, now)
    };
    fixture.at(19);
    assert!(!has_share());
    fixture.at(20);
    assert!(has_share());
}
