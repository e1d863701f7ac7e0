//! Histories that keep the promise, and such that do not.

use super::*;

const PROMISE: Promise = Promise {
    heard: Duration::from_millis(100),
    ttl: Duration::from_secs(30),
    not_found_ttl: Duration::from_secs(5),
    stale_if_error: Duration::from_mins(5),
};
const UNKNOWN: Verdict = Verdict::Refused(RejectionKind::Unknown);
const REVOKED: Verdict = Verdict::Refused(RejectionKind::Revoked);
const UNAVAILABLE: Verdict = Verdict::Refused(RejectionKind::Unavailable);

fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

/// A change that was committed, acknowledged 5 ms later and announced in between.
fn change(committed: u64, verdict: Verdict) -> Version {
    let returned = Some(at(committed + 5));
    let announced = Some(at(committed + 3));
    Version {
        committed: at(committed),
        verdict,
        returned,
        announced,
        is_acknowledged: true,
        is_announced_as_sure: true,
    }
}

/// A key that is created after a second and revoked after ten.
fn history(requests: &[(u64, u64, Verdict)]) -> History {
    let request = |(began, ended, verdict): &(u64, u64, Verdict)| Request {
        node: 0,
        key: 7,
        began: at(*began),
        ended: at(*ended),
        verdict: *verdict,
    };
    let versions = vec![
        Version {
            committed: at(0),
            verdict: UNKNOWN,
            returned: None,
            announced: None,
            is_acknowledged: false,
            is_announced_as_sure: false,
        },
        change(1_000, Verdict::Accepted),
        change(10_000, REVOKED),
    ];
    let requests = requests.iter().map(request).collect();
    History { requests, keys: BTreeMap::from([(7, versions)]), ..History::default() }
}

fn is_legal(history: &History) -> bool {
    history.violations(PROMISE).is_empty()
}

#[test]
fn answers_by_the_state_of_the_key_are_legal() {
    for request in [
        (500, 501, UNKNOWN),
        // The answer may come from either side of a change that is under way.
        (999, 1_001, UNKNOWN),
        (999, 1_001, Verdict::Accepted),
        (1_104, 1_105, UNKNOWN),
        (2_000, 2_001, Verdict::Accepted),
        (9_999, 10_001, Verdict::Accepted),
        (10_001, 10_002, REVOKED),
        (10_105, 10_106, Verdict::Accepted),
        (20_000, 20_001, REVOKED),
        (2_000, 2_001, UNAVAILABLE),
        (20_000, 20_001, UNAVAILABLE),
    ] {
        assert!(is_legal(&history(&[request])), "{request:?}");
    }
}

/// Each of these must fail: the checker would be worth nothing otherwise.
#[test]
fn answers_against_the_promise_are_found() {
    for request in [
        // Before it was created, and before it was revoked.
        (500, 501, Verdict::Accepted),
        (9_000, 9_001, REVOKED),
        // A good key is refused: its creation was acknowledged.
        (1_106, 1_107, UNKNOWN),
        (5_000, 5_001, UNKNOWN),
        // A revoked key is accepted.
        (10_106, 10_107, Verdict::Accepted),
        (30_000, 30_001, Verdict::Accepted),
        // No state asks for this.
        (5_000, 5_001, Verdict::Refused(RejectionKind::Disabled)),
        (20_000, 20_001, UNKNOWN),
    ] {
        assert!(!is_legal(&history(&[request])), "{request:?}");
    }
}

#[test]
fn a_node_that_was_deaf_has_the_time_to_live() {
    let deaf = |request, began, ended| {
        let mut history = history(&[request]);
        history.deaf.insert(0, vec![Span { began: at(began), ended: at(ended) }]);
        is_legal(&history)
    };
    let late = (20_000, 20_001, Verdict::Accepted);
    assert!(deaf(late, 9_000, 30_000));
    assert!(deaf(late, 10_103, 30_000), "the announcement was on its way");
    assert!(!deaf(late, 9_000, 10_002), "it listened before the announcement");
    assert!(!deaf(late, 10_104, 30_000), "it had heard by then");
    assert!(!deaf(late, 9_000, 19_899), "it has distrusted everything since");
    assert!(!deaf((40_006, 40_007, Verdict::Accepted), 9_000, 90_000), "beyond the time to live");
    let mut other = history(&[late]);
    other.deaf.insert(1, vec![Span { began: at(9_000), ended: at(30_000) }]);
    assert!(!is_legal(&other), "another node was");
}

#[test]
fn what_was_not_announced_has_the_time_to_live() {
    for (request, expected) in
        [((40_005, 40_006, Verdict::Accepted), true), ((40_006, 40_007, Verdict::Accepted), false)]
    {
        let mut history = history(&[request]);
        history.keys.get_mut(&7).unwrap()[2].announced = None;
        assert_eq!(is_legal(&history), expected);
        history.lag = Duration::from_millis(1);
        assert!(is_legal(&history), "a replica may add what it lags");
    }
}

/// A node goes on with what it knew while the store fails, but not against what it has heard.
#[test]
fn stale_answers_are_for_outages_of_both() {
    let fails = |request, is_announced: bool| {
        let mut history = history(&[request]);
        history.store_fails.push(Span { began: at(15_000), ended: at(400_000) });
        if !is_announced {
            history.keys.get_mut(&7).unwrap()[2].announced = None;
        }
        is_legal(&history)
    };
    assert!(fails((200_000, 200_001, Verdict::Accepted), false));
    assert!(!fails((200_000, 200_001, Verdict::Accepted), true));
    assert!(!fails((340_006, 340_007, Verdict::Accepted), false));
}

#[test]
fn what_a_node_refused_for_good_does_not_come_back() {
    let lagging = |requests: &[_]| {
        let mut history = history(requests);
        history.keys.get_mut(&7).unwrap()[2].announced = None;
        is_legal(&history)
    };
    let (accepted, refused) = ((12_000, 12_001, Verdict::Accepted), (11_000, 11_001, REVOKED));
    assert!(lagging(&[accepted]) && lagging(&[refused]));
    assert!(!lagging(&[refused, accepted]));
    // At the same time, on two threads.
    assert!(lagging(&[(11_000, 12_500, REVOKED), accepted]));
}

/// The key is rotated after five seconds, and lives on for one.
#[test]
fn a_key_that_was_replaced_ends_with_its_grace() {
    let expired = Verdict::Refused(RejectionKind::Expired);
    for (request, expected) in [
        ((5_500, 5_501, Verdict::Accepted), true),
        ((5_500, 5_501, expired), false),
        ((6_001, 6_002, expired), true),
        ((6_001, 6_002, Verdict::Accepted), true),
        ((6_006, 6_007, expired), true),
        // The end holds on a node that had not heard of it for no longer than any change.
        ((6_106, 6_107, Verdict::Accepted), false),
    ] {
        let mut history = history(&[request]);
        history.skew = Duration::from_millis(5);
        history.keys.get_mut(&7).unwrap().insert(2, change(5_000, Verdict::Accepted));
        history.ends.insert((7, 2), at(6_000));
        assert_eq!(is_legal(&history), expected, "{request:?}");
        // The one before it had no end.
        history.keys.get_mut(&7).unwrap()[2].announced = None;
        assert!(is_legal(&history) || request.2 == expired, "{request:?}");
    }
}

#[test]
fn a_grace_has_an_end() {
    for (end, lasts, expected) in
        [(Some(6_000), 1_000, true), (Some(6_011), 1_000, false), (None, 1_000, false)]
    {
        let mut history = history(&[]);
        history.skew = Duration::from_millis(5);
        history.keys.get_mut(&7).unwrap().insert(2, change(5_000, Verdict::Accepted));
        history.ends.extend(end.map(|end| ((7, 2), at(end))));
        let (began, returned, lasts) = (at(4_990), at(5_005), Duration::from_millis(lasts));
        history.graces.push(Grace { key: 7, began, returned, lasts });
        assert_eq!(is_legal(&history), expected, "{end:?}");
    }
}

#[test]
fn denials_by_limits_and_credits_are_those_of_a_good_key() {
    for kind in [RejectionKind::RateLimited, RejectionKind::CreditsExhausted] {
        assert!(is_legal(&history(&[(5_000, 5_001, Verdict::Refused(kind))])));
        assert!(!is_legal(&history(&[(500, 501, Verdict::Refused(kind))])));
        assert!(!is_legal(&history(&[(30_000, 30_001, Verdict::Refused(kind))])));
    }
}

#[test]
fn a_new_key_is_unknown_for_a_while_only_where_it_was_tried() {
    for (tried, expected) in [(None, true), (Some(999), true), (Some(1_006), false)] {
        let mut history = history(&[(5_000, 5_001, UNKNOWN)]);
        history.keys.get_mut(&7).unwrap()[1].announced = None;
        let tried = tried.map(|tried| BTreeMap::from([((0, 7), vec![at(tried)])]));
        history.asked = tried;
        assert_eq!(is_legal(&history), expected);
    }
}

#[test]
fn what_is_written_is_announced_as_long_as_its_node_lives() {
    for (attempt, starts, expected) in [
        (10_003, &[0][..], true),
        (9_999, &[0], false),
        (11_006, &[0], false),
        (9_999, &[0, 10_500], true),
        (9_999, &[0, 12_000], false),
    ] {
        let mut history = history(&[]);
        history.writers.insert((7, 2), Life { node: 1, life: 1 });
        history.attempts = Some(BTreeMap::from([(7, vec![at(attempt)])]));
        history.starts.insert(1, starts.iter().copied().map(at).collect());
        assert_eq!(is_legal(&history), expected, "{attempt}");
    }
}

#[test]
fn an_act_that_is_repeated_is_announced_again() {
    for (attempt, expected) in [(20_005, true), (10_003, false)] {
        let mut history = history(&[]);
        history.attempts = Some(BTreeMap::from([(7, vec![at(attempt)])]));
        let (began, returned) = (at(20_000), at(20_010));
        history.acts.push(Act { key: 7, began, returned, verdict: REVOKED });
        assert_eq!(is_legal(&history), expected);
    }
}

#[test]
fn an_act_that_was_acknowledged_is_there() {
    for (began, returned, verdict, expected) in [
        (9_990, 10_005, REVOKED, true),
        // It was so already.
        (20_000, 20_010, REVOKED, true),
        (1_500, 1_510, Verdict::Accepted, true),
        (9_980, 9_990, REVOKED, false),
        (10_001, 10_005, Verdict::Accepted, false),
        (5_000, 5_010, Verdict::Refused(RejectionKind::Disabled), false),
    ] {
        let mut history = history(&[]);
        let (began, returned) = (at(began), at(returned));
        history.acts.push(Act { key: 7, began, returned, verdict });
        assert_eq!(is_legal(&history), expected, "{began:?} {verdict:?}");
    }
}

/// It may have been written or not, for ever.
#[test]
fn an_act_that_never_returned_may_have_happened_or_not() {
    for verdict in [Verdict::Accepted, REVOKED] {
        let mut history = history(&[(50_000, 50_001, verdict)]);
        history.keys.get_mut(&7).unwrap()[2].returned = None;
        assert!(is_legal(&history));
    }
}
