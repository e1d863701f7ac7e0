//! What was used, by the hour.

use tokio::task::JoinSet;

use super::{at, record};
use crate::{
    KeyId, RejectionKind, Timestamp,
    store::{KeyRepository, MemoryStore, UsageLog},
    usage::{HourlyUsage, LineageUsage, UsageCount, UsageOutcome, UsageQuery},
};

const ACCEPTED: UsageOutcome = UsageOutcome::Accepted;
const LIMITED: UsageOutcome = UsageOutcome::Denied(RejectionKind::RateLimited);

fn lineage(number: u64) -> KeyId {
    record(number).id
}

/// When the `number`th hour began.
fn hour(number: i64) -> Timestamp {
    at(number * 3_600_000)
}

fn usage(number: u64, hours: i64, outcome: UsageOutcome, count: u64) -> HourlyUsage {
    HourlyUsage::new(lineage(number), hour(hours), outcome, count)
}

fn of(owner: &str, mut usage: HourlyUsage) -> HourlyUsage {
    usage.owner = Some(owner.into());
    usage
}

fn ever() -> UsageQuery {
    UsageQuery::new(at(i64::MIN), at(i64::MAX))
}

async fn sums(
    store: &impl KeyRepository,
    query: &UsageQuery,
) -> Vec<(Timestamp, UsageOutcome, u64)> {
    let sums = store.usage_log().unwrap().usage(query).await.unwrap().into_iter();
    sums.map(|UsageCount { hour, outcome, count, .. }| (hour, outcome, count)).collect()
}

async fn busiest(store: &impl KeyRepository, query: &UsageQuery) -> Vec<(KeyId, u64)> {
    let lineages = store.usage_log().unwrap().busiest(query, 1_000).await.unwrap().into_iter();
    lineages.map(|LineageUsage { lineage, count, .. }| (lineage, count)).collect()
}

pub async fn usage_adds_up(store: impl KeyRepository) {
    assert_eq!(sums(&store, &ever()).await, []);
    store.usage_log().unwrap().record_usage(&[]).await.unwrap();
    store
        .usage_log()
        .unwrap()
        .record_usage(&[usage(1, 0, ACCEPTED, 5), usage(2, 0, ACCEPTED, 1)])
        .await
        .unwrap();
    // Twice in one call.
    let again = [usage(1, 0, ACCEPTED, 2), usage(2, 1, LIMITED, 7), usage(1, 0, ACCEPTED, 3)];
    store.usage_log().unwrap().record_usage(&again).await.unwrap();
    let both = [(hour(0), ACCEPTED, 11), (hour(1), LIMITED, 7)];
    assert_eq!(sums(&store, &ever()).await, both);
    let mut of_lineage = ever();
    of_lineage.lineage = Some(lineage(1));
    assert_eq!(sums(&store, &of_lineage).await, [(hour(0), ACCEPTED, 10)]);
}

/// Hours come in their order, also before 1970, and outcomes in that of their names.
pub async fn outcomes_lines_hours_and_owners_are_told_apart(store: impl KeyRepository) {
    let mut outcomes: Vec<_> = RejectionKind::all().map(UsageOutcome::Denied).collect();
    outcomes.push(ACCEPTED);
    // As a sloppy collation would not, and texts that break out of quotes.
    let long = "Ω🦀".repeat(127);
    let owners = [
        None,
        Some("anna"),
        Some("Anna"),
        Some("anna "),
        Some("änna"),
        Some(""),
        Some("two\nlines,\t\"quotes\", 'more', \\ \\u0041 %_ 🦀 e\u{301}"),
        Some(&*long),
    ];
    let hours = [1, 0, -1];
    let mut written = Vec::new();
    for (number, owner) in (1..).zip(owners) {
        for hours in hours {
            for (place, outcome) in (1..).zip(&outcomes) {
                let usage = usage(number, hours, *outcome, 1_000 * number + place);
                written.push(usage.with_owner(owner.map(Into::into)));
            }
        }
    }
    store.usage_log().unwrap().record_usage(&written).await.unwrap();

    outcomes.sort_by_key(|outcome| outcome.as_str());
    for (number, owner) in (1..).zip(owners) {
        let (mut of_lineage, mut of_owner) = (ever(), ever());
        of_lineage.lineage = Some(lineage(number));
        of_owner.owner = owner.map(Into::into);
        let count = |wanted_hour, wanted| {
            let found = written.iter().find(|usage| {
                (usage.lineage, usage.hour, usage.outcome) == (lineage(number), wanted_hour, wanted)
            });
            found.unwrap().count
        };
        let hours = [-1, 0, 1].map(hour);
        let all = hours.iter().flat_map(|hour| outcomes.iter().map(|outcome| (*hour, *outcome)));
        let expected: Vec<_> =
            all.map(|(hour, outcome)| (hour, outcome, count(hour, outcome))).collect();
        assert_eq!(sums(&store, &of_lineage).await, expected);
        if owner.is_some() {
            assert_eq!(sums(&store, &of_owner).await, expected, "{owner:?}");
            let mut of_both = of_owner.clone();
            of_both.lineage = Some(lineage(number % 8 + 1));
            assert_eq!(sums(&store, &of_both).await, [], "{owner:?}");
        }
    }
    for nobody in ["nobody", "anna\0", "ann"] {
        let mut of_nobody = ever();
        of_nobody.owner = Some(nobody.into());
        assert_eq!(sums(&store, &of_nobody).await, []);
        assert_eq!(busiest(&store, &of_nobody).await, []);
    }
}

pub async fn the_first_owner_of_a_line_stays(store: impl KeyRepository) {
    store.usage_log().unwrap().record_usage(&[of("anna", usage(1, 0, ACCEPTED, 1))]).await.unwrap();
    let others = [of("bert", usage(1, 0, ACCEPTED, 2)), usage(1, 0, ACCEPTED, 4)];
    store.usage_log().unwrap().record_usage(&others).await.unwrap();
    // Within one call as well.
    let both = [usage(2, 0, ACCEPTED, 8), of("bert", usage(2, 0, ACCEPTED, 16))];
    store.usage_log().unwrap().record_usage(&both).await.unwrap();
    let mut query = ever();
    query.owner = Some("anna".into());
    assert_eq!(sums(&store, &query).await, [(hour(0), ACCEPTED, 7)]);
    query.owner = Some("bert".into());
    assert_eq!(sums(&store, &query).await, []);
    assert_eq!(sums(&store, &ever()).await, [(hour(0), ACCEPTED, 31)]);
}

pub async fn ranges_are_half_open(store: impl KeyRepository) {
    let all: Vec<_> = (-2..=2).map(|hours| usage(1, hours, ACCEPTED, 1)).collect();
    store.usage_log().unwrap().record_usage(&all).await.unwrap();
    let millis = |hours: i64, more: i64| at(hours * 3_600_000 + more);
    for (since, until, expected) in [
        (hour(-1), hour(1), -1..1),
        (millis(-1, 1), millis(1, 1), 0..2),
        (millis(-1, -1), millis(1, -1), -1..1),
        (hour(0), hour(0), 0..0),
        (hour(1), hour(-1), 0..0),
        (at(i64::MIN), hour(0), -2..0),
        (hour(0), at(i64::MAX), 0..3),
    ] {
        let query = UsageQuery::new(since, until);
        let expected: Vec<_> = expected.map(|hours| (hour(hours), ACCEPTED, 1)).collect();
        assert_eq!(sums(&store, &query).await, expected, "{query:?}");
        let count = expected.len() as u64;
        let lineage = (count > 0).then_some((lineage(1), count));
        assert_eq!(busiest(&store, &query).await, Vec::from_iter(lineage), "{query:?}");
    }
}

/// Any filters together say what they say of keys in memory.
pub async fn sums_are_what_was_asked_for(store: impl KeyRepository) {
    let owners = [None, Some("anna"), Some("bert")];
    let outcomes = [ACCEPTED, LIMITED, UsageOutcome::Denied(RejectionKind::Expired)];
    let mut written = Vec::new();
    for number in 0..200_u64 {
        let place = usize::try_from(number).unwrap();
        let (lineage, hours) = (number * 7 % 11, (number * 5 % 17).cast_signed() - 8);
        let usage = usage(lineage, hours, outcomes[place * 3 / 2 % 3], number * 13 % 29);
        written.push(usage.with_owner(owners[place * 7 % 11 % 3].map(Into::into)));
    }
    let model = MemoryStore::new();
    for part in written.chunks(70) {
        model.record_usage(part).await.unwrap();
        store.usage_log().unwrap().record_usage(part).await.unwrap();
    }
    let mut some = 0;
    for (since, until) in [(-8, 9), (-3, 3), (0, 1), (4, -4)] {
        for lineage in [None, Some(lineage(3)), Some(lineage(7)), Some(lineage(99))] {
            for owner in [None, Some("anna"), Some("bert"), Some("Bert")] {
                let mut query = UsageQuery::new(hour(since), hour(until));
                (query.lineage, query.owner) = (lineage, owner.map(Into::into));
                let expected = sums(&model, &query).await;
                some += usize::from(!expected.is_empty());
                assert_eq!(sums(&store, &query).await, expected, "{query:?}");
                for limit in [0, 1, 3, 1_000] {
                    let expected = model.busiest(&query, limit).await.unwrap();
                    let found = store.usage_log().unwrap().busiest(&query, limit).await.unwrap();
                    assert_eq!(found, expected, "{query:?}, {limit}");
                }
            }
        }
    }
    assert!(some > 10, "{some}");
}

/// By what was let in. Of lineages that are as busy, the one with the smallest id.
pub async fn the_busiest_come_first(store: impl KeyRepository) {
    let written = [
        usage(5, 0, ACCEPTED, 6),
        usage(5, 1, ACCEPTED, 4),
        usage(4, 0, ACCEPTED, 10),
        usage(9, 0, ACCEPTED, 10),
        usage(3, 1, ACCEPTED, 11),
        usage(2, 0, ACCEPTED, 9),
        // Nothing was let in.
        usage(1, 0, LIMITED, 1_000),
        usage(6, 0, ACCEPTED, 0),
        usage(2, 1, LIMITED, 1_000),
    ];
    store.usage_log().unwrap().record_usage(&written).await.unwrap();
    let all = [(3, 11), (4, 10), (5, 10), (9, 10), (2, 9)].map(|(number, n)| (lineage(number), n));
    assert_eq!(busiest(&store, &ever()).await, all);
    for limit in [0, 1, 3, usize::MAX] {
        let found = store.usage_log().unwrap().busiest(&ever(), limit).await.unwrap().into_iter();
        let found: Vec<_> = found.map(|usage| (usage.lineage, usage.count)).collect();
        assert_eq!(found, all[..limit.min(all.len())]);
    }
    let first_hour = UsageQuery::new(hour(0), hour(1));
    let expected = [(4, 10), (9, 10), (2, 9), (5, 6)].map(|(number, n)| (lineage(number), n));
    assert_eq!(busiest(&store, &first_hour).await, expected);
}

pub async fn old_usage_is_forgotten(store: impl KeyRepository) {
    let mut written = Vec::new();
    for hours in -1..=2 {
        written.extend([usage(1, hours, ACCEPTED, 2), usage(1, hours, LIMITED, 3)]);
        written.push(of("anna", usage(2, hours, ACCEPTED, 4)));
    }
    store.usage_log().unwrap().record_usage(&written).await.unwrap();
    assert_eq!(store.usage_log().unwrap().forget_usage(hour(-1)).await.unwrap(), 0);
    assert_eq!(store.usage_log().unwrap().forget_usage(hour(1)).await.unwrap(), 6);
    assert_eq!(store.usage_log().unwrap().forget_usage(hour(1)).await.unwrap(), 0);
    let left = [1, 2].map(|hours| [(hour(hours), ACCEPTED, 6), (hour(hours), LIMITED, 3)]);
    assert_eq!(sums(&store, &ever()).await, left.concat());
    // What was forgotten begins anew.
    store.usage_log().unwrap().record_usage(&[usage(1, 0, ACCEPTED, 1)]).await.unwrap();
    assert_eq!(sums(&store, &ever()).await[0], (hour(0), ACCEPTED, 1));
}

/// An invoice may be due when they are gone. That there never was such a key does not matter.
pub async fn usage_outlives_its_keys(store: impl KeyRepository) {
    let mut key = record(1);
    key.details.revoked_at = Some(at(1));
    store.insert(&key).await.unwrap();
    store
        .usage_log()
        .unwrap()
        .record_usage(&[usage(1, 0, ACCEPTED, 1), usage(2, 0, ACCEPTED, 2)])
        .await
        .unwrap();
    assert_eq!(store.purge(at(2), None).await.unwrap(), 1);
    assert_eq!(sums(&store, &ever()).await, [(hour(0), ACCEPTED, 3)]);
}

/// Of what stores count with, signed or not. What matters is that nothing goes wrong.
pub async fn counts_stop_at_the_greatest(store: impl KeyRepository) {
    let most = i64::MAX as u64;
    for count in [most - 5, 3, 9, most, u64::MAX] {
        store
            .usage_log()
            .unwrap()
            .record_usage(&[usage(1, 0, ACCEPTED, count), usage(2, 0, ACCEPTED, count)])
            .await
            .unwrap();
    }
    let found = sums(&store, &ever()).await;
    assert_eq!(found.len(), 1);
    assert!(found[0].2 >= most, "{found:?}");
    let found = busiest(&store, &ever()).await;
    assert_eq!(found.iter().map(|(lineage, _)| *lineage).collect::<Vec<_>>(), [1, 2].map(lineage));
    assert!(found.iter().all(|(_, count)| *count >= most), "{found:?}");
}

/// Two nodes with the same busy keys, when a new hour has begun and when it has not.
pub async fn concurrent_flushes_in_opposite_orders_lose_nothing(store: impl KeyRepository + Clone) {
    const LINEAGES: u64 = 400;
    const REPEATS: i64 = 8;
    let mut nodes = JoinSet::new();
    for node in 0..2_usize {
        let store = store.clone();
        nodes.spawn(async move {
            for round in 0..REPEATS {
                // Not the same lineages, so that each adds some between those of the other.
                let lineages = (0..LINEAGES).filter(|lineage| lineage % 3 != node as u64);
                let mut usages: Vec<_> = lineages
                    .flat_map(|lineage| {
                        [ACCEPTED, LIMITED].map(|outcome| usage(lineage, round / 4, outcome, 1))
                    })
                    .collect();
                if node == 0 {
                    usages.reverse();
                }
                for part in usages.chunks(300) {
                    store.usage_log().unwrap().record_usage(part).await.unwrap();
                }
            }
        });
    }
    nodes.join_all().await;
    let written: u64 =
        (0..2).map(|node| (0..LINEAGES).filter(|lineage| lineage % 3 != node).count() as u64).sum();
    let expected = [0, 1].map(|hours| {
        [ACCEPTED, LIMITED].map(|outcome| (hour(hours), outcome, written * REPEATS as u64 / 2))
    });
    assert_eq!(sums(&store, &ever()).await, expected.concat());
    let mut lineages = busiest(&store, &ever()).await;
    lineages.sort_unstable();
    let expected =
        (0..LINEAGES).map(|number| (lineage(number), if number % 3 == 2 { 16 } else { 8 }));
    assert_eq!(lineages, expected.collect::<Vec<_>>());
}
