//! The contracts of [`KeyRepository`] and [`KeyStore`](crate::store::KeyStore), clause by clause:
//! [`store_conformance!`](super::store_conformance) makes a test of each case.

#![allow(clippy::missing_panics_doc, reason = "a case is a test")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

pub mod balances;
pub mod batches;
pub mod changes;
pub mod events;
pub mod filters;
pub mod inserts;
pub mod known;
pub mod lists;
pub mod lookups;
pub mod owner_bounds;
pub mod purges;
pub mod races;
pub mod random;
mod records;
pub mod requests;
pub mod selections;
pub mod updates;
pub mod usage;
pub mod uses;
pub mod watermarks;

use std::{
    fmt,
    io::{self, Write},
};

pub use self::records::{assert_duplicate, at, digest, full, networks, record, record_at, stored};
use crate::store::KeyRepository;

/// Makes a test of each case of the contracts of [`KeyStore`](crate::store::KeyStore) and
/// [`KeyRepository`], for a store of your own.
///
/// The expression is a future that opens an empty store, once for each case. The second part of the
/// pair is kept until the case is over: a directory, a container. Stores that share a database must
/// each get a table of their own. `None` in place of the pair leaves all cases out.
///
/// The store must be [`Clone`], and its clones must share the keys. A case that needs what the store
/// does not have, by its own word ([`audit_log`](KeyRepository::audit_log) and the like are `None`),
/// is skipped, and a line on the standard error says so.
///
/// ```
/// mod my_store {
///     # use tower_api_key::store::MemoryStore as MyStore;
///     tower_api_key::testing::store_conformance! {
///         async { (MyStore::new(), ()) }
///     }
/// }
/// ```
///
/// Each test runs on a tokio runtime of its own, with two threads.
#[doc(hidden)]
#[macro_export]
macro_rules! __store_conformance {
    ($open:expr) => {
        $crate::testing::store_conformance! { @cases $open;
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
            known: the_digests_of_keys_that_are_not_deleted_are_listed [KnownDigests]
            known: a_renewed_digest_is_listed [KnownDigests]
            known: keys_that_were_added_are_listed [KnownDigests]
            updates: updates_write_every_field_but_the_fixed_ones
            updates: updates_can_take_fields_away
            updates: stale_updates_write_nothing
            updates: updates_of_unknown_keys_write_nothing
            updates: one_of_many_concurrent_updates_is_done
            updates: a_new_digest_replaces_the_old_one
            updates: a_taken_digest_is_refused
            updates: the_mark_of_an_owner_is_kept_with_each_revision
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
            balances: balances_read_back_equal [Balances]
            balances: stale_balances_write_nothing [Balances]
            balances: a_stale_balance_undoes_everything [Balances]
            balances: balances_share_the_fate_of_their_changes [Balances]
            balances: many_balances_are_written_at_once [Balances]
            balances: one_of_many_concurrent_balances_is_done [Balances]
            balances: concurrent_balances_in_opposite_orders_all_count [Balances]
            balances: balances_of_lines_without_keys_are_purged [Balances]
            balances: a_refill_is_granted_by_the_clock_of_the_store [Balances]
            requests: requests_read_back_equal [Requests Balances]
            requests: a_request_is_done_once [Requests Balances]
            requests: one_of_many_same_requests_is_done [Requests]
            requests: requests_outlive_a_purge [Requests]
            usage: usage_adds_up [Usage]
            usage: outcomes_lines_hours_and_owners_are_told_apart [Usage]
            usage: the_first_owner_of_a_line_stays [Usage]
            usage: ranges_are_half_open [Usage]
            usage: sums_are_what_was_asked_for [Usage]
            usage: the_busiest_come_first [Usage]
            usage: old_usage_is_forgotten [Usage]
            usage: usage_outlives_its_keys [Usage]
            usage: counts_stop_at_the_greatest [Usage]
            usage: concurrent_flushes_in_opposite_orders_lose_nothing [Usage]
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
            owner_bounds: an_owner_has_no_more_live_keys_than_allowed [OwnerBounds]
            owner_bounds: only_live_keys_count [OwnerBounds]
            owner_bounds: updates_count_as_they_will_be [OwnerBounds]
            owner_bounds: concurrent_creations_never_exceed_the_bound [OwnerBounds]
            selections: selections_are_read_and_changed [SelectedChanges]
            selections: bad_plans_write_nothing [SelectedChanges]
            selections: no_key_escapes_by_being_rotated [SelectedChanges]
            selections: no_key_escapes_by_being_made [SelectedChanges OwnerBounds]
            selections: no_key_outlives_the_one_it_was_made_with [SelectedChanges OwnerBounds]
            selections: twenty_thousand_keys_are_changed_together [SelectedChanges]
            races: nothing_keeps_more_than_the_narrowed_key [OwnerBounds]
            races: a_key_made_meanwhile_spends_with_its_lineage [OwnerBounds Balances]
            races: a_lineage_begins_to_spend_as_a_whole [OwnerBounds Balances SelectedChanges]
            races: a_creation_is_remembered [OwnerBounds Balances Requests]
            filters: ends_and_last_uses_are_compared
            filters: lists_are_what_was_asked_for
            filters: a_nul_is_found_nowhere
            watermarks: every_reader_finds_covered_keys_revoked [Watermarks]
            watermarks: rows_are_written_afterwards [Watermarks]
            watermarks: a_covered_key_stays_revoked [Watermarks]
            watermarks: a_time_to_come_undoes_everything [Watermarks]
            watermarks: covered_keys_are_not_counted [Watermarks OwnerBounds]
            watermarks: thousands_of_rows_are_found [Watermarks]
            events: events_read_back_equal [AuditLog]
            events: events_share_the_fate_of_their_changes [AuditLog Balances]
            events: events_are_listed_as_asked [AuditLog]
            events: events_outlive_their_keys [AuditLog]
            events: events_are_passed_over
        }
    };
    (@cases $open:expr; $($file:ident: $case:ident $([$($ability:ident)+])?)*) => { $(
        #[test]
        fn $case() {
            $crate::testing::conformance::run(
                ::core::module_path!(),
                ::core::stringify!($case),
                &[$($($crate::testing::conformance::Ability::$ability),+)?],
                $open,
                async |store| $crate::testing::conformance::$file::$case(store).await,
            );
        }
    )* };
}

/// An ability that a case needs of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    AuditLog,
    Balances,
    KnownDigests,
    OwnerBounds,
    Requests,
    SelectedChanges,
    Usage,
    Watermarks,
}

impl Ability {
    fn is_of(self, store: &impl KeyRepository) -> bool {
        match self {
            Self::AuditLog => store.audit_log().is_some(),
            Self::Balances => store.balance_store().is_some(),
            Self::KnownDigests => store.known_digests().is_some(),
            Self::OwnerBounds => store.bounds_owners(),
            Self::Requests => store.request_log().is_some(),
            Self::SelectedChanges => store.selected_changes().is_some(),
            Self::Usage => store.usage_log().is_some(),
            Self::Watermarks => store.watermarks().is_some(),
        }
    }
}

/// The sign that a store lacks it.
impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AuditLog => "`audit_log` is `None`",
            Self::Balances => "`balance_store` is `None`",
            Self::KnownDigests => "`known_digests` is `None`",
            Self::OwnerBounds => "`bounds_owners` is false",
            Self::Requests => "`request_log` is `None`",
            Self::SelectedChanges => "`selected_changes` is `None`",
            Self::Usage => "`usage_log` is `None`",
            Self::Watermarks => "`watermarks` is `None`",
        })
    }
}

/// Runs one case on the store that `open` gives, unless it lacks an ability.
pub fn run<S: KeyRepository, G>(
    module: &str,
    name: &str,
    abilities: &[Ability],
    open: impl Future<Output = impl Into<Option<(S, G)>>>,
    case: impl AsyncFnOnce(S),
) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let Some((store, _guard)) = open.await.into() else { return };
        match abilities.iter().find(|ability| !ability.is_of(&store)) {
            // Past the test harness, which shows what a test prints only where it fails.
            Some(lacking) => {
                let line = format!(
                    "skipped: {module}::{name}: {lacking}
"
                );
                io::stderr().write_all(line.as_bytes()).unwrap();
            }
            None => case(store).await,
        }
    });
}
