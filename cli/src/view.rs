//! A key as the outside sees it: everything but its digest.

use serde::Serialize;
use tower_api_key::{
    Timestamp,
    clock::{Clock, SystemClock},
    credits::Balance,
    key::KeyRecord,
    manage::KeyView,
};

use crate::{
    output::{Table, plain, table},
    quota,
};

/// A key as programs get it.
#[derive(Serialize)]
pub(crate) struct Shown<'r> {
    #[serde(flatten)]
    view: KeyView<'r>,
    /// For `--if-revision`.
    revision: u64,
}

impl<'r> Shown<'r> {
    pub(crate) fn new(record: &'r KeyRecord, balance: Option<&Balance>) -> Self {
        let view = KeyView::new(record, SystemClock.now()).with_balance(balance);
        Self { view, revision: record.revision }
    }
}

pub(crate) fn status(record: &KeyRecord) -> &'static str {
    record.status(SystemClock.now()).as_str()
}

/// A field on each line. Those that the key lacks are left out.
pub(crate) fn fields(record: &KeyRecord, balance: Option<&Balance>) -> Table {
    let details = &*record.details;
    let mut fields = vec![
        ("id", record.id.to_string()),
        ("name", plain(&record.name)),
        ("start", plain(&record.start)),
        ("status", status(record).to_owned()),
    ];
    let mut add = |field, value: Option<String>| fields.extend(value.map(|value| (field, value)));
    add("description", details.description.as_deref().map(plain));
    add("owner", record.owner.as_ref().map(|owner| plain(owner.as_str())));
    add("scopes", Some(record.scopes.as_str().to_owned()).filter(|scopes| !scopes.is_empty()));
    add("tier", details.tier.as_deref().map(plain));
    let limits: Vec<_> = details.limits.iter().map(quota::limit_text).collect();
    add("limits", Some(limits.join(" ")).filter(|limits| !limits.is_empty()));
    if let Some(balance) = balance {
        add("credits", Some(balance.remaining.to_string()));
        add("refill", balance.refill.as_ref().map(quota::refill_text));
        add("next refill at", balance.next_refill_at.map(|at| at.to_string()));
    }
    let metadata = serde_json::to_string(&details.metadata).ok();
    add("metadata", metadata.filter(|_| !details.metadata.is_empty()).as_deref().map(plain));
    let addresses: Vec<_> = details.allowed_addresses.iter().map(ToString::to_string).collect();
    let addresses = addresses.join(" ");
    add("allowed addresses", Some(addresses).filter(|addresses| !addresses.is_empty()));
    add("created at", Some(record.created_at.to_string()));
    add("created by", details.created_by.map(|id| id.to_string()));
    add(
        "disabled by",
        record.disabled.then(|| {
            let who = if details.disabled_by_owner { "its owner" } else { "an administrator" };
            who.to_owned()
        }),
    );
    add("not before", details.not_before.map(|at| at.to_string()));
    add("expires at", record.expires_at.map(|at| at.to_string()));
    add("last used at", record.last_used_at.map(|at| at.to_string()));
    add("uses", Some(record.use_count.to_string()));
    add("revoked at", details.revoked_at.map(|at| at.to_string()));
    add("revoked because", details.revoked_reason.as_deref().map(plain));
    add("replaces", details.rotation.from.map(|id| id.to_string()));
    add("replaced by", details.rotation.to.map(|id| id.to_string()));
    add("retires at", details.rotation.retires_at.map(|at| at.to_string()));
    table(&[], fields.into_iter().map(|(field, value)| [field.to_owned(), value]))
}

pub(crate) fn time_or_never(moment: Option<Timestamp>) -> String {
    moment.map_or_else(|| "never".to_owned(), |moment| moment.to_string())
}
