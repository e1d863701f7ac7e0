//! Taking over keys that another system has issued.

use std::sync::Arc;

use super::{
    KeyManager,
    change::Done,
    create::{NewKey, date, request_digest},
    error::ManageError,
};
use crate::{
    clock::Timestamp,
    error::StoreErrorKind,
    key::{Details, KeyAction, KeyDetails, KeyDigest, KeyId, KeyRecord, LegacyHash, validate},
    store::{ApplyOutcome, BalanceUpdate, Changes, KeyQuery},
    text::Text,
};

/// A key that another system has issued, by its digest or hash.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImportKey {
    /// The key's digest, as the layer's hasher makes it: by default SHA-256.
    pub digest: KeyDigest,
    /// A slow hash, where that is all there is: 1 to 255 visible ASCII characters. The digest is
    /// then passed over.
    pub legacy_hash: Option<LegacyHash>,
    /// The first characters of the key, as the other system kept them: at most 64, visible ASCII.
    pub start: Text,
    /// Its fields here.
    pub new: NewKey,
    /// Whether it is switched off.
    pub disabled: bool,
    /// When the other system issued it; `None`: now.
    pub created_at: Option<Timestamp>,
    /// When it was last used there.
    pub last_used_at: Option<Timestamp>,
}

impl ImportKey {
    /// A key of which the digest is known.
    pub fn from_digest(digest: KeyDigest, new: NewKey) -> Self {
        Self {
            digest,
            legacy_hash: None,
            start: Text::default(),
            new,
            disabled: false,
            created_at: None,
            last_used_at: None,
        }
    }

    /// A key of which only a slow hash is known, and how it begins. It is let in by a layer that
    /// checks such hashes, and gets a digest when it is first used.
    pub fn from_legacy_hash(hash: LegacyHash, start: impl Into<Text>, new: NewKey) -> Self {
        let stand_in = Self::from_digest(hash.stand_in(), new);
        Self { legacy_hash: Some(hash), start: start.into(), ..stand_in }
    }
}

/// The outcome of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportReport {
    /// The keys that were written, in the order in which they were given.
    pub imported: Vec<KeyId>,
    /// The places, counted from 0, of those that were there already. Nothing of them was written.
    pub duplicates: Vec<usize>,
}

impl KeyManager {
    /// Takes over keys that another system has issued, but for those that are there already: keys
    /// with the same digest, slow hash or [`request_id`](NewKey::request_id).
    ///
    /// Every key is checked like a [new one](Self::create) before any is written: if one is
    /// invalid, none is. When all are new, they are written at once; otherwise one by one, and an
    /// error may come after some of them. Doing it again finds those as duplicates, so an import
    /// that was interrupted can be repeated from its beginning. Some hundreds of keys at a time are
    /// a good measure.
    pub async fn import(&self, keys: &[ImportKey]) -> Result<ImportReport, ManageError> {
        self.refuse_owners("import")?;
        let records = keys.iter().map(|key| self.imported(key));
        let records = records.collect::<Result<Vec<_>, ManageError>>()?;
        let mut report = ImportReport::default();
        if records.is_empty() {
            return Ok(report);
        }
        let now = self.time_of_creation().await?;
        let records = records.into_iter().zip(keys).map(|(mut record, key)| {
            let created_at = key.created_at.unwrap_or(now);
            date(&mut record, created_at)?;
            record.updated_at = now.max(created_at);
            record.revision = KeyRecord::first_revision(now);
            let balance = self.first_balance(key.new.credits, now)?;
            let first = balance.map(|balance| BalanceUpdate::first(record.lineage(), balance));
            Ok((record, first))
        });
        let records = records.collect::<Result<Vec<_>, ManageError>>()?;
        match self.insert_all(&records, now).await {
            Err(ManageError::Store(error)) if error.kind() == StoreErrorKind::Duplicate => {}
            Err(error) => return Err(error),
            Ok(_) => {
                report.imported = records.iter().map(|(record, _)| record.id).collect();
                return Ok(report);
            }
        }
        // Some are there already, and only one by one says which.
        for (place, record) in records.iter().enumerate() {
            match self.insert_all(std::slice::from_ref(record), now).await {
                Ok(_) => report.imported.push(record.0.id),
                Err(ManageError::Store(error)) if error.kind() == StoreErrorKind::Duplicate => {
                    report.duplicates.push(place);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    /// The key that an earlier [import](Self::import) of `key` has written, or that has the same
    /// digest for another reason: what a repeated import reports as a duplicate. `None` if there is
    /// none, or if it was deleted.
    pub async fn find_imported(
        &self,
        key: &ImportKey,
    ) -> Result<Option<Arc<KeyRecord>>, ManageError> {
        let digest = key.legacy_hash.as_ref().map_or(key.digest, LegacyHash::stand_in);
        let mut found = self.repository.find(&digest).await?;
        if found.is_none()
            && let Some(request_id) = &key.new.request_id
        {
            let request = Some(request_digest(self.access.owner(), request_id));
            let page = self.repository.list(&KeyQuery { request, ..KeyQuery::new(1) }).await?;
            found = page.items.into_iter().next();
        }
        Ok(found.filter(|record| !record.is_deleted() && self.access.sees(record)))
    }

    fn imported(&self, key: &ImportKey) -> Result<KeyRecord, ManageError> {
        key.legacy_hash.as_ref().map_or(Ok(()), validate::legacy_hash)?;
        let digest = key.legacy_hash.as_ref().map_or(key.digest, LegacyHash::stand_in);
        let mut record = self.record(key.new.clone(), digest)?;
        record.start = (&key.start).into();
        record.disabled = key.disabled;
        record.last_used_at = key.last_used_at;
        if key.legacy_hash.is_some() {
            record.details = Details::from(KeyDetails {
                legacy_hash: key.legacy_hash.clone(),
                ..KeyDetails::clone(&record.details)
            });
        }
        validate::start(&record.start)?;
        Ok(record)
    }

    /// Writes new keys, each with the balance of its lineage if it brings one. `Stale` if a lineage
    /// has a balance already.
    pub(super) async fn insert_all(
        &self,
        records: &[(KeyRecord, Option<BalanceUpdate>)],
        now: Timestamp,
    ) -> Result<ApplyOutcome, ManageError> {
        let mut changes = Changes::default();
        for (record, balance) in records {
            let done = Done { action: KeyAction::Imported, detail: None };
            changes.events.push(self.event(now, done, Some(record))?);
            changes.balances.extend(balance.clone());
            changes.inserts.push(record.clone());
        }
        self.apply(&changes).await
    }
}
