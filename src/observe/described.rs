//! All metrics: their kinds, their units and what they mean.

use metrics::Unit;

use MetricKind::{Counter, Gauge, Histogram};

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricKind {
    /// Goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by size.
    Histogram,
}

/// Name, kind, unit and meaning, in the order of the crate's documentation.
pub(crate) const METRICS: &[(&str, MetricKind, Unit, &str)] = &[
    (
        "tower_api_key_requests_total",
        Counter,
        Unit::Count,
        "Requests that a layer has judged, by outcome: accepted, anonymous, bypassed, preflight, denied, elsewhere for those that or_else leaves to the other layer, or, of layers in shadow, would_deny and undecided.",
    ),
    ("tower_api_key_denied_total", Counter, Unit::Count, "Denials, by code."),
    (
        "tower_api_key_would_deny_total",
        Counter,
        Unit::Count,
        "Denials of layers in shadow, by code: none was one.",
    ),
    (
        "tower_api_key_shadow_undecided_total",
        Counter,
        Unit::Count,
        "Requests that went on before a layer in shadow had decided.",
    ),
    (
        "tower_api_key_shadow_differences_total",
        Counter,
        Unit::Count,
        "Requests that a layer and the check beside it answer differently, by difference.",
    ),
    ("tower_api_key_shadow_layers", Gauge, Unit::Count, "Layers in shadow."),
    (
        "tower_api_key_lookup_duration_seconds",
        Histogram,
        Unit::Seconds,
        "How long requests waited for a lookup that memory could not answer, by result: found, not_found or failed.",
    ),
    (
        "tower_api_key_limit_duration_seconds",
        Histogram,
        Unit::Seconds,
        "How long requests waited for a rate limiter, where one had to be asked outside of the process.",
    ),
    (
        "tower_api_key_limiter_buckets",
        Gauge,
        Unit::Count,
        "Limits of keys and owners that a limiter has in memory, by limiter: local, or redis for leases.",
    ),
    (
        "tower_api_key_cache_hits_total",
        Counter,
        Unit::Count,
        "Answers of caches from memory, by cache: keys or owners.",
    ),
    (
        "tower_api_key_cache_stale_total",
        Counter,
        Unit::Count,
        "Answers from memory after their time, because the back end failed.",
    ),
    ("tower_api_key_cache_misses_total", Counter, Unit::Count, "Lookups in the back end."),
    (
        "tower_api_key_cache_coalesced_total",
        Counter,
        Unit::Count,
        "Requests that waited for the lookup of another request.",
    ),
    (
        "tower_api_key_cache_refreshes_total",
        Counter,
        Unit::Count,
        "Lookups that no request waited for, part of the misses.",
    ),
    (
        "tower_api_key_cache_evictions_total",
        Counter,
        Unit::Count,
        "Keys or owners that left memory because others needed the room.",
    ),
    ("tower_api_key_cache_entries", Gauge, Unit::Count, "Entries in memory."),
    (
        "tower_api_key_lookups_shed_total",
        Counter,
        Unit::Count,
        "A cache's lookups that the lookup budget refused, by rank: listed, unlisted, or unranked without a filter.",
    ),
    (
        "tower_api_key_requests_shed_total",
        Counter,
        Unit::Count,
        "Requests that were denied because too many waited.",
    ),
    ("tower_api_key_waiting_requests", Gauge, Unit::Count, "Requests that wait in all layers."),
    (
        "tower_api_key_waiting_requests_limit",
        Gauge,
        Unit::Count,
        "How many may, in all layers that have had one.",
    ),
    ("tower_api_key_waiting_bytes", Gauge, Unit::Bytes, "An estimate of their memory."),
    ("tower_api_key_waiting_bytes_limit", Gauge, Unit::Bytes, "How much they may take."),
    (
        "tower_api_key_filter_keys",
        Gauge,
        Unit::Count,
        "Keys in a cache's filter, when it was last loaded whole.",
    ),
    ("tower_api_key_filter_bytes", Gauge, Unit::Bytes, "Memory that it takes."),
    (
        "tower_api_key_filter_loads_failed_total",
        Counter,
        Unit::Count,
        "Loads of the filter that failed.",
    ),
    (
        "tower_api_key_lookups_failed_total",
        Counter,
        Unit::Count,
        "A cache's lookups that the store did not answer.",
    ),
    (
        "tower_api_key_file_current",
        Gauge,
        Unit::Count,
        "1 while a file of keys is in use as it is, 0 while its last good content is, by path.",
    ),
    (
        "tower_api_key_file_loads_failed_total",
        Counter,
        Unit::Count,
        "Files of keys that could not be used, by path.",
    ),
    (
        "tower_api_key_client_key_current",
        Gauge,
        Unit::Count,
        "1 while the key of a client is the one in its file, 0 while it is the last good one, by path.",
    ),
    (
        "tower_api_key_client_key_loads_failed_total",
        Counter,
        Unit::Count,
        "Files with the key of a client that could not be used, by path.",
    ),
    (
        "tower_api_key_backend_up",
        Gauge,
        Unit::Count,
        "1 once a back end answers again that had fallen silent, 0 while it does not, by backend: key_store, rate_limiter, bus or owner_resolver. Absent before the first time.",
    ),
    (
        "tower_api_key_backend_outages_total",
        Counter,
        Unit::Count,
        "How often that was noticed, by backend.",
    ),
    (
        "tower_api_key_replicas_fresh",
        Gauge,
        Unit::Count,
        "Replicas that are asked for keys, of all stores.",
    ),
    (
        "tower_api_key_limiter_failures_total",
        Counter,
        Unit::Count,
        "Requests whose rate limiter did not answer.",
    ),
    (
        "tower_api_key_listening",
        Gauge,
        Unit::Count,
        "1 while a cache hears what other nodes change, 0 while it does not.",
    ),
    ("tower_api_key_subscriptions_lost_total", Counter, Unit::Count, "How often that ended."),
    (
        "tower_api_key_messages_unreadable_total",
        Counter,
        Unit::Count,
        "Messages about changed keys that this version cannot read.",
    ),
    (
        "tower_api_key_announcements_failed_total",
        Counter,
        Unit::Count,
        "Changes that could not be announced to other nodes.",
    ),
    (
        "tower_api_key_owners_not_resolved_total",
        Counter,
        Unit::Count,
        "Requests whose key's owner could not be resolved.",
    ),
    (
        "tower_api_key_owner_lookups_failed_total",
        Counter,
        Unit::Count,
        "A cache's lookups of owners that the resolver did not answer.",
    ),
    (
        "tower_api_key_unenforceable_total",
        Counter,
        Unit::Count,
        "Requests that were refused because their key has a restriction that the layer does not enforce.",
    ),
    (
        "tower_api_key_write_back_failed_total",
        Counter,
        Unit::Count,
        "Digests that could not be stored under the current pepper, and graces that could not be started.",
    ),
    (
        "tower_api_key_management_failed_total",
        Counter,
        Unit::Count,
        "Requests to the management routes that failed for the service's own trouble.",
    ),
    (
        "tower_api_key_legacy_verifications_total",
        Counter,
        Unit::Count,
        "Slow hashes that were computed.",
    ),
    (
        "tower_api_key_legacy_upgrades_total",
        Counter,
        Unit::Count,
        "Keys with a slow hash that got their digest.",
    ),
    (
        "tower_api_key_legacy_upgrades_failed_total",
        Counter,
        Unit::Count,
        "Digests of such keys that could not be stored.",
    ),
    (
        "tower_api_key_legacy_loads_failed_total",
        Counter,
        Unit::Count,
        "Attempts to read which keys have a slow hash that failed.",
    ),
    (
        "tower_api_key_give_backs_failed_total",
        Counter,
        Unit::Count,
        "Permits of a shared limit that could not be given back.",
    ),
    (
        "tower_api_key_credit_leases_failed_total",
        Counter,
        Unit::Count,
        "Attempts to take credits from the store, or to give them back, that failed.",
    ),
    (
        "tower_api_key_credits_lost_total",
        Counter,
        Unit::Count,
        "Credits that may have been lost by that.",
    ),
    (
        "tower_api_key_usage_flush_lag_seconds",
        Gauge,
        Unit::Seconds,
        "How long ago a recorder last wrote all that was counted, the longest of them.",
    ),
    (
        "tower_api_key_use_flushes_failed_total",
        Counter,
        Unit::Count,
        "Attempts to write counts of uses that failed.",
    ),
    (
        "tower_api_key_usage_details_dropped_total",
        Counter,
        Unit::Count,
        "Counts by hour that were dropped because too many waited to be written.",
    ),
    (
        "tower_api_key_usage_removals_failed_total",
        Counter,
        Unit::Count,
        "Attempts to remove old counts by hour that failed.",
    ),
];
