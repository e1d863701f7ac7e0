//! `PATCH /{id}`

use axum::response::Response;
use http::HeaderMap;

use super::{
    body::JsonBody,
    fields::{Id, Network, networks},
    guard::Admitted,
    precondition, view,
};
use crate::{
    clock::{End, Timestamp},
    key::{CreditsPatch, KeyRecord, Limits, Metadata, Scopes},
    manage::{KeyPatch, ManageError},
    object::read_object,
    rejection::Problem,
};

/// The changes that an administrator may send. A field that is left out stays. `null` takes away a
/// field that a key may lack, and is refused for others. A key's owner never changes: the history
/// that the old owner may see would become the new one's.
#[expect(clippy::option_option, reason = "left out, null and a value are three things")]
pub(super) struct Change {
    name: Option<String>,
    description: Option<Option<String>>,
    scopes: Option<Scopes>,
    expires_at: Option<Option<End>>,
    not_before: Option<Option<Timestamp>>,
    tier: Option<Option<String>>,
    limits: Option<Option<Limits>>,
    credits: Option<Option<CreditsPatch>>,
    allowed_addresses: Option<Vec<Network>>,
    metadata: Option<Metadata>,
    disabled: Option<bool>,
}

read_object!(Change {
    name: sent,
    description: sent,
    scopes: sent,
    expires_at: sent,
    not_before: sent,
    tier: sent,
    limits: sent,
    credits: sent,
    allowed_addresses: sent,
    metadata: sent,
    disabled: sent,
});

/// The changes that an owner may send. The provider's fields are not here, so they are refused.
#[expect(clippy::option_option, reason = "left out, null and a value are three things")]
pub(super) struct OwnChange {
    name: Option<String>,
    description: Option<Option<String>>,
    scopes: Option<Scopes>,
    expires_at: Option<Option<End>>,
    not_before: Option<Option<Timestamp>>,
    allowed_addresses: Option<Vec<Network>>,
    disabled: Option<bool>,
}

read_object!(OwnChange {
    name: sent,
    description: sent,
    scopes: sent,
    expires_at: sent,
    not_before: sent,
    allowed_addresses: sent,
    disabled: sent,
});

impl From<Change> for KeyPatch {
    fn from(body: Change) -> Self {
        Self {
            name: body.name,
            description: body.description,
            scopes: body.scopes,
            tier: body.tier,
            limits: body.limits.map(Option::unwrap_or_default),
            credits: body.credits,
            metadata: body.metadata,
            allowed_addresses: body.allowed_addresses.map(networks),
            not_before: body.not_before,
            expires_at: body.expires_at.map(|end| end.and_then(|end| end.0)),
            disabled: body.disabled,
        }
    }
}

impl From<OwnChange> for KeyPatch {
    fn from(body: OwnChange) -> Self {
        Self {
            name: body.name,
            description: body.description,
            scopes: body.scopes,
            allowed_addresses: body.allowed_addresses.map(networks),
            not_before: body.not_before,
            expires_at: body.expires_at.map(|end| end.and_then(|end| end.0)),
            disabled: body.disabled,
            ..Self::default()
        }
    }
}

pub(super) async fn change(
    Admitted { keys, is_owner, ceiling }: Admitted,
    Id(id): Id,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, Problem> {
    let patch: KeyPatch =
        if is_owner { body.object::<OwnChange>()?.into() } else { body.object::<Change>()?.into() };
    let expected = precondition::check(&headers, &keys, id).await?;
    loop {
        let mut held = expected;
        if let Some(ceiling) = &ceiling {
            let record = keys.get(id).await?;
            if grants(&patch, &record) && !ceiling.allow_all(&record.scopes) {
                return Err(ManageError::BeyondCeiling.into());
            }
            // The change is of the revision that was looked at.
            held = expected.or(Some(record.revision));
        }
        let keys = held.map_or_else(|| keys.clone(), |revision| keys.if_revision(revision));
        match keys.update(id, patch.clone()).await {
            // Another change was written meanwhile, so this cannot go round for ever.
            Err(ManageError::RevisionMismatch) if expected.is_none() => {}
            result => return view::shown(&keys, &result?).await,
        }
    }
}

/// Whether the change lets the key's scopes work at a time or from a network where they did not.
/// (Other scopes are the manager's to refuse.)
fn grants(patch: &KeyPatch, record: &KeyRecord) -> bool {
    let addresses = &record.details.allowed_addresses;
    (record.disabled && patch.disabled == Some(false))
        || patch.not_before.is_some_and(|start| start != record.details.not_before)
        || patch.expires_at.is_some_and(|end| end != record.expires_at)
        || patch.allowed_addresses.as_ref().is_some_and(|new| new[..] != addresses[..])
}
