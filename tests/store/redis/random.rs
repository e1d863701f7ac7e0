//! Random changes of keys, balances and usage, against the store in memory.

use proptest::{collection::vec, option, prelude::*, sample::select, test_runner::TestRunner};
use tokio::{runtime::Handle, task::block_in_place};
use tower_api_key::{
    KeyId, OwnerId, RejectionKind, Timestamp,
    credits::Balance,
    key::KeyRecord,
    store::{
        ApplyOutcome, BalanceStore, BalanceUpdate, Changes, KeyRepository, KeyUpdate, KeyUse,
        MemoryStore, RedisStore, StoreError, UsageLog,
    },
    usage::{HourlyUsage, UsageOutcome, UsageQuery},
};

use super::{HOUR, Prefix, counted};
use crate::conformance::{at, record};

/// What happens to a store.
#[derive(Clone, Debug)]
enum Step {
    /// Keys to add, each with its lineage; keys to revoke; balances, with how many revisions they
    /// are behind.
    Apply {
        inserts: Vec<(u64, u64)>,
        revoked: Vec<(u64, Timestamp)>,
        balances: Vec<(u64, u64, bool)>,
    },
    RecordUses(Vec<KeyUse>),
    RecordUsage(Vec<HourlyUsage>),
    Usage(UsageQuery, usize),
    Forget(Timestamp),
    Purge(Timestamp, Option<OwnerId>),
}

/// An owner is the same in every hour of a lineage. One may begin like another, or not be named.
fn owner_of(lineage: u64) -> Option<OwnerId> {
    [None, Some("anna"), Some("an"), Some("")][usize::try_from(lineage).unwrap() % 4]
        .map(Into::into)
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        8 => (-2_i64..6).prop_map(|hour| at(hour * HOUR)),
        2 => (-2 * HOUR..6 * HOUR).prop_map(at),
        1 => select(vec![at(i64::MIN), at(i64::MAX)]),
    ]
}

fn any_usage() -> impl Strategy<Value = HourlyUsage> {
    let outcomes = [
        UsageOutcome::Accepted,
        UsageOutcome::Denied(RejectionKind::Revoked),
        UsageOutcome::Denied(RejectionKind::RateLimited),
    ];
    let counts = prop_oneof![0_u64..3, 999_999_990_u64..1_000_000_010, 0..=1_u64 << 60];
    (0_u64..7, -2_i64..6, select(outcomes.to_vec()), counts).prop_map(
        |(lineage, hour, outcome, count)| {
            let owner = owner_of(lineage);
            let mut usage = counted(lineage, hour, count).with_owner(owner);
            usage.outcome = outcome;
            usage
        },
    )
}

fn any_query() -> impl Strategy<Value = UsageQuery> {
    let owner = select(vec![None, None, Some("anna"), Some("an"), Some(""), Some("nobody")]);
    (any_time(), any_time(), option::weighted(0.4, 0_u64..8), owner).prop_map(
        |(since, until, lineage, owner)| {
            let mut query = UsageQuery::new(since, until);
            (query.lineage, query.owner) =
                (lineage.map(|lineage| record(lineage).id), owner.map(Into::into));
            query
        },
    )
}

fn any_uses() -> impl Strategy<Value = KeyUse> {
    let addresses = select(vec!["192.0.2.7", "2001:db8::1", "::ffff:192.0.2.7"]);
    (0_u64..10, 0_u64..5, -3_i64..3, option::of(addresses)).prop_map(
        |(number, count, millis, address)| {
            let mut used = KeyUse::new(record(number).id, count, at(millis));
            used.last_used_from = address.map(|address| address.parse().unwrap());
            used
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    let inserts = vec((0_u64..10, 0_u64..4), 0..3);
    let revoked = vec((0_u64..10, any_time()), 0..3);
    let balances = vec((0_u64..4, 0_u64..1_000, proptest::bool::weighted(0.9)), 0..3);
    let owner = select(vec![None, None, Some("anna"), Some("")]);
    prop_oneof![
        4 => (inserts, revoked, balances)
            .prop_map(|(inserts, revoked, balances)| Step::Apply { inserts, revoked, balances }),
        2 => vec(any_uses(), 0..6).prop_map(Step::RecordUses),
        4 => vec(any_usage(), 0..12).prop_map(Step::RecordUsage),
        6 => (any_query(), 0_usize..6).prop_map(|(query, limit)| Step::Usage(query, limit)),
        1 => any_time().prop_map(Step::Forget),
        2 => (any_time(), owner)
            .prop_map(|(before, owner)| Step::Purge(before, owner.map(Into::into))),
    ]
}

const LINEAGES: [u64; 4] = [0, 1, 2, 3];

/// The changes, of what is in the store.
async fn changes(step: &Step, memory: &MemoryStore) -> Changes {
    let mut changes = Changes::default();
    let Step::Apply { inserts, revoked, balances } = step else { return changes };
    for (number, lineage) in inserts {
        let mut new = record(*number);
        new.owner = owner_of(*lineage);
        // The first keys of their lineages are in no other.
        new.details.rotation.lineage = (!LINEAGES.contains(number)).then(|| record(*lineage).id);
        changes.inserts.push(new);
    }
    for (number, revoked_at) in revoked {
        let Some(old) = memory.get(record(*number).id).await.unwrap() else { continue };
        if changes.updates.iter().any(|update| update.record.id == old.id) {
            continue;
        }
        let mut new = KeyRecord::clone(&old);
        (new.details.revoked_at, new.revision) = (Some(*revoked_at), old.revision + 1);
        // What an update leaves alone.
        (new.use_count, new.last_used_at, new.details.last_used_from) = (7, None, None);
        changes.updates.push(KeyUpdate::new(&old, new));
    }
    for (lineage, remaining, is_fresh) in balances {
        let lineage = record(*lineage).id;
        if changes.balances.iter().any(|update| update.lineage == lineage) {
            continue;
        }
        let old =
            memory.balances(&[lineage]).await.unwrap().items.pop().map(|(_, old)| old.revision);
        let expected = if *is_fresh { old } else { old.map_or(Some(0), |old| old.checked_sub(1)) };
        let mut balance = Balance::new(*remaining, None, at(0));
        balance.revision = expected.map_or(0, |old| old + 1);
        changes.balances.push(BalanceUpdate { lineage, balance, expected, due: None });
    }
    changes
}

async fn balances(store: &impl KeyRepository) -> Vec<(KeyId, Balance)> {
    let lineages = LINEAGES.map(|lineage| record(lineage).id);
    let mut balances = store.balance_store().unwrap().balances(&lineages).await.unwrap().items;
    balances.sort_by_key(|(lineage, _)| *lineage);
    balances
}

/// Whether both stores do the same.
async fn take(step: &Step, redis: &RedisStore, memory: &MemoryStore) {
    match step {
        Step::Apply { .. } => {
            let changes = changes(step, memory).await;
            let outcomes = (redis.apply(&changes).await, memory.apply(&changes).await);
            let kind =
                |outcome: Result<ApplyOutcome, StoreError>| outcome.map_err(|error| error.kind());
            assert_eq!(kind(outcomes.0), kind(outcomes.1), "{changes:?}");
        }
        Step::RecordUses(uses) => {
            redis.record_uses(uses).await.unwrap();
            memory.record_uses(uses).await.unwrap();
        }
        Step::RecordUsage(usage) => {
            redis.record_usage(usage).await.unwrap();
            memory.record_usage(usage).await.unwrap();
        }
        Step::Usage(query, limit) => {
            let counts = (redis.usage(query).await.unwrap(), memory.usage(query).await.unwrap());
            assert_eq!(counts.0, counts.1, "{query:?}");
            let lineages = redis.busiest(query, *limit).await.unwrap();
            assert_eq!(lineages, memory.busiest(query, *limit).await.unwrap(), "{query:?}");
        }
        Step::Forget(before) => {
            let forgotten = redis.forget_usage(*before).await.unwrap();
            assert_eq!(forgotten, memory.forget_usage(*before).await.unwrap());
        }
        Step::Purge(before, owner) => {
            let purged = redis.purge(*before, owner.as_ref()).await.unwrap();
            assert_eq!(purged, memory.purge(*before, owner.as_ref()).await.unwrap());
        }
    }
    assert_eq!(balances(redis).await, balances(memory).await, "{step:?}");
    for number in 0..10 {
        let id = record(number).id;
        assert_eq!(redis.get(id).await.unwrap(), memory.get(id).await.unwrap(), "{step:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_counts_what_memory_counts() {
    let config = ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() };
    block_in_place(|| {
        let outcome = TestRunner::new(config).run(&vec(any_step(), 1..40), |steps| {
            Handle::current().block_on(async {
                let Some(prefix) = Prefix::new() else { return };
                let (redis, memory) = (prefix.open().await, MemoryStore::new());
                for step in &steps {
                    take(step, &redis, &memory).await;
                }
                // What was used by the hour leaves nothing behind once it is forgotten.
                redis.forget_usage(at(i64::MAX)).await.unwrap();
                assert!(!prefix.keys().iter().any(|key| key.contains(":usage")));
            });
            Ok(())
        });
        outcome.unwrap();
    });
}
