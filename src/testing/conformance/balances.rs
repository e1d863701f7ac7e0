//! Credits of lineages: compare-and-swap on the revision, together with other changes.

use std::num::{NonZeroU32, NonZeroU64};

use tokio::task::JoinSet;

use super::{assert_duplicate, at, record, stored};
use crate::{
    KeyId,
    credits::{Balance, Refill, RefillInterval},
    key::KeyRecord,
    store::{ApplyOutcome, BalanceUpdate, Changes, KeyRepository, KeyUpdate},
};

fn lineage(number: u64) -> KeyId {
    record(number).id
}

fn balance(remaining: u64) -> Balance {
    Balance::new(remaining, None, at(1_000))
}

/// A lineage's first balance.
fn new(number: u64, balance: Balance) -> BalanceUpdate {
    BalanceUpdate { lineage: lineage(number), balance, expected: None, due: None }
}

/// The next revision of `balance`, with this much left.
fn next(number: u64, balance: &Balance, remaining: u64) -> BalanceUpdate {
    let mut next = balance.clone();
    (next.remaining, next.revision) = (remaining, balance.revision + 1);
    BalanceUpdate {
        lineage: lineage(number),
        balance: next,
        expected: Some(balance.revision),
        due: None,
    }
}

fn changes(balances: impl IntoIterator<Item = BalanceUpdate>) -> Changes {
    Changes::default().with_balances(balances.into_iter().collect())
}

async fn write(store: &impl KeyRepository, balance: BalanceUpdate) -> ApplyOutcome {
    store.apply(&changes([balance])).await.unwrap()
}

/// The balance of a lineage, if it has one.
async fn balance_of(store: &impl KeyRepository, number: u64) -> Option<Balance> {
    let mut found =
        store.balance_store().unwrap().balances(&[lineage(number)]).await.unwrap().items;
    assert!(found.len() <= 1, "{found:?}");
    found.pop().map(|(found, balance)| {
        assert_eq!(found, lineage(number));
        balance
    })
}

pub async fn balances_read_back_equal(store: impl KeyRepository) {
    let refill = |amount, interval| Some(Refill::new(amount, interval));
    let seconds = RefillInterval::Seconds(NonZeroU32::MAX);
    let mut extreme = Balance::new(u64::MAX, refill(NonZeroU64::MAX, seconds), at(i64::MIN));
    extreme.next_refill_at = Some(at(i64::MAX));
    extreme.granted = i64::MIN;
    (extreme.epoch, extreme.revision) = (i64::MAX as u64, (1 << 53) + 1);
    let monthly = Balance::new(0, refill(NonZeroU64::MIN, RefillInterval::Month), at(-1));
    let written = [balance(0), extreme, monthly, balance((1 << 53) + 1)];
    for (number, balance) in (1..).zip(&written) {
        assert_eq!(write(&store, new(number, balance.clone())).await, ApplyOutcome::Done);
        assert_eq!(balance_of(&store, number).await.as_ref(), Some(balance));
    }

    // All at once, in any order; each once, however often it is asked for.
    let asked = [4, 9, 1, 3, 2, 1].map(lineage);
    let mut found = store.balance_store().unwrap().balances(&asked).await.unwrap().items;
    found.sort_by_key(|(lineage, _)| *lineage);
    let all = (1..).map(lineage).zip(written.clone());
    assert_eq!(found, all.collect::<Vec<_>>());
    assert_eq!(store.balance_store().unwrap().balances(&[]).await.unwrap().items, []);
    assert_eq!(store.balance_store().unwrap().balances(&[lineage(9)]).await.unwrap().items, []);

    // Every field can change, and go.
    for (number, (old, new)) in (1..).zip(written.iter().zip(written.iter().cycle().skip(1))) {
        let mut update = next(number, new, new.remaining);
        (update.balance.revision, update.expected) = (old.revision + 1, Some(old.revision));
        assert_eq!(write(&store, update.clone()).await, ApplyOutcome::Done);
        assert_eq!(balance_of(&store, number).await, Some(update.balance));
    }
}

pub async fn stale_balances_write_nothing(store: impl KeyRepository) {
    let mut first = balance(10);
    first.revision = 5;
    write(&store, new(1, first.clone())).await;
    for expected in [None, Some(0), Some(4), Some(6)] {
        let stale = BalanceUpdate { expected, ..next(1, &first, 3) };
        assert_eq!(write(&store, stale).await, ApplyOutcome::Stale, "{expected:?}");
        assert_eq!(balance_of(&store, 1).await.as_ref(), Some(&first));
    }
    // The very same once more, and one of a lineage that has none.
    assert_eq!(write(&store, new(1, first.clone())).await, ApplyOutcome::Stale);
    for revision in [0, 5] {
        let mut unknown = first.clone();
        unknown.revision = revision;
        assert_eq!(write(&store, next(2, &unknown, 3)).await, ApplyOutcome::Stale);
    }
    assert_eq!(balance_of(&store, 1).await, Some(first));
    assert_eq!(balance_of(&store, 2).await, None);
}

fn renamed(record: &KeyRecord) -> KeyUpdate {
    let mut new = record.clone();
    (new.name, new.revision) = ("renamed".into(), record.revision + 1);
    KeyUpdate::new(record, new)
}

/// Whatever is wrong with it, and however many come before it.
pub async fn a_stale_balance_undoes_everything(store: impl KeyRepository) {
    store.insert(&record(1)).await.unwrap();
    write(&store, new(1, balance(10))).await;
    write(&store, new(2, balance(20))).await;
    let mut other = balance(10);
    other.revision = 7;
    for stale in [new(1, balance(1)), next(1, &other, 1), next(9, &balance(0), 1)] {
        for before in [0, 1, 60, 120] {
            let mut balances: Vec<_> = (100..100 + before).map(|n| new(n, balance(n))).collect();
            balances.extend([next(2, &balance(20), 19), stale.clone()]);
            let changes = changes(balances)
                .with_inserts(vec![record(10)])
                .with_updates(vec![renamed(&record(1))]);
            assert_eq!(store.apply(&changes).await.unwrap(), ApplyOutcome::Stale);
            assert!(store.get(record(10).id).await.unwrap().is_none());
            assert_eq!(stored(&store, record(1).id).await, record(1));
            let all: Vec<_> = (1..300).map(lineage).collect();
            let mut left = store.balance_store().unwrap().balances(&all).await.unwrap().items;
            left.sort_by_key(|(lineage, _)| *lineage);
            assert_eq!(left, [(lineage(1), balance(10)), (lineage(2), balance(20))]);
        }
    }
}

pub async fn balances_share_the_fate_of_their_changes(store: impl KeyRepository) {
    let all = changes([new(1, balance(10))]).with_inserts(vec![record(1)]);
    assert_eq!(store.apply(&all).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(balance_of(&store, 1).await, Some(balance(10)));

    // A duplicate comes before whatever else is wrong.
    let spent = next(1, &balance(10), 9);
    for balances in [vec![spent.clone()], vec![new(1, balance(1))]] {
        let inserts = vec![record(2), record(1)];
        assert_duplicate(store.apply(&changes(balances).with_inserts(inserts)).await);
        assert!(store.get(record(2).id).await.unwrap().is_none());
        assert_eq!(balance_of(&store, 1).await, Some(balance(10)));
    }

    let mut stale = renamed(&record(1));
    stale.expected = 5;
    let all = changes([spent.clone(), new(2, balance(1))]).with_updates(vec![stale]);
    assert_eq!(store.apply(&all).await.unwrap(), ApplyOutcome::Stale);
    assert_eq!(balance_of(&store, 1).await, Some(balance(10)));
    assert_eq!(balance_of(&store, 2).await, None);

    let updates = vec![renamed(&record(1))];
    let all = changes([spent.clone(), new(2, balance(1))]).with_updates(updates.clone());
    assert_eq!(store.apply(&all).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(stored(&store, record(1).id).await, updates[0].record);
    assert_eq!(balance_of(&store, 1).await, Some(spent.balance));
    assert_eq!(balance_of(&store, 2).await, Some(balance(1)));
}

/// As many as fit one statement of a database, more, and fewer.
pub async fn many_balances_are_written_at_once(store: impl KeyRepository) {
    for (first, count) in [(1_000, 1), (2_000, 50), (3_000, 123)] {
        let numbers = first..first + count;
        // Old ones among them, and in no order.
        let update = |number| match number % 5 {
            0 => next(number, &balance(7), number),
            _ => new(number, balance(number)),
        };
        let old = numbers.clone().filter(|number| number % 5 == 0);
        store.apply(&changes(old.map(|number| new(number, balance(7))))).await.unwrap();
        let updates: Vec<_> = numbers.rev().map(update).collect();
        assert_eq!(store.apply(&changes(updates.clone())).await.unwrap(), ApplyOutcome::Done);
        let lineages: Vec<_> = updates.iter().map(|update| update.lineage).collect();
        let mut found = store.balance_store().unwrap().balances(&lineages).await.unwrap().items;
        found.sort_by_key(|(lineage, _)| std::cmp::Reverse(*lineage));
        let expected = updates.into_iter().map(|update| (update.lineage, update.balance));
        assert_eq!(found, expected.collect::<Vec<_>>());
    }
}

/// As when nodes take from the same lineage, or give it its first balance.
pub async fn one_of_many_concurrent_balances_is_done(store: impl KeyRepository + Clone) {
    let mut last = None;
    for round in 0..4 {
        let mut applied = JoinSet::new();
        for number in 0..16 {
            let store = store.clone();
            let mut taken = new(1, balance(1_000 * round + number));
            taken.balance.revision = round;
            taken.expected = last;
            applied.spawn(async move { (write(&store, taken.clone()).await, taken.balance) });
        }
        let results = applied.join_all().await;
        let done = results.into_iter().filter(|(update, _)| *update == ApplyOutcome::Done);
        let done: Vec<_> = done.map(|(_, balance)| balance).collect();
        assert_eq!(done.len(), 1, "round {round}");
        assert_eq!(balance_of(&store, 1).await.as_ref(), Some(&done[0]));
        last = Some(round);
    }
}

/// Nodes that take from many lineages in one go do not keep each other from it.
pub async fn concurrent_balances_in_opposite_orders_all_count(store: impl KeyRepository + Clone) {
    const LINEAGES: u64 = 20;
    const REPEATS: u64 = 10;
    store.apply(&changes((0..LINEAGES).map(|number| new(number, balance(1_000))))).await.unwrap();
    let mut nodes = JoinSet::new();
    for node in 0..2 {
        let store = store.clone();
        nodes.spawn(async move {
            let lineages: Vec<_> = (0..LINEAGES).map(lineage).collect();
            let mut done = 0;
            while done < REPEATS {
                let mut taken: Vec<_> =
                    store.balance_store().unwrap().balances(&lineages).await.unwrap().items;
                taken.sort_by_key(|(lineage, _)| *lineage);
                let updates = (0..).zip(taken).map(|(number, (found, balance))| {
                    assert_eq!(found, lineage(number));
                    next(number, &balance, balance.remaining - 1)
                });
                let mut updates: Vec<_> = updates.collect();
                if node == 0 {
                    updates.reverse();
                }
                done +=
                    u64::from(store.apply(&changes(updates)).await.unwrap() == ApplyOutcome::Done);
            }
        });
    }
    nodes.join_all().await;
    for number in 0..LINEAGES {
        let left = balance_of(&store, number).await.unwrap();
        assert_eq!((left.remaining, left.revision), (1_000 - 2 * REPEATS, 2 * REPEATS));
    }
}

/// The balance is the lineage's: it goes with the last key of it, whichever that is.
pub async fn balances_of_lines_without_keys_are_purged(store: impl KeyRepository) {
    let ended = |number, time: i64| {
        let mut record = record(number);
        record.details.revoked_at = Some(at(time));
        record
    };
    let of_lineage = |mut record: KeyRecord, number| {
        record.details.rotation.lineage = Some(lineage(number));
        record
    };
    let inserts = vec![
        // All that there is of the first lineage.
        ended(1, 1),
        of_lineage(ended(11, 1), 1),
        // Of the second, a later key lives, of the third one ended not long ago.
        ended(2, 1),
        of_lineage(record(12), 2),
        ended(3, 50),
        record(4),
    ];
    // An owner's own lineage, which may get a key again, is there for good.
    let of_owner = KeyId::from_bytes([0, 0, 0, 0, 0, 0, 0x80, 0, 0x80, 0, 0, 0, 0, 0, 0, 9]);
    let kept = BalanceUpdate { lineage: of_owner, balance: balance(9), expected: None, due: None };
    let balances = (1..=5).map(|number| new(number, balance(number))).chain([kept]);
    store.apply(&changes(balances).with_inserts(inserts)).await.unwrap();

    let left = async || {
        let mut lineages = store
            .balance_store()
            .unwrap()
            .balances(&[1, 2, 3, 4, 5].map(lineage))
            .await
            .unwrap()
            .items;
        lineages.sort_by_key(|(lineage, _)| *lineage);
        lineages
            .into_iter()
            .map(|(lineage, balance)| (lineage, balance.remaining))
            .collect::<Vec<_>>()
    };
    assert_eq!(left().await.len(), 5);
    assert_eq!(store.purge(at(50), None).await.unwrap(), 3);
    assert_eq!(left().await, [2, 3, 4].map(|number| (lineage(number), number)));
    assert_eq!(store.purge(at(51), None).await.unwrap(), 1);
    assert_eq!(left().await, [2, 4].map(|number| (lineage(number), number)));
    let kept = store.balance_store().unwrap().balances(&[of_owner]).await.unwrap();
    assert_eq!(kept.of(of_owner).map(|balance| balance.remaining), Some(9));
}

/// An update that grants a refill is written once the store's clock has come to it, whatever the
/// clock of the node that asks for it.
pub async fn a_refill_is_granted_by_the_clock_of_the_store(store: impl KeyRepository) {
    write(&store, new(1, balance(10))).await;
    let now = store.balance_store().unwrap().balances(&[]).await.unwrap().now;
    let hour = std::time::Duration::from_hours(1);
    for due in [now.saturating_add(hour), at(i64::MAX)] {
        let early = BalanceUpdate { due: Some(due), ..next(1, &balance(10), 20) };
        assert_eq!(write(&store, early).await, ApplyOutcome::Stale);
        assert_eq!(balance_of(&store, 1).await, Some(balance(10)));
    }
    let due = BalanceUpdate { due: Some(now), ..next(1, &balance(10), 20) };
    assert_eq!(write(&store, due.clone()).await, ApplyOutcome::Done);
    assert_eq!(balance_of(&store, 1).await, Some(due.balance));
}
