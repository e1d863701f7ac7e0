//! [`KeyView`]: a key as the outside sees it.

use crate::{
    clock::Timestamp,
    key::{Balance, KeyId, KeyRecord, Limits, Metadata, OwnerId, Refill, Scopes},
    object::write_object,
};

/// A key as the outside sees it: everything but its digest. The management routes answer with it
/// and the command line prints it.
///
/// As JSON: `id`, `name`, `start`, `description`, `owner`, `scopes`, `status`, `disabled`, `disabled_by`
/// (`administrator` or `owner`), `tier`, `limits`, `credits`, `metadata`, `allowed_addresses`,
/// `created_at`, `created_by`, `updated_at`, `not_before`, `expires_at`, `last_used_at`,
/// `use_count`, `revoked_at`, `revoked_reason`, `replaces`, `rotated_to`, `retires_at`. A member
/// that a key lacks is `null`.
///
/// `limits` are the key's own: those of its tier are for the program to know. `credits` is
/// `{"remaining", "refill", "next_refill_at"}`, once the [balance](Self::with_balance) is there:
/// it is no part of the record.
///
/// With feature `axum` it is a response: that, with the key's `ETag`, and not to be cached.
///
#[cfg_attr(feature = "axum", doc = "```")]
#[cfg_attr(not(feature = "axum"), doc = "```ignore")]
/// use axum::response::{IntoResponse, Response};
/// use tower_api_key::{
///     AuthenticatedKey,
///     clock::{Clock, SystemClock},
///     manage::KeyView,
/// };
///
/// async fn my_key(key: AuthenticatedKey) -> Response {
///     KeyView::new(key.record(), SystemClock.now()).into_response()
/// }
/// # let _ = my_key;
/// ```
#[derive(Clone, Debug)]
pub struct KeyView<'r> {
    id: KeyId,
    name: &'r str,
    start: &'r str,
    description: Option<&'r str>,
    owner: Option<&'r OwnerId>,
    scopes: &'r Scopes,
    status: &'static str,
    disabled: bool,
    /// `administrator` or `owner`, while the key is disabled.
    disabled_by: Option<&'static str>,
    tier: Option<&'r str>,
    limits: &'r Limits,
    credits: Option<CreditsView>,
    metadata: &'r Metadata,
    allowed_addresses: Vec<String>,
    created_at: Timestamp,
    /// The key whose holder issued this one, where an owner did.
    created_by: Option<KeyId>,
    updated_at: Timestamp,
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    use_count: u64,
    revoked_at: Option<Timestamp>,
    revoked_reason: Option<&'r str>,
    /// The key that this one has replaced.
    replaces: Option<KeyId>,
    /// The key that has replaced this one.
    rotated_to: Option<KeyId>,
    /// When this key is refused because it was replaced; not known while it waits for the first
    /// use of the other.
    retires_at: Option<Timestamp>,
    /// In the `ETag`.
    #[cfg_attr(not(feature = "axum"), allow(dead_code, reason = "nothing else has an `ETag`"))]
    pub(crate) revision: u64,
    /// Whether the key spends credits.
    is_spending: bool,
}

write_object!(KeyView<'_> {
    id,
    name,
    start,
    description,
    owner,
    scopes,
    status,
    disabled,
    disabled_by,
    tier,
    limits,
    credits,
    metadata,
    allowed_addresses,
    created_at,
    created_by,
    updated_at,
    not_before,
    expires_at,
    last_used_at,
    use_count,
    revoked_at,
    revoked_reason,
    replaces,
    rotated_to,
    retires_at,
});

/// A balance, as the outside sees it.
#[derive(Clone, Copy, Debug)]
struct CreditsView {
    remaining: u64,
    refill: Option<Refill>,
    next_refill_at: Option<Timestamp>,
}

write_object!(CreditsView { remaining, refill, next_refill_at });

impl<'r> KeyView<'r> {
    /// The key as it is at `now`.
    pub fn new(record: &'r KeyRecord, now: Timestamp) -> Self {
        let details = &*record.details;
        Self {
            id: record.id,
            name: &record.name,
            start: &record.start,
            description: details.description.as_deref(),
            owner: record.owner.as_ref(),
            scopes: &record.scopes,
            status: record.status(now).as_str(),
            disabled: record.disabled,
            disabled_by: record.disabled.then_some(if details.disabled_by_owner {
                "owner"
            } else {
                "administrator"
            }),
            tier: details.tier.as_deref(),
            limits: &details.limits,
            credits: None,
            metadata: &details.metadata,
            allowed_addresses: details.allowed_addresses.iter().map(ToString::to_string).collect(),
            created_at: record.created_at,
            created_by: details.created_by,
            updated_at: record.updated_at,
            not_before: details.not_before,
            expires_at: record.expires_at,
            last_used_at: record.last_used_at,
            use_count: record.use_count,
            revoked_at: details.revoked_at,
            revoked_reason: details.revoked_reason.as_deref(),
            replaces: details.rotation.from,
            rotated_to: details.rotation.to,
            retires_at: details.rotation.retires_at,
            revision: record.revision,
            is_spending: details.credits.is_some(),
        }
    }

    /// The view with the balance of the key's lineage, as the
    /// [manager](crate::KeyManager::balance) says. A key that spends no credits has none, also where
    /// its lineage has one.
    #[must_use]
    pub fn with_balance(mut self, balance: Option<&Balance>) -> Self {
        let balance = balance.filter(|_| self.is_spending);
        self.credits = balance.map(|balance| CreditsView {
            remaining: balance.remaining,
            refill: balance.refill,
            next_refill_at: balance.next_refill_at,
        });
        self
    }
}
