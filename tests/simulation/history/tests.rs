//! Histories that keep the promise, and such that do not.

use tower_api_key::{OwnerId, Timestamp, store::Watermark};

use super::{
    denials::{Denials, Restore},
    watermarks::{Covered, Created, Mark, MarkAct, Successor, is_meant},
    *,
};

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
        // It crashed, and no other one has taken its place yet.
        history.crashed.insert(Life { node: 1, life: 1 }, at(10_500));
        assert!(is_legal(&history), "{attempt}");
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

fn watermark(before: i64, owner: Option<&str>) -> Watermark {
    let watermark = Watermark::new(Timestamp::from_unix_millis(before));
    Watermark { owner: owner.map(Into::into), ..watermark }
}

/// The key is revoked by a watermark after ten seconds, and its row is written a second later.
fn marked(requests: &[(u64, u64, Verdict)]) -> History {
    let mut history = history(requests);
    let (watermark, committed) = (watermark(5_000, None), at(10_000));
    history.marks.all.push(Mark { watermark, committed, removed: None });
    history.marks.covered.insert((7, 2), Covered { mark: 0, row: Some(at(11_000)) });
    history
}

#[test]
fn a_covered_key_is_refused_as_one_that_was_revoked() {
    for (request, expected) in [
        ((10_105, 10_106, Verdict::Accepted), true),
        ((10_106, 10_107, Verdict::Accepted), false),
        // Not only once its row is written.
        ((10_900, 10_901, Verdict::Accepted), false),
        ((10_900, 10_901, REVOKED), true),
        ((9_000, 9_001, REVOKED), false),
    ] {
        assert_eq!(is_legal(&marked(&[request])), expected, "{request:?}");
    }
    let back = [(10_050, 10_051, REVOKED), (10_060, 10_061, Verdict::Accepted)];
    assert!(!is_legal(&marked(&back)), "it is heard of");
    let mut unheard = marked(&back);
    unheard.keys.get_mut(&7).unwrap()[2].announced = None;
    assert!(!is_legal(&unheard), "what was refused is remembered");
}

/// It has the time to live from then on, and no announcement.
#[test]
fn a_node_that_reads_rows_knows_of_a_watermark_by_them() {
    let node = |request, row: Option<u64>, life| {
        let mut history = marked(&[request]);
        history.starts.insert(0, vec![at(0), at(5_000)]);
        history.marks.read_rows.insert(Life { node: 0, life });
        history.marks.covered.get_mut(&(7, 2)).unwrap().row = row.map(at);
        is_legal(&history)
    };
    let late = (41_000, 41_001, Verdict::Accepted);
    assert!(node(late, Some(11_000), 2) && node(late, None, 2));
    assert!(!node(late, Some(10_999), 2), "the time to live is over");
    assert!(!node(late, Some(11_000), 1), "it is of the new version since it was started again");
}

/// The first answer of the authority tells whether there is a watermark.
#[test]
fn an_authority_that_is_behind_disproves_a_watermark() {
    let request = (20_000, 20_001, Verdict::Accepted);
    for (is_behind, is_covered, expected) in
        [(true, true, true), (false, true, false), (true, false, false)]
    {
        let mut history = marked(&[request]);
        let fails = Span { began: at(15_000), ended: at(30_000) };
        history.store_fails.push(fails);
        if is_behind {
            history.behind.push(fails);
        }
        if !is_covered {
            history.marks.covered.clear();
        }
        assert_eq!(is_legal(&history), expected, "{is_behind} {is_covered}");
        // Nor is it then a step back.
        history
            .requests
            .insert(0, Request { verdict: REVOKED, ended: at(19_000), ..history.requests[0] });
        assert_eq!(is_legal(&history), expected, "{is_behind} {is_covered}");
    }
}

#[test]
fn a_watermark_means_keys_of_its_owner_that_were_created_before() {
    for (mark, created, owner, expected) in [
        (watermark(10, None), 9, Some("anna"), true),
        (watermark(10, None), 10, None, false),
        (watermark(10, Some("anna")), 9, Some("anna"), true),
        (watermark(10, Some("anna")), 9, Some("bert"), false),
        (watermark(10, Some("anna")), 9, None, false),
    ] {
        let owner = owner.map(OwnerId::from);
        let created = Timestamp::from_unix_millis(created);
        assert_eq!(is_meant(&mark, created, owner.as_ref()), expected, "{mark:?} {created:?}");
    }
}

#[test]
fn a_watermark_stands_until_each_row_is_written() {
    for (row, removed, is_finished, expected) in [
        (Some(11_000), None, true, true),
        (None, None, false, true),
        (None, None, true, false),
        (Some(11_000), Some(70_000), true, true),
        (Some(70_000), Some(70_000), true, true),
        (Some(70_001), Some(70_000), true, false),
        (None, Some(70_000), false, false),
        // For a minute at least.
        (Some(11_000), Some(69_999), true, false),
    ] {
        let mut history = marked(&[]);
        history.marks.covered.get_mut(&(7, 2)).unwrap().row = row.map(at);
        history.marks.all[0].removed = removed.map(at);
        history.marks.are_finished = is_finished;
        assert_eq!(is_legal(&history), expected, "{row:?} {removed:?} {is_finished}");
    }
}

/// By being enabled or patched from an older row: only a key that is made anew is good.
#[test]
fn what_a_watermark_revoked_does_not_come_back() {
    for (verdict, is_new, expected) in [
        (Verdict::Accepted, false, false),
        (Verdict::Refused(RejectionKind::Disabled), false, false),
        (UNKNOWN, false, true),
        (Verdict::Accepted, true, true),
    ] {
        let mut history = marked(&[]);
        history.keys.get_mut(&7).unwrap().push(change(12_000, verdict));
        if is_new {
            history.marks.made_anew.insert((7, 3));
        }
        assert_eq!(is_legal(&history), expected, "{verdict:?}");
    }
}

#[test]
fn no_key_takes_the_place_of_one_that_has_ended() {
    for (former, expected) in [
        (Verdict::Accepted, true),
        (Verdict::Refused(RejectionKind::Disabled), true),
        (REVOKED, false),
        (UNKNOWN, false),
    ] {
        let mut history = history(&[]);
        history.marks.successors.push(Successor { key: 7, former });
        assert_eq!(is_legal(&history), expected, "{former:?}");
    }
}

#[test]
fn a_watermark_that_was_acknowledged_is_there() {
    for (before, began, returned, removed, expected) in [
        (5_000, 9_990, 10_005, None, true),
        // It was there already.
        (5_000, 20_000, 20_005, None, true),
        (5_000, 70_000, 70_005, Some(70_000), true),
        (5_000, 70_001, 70_005, Some(70_000), false),
        (5_000, 9_990, 9_999, None, false),
        (5_001, 9_990, 10_005, None, false),
    ] {
        let mut history = marked(&[]);
        history.marks.all[0].removed = removed.map(at);
        let (watermark, began, returned) = (watermark(before, None), at(began), at(returned));
        history.marks.acts.push(MarkAct { watermark, began, returned });
        assert_eq!(is_legal(&history), expected, "{before} {began:?}");
    }
}

/// Or a watermark of that time would leave it out.
#[test]
fn a_key_is_no_younger_than_its_creation() {
    for (dated, expected) in [(4_990, true), (5_000, true), (5_001, false)] {
        let mut history = history(&[]);
        let (dated, committed) = (at(dated), at(5_000));
        history.marks.created.push(Created { key: 7, dated, committed });
        assert_eq!(is_legal(&history), expected, "{dated:?}");
    }
}

/// The old key is 8, and waits for the first use of key 7, for a second.
#[test]
fn a_key_waits_no_longer_than_for_the_first_use() {
    for (used, end, expected) in [
        (5_000, Some(6_000), true),
        (5_000, Some(7_002), false),
        (5_000, None, false),
        // Before everything was in order, it may have failed to be written.
        (3_000, None, true),
    ] {
        let mut history = history(&[(used, used + 1, Verdict::Accepted)]);
        history.keys.insert(8, vec![history.keys[&7][0], change(1_000, Verdict::Accepted)]);
        history.ends.extend(end.map(|end| ((8, 1), at(end))));
        history.waits.push(Wait { old: 8, new: 7, lasts: Duration::from_secs(1) });
        history.quiet_since = Some(at(4_000));
        history.marks.made_anew.insert((7, 1));
        assert_eq!(is_legal(&history), expected, "{used} {end:?}");
        // One that is beyond its limit is no use.
        let limited = Verdict::Refused(RejectionKind::RateLimited);
        let before = Request { verdict: limited, began: at(4_000), ..history.requests[0] };
        history.requests.push(Request { ended: at(4_001), ..before });
        assert_eq!(is_legal(&history), expected, "{used} {end:?}");
        // One that was revoked waits for nothing.
        history.keys.get_mut(&8).unwrap().push(change(2_000, REVOKED));
        assert!(is_legal(&history));
    }
}

#[test]
fn good_keys_are_denied_for_now_only_while_something_is_out_of_order() {
    let denied = |request, span: Option<(u64, u64)>, is_judged: bool| {
        let mut history = history(&[request]);
        let spans = span.map(|(began, ended)| Span { began: at(began), ended: at(ended) });
        let troubles = spans.into_iter().collect();
        history.denials = is_judged.then_some(Denials { troubles });
        is_legal(&history)
    };
    let overloaded = Verdict::Refused(RejectionKind::Overloaded);
    assert!(!denied((5_000, 5_001, UNAVAILABLE), None, true));
    assert!(!denied((5_000, 5_001, overloaded), None, true));
    assert!(denied((5_000, 5_001, UNAVAILABLE), None, false));
    assert!(denied((5_000, 5_001, UNAVAILABLE), Some((4_000, 5_000)), true));
    assert!(!denied((5_000, 5_001, UNAVAILABLE), Some((4_000, 4_999)), true));
    // While it changes, and where it is no good key.
    assert!(denied((1_104, 1_105, UNAVAILABLE), None, true));
    assert!(!denied((1_106, 1_107, UNAVAILABLE), None, true));
    assert!(denied((20_000, 20_001, UNAVAILABLE), None, true));
}

/// The key is restored after 20 seconds as it was before it was revoked, and nodes are told after 21.
#[test]
fn a_key_that_was_restored_is_good_again() {
    let restored = |request, reset: Option<u64>, deaf: &[(u64, u64)]| {
        let mut history = history(&[request]);
        history.denials = Some(Denials::default());
        let reset = reset.map(at);
        let returned = Some(at(20_000));
        let version = Version { returned, announced: reset, ..change(20_000, Verdict::Accepted) };
        history.keys.get_mut(&7).unwrap().push(version);
        history.restores.push(Restore { key: 7, at: at(20_000), reset, again: Some(at(60_000)) });
        let spans = deaf.iter().map(|(from, to)| Span { began: at(*from), ended: at(*to) });
        history.deaf.insert(0, spans.collect());
        is_legal(&history)
    };
    let (denied, revoked) = (|at| (at, at + 1, UNAVAILABLE), |at| (at, at + 1, REVOKED));
    assert!(restored(denied(20_500), Some(21_000), &[]));
    assert!(restored(denied(22_100), Some(21_000), &[]), "resets are heeded once a second");
    assert!(!restored(denied(22_101), Some(21_000), &[]));
    assert!(restored(revoked(21_100), Some(21_000), &[]));
    assert!(!restored(revoked(21_101), Some(21_000), &[]));
    assert!(restored((21_200, 21_201, Verdict::Accepted), Some(21_000), &[]));
    // A node that did not hear of it holds to what it knew, until it is told again.
    let deaf = [(20_900, 59_999)];
    assert!(restored(denied(61_100), Some(21_000), &deaf));
    assert!(!restored(denied(61_101), Some(21_000), &deaf));
    assert!(restored(denied(61_101), Some(21_000), &[(20_900, 90_000)]));
}

/// An authority that is behind is believed by a node which was told that what it heard no longer counts.
#[test]
fn a_reset_has_nodes_forget_what_was_announced() {
    for (reset, expected) in
        [(None, false), (Some(4_002), false), (Some(4_003), true), (Some(25_000), false)]
    {
        let mut history = history(&[(20_000, 20_001, Verdict::Accepted)]);
        history.store_fails.push(Span { began: at(15_000), ended: at(30_000) });
        let reset = reset.map(at);
        history.restores.extend(reset.map(|_| Restore {
            key: 8,
            at: at(4_000),
            reset,
            again: None,
        }));
        assert_eq!(is_legal(&history), expected, "{reset:?}");
    }
}
