//! A key as the outside sees it: everything but its digest.

use comfy_table::Table;
use serde::Serialize;
use tower_api_key::{Clock, KeyId, KeyRecord, Metadata, OwnerId, Scopes, SystemClock, Timestamp};

use crate::output::{plain, table};

#[derive(Serialize)]
pub(crate) struct KeyView<'r> {
    id: KeyId,
    name: &'r str,
    start: &'r str,
    description: Option<&'r str>,
    owner: Option<&'r OwnerId>,
    scopes: &'r Scopes,
    status: &'static str,
    disabled: bool,
    tier: Option<&'r str>,
    metadata: &'r Metadata,
    allowed_addresses: Vec<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    use_count: u64,
    revoked_at: Option<Timestamp>,
    revoked_reason: Option<&'r str>,
    /// The key that this one replaces.
    replaces: Option<KeyId>,
    /// The key that replaces this one.
    rotated_to: Option<KeyId>,
    /// When this key is refused because it was replaced.
    retires_at: Option<Timestamp>,
    revision: u64,
}

impl<'r> From<&'r KeyRecord> for KeyView<'r> {
    fn from(record: &'r KeyRecord) -> Self {
        let details = &*record.details;
        Self {
            id: record.id,
            name: &record.name,
            start: &record.start,
            description: details.description.as_deref(),
            owner: record.owner.as_ref(),
            scopes: &record.scopes,
            status: status(record),
            disabled: record.disabled,
            tier: details.tier.as_deref(),
            metadata: &details.metadata,
            allowed_addresses: details.allowed_addresses.iter().map(ToString::to_string).collect(),
            created_at: record.created_at,
            updated_at: record.updated_at,
            not_before: record.not_before,
            expires_at: record.expires_at,
            last_used_at: record.last_used_at,
            use_count: record.use_count,
            revoked_at: record.revoked_at,
            revoked_reason: details.revoked_reason.as_deref(),
            replaces: details.rotation.from,
            rotated_to: details.rotation.to,
            retires_at: details.rotation.retires_at,
            revision: record.revision,
        }
    }
}

pub(crate) fn status(record: &KeyRecord) -> &'static str {
    record.status(SystemClock.now()).as_str()
}

/// A field on each line. Those that the key lacks are left out.
pub(crate) fn fields(record: &KeyRecord) -> Table {
    let view = KeyView::from(record);
    let mut fields = vec![
        ("id", view.id.to_string()),
        ("name", plain(view.name)),
        ("start", plain(view.start)),
        ("status", view.status.to_owned()),
    ];
    let mut add = |field, value: Option<String>| fields.extend(value.map(|value| (field, value)));
    add("description", view.description.map(plain));
    add("owner", view.owner.map(|owner| plain(owner.as_str())));
    add("scopes", Some(view.scopes.as_str().to_owned()).filter(|scopes| !scopes.is_empty()));
    add("tier", view.tier.map(plain));
    let metadata = serde_json::to_string(view.metadata).ok();
    add("metadata", metadata.filter(|_| !view.metadata.is_empty()).as_deref().map(plain));
    let addresses = view.allowed_addresses.join(" ");
    add("allowed addresses", Some(addresses).filter(|addresses| !addresses.is_empty()));
    add("created at", Some(time(view.created_at)));
    add("not before", view.not_before.map(time));
    add("expires at", view.expires_at.map(time));
    add("last used at", view.last_used_at.map(time));
    add("uses", Some(view.use_count.to_string()));
    add("revoked at", view.revoked_at.map(time));
    add("revoked because", view.revoked_reason.map(plain));
    add("replaces", view.replaces.map(|id| id.to_string()));
    add("replaced by", view.rotated_to.map(|id| id.to_string()));
    add("retires at", view.retires_at.map(time));
    table(&[], fields.into_iter().map(|(field, value)| [field.to_owned(), value]))
}

/// A moment to the second, which is as long as any other and all that people want to read.
pub(crate) fn time(moment: Timestamp) -> String {
    let seconds = moment.as_unix_millis().div_euclid(1000) * 1000;
    Timestamp::from_unix_millis(seconds).to_string()
}

pub(crate) fn time_or_never(moment: Option<Timestamp>) -> String {
    moment.map_or_else(|| "never".to_owned(), time)
}
