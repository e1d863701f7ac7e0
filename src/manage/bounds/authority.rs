//! [`Authority`]: whether something goes beyond the bounds of an owner.

use std::sync::Arc;

use ipnet::IpNet;

use super::{OwnerBounds, beyond, networks::are_within};
use crate::{
    clock::Timestamp,
    key::{KeyId, KeyRecord, Limits, Scope, Scopes},
    manage::{create::NewKey, error::ManageError},
    store::Changes,
};

/// The bounds of an owner at one moment.
pub(in crate::manage) struct Authority<'m> {
    pub(super) bounds: &'m OwnerBounds,
    pub(super) measured: Measured<'m>,
}

pub(super) enum Measured<'m> {
    /// There is nothing to measure by.
    Not,
    /// By a key that is gone, is another owner's, cannot be used, or waits to end.
    Ended,
    Key(Arc<KeyRecord>),
    Template(&'m NewKey),
}

/// The widest that a key may be.
struct Widest<'a> {
    not_before: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    networks: &'a [IpNet],
    tier: Option<&'a str>,
    limits: &'a Limits,
    /// The lineage whose credits are spent, where credits are.
    spends: Option<KeyId>,
}

impl Authority<'_> {
    /// The key that the owner manages keys with.
    pub(in crate::manage) fn key(&self) -> Option<&Arc<KeyRecord>> {
        match &self.measured {
            Measured::Key(key) => Some(key),
            _ => None,
        }
    }

    /// Gives a new key its inherited fields, or refuses a field that is beyond the bounds.
    pub(in crate::manage) fn bind(
        &self,
        record: &mut KeyRecord,
        new: &NewKey,
    ) -> Result<(), ManageError> {
        self.check_scopes(&record.scopes)?;
        if self.holds_withheld(&record.scopes, &Scopes::default()) {
            return Err(beyond("scopes"));
        }
        let widest = self.widest("owner")?;
        if record.details.not_before.is_none() && widest.not_before.is_some() {
            record.details.not_before = widest.not_before;
        }
        record.expires_at = record.expires_at.or(widest.ends_at);
        let template;
        let (tier, limits, metadata, credits) = match &self.measured {
            Measured::Key(key) => {
                let details = &key.details;
                (&details.tier, &details.limits, &details.metadata, details.credits.is_some())
            }
            Measured::Template(new) => {
                template = new.tier.as_deref().map(Into::into);
                (&template, &new.limits, &new.metadata, new.credits.is_some())
            }
            Measured::Not | Measured::Ended => return Err(beyond("owner")),
        };
        if credits && !self.bounds.shares_credits {
            return Err(beyond("credits"));
        }
        let details = &mut *record.details;
        for (field, is_other) in [
            ("tier", new.tier.is_some() && details.tier != *tier),
            ("limits", !new.limits.is_empty() && new.limits != *limits),
            ("metadata", !new.metadata.is_empty() && new.metadata != *metadata),
            ("credits", new.credits.is_some()),
        ] {
            if is_other {
                return Err(beyond(field));
            }
        }
        details.tier.clone_from(tier);
        details.limits.clone_from(limits);
        details.metadata.clone_from(metadata);
        if details.allowed_addresses.is_empty() {
            details.allowed_addresses = widest.networks.into();
        }
        details.credits = self.key().and_then(|key| key.details.credits);
        details.created_by = self.key().map(|key| key.id);
        details.rotation.lineage = Some(self.lineage());
        widest.exceeded_by(record).map_or(Ok(()), |field| Err(beyond(field)))
    }

    /// The lineage that new keys join.
    fn lineage(&self) -> KeyId {
        self.key().map_or_else(|| KeyId::lineage_of(&self.bounds.owner), |key| key.lineage())
    }

    /// The credits that the template gives to a lineage without a balance.
    pub(in crate::manage) const fn template(&self) -> Option<&NewKey> {
        match self.measured {
            Measured::Template(template) => Some(template),
            _ => None,
        }
    }

    /// Has changes written only while the own key, which they were compared with, is as it was.
    pub(in crate::manage) fn hold(&self, changes: &mut Changes) {
        if let Some(key) = self.key() {
            changes.rely_on(key);
        }
    }

    /// Refuses a change beyond the bounds, and returns whether it widens the key: then the changes
    /// must [hold](Self::hold) to the key that they were compared with.
    pub(in crate::manage) fn check_change(
        &self,
        old: &KeyRecord,
        new: &KeyRecord,
    ) -> Result<bool, ManageError> {
        self.check_scopes(&old.scopes)?;
        if is_reduction(old, new) {
            return Ok(false);
        }
        self.check_scopes(&new.scopes)?;
        for (field, is_other) in [
            ("tier", old.details.tier != new.details.tier),
            ("limits", old.details.limits != new.details.limits),
            ("metadata", old.details.metadata != new.details.metadata),
            ("credits", old.details.credits != new.details.credits),
            ("disabled", old.disabled && !new.disabled && !old.details.disabled_by_owner),
            ("scopes", self.holds_withheld(&new.scopes, &old.scopes)),
        ] {
            if is_other {
                return Err(beyond(field));
            }
        }
        let Some(field) = widened(old, new) else { return Ok(false) };
        self.widest(field)?.exceeded_by(new).map_or(Ok(true), |field| Err(beyond(field)))
    }

    /// Whether a key may be replaced by this one.
    pub(in crate::manage) fn check_rotation(
        &self,
        old: &KeyRecord,
        new: &KeyRecord,
    ) -> Result<(), ManageError> {
        self.check_scopes(&old.scopes)?;
        let is_own = self.key().is_some_and(|key| key.id == old.id);
        // A new secret for a key that manages others is as good as a new key.
        if !is_own && self.holds_withheld(&new.scopes, &Scopes::default()) {
            return Err(beyond("scopes"));
        }
        self.widest("owner")?.exceeded_by(new).map_or(Ok(()), |field| Err(beyond(field)))
    }

    /// No key whose scopes are beyond one of these is changed.
    pub(in crate::manage) fn ceilings(&self) -> Vec<Scopes> {
        let own = self.key().map(|key| &key.scopes);
        std::iter::once(&self.bounds.scopes).chain(own).cloned().collect()
    }

    fn check_scopes(&self, scopes: &Scopes) -> Result<(), ManageError> {
        let are_within = self.bounds.scopes.allow_all(scopes)
            && self.key().is_none_or(|key| key.scopes.allow_all(scopes));
        if are_within { Ok(()) } else { Err(beyond("scopes")) }
    }

    /// Whether something among these scopes is withheld that was not among those before.
    fn holds_withheld(&self, scopes: &Scopes, before: &Scopes) -> bool {
        let withheld = self.bounds.withheld.iter().filter_map(|scope| scope.parse::<Scope>().ok());
        withheld.into_iter().any(|scope| scopes.allow(&scope) && !before.allow(&scope))
    }

    /// The widest that a key may be. Where there is nothing to measure by, this field is beyond it.
    fn widest(&self, field: &'static str) -> Result<Widest<'_>, ManageError> {
        match &self.measured {
            Measured::Not => Err(beyond(field)),
            Measured::Ended => Err(beyond("status")),
            Measured::Key(key) => Ok(Widest {
                not_before: key.details.not_before,
                ends_at: key.ends_at(),
                networks: &key.details.allowed_addresses,
                tier: key.details.tier.as_deref(),
                limits: &key.details.limits,
                spends: key.details.credits.map(|_| key.lineage()),
            }),
            Measured::Template(template) => Ok(Widest {
                not_before: template.not_before,
                ends_at: template.expires_at,
                networks: &template.allowed_addresses,
                tier: template.tier.as_deref(),
                limits: &template.limits,
                spends: template.credits.map(|_| self.lineage()),
            }),
        }
    }
}

impl Widest<'_> {
    /// The field with which a key goes beyond it, if it does.
    fn exceeded_by(&self, key: &KeyRecord) -> Option<&'static str> {
        if is_earlier(key.details.not_before, self.not_before) {
            Some("not_before")
        } else if is_later(key.ends_at(), self.ends_at) {
            Some("expires_at")
        } else if !are_within(&key.details.allowed_addresses, self.networks) {
            Some("allowed_addresses")
        } else if key.details.tier.as_deref() != self.tier {
            // Which of two tiers or limits is the greater, only the provider knows.
            Some("tier")
        } else if key.details.limits != *self.limits {
            Some("limits")
        } else if self.spends.is_some_and(|lineage| key.lineage() != lineage) {
            // Credits of its own, or none to spend: not those of the caller.
            Some("credits")
        } else {
            None
        }
    }
}

/// Whether nothing happens to a key but that it is revoked, disabled or deleted.
pub(in crate::manage) fn is_reduction(old: &KeyRecord, new: &KeyRecord) -> bool {
    let mut reduced = old.clone();
    reduced.disabled = old.disabled || new.disabled;
    let details = &mut *reduced.details;
    details.revoked_at = old.details.revoked_at.or(new.details.revoked_at);
    details.revoked_reason.clone_from(&new.details.revoked_reason);
    details.deleted_at = old.details.deleted_at.or(new.details.deleted_at);
    details.disabled_by_owner = new.details.disabled_by_owner;
    reduced == *new
}

/// The first field that lets a key be used where or when it could not be used before.
fn widened(old: &KeyRecord, new: &KeyRecord) -> Option<&'static str> {
    let networks = (&old.details.allowed_addresses, &new.details.allowed_addresses);
    let fields = [
        ("scopes", !old.scopes.allow_all(&new.scopes)),
        ("disabled", old.disabled && !new.disabled),
        ("not_before", is_earlier(new.details.not_before, old.details.not_before)),
        ("expires_at", is_later(new.expires_at, old.expires_at)),
        ("allowed_addresses", !are_within(networks.1, networks.0)),
    ];
    fields.into_iter().find(|(_, is_wider)| *is_wider).map(|(field, _)| field)
}

/// No start is the earliest.
fn is_earlier(start: Option<Timestamp>, than: Option<Timestamp>) -> bool {
    start < than
}

/// No end is the latest.
fn is_later(end: Option<Timestamp>, than: Option<Timestamp>) -> bool {
    than.is_some_and(|than| end.is_none_or(|end| end > than))
}
