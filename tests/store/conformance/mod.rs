//! What every store must do: the contracts of `KeyStore` and `KeyRepository`, clause by clause.
//!
//! A store takes part with one lineage, which names it and says how to make an empty one:
//!
//! ```ignore
//! conformance!(memory, async { (MemoryStore::new(), ()) });
//! ```
//!
//! The second part of the pair is kept until the test is over: a directory, a container. Stores
//! that live in one database must each get a table of their own. `None` instead of the pair leaves
//! the store out. `without_events` after them is for a store that keeps no audit log.

pub(crate) mod balances;
pub(crate) mod batches;
pub(crate) mod capabilities;
pub(crate) mod changes;
pub(crate) mod events;
pub(crate) mod filters;
pub(crate) mod inserts;
pub(crate) mod known;
pub(crate) mod lists;
pub(crate) mod lookups;
pub(crate) mod owner_bounds;
pub(crate) mod purges;
pub(crate) mod races;
pub(crate) mod random;
pub(crate) mod requests;
pub(crate) mod selections;
pub(crate) mod updates;
pub(crate) mod usage;
pub(crate) mod uses;
pub(crate) mod watermarks;

use std::time::Duration;

use ipnet::IpNet;
use serde_json::json;
use tower_api_key::{
    KeyId, Scopes, Timestamp,
    key::{KeyDigest, KeyRecord, Needs},
    limit::{Limit, Limits, Quota},
    nonzero,
    store::{KeyRepository, StoreError, StoreErrorKind},
};

/// Makes a test of every case, in a module with the name of the store.
macro_rules! conformance {
    ($store:ident, $open:expr $(, $without:ident)?) => {
        mod $store {
            #[allow(unused_imports, reason = "what `open` needs differs from store to store")]
            use super::*;

            conformance! { @cases $open;
                inserts: written_records_read_back_equal
                inserts: ids_are_unique
                inserts: digests_are_unique
                inserts: a_deleted_key_keeps_its_id_and_digest
                inserts: one_of_many_concurrent_inserts_is_done
                random: random_records_read_back_equal
                lookups: an_empty_store_finds_nothing
                lookups: digests_match_exactly
                lookups: deleted_keys_are_got_but_not_found
                lookups: unusable_keys_are_found
                lookups: clones_share_the_keys
                batches: many_are_found_in_the_order_asked_for
                batches: each_of_many_lookups_at_once_has_its_own_answer
                batches: each_of_the_same_digests_has_an_answer
                batches: many_digests_match_exactly
                batches: deleted_keys_are_not_among_many
                known: the_digests_of_keys_that_are_not_deleted_are_listed
                known: a_renewed_digest_is_listed
                known: keys_that_were_added_are_listed
                updates: updates_write_every_field_but_the_fixed_ones
                updates: updates_can_take_fields_away
                updates: stale_updates_write_nothing
                updates: updates_of_unknown_keys_write_nothing
                updates: one_of_many_concurrent_updates_is_done
                updates: a_new_digest_replaces_the_old_one
                updates: a_taken_digest_is_refused
                lists: the_youngest_come_first
                lists: pages_follow_one_another
                lists: pages_hold_while_keys_come_and_go
                lists: owners_are_told_apart
                lists: deleted_keys_are_not_listed
                uses: uses_add_up
                uses: the_last_use_never_moves_back
                uses: unknown_keys_are_passed_over
                uses: concurrent_uses_all_count
                uses: updates_do_not_undo_uses
                uses: the_address_of_the_last_use_moves_only_forward
                uses: thousands_are_recorded_at_once
                balances: balances_read_back_equal
                balances: stale_balances_write_nothing
                balances: a_stale_balance_undoes_everything
                balances: balances_share_the_fate_of_their_changes
                balances: many_balances_are_written_at_once
                balances: one_of_many_concurrent_balances_is_done
                balances: concurrent_balances_in_opposite_orders_all_count
                balances: balances_of_lines_without_keys_are_purged
                balances: a_refill_is_granted_by_the_clock_of_the_store
                requests: requests_read_back_equal
                requests: a_request_is_done_once
                requests: one_of_many_same_requests_is_done
                requests: requests_outlive_a_purge
                usage: usage_adds_up
                usage: outcomes_lines_hours_and_owners_are_told_apart
                usage: the_first_owner_of_a_line_stays
                usage: ranges_are_half_open
                usage: sums_are_what_was_asked_for
                usage: the_busiest_come_first
                usage: old_usage_is_forgotten
                usage: usage_outlives_its_keys
                usage: counts_stop_at_the_greatest
                usage: concurrent_flushes_in_opposite_orders_lose_nothing
                purges: old_revoked_and_deleted_keys_are_removed
                purges: live_keys_stay
                purges: a_purged_digest_is_free_again
                purges: an_owners_keys_are_removed_alone
                changes: no_changes_are_done
                changes: many_keys_are_added_at_once
                changes: a_duplicate_undoes_everything
                changes: duplicates_among_the_changes_undo_everything
                changes: a_stale_update_undoes_everything
                changes: requests_are_unique
                changes: one_of_many_with_the_same_request_is_done
                changes: one_of_many_concurrent_changes_is_done
                changes: rotations_read_back_equal
                owner_bounds: an_owner_has_no_more_live_keys_than_allowed
                owner_bounds: only_live_keys_count
                owner_bounds: updates_count_as_they_will_be
                owner_bounds: concurrent_creations_never_exceed_the_bound
                selections: selections_are_read_and_changed
                selections: bad_plans_write_nothing
                selections: no_key_escapes_by_being_rotated
                selections: no_key_escapes_by_being_made
                selections: no_key_outlives_the_one_it_was_made_with
                selections: twenty_thousand_keys_are_changed_together
                races: nothing_keeps_more_than_the_narrowed_key
                races: a_key_made_meanwhile_spends_with_its_lineage
                races: a_lineage_begins_to_spend_as_a_whole
                races: a_creation_is_remembered
                filters: ends_and_last_uses_are_compared
                filters: lists_are_what_was_asked_for
                filters: a_nul_is_found_nowhere
                watermarks: every_reader_finds_covered_keys_revoked
                watermarks: rows_are_written_afterwards
                watermarks: a_covered_key_stays_revoked
                watermarks: a_time_to_come_undoes_everything
                watermarks: covered_keys_are_not_counted
                watermarks: thousands_of_rows_are_found
                capabilities: abilities_are_those_of_the_table
                updates: the_mark_of_an_owner_is_kept_with_each_revision
            }
            conformance! { @events $($without)?; $open }
        }
    };
    (@events ; $open:expr) => {
        conformance! { @cases $open;
            events: events_read_back_equal
            events: events_share_the_fate_of_their_changes
            events: events_are_listed_as_asked
            events: events_outlive_their_keys
        }
    };
    (@events without_events; $open:expr) => {
        conformance! { @cases $open;
            events: events_are_passed_over
        }
    };
    (@cases $open:expr; $($file:ident: $case:ident)*) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let opened: Option<_> = $open.await.into();
            let Some((store, _guard)) = opened else { return };
            crate::conformance::$file::$case(store).await;
        }
    )* };
}

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis)
}

/// The `number`th key: its id sorts by the number, its digest is like no other.
pub(crate) fn record(number: u64) -> KeyRecord {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    let mut record =
        KeyRecord::new(KeyId::from_bytes(id), digest(number), format!("key {number}"), at(1_000));
    record.revision = 0;
    record
}

pub(crate) fn digest(number: u64) -> KeyDigest {
    let mut digest = [0xa5; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    KeyDigest::from_bytes(digest)
}

/// A key with every field set, and with values that stores get wrong.
pub(crate) fn full(number: u64) -> KeyRecord {
    let mut record = record(number);
    record.start = "acme_live_Ab3x".into();
    record.name = "Zoë's “shop” — 日本語 🦀 e\u{301}; DROP TABLE api_keys; --".into();
    record.details.description = Some("two\nlines,\ttabs, 'quotes', \"more\", \\ and %_".into());
    record.owner = Some("user:Ω/1@example.com ".into());
    record.scopes = Scopes::parse(["orders:read", "stock:*", "a/b.c-d_e"]).unwrap();
    record.details.tier = Some("gold".into());
    let metadata = json!({
        "": null,
        "numbers": [0, -1, i64::MIN, u64::MAX, 0.1, -0.0, 1e300, 5e-324, 123_456_789.123_456_79],
        "texts": ["", "日本語 🦀", "\u{0}\u{1f}\u{7f}", "\\u0041", "' \" \\ %_"],
        "nested": {"b": {"a": [[], {}, [true, false]]}},
    });
    record.details.metadata.clone_from(metadata.as_object().unwrap());
    record.details.allowed_addresses =
        networks(&["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::/0"]);
    record.disabled = true;
    record.created_at = at(-1);
    record.updated_at = at(1_795_000_000_123);
    record.details.not_before = Some(at(0));
    record.expires_at = Some(at(i64::MAX));
    record.details.revoked_at = Some(at(i64::MIN));
    record.details.revoked_reason = Some(String::new().into());
    record.last_used_at = Some(at(1_795_000_000_999));
    record.details.limits = limits();
    record.details.credits = Some((1 << 53) + 1);
    record.details.unknown_needs = Needs::from_bits(1 << 62);
    record.details.last_used_from = Some("2001:db8::ffff:0:1".parse().unwrap());
    record.details.created_by = Some(KeyId::from_bytes([0xfe; 16]));
    record.details.disabled_by_owner = true;
    record.use_count = i64::MAX as u64;
    record.revision = (1 << 53) + 1;
    record
}

fn limits() -> Limits {
    let short = Quota::new(nonzero!(7), Duration::from_millis(1_500)).unwrap();
    let long = Quota::per_day(nonzero!(u32::MAX)).with_burst(nonzero!(1));
    Limits::new([Limit::new("a-b.c_D9", short).unwrap(), Limit::new("day", long).unwrap()]).unwrap()
}

pub(crate) fn networks(networks: &[&str]) -> Box<[IpNet]> {
    networks.iter().map(|network| network.parse().unwrap()).collect()
}

/// The key with its first digest, at this revision.
pub(crate) fn record_at(number: u64, revision: u64) -> KeyRecord {
    let mut record = record(number);
    record.revision = revision;
    record
}

/// The record as the store has it now.
pub(crate) async fn stored(store: &impl KeyRepository, id: KeyId) -> KeyRecord {
    KeyRecord::clone(&*store.get(id).await.unwrap().expect("the key is there"))
}

pub(crate) fn assert_duplicate<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert_eq!(result.unwrap_err().kind(), StoreErrorKind::Duplicate);
}

/// What a key of the first schema had, as SQL for its row, and as it is read.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(crate) fn of_first_version(number: u64) -> (&'static str, KeyRecord) {
    let mut record = record(number);
    record.start = "acme_live_Ab3x".into();
    record.name = "Zoë’s shop".into();
    record.details.description = Some("all of it".into());
    record.owner = Some("anna ".into());
    record.scopes = Scopes::parse(["orders:read", "stock:*"]).unwrap();
    record.details.tier = Some("gold".into());
    record.details.metadata.insert("n".to_owned(), json!(1));
    record.details.allowed_addresses = networks(&["10.0.0.0/8"]);
    record.disabled = true;
    (record.created_at, record.updated_at) = (at(1), at(2));
    (record.details.not_before, record.expires_at) = (Some(at(3)), Some(at(4)));
    (record.details.revoked_at, record.details.revoked_reason) = (Some(at(5)), Some("lost".into()));
    record.details.deleted_at = Some(at(6));
    (record.last_used_at, record.use_count, record.revision) = (Some(at(7)), 8, 9);
    let sql = "start = 'acme_live_Ab3x', name = 'Zoë’s shop', description = 'all of it', \
        owner = 'anna ', scopes = '[\"orders:read\",\"stock:*\"]', tier = 'gold', \
        metadata = '{\"n\":1}', allowed_addresses = '[\"10.0.0.0/8\"]', disabled = TRUE, \
        created_at = 1, updated_at = 2, not_before = 3, expires_at = 4, revoked_at = 5, \
        revoked_reason = 'lost', deleted_at = 6, last_used_at = 7, use_count = 8, revision = 9";
    (sql, record)
}

/// The 32 hex digits of the key's id, and the 64 of its digest.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(crate) fn hex_of(record: &KeyRecord) -> (String, String) {
    (record.id.to_string().replace('-', ""), record.digest.to_hex())
}
