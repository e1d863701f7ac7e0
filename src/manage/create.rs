//! Creating keys.

use std::{fmt, sync::Arc};

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::{KeyManager, access::OwnerFilter, error::ManageError};
use crate::{
    clock::Timestamp,
    error::{StoreError, StoreErrorKind},
    key::{
        Balance, Details, GenerateError, InvalidField, KeyAction, KeyDetails, KeyDigest, KeyId,
        KeyRecord, Limits, Metadata, NewCredits, OwnerId, Scopes, SecretKey, validate,
    },
    store::{ApplyOutcome, BalanceUpdate, Changes, KeyQuery},
};

/// The fields of a new key.
///
/// ```
/// use tower_api_key::NewKey;
///
/// let new = NewKey { owner: Some("user-1".into()), ..NewKey::named("CI of the shop") };
/// # let _ = new;
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewKey {
    /// The purpose of the key: 1 to 100 characters on one line, not all of them blank. Like all texts
    /// here, without control characters and without characters that change the direction of text.
    pub name: String,
    /// A longer explanation: at most 1000 characters. Tabs and ends of lines are welcome.
    pub description: Option<String>,
    /// The owner of the key: 1 to 255 characters, as for the name.
    pub owner: Option<OwnerId>,
    /// The scopes of the key: at most 100. A key without scopes may do nothing that needs one.
    pub scopes: Scopes,
    /// The name of a set of limits: 1 to 100 characters, as for the name; see
    /// [`Tiers`](crate::limit::Tiers).
    pub tier: Option<String>,
    /// Rate limits of the key's own, in place of those of its tier.
    pub limits: Limits,
    /// The credits that the key spends; `None`: it spends none.
    pub credits: Option<NewCredits>,
    /// The application's own data: at most 16 KiB as JSON.
    pub metadata: Metadata,
    /// Networks the key may be used from, at most 100. Empty: from anywhere.
    pub allowed_addresses: Vec<IpNet>,
    /// The key is refused before this moment.
    pub not_before: Option<Timestamp>,
    /// The key is refused from this moment on, which must be still to come. The year 9999 is never.
    pub expires_at: Option<Timestamp>,
    /// The caller's name for the request that creates the key, so that a repeated request makes no
    /// second one: 1 to 255 visible ASCII characters. Each handle's owner has names of its own.
    pub request_id: Option<String>,
}

impl NewKey {
    /// A key with this name, and otherwise the defaults: no owner, no scopes, no end.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// A key that was just created. The secret exists here and nowhere else.
#[non_exhaustive]
pub struct IssuedKey {
    /// The key itself. Hand it to its owner; it cannot be had again.
    pub secret: SecretKey,
    /// The key as stored.
    pub record: Arc<KeyRecord>,
    /// The balance of its lineage, if it spends credits.
    pub balance: Option<Balance>,
}

impl fmt::Debug for IssuedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedKey").field("record", &self.record).finish_non_exhaustive()
    }
}

impl KeyManager {
    /// Creates a key. Once this returned, the key is stored.
    ///
    /// With a [`request_id`](NewKey::request_id), doing it again makes no second key: it is
    /// [`AlreadyCreated`](ManageError::AlreadyCreated), also where the key is gone since. A
    /// caller that lost the first answer, with the secret, rotates that key. The same id for a key that
    /// is to be another, but for `not_before` and `expires_at`, or for another act on the key's
    /// [lineage](KeyRecord::lineage) is [`RequestIdReused`](ManageError::RequestIdReused). For how
    /// long ids are kept, see [`top_up`](Self::top_up); a repository that does not keep them knows
    /// the id as long as it has the key's row.
    pub async fn create(&self, new: NewKey) -> Result<IssuedKey, ManageError> {
        self.count_act()?;
        let secret = self.format.generate()?;
        let digest = self.hasher.digest(secret.expose());
        loop {
            let mut record = self.record(new.clone(), digest)?;
            let created_at = self.time_of_creation().await?;
            let now = self.clock.now();
            date(&mut record, created_at)?;
            record.start = self.format.start(secret.expose()).into();
            let request = self.creation(KeyId::of_creations(), &record, &new).await?;
            validate::end_is_ahead(&record, now)?;
            let mut changes = Changes { owner_bound: self.owner_bound(now), ..Changes::default() };
            let balance = if let Some(authority) = self.authority(now).await? {
                authority.bind(&mut record, &new)?;
                validate::record(&record)?;
                validate::end_is_ahead(&record, now)?;
                self.join_lineage(&mut record, &authority, now, &mut changes).await?
            } else {
                let balance = self.first_balance(new.credits, created_at)?;
                let first = |balance| BalanceUpdate::first(record.lineage(), balance);
                changes.balances.extend(balance.clone().map(first));
                balance
            };
            if request.is_some() {
                changes.requests.extend(self.creation(record.lineage(), &record, &new).await?);
            }
            changes.requests.extend(request);
            changes.events.push(self.event(now, KeyAction::Created, Some(&record))?);
            changes.inserts.push(record.clone());
            match (self.apply_joined(&record, &changes).await, record.details.request) {
                (Err(ManageError::Store(error)), Some(request))
                    if error.kind() == StoreErrorKind::Duplicate =>
                {
                    self.creation(KeyId::of_creations(), &record, &new).await?;
                    let query = KeyQuery { request: Some(request), ..KeyQuery::new(1) };
                    let page = self.repository.list(&query).await?;
                    return Err(self.already_created(page.items.into_iter().next()));
                }
                (Err(error), _) => return Err(error),
                (Ok(ApplyOutcome::Done), _) => {
                    return Ok(IssuedKey { secret, record: Arc::new(record), balance });
                }
                // Another change of the lineage was first, so this cannot go round for ever.
                (Ok(_), _) => {}
            }
        }
    }

    /// The time at which a key is created: by the clock of the repository, where it tells it. Clocks of
    /// nodes differ, and it decides [which keys are revoked](Self::revoke_issued_before) and when credits
    /// come back.
    pub(super) async fn time_of_creation(&self) -> Result<Timestamp, StoreError> {
        match self.repository.balance_store() {
            Some(balances) => Ok(balances.balances(&[]).await?.now),
            None => Ok(self.clock.now()),
        }
    }

    /// The record of a new key that may be made like this. It is [dated](date) once that is known: what is
    /// invalid is refused before the repository is asked.
    pub(super) fn record(&self, new: NewKey, digest: KeyDigest) -> Result<KeyRecord, ManageError> {
        let owner = match self.access.owner_filter(new.owner.as_ref()) {
            OwnerFilter::Any => None,
            OwnerFilter::Only(owner) => Some(owner.clone()),
            OwnerFilter::None => {
                return Err(InvalidField::new("owner", "is another than this handle's").into());
            }
        };
        self.access.check_scopes(&new.scopes)?;
        let request = new.request_id.as_deref().map(|request_id| {
            validate::request_id(request_id)?;
            Ok::<_, InvalidField>(request_digest(self.access.owner(), request_id))
        });
        new.credits.as_ref().map_or(Ok(()), validate::credits)?;
        let now = self.clock.now();
        let mut record = KeyRecord::new(KeyId::generate(now)?, digest, new.name, now);
        record.owner = owner;
        record.scopes = new.scopes;
        record.expires_at = new.expires_at.filter(|end| !end.is_never());
        record.details = Details::from(KeyDetails {
            description: new.description.map(Into::into),
            tier: new.tier.map(Into::into),
            limits: new.limits,
            credits: new.credits.map(|_| 0),
            metadata: new.metadata,
            allowed_addresses: new.allowed_addresses.into(),
            not_before: new.not_before,
            request: request.transpose()?,
            ..KeyDetails::default()
        });
        validate::record(&record)?;
        Ok(record)
    }

    /// The balance of a lineage that begins now.
    pub(super) fn first_balance(
        &self,
        credits: Option<NewCredits>,
        now: Timestamp,
    ) -> Result<Option<Balance>, StoreError> {
        let Some(NewCredits { remaining, refill }) = credits else { return Ok(None) };
        self.repository.balance_store().ok_or_else(StoreError::unsupported)?;
        Ok(Some(Balance::new(remaining, refill, now)))
    }

    /// The error of a repeated request that has created this key.
    pub(super) fn already_created(&self, key: Option<Arc<KeyRecord>>) -> ManageError {
        let key = key.filter(|key| !key.is_deleted() && self.access.sees(key));
        ManageError::AlreadyCreated { key: key.map(|key| key.id) }
    }
}

/// Gives a new key the time of its creation, and an id of that time.
pub(super) fn date(record: &mut KeyRecord, created_at: Timestamp) -> Result<(), GenerateError> {
    record.id = KeyId::generate(created_at)?;
    (record.created_at, record.updated_at) = (created_at, created_at);
    record.revision = KeyRecord::first_revision(created_at);
    Ok(())
}

/// The hash that a request id is stored as. One owner's ids are not another's.
pub(super) fn request_digest(owner: Option<&OwnerId>, request_id: &str) -> KeyDigest {
    let mut hash = Sha256::new().chain_update(b"tower-api-key request\0");
    if let Some(owner) = owner {
        hash.update(owner.as_str());
        // No id holds this byte.
        hash.update(b"\0");
    }
    KeyDigest::from_bytes(hash.chain_update(request_id).finalize().into())
}
