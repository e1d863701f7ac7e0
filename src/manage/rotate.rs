//! Rotation: a new key takes the place of an old one, which lives on for a while.

use std::{sync::Arc, time::Duration};

use super::{
    KeyManager,
    create::IssuedKey,
    error::ManageError,
    once::{Act, with_result},
};
use crate::{
    clock::Timestamp,
    key::{Details, KeyAction, KeyDetails, KeyId, KeyRecord, KeyStatus, Rotation},
    store::{ApplyOutcome, Changes, KeyUpdate},
};

/// How long a key lives on after it was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RotationGrace {
    /// This long from now. None at all refuses the old key at once, which is what a compromised
    /// one calls for.
    FromNow(Duration),
    /// Until this long after the new key is first used, by any node, through a
    /// [layer](KeyManager::layer) of a manager. Until then the old key has no end but its own.
    FromFirstUse(Duration),
}

impl RotationGrace {
    /// The old key is refused at once.
    pub const NONE: Self = Self::FromNow(Duration::ZERO);
}

/// How to replace a key: see [`KeyManager::rotate`]. A [`RotationGrace`] is that, without a request
/// id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct RotateKey {
    /// How long the old key lives on.
    pub grace: RotationGrace,
    /// The caller's name for the request, so that a repeated request makes no second key: 1 to 255
    /// visible ASCII characters. Each lineage, and each handle's owner, has names of its own.
    pub request_id: Option<String>,
}

impl RotateKey {
    /// With this grace.
    pub fn new(grace: RotationGrace) -> Self {
        Self { grace, request_id: None }
    }

    /// Names the request, so that it makes one key.
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }
}

impl From<RotationGrace> for RotateKey {
    fn from(grace: RotationGrace) -> Self {
        Self::new(grace)
    }
}

impl KeyManager {
    /// Issues a key that takes the place of an old one.
    ///
    /// The new key inherits everything but the secret: owner, scopes, limits, addresses, even
    /// when it expires. It continues the old key's [lineage](KeyRecord::lineage), to which limits
    /// and usage belong. The old key lives on through its grace, never beyond its own end, and
    /// its responses say so (`Deprecation`, RFC 9745; `Sunset`, RFC 8594).
    ///
    /// A key is replaced once: doing it again is [`AlreadyRotated`](ManageError::AlreadyRotated),
    /// which names the new key. That one can be rotated in turn, also within the grace of the
    /// old one, which stays as it was chosen. Where the old key waits for the first use of a new
    /// one that is itself replaced before it was ever used, it waits for the first use of either.
    ///
    /// A new key that was revoked, deleted or has expired replaces nothing any more: the old one,
    /// if it still works, can be rotated again. A second grace never makes it live longer than the
    /// first.
    ///
    /// A revoked or expired key is [`Ended`](ManageError::Ended).
    ///
    /// With a [`request_id`](RotateKey::request_id), a repetition makes no key, also where the first
    /// one has ended since: it is [`AlreadyRotated`](ManageError::AlreadyRotated). The same id for
    /// another key of the lineage or another act is
    /// [`RequestIdReused`](ManageError::RequestIdReused). For how long ids are kept, and where they
    /// are not, see [`top_up`](Self::top_up).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_api_key::{KeyManager, NewKey, manage::RotationGrace, store::MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = KeyManager::new(MemoryStore::new());
    /// let old = manager.create(NewKey::named("CI of the shop")).await?;
    /// let new = manager.rotate(old.record.id, RotationGrace::FromNow(Duration::from_hours(24))).await?;
    /// assert_eq!(new.record.lineage(), old.record.id);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rotate(
        &self,
        id: KeyId,
        rotation: impl Into<RotateKey> + Send,
    ) -> Result<IssuedKey, ManageError> {
        let RotateKey { grace, request_id } = rotation.into();
        self.count_act()?;
        let secret = self.format.generate()?;
        loop {
            let old = self.get(id).await?;
            let act = Act { name: "rotate", key: id, amount: 0 };
            let request = self.request_of(act, old.lineage(), request_id.as_deref())?;
            if let Some(to) = self.done_before(request.as_ref()).await? {
                return Err(ManageError::AlreadyRotated { to });
            }
            self.access.check_revision(&old)?;
            let now = self.clock.now();
            if let Some(to) = old.details.rotation.to
                && self.is_in_force(to, now).await?
            {
                return Err(ManageError::AlreadyRotated { to });
            }
            if let Some(status) = end_of(&old, now) {
                return Err(ManageError::Ended(status));
            }
            self.access.check_scopes(&old.scopes)?;

            let created_at = self.time_of_creation().await?;
            let mut new = successor(&old, KeyId::generate(created_at)?, grace, created_at);
            let authority = self.authority(now).await?;
            if let Some(authority) = &authority {
                authority.check_rotation(&old, &new)?;
                if grace != RotationGrace::NONE {
                    self.check_grace(&old, now).await?;
                }
                if let Some(key) = authority.key() {
                    new.details.created_by = Some(key.id);
                }
            }
            new.digest = self.hasher.digest(secret.expose());
            new.start = self.format.start(secret.expose()).into();
            let mut event = self.event(now, KeyAction::Rotated, Some(&old))?;
            event.detail = Some(format!("replaced by {}", new.id).into());
            // Before: when reading it afterwards failed, the new key would be lost. It is the
            // lineage's.
            let balance = self.balances_of(std::slice::from_ref(&old)).await?.pop().flatten();
            let mut changes = Changes {
                requests: with_result(request, &new.id).into_iter().collect(),
                updates: vec![KeyUpdate::revised(&old, replaced(&old, new.id, grace, now), now)],
                inserts: vec![new.clone()],
                events: vec![event],
                ..Changes::default()
            };
            if let Some(authority) = &authority {
                authority.hold(&mut changes);
            }
            // Each `Stale` means that another change was written, so this cannot go round for ever.
            if self.apply(&changes).await? == ApplyOutcome::Done {
                return Ok(IssuedKey { secret, record: Arc::new(new), balance });
            }
        }
    }

    /// Whether a key is there that can still be used one day.
    async fn is_in_force(&self, id: KeyId, now: Timestamp) -> Result<bool, ManageError> {
        let record = self.repository.get(id).await?;
        Ok(record.is_some_and(|record| !record.is_deleted() && end_of(&record, now).is_none()))
    }
}

/// How a key has come to its end, if it has. Also one that is disabled, which its status is first:
/// a new key would inherit the end.
fn end_of(record: &KeyRecord, now: Timestamp) -> Option<KeyStatus> {
    if record.details.revoked_at.is_some() {
        return Some(KeyStatus::Revoked);
    }
    record.ends_at().is_some_and(|end| now >= end).then_some(KeyStatus::Expired)
}

/// The new key, but for its secret.
fn successor(old: &KeyRecord, id: KeyId, grace: RotationGrace, created_at: Timestamp) -> KeyRecord {
    // Keys before an old one that was never used wait for this one as well.
    let is_awaited =
        matches!(grace, RotationGrace::FromFirstUse(_)) || old.details.rotation.is_awaited;
    KeyRecord {
        id,
        created_at,
        updated_at: created_at,
        last_used_at: None,
        use_count: 0,
        revision: KeyRecord::first_revision(created_at),
        details: Details::from(KeyDetails {
            rotation: Rotation {
                lineage: Some(old.lineage()),
                from: Some(old.id),
                is_awaited,
                ..Rotation::default()
            },
            last_used_from: None,
            request: None,
            legacy_hash: None,
            ..KeyDetails::clone(&old.details)
        }),
        ..old.clone()
    }
}

/// The old key, once it is replaced.
fn replaced(old: &KeyRecord, by: KeyId, grace: RotationGrace, now: Timestamp) -> KeyRecord {
    let mut replaced = old.clone();
    let rotation = &mut replaced.details.rotation;
    rotation.to = Some(by);
    rotation.rotated_at = Some(now);
    match grace {
        RotationGrace::FromNow(grace) => {
            let end = now.saturating_add(grace);
            rotation.retires_at = Some(rotation.retires_at.map_or(end, |first| first.min(end)));
            rotation.grace_after_use = None;
        }
        // An end that is known already stays.
        RotationGrace::FromFirstUse(_) if rotation.retires_at.is_some() => {}
        RotationGrace::FromFirstUse(grace) => {
            // As stores keep it, signed. No grace lasts for millions of years.
            let longest = i64::MAX.unsigned_abs();
            let millis = u64::try_from(grace.as_millis()).unwrap_or(longest).min(longest);
            rotation.grace_after_use = Some(millis);
        }
    }
    replaced
}
