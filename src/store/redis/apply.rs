//! Changes, and changes of selected keys, as `apply.lua` makes them.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{BATCH, RedisStore, balance, count, millis, record, request, unexpected};
use crate::{
    error::{StoreError, StoreErrorKind},
    key::{KeyId, KeyRecord},
    store::{
        balances::BalanceUpdate,
        list::KeyQuery,
        owner_bound::OwnerBound,
        repository::{ApplyOutcome, Changes, KeyUpdate},
        selection::{Plan, Selection},
        watermark::WatermarkRecord,
    },
    text::hex,
};

/// How often selected keys are read again that were changed before they were written.
const TRIES: usize = 10;

/// How long Redis is waited for, at least.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How much longer for each key that is changed together with others.
const TIMEOUT_PER_KEY: Duration = Duration::from_millis(1);

/// How long a caller waits for another one's lock, and how often it asks.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// How long a lock lasts that is not given back: as long as it may take to read, plan and write
/// tens of thousands of keys. What takes longer finds out when it writes whether it still may.
const LOCK_DURATION: Duration = Duration::from_secs(10);

/// The keys that the changes were made from: if there are others of the selection, the changes are
/// stale.
struct Known<'k> {
    selection: &'k Selection,
    records: &'k [Arc<KeyRecord>],
    /// The holder of the lock of the selection; nothing, where there is none.
    holder: &'k str,
}

/// A lock of the keys of an owner in hex, or of all: `*`.
struct Lock {
    /// No other has this name.
    holder: String,
    subject: String,
}

/// A caller's turn, for which it waits while others have the lock.
struct Turn(Instant);

impl Turn {
    fn new() -> Self {
        Self(Instant::now() + LOCK_TIMEOUT)
    }

    /// Waits until it is worth asking again.
    async fn wait(&self) -> Result<(), StoreError> {
        if Instant::now() >= self.0 {
            return Err(StoreError::timeout().with_source("these keys are being changed"));
        }
        sleep(LOCK_PAUSE).await;
        Ok(())
    }
}

impl RedisStore {
    pub(super) async fn apply_changes(
        &self,
        changes: &Changes,
    ) -> Result<ApplyOutcome, StoreError> {
        let Changes { inserts, updates, balances, requests, owner_bound, watermark, .. } = changes;
        let is_empty = inserts.is_empty() && updates.is_empty() && balances.is_empty();
        let is_empty = is_empty && requests.is_empty() && watermark.is_none();
        if is_empty && owner_bound.is_none() {
            return Ok(ApplyOutcome::Done);
        }
        self.apply_args(&args(changes, None), TIMEOUT).await
    }

    /// Runs the script, again while the keys are locked.
    async fn apply_args(
        &self,
        args: &[String],
        within: Duration,
    ) -> Result<ApplyOutcome, StoreError> {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let turn = Turn::new();
        loop {
            let answer = self.link.run_within(within, &self.scripts.apply, &self.keys, &args).await;
            match String::as_str(&answer?) {
                "done" => return Ok(ApplyOutcome::Done),
                "stale" => return Ok(ApplyOutcome::Stale),
                "too many keys" => return Ok(ApplyOutcome::TooManyKeys),
                "duplicate" => return Err(StoreError::new(StoreErrorKind::Duplicate)),
                "locked" => turn.wait().await?,
                _ => return Err(unexpected()),
            }
        }
    }

    /// Redis cannot plan, so the keys are locked and read, and the script that writes them makes
    /// sure that it still was all of them, and as they were.
    pub(super) async fn apply_planned(
        &self,
        selection: &Selection,
        plan: &Plan,
    ) -> Result<ApplyOutcome, StoreError> {
        for _ in 0..TRIES {
            let lock = self.lock(selection).await?;
            let holder = lock.as_ref().map_or("", |lock| &lock.holder);
            let update = self.try_planned(selection, plan, holder).await;
            if let Some(lock) = lock.filter(|_| !matches!(update, Ok(Some(ApplyOutcome::Done)))) {
                self.give_back(&lock).await;
            }
            match update? {
                None => return Ok(ApplyOutcome::Done),
                Some(ApplyOutcome::Stale) => {}
                Some(update) => return Ok(update),
            }
        }
        Ok(ApplyOutcome::Stale)
    }

    async fn try_planned(
        &self,
        selection: &Selection,
        plan: &Plan,
        holder: &str,
    ) -> Result<Option<ApplyOutcome>, StoreError> {
        let records = self.selected(selection).await?;
        let within = TIMEOUT + TIMEOUT_PER_KEY * u32::try_from(records.len()).unwrap_or(0);
        let (plan, selection, holder) = (plan.clone(), selection.clone(), holder.to_owned());
        // Thousands of keys take a while to plan and to write down.
        let planned = tokio::task::spawn_blocking(move || {
            let known = Known { selection: &selection, records: &records, holder: &holder };
            plan(&records).map(|changes| args(&changes, Some(known)))
        });
        match planned.await.map_err(StoreError::unavailable)? {
            Some(args) => self.apply_args(&args, within).await.map(Some),
            None => Ok(None),
        }
    }

    /// Keeps others from adding keys to a selection, and from replacing them: however often they do,
    /// this comes to its end. Keys that are named need no lock, since none can be added to them.
    async fn lock(&self, selection: &Selection) -> Result<Option<Lock>, StoreError> {
        let subject = match selection {
            Selection::Ids(_) => return Ok(None),
            Selection::Issued { owner: Some(owner), .. } => hex(owner.as_str()),
            Selection::Issued { owner: None, .. } => "*".to_owned(),
        };
        let holder = format!("{:016x}", getrandom::u64().map_err(StoreError::unavailable)?);
        let duration = LOCK_DURATION.as_millis().to_string();
        let turn = Turn::new();
        loop {
            let args = [&*holder, &*subject, &*duration];
            match self.run::<String>(&self.scripts.lock, &args).await?.as_str() {
                "done" => return Ok(Some(Lock { holder, subject })),
                "locked" => turn.wait().await?,
                _ => return Err(unexpected()),
            }
        }
    }

    /// One that cannot be given back ends by itself.
    async fn give_back(&self, lock: &Lock) {
        let args = [&*lock.holder, &*lock.subject, "0"];
        let _ = self.run::<String>(&self.scripts.lock, &args).await;
    }

    /// In the order of their ids.
    async fn selected(&self, selection: &Selection) -> Result<Vec<Arc<KeyRecord>>, StoreError> {
        let mut records = match selection {
            Selection::Ids(ids) => self.get_many(ids).await?,
            Selection::Issued { owner, .. } => {
                let mut query = KeyQuery::new(usize::MAX);
                query.owner.clone_from(owner);
                self.list_range(&query).await?.items
            }
        };
        records.retain(|record| selection.contains(record));
        records.sort_unstable_by_key(|record| record.id);
        Ok(records)
    }

    async fn get_many(&self, ids: &[KeyId]) -> Result<Vec<Arc<KeyRecord>>, StoreError> {
        let mut ids: Vec<KeyId> = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let mut records = Vec::with_capacity(ids.len());
        for ids in ids.chunks(BATCH) {
            let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
            let ids: Vec<_> = ids.iter().map(String::as_str).collect();
            records.extend(self.rows(&self.scripts.get, &ids).await?);
        }
        Ok(records)
    }
}

fn args(changes: &Changes, known: Option<Known<'_>>) -> Vec<String> {
    let Changes { inserts, updates, balances, requests, owner_bound, watermark, .. } = changes;
    let mut args = match owner_bound {
        Some(OwnerBound { owner, max_keys, now }) => {
            vec![max_keys.to_string(), millis(*now), owner.as_str().to_owned()]
        }
        None => vec![String::new(); 3],
    };
    args.extend(known.map_or_else(|| [const { String::new() }; 5], Known::args));
    args.extend(match watermark {
        Some(WatermarkRecord { watermark, reason, .. }) => [
            millis(watermark.issued_before),
            watermark.subject(),
            reason.as_deref().unwrap_or_default().to_owned(),
        ],
        None => [const { String::new() }; 3],
    });
    args.push(inserts.len().to_string());
    for record in inserts {
        args.extend([
            record.id.to_string(),
            record::write(record),
            millis(record.created_at),
            count(record.use_count),
            record::write_last_use(record),
        ]);
    }
    args.push(updates.len().to_string());
    for KeyUpdate { record, expected, .. } in updates {
        args.extend([record.id.to_string(), record::write(record), expected.to_string()]);
    }
    args.push(balances.len().to_string());
    for BalanceUpdate { lineage, balance, expected, due } in balances {
        let expected = expected.map(|revision| revision.to_string()).unwrap_or_default();
        let due = due.map(millis).unwrap_or_default();
        args.extend([lineage.to_string(), balance::write(balance), expected, due]);
    }
    for new in requests {
        args.extend([request::field(new.lineage, &new.request), request::write(new)]);
    }
    args
}

impl Known<'_> {
    /// The index with all keys of the selection, the owner, the time that they were created before,
    /// and the ids. Nothing, where the keys are named: then each of them is written, or left out on
    /// purpose, and no other writer can add to them.
    fn args(self) -> [String; 5] {
        let Selection::Issued { owner, before } = self.selection else {
            return [const { String::new() }; 5];
        };
        let index = if owner.is_some() { "owners" } else { "ids" };
        let owner = owner.as_ref().map_or_else(String::new, |owner| owner.as_str().to_owned());
        let before = before.map(millis).unwrap_or_default();
        let ids: Vec<_> = self.records.iter().map(|record| record.id.to_string()).collect();
        [index.to_owned(), owner, before, ids.join(" "), self.holder.to_owned()]
    }
}
