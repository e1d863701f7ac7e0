//! Credits: setting a balance, adding to it and reading it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use super::{
    KeyManager, KeyPatch, ManageError, NewCredits,
    change::{Done, revised},
    update::done,
    validate,
};
use crate::{
    Balance, KeyAction, KeyId, KeyRecord, Timestamp,
    limit::MOST_CREDITS,
    store::{BalanceUpdate, Changes, Update},
};

/// Keys of a line that are looked for, the nearest to the one in question first, when its credits
/// change.
const MOST_KEYS: usize = 256;

impl KeyManager {
    /// Adds credits to the balance of a key's line, and returns it. It ends at 2⁶³ − 1.
    ///
    /// The keys of the line get another revision, so that nodes that refuse them as exhausted learn
    /// of it with the changed key. To set a balance anew, see [`KeyPatch::credits`].
    ///
    /// A key that spends no credits is [`NoCredits`](ManageError::NoCredits).
    ///
    /// On a handle [`for_owner`](Self::for_owner), this and setting a balance work as on any other:
    /// a handle says whose keys are changed, and not which of their fields. An application that
    /// gives owners such a handle keeps these two to itself, as the management routes do.
    ///
    /// ```
    /// use tower_api_key::{KeyManager, NewCredits, NewKey, store::MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = KeyManager::new(MemoryStore::new());
    /// let credits = NewCredits { remaining: 1_000, refill: None };
    /// let new = NewKey { credits: Some(credits), ..NewKey::named("CI of the shop") };
    /// let key = manager.create(new).await?.record;
    /// assert_eq!(manager.top_up(key.id, 500).await?.remaining, 1_500);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn top_up(&self, id: KeyId, amount: u64) -> Result<Balance, ManageError> {
        loop {
            let line = self.line_of(id).await?;
            let Some(key) = line.first().filter(|key| key.details.credits.is_some()) else {
                return Err(ManageError::NoCredits);
            };
            let old = self.stored_balance(key).await?.ok_or(ManageError::NoCredits)?;
            let now = self.clock.now();
            let mut balance = old.at(now);
            if amount == 0 {
                return Ok(balance);
            }
            balance.remaining = balance.remaining.saturating_add(amount).min(MOST_CREDITS);
            balance.revision += 1;
            let detail = Some(format!("{amount} credits added").into());
            let event = self.event(now, Done { action: KeyAction::Updated, detail }, Some(key))?;
            let spending = line.iter().filter(|key| key.details.credits.is_some());
            let changes = Changes {
                updates: spending.map(|key| revised(key, KeyRecord::clone(key), now)).collect(),
                balances: vec![update(key, balance.clone(), Some(&old))],
                events: vec![event],
                ..Changes::default()
            };
            // Each `Stale` means that somebody else got on, so this cannot go round for ever.
            if self.apply(&changes).await? == Update::Done {
                return Ok(balance);
            }
        }
    }

    /// The balance of a key's line, as it is now; `None` for a key that spends no credits.
    ///
    /// What other nodes have taken and not spent is not in it: some hundreds each at most, which
    /// they give back after some seconds. What this one has, is, if the manager knows its
    /// [`Credits`](Self::with_credits).
    pub async fn balance(&self, id: KeyId) -> Result<Option<Balance>, ManageError> {
        let key = self.get(id).await?;
        Ok(self.balances_of(&[key]).await?.pop().flatten())
    }

    /// The [balances](Self::balance) of the lines of many keys, in the order of the keys.
    pub async fn balances_of(
        &self,
        keys: &[Arc<KeyRecord>],
    ) -> Result<Vec<Option<Balance>>, ManageError> {
        let line = |key: &Arc<KeyRecord>| key.details.credits.map(|_| key.lineage());
        let lines: HashSet<KeyId> = keys.iter().filter_map(line).collect();
        if lines.is_empty() {
            return Ok(vec![None; keys.len()]);
        }
        let lines: Vec<_> = lines.into_iter().collect();
        let balances: HashMap<_, _> = self.repository.balances(&lines).await?.into_iter().collect();
        let now = self.clock.now();
        let balance = |key| {
            let line = line(key)?;
            let mut balance = balances.get(&line)?.at(now);
            let held = self.credits.as_ref().map_or(0, |own| own.held_of(line, balance.epoch));
            balance.remaining = balance.remaining.saturating_add(held);
            Some(balance)
        };
        Ok(keys.iter().map(balance).collect())
    }

    /// An update that sets the balance of the key's line anew or takes it away, beside what else it
    /// changes about the key.
    pub(super) async fn set_credits(
        &self,
        id: KeyId,
        patch: &KeyPatch,
        credits: Option<NewCredits>,
    ) -> Result<Arc<KeyRecord>, ManageError> {
        credits.as_ref().map_or(Ok(()), validate::credits)?;
        loop {
            let line = self.line_of(id).await?;
            let Some(key) = line.first() else { return Err(ManageError::NotFound) };
            if patch.if_revision.is_some_and(|expected| expected != key.revision) {
                return Err(ManageError::RevisionMismatch);
            }
            let now = self.clock.now();
            let mut changes = Changes::default();
            let mut epoch = None;
            if let Some(NewCredits { remaining, refill }) = credits {
                let old = self.stored_balance(key).await?;
                let mut balance = Balance::new(remaining, refill, now);
                let epochs = line.iter().filter_map(|key| key.details.credits);
                let last = epochs.chain(old.as_ref().map(|old| old.epoch)).max();
                balance.epoch = last.map_or(0, |last| last + 1);
                balance.revision = old.as_ref().map_or(0, |old| old.revision + 1);
                epoch = Some(balance.epoch);
                changes.balances.push(update(key, balance, old.as_ref()));
            }
            for old in &line {
                let mut new = KeyRecord::clone(old);
                if old.id == id {
                    self.patch(&mut new, patch)?;
                }
                if old.details.credits != epoch {
                    new.details.credits = epoch;
                }
                if new != **old {
                    changes.events.push(self.event(now, done(old, &new), Some(old))?);
                    changes.updates.push(revised(old, new, now));
                }
            }
            if changes.updates.is_empty() {
                return Ok(key.clone());
            }
            let written = changes.updates.iter().find(|update| update.record.id == id);
            let written = written.map_or(key.clone(), |update| Arc::new(update.record.clone()));
            // As everybody does who writes several keys, so that nobody waits for the other.
            changes.updates.sort_by_key(|update| update.record.id);
            if self.apply(&changes).await? == Update::Done {
                return Ok(written);
            }
        }
    }

    /// A key, and the others of its line that may still be used or come back.
    async fn line_of(&self, id: KeyId) -> Result<Vec<Arc<KeyRecord>>, ManageError> {
        let key = self.get(id).await?;
        let (line, now) = (key.lineage(), self.clock.now());
        let mut next = VecDeque::from([key.details.rotation.to, key.details.rotation.from]);
        // The rows in between may have been purged.
        next.push_back(Some(line));
        let (mut seen, mut keys) = (HashSet::from([id]), vec![key]);
        while let Some(other) = next.pop_front()
            && seen.len() < MOST_KEYS
        {
            let Some(other) = other.filter(|other| seen.insert(*other)) else { continue };
            let other = self.repository.get(other).await?;
            let Some(other) = other.filter(|other| other.lineage() == line) else { continue };
            next.extend([other.details.rotation.to, other.details.rotation.from]);
            if !has_ended_for_good(&other, now) {
                keys.push(other);
            }
        }
        Ok(keys)
    }

    async fn stored_balance(&self, key: &KeyRecord) -> Result<Option<Balance>, ManageError> {
        let line = key.lineage();
        let balances = self.repository.balances(&[line]).await?;
        Ok(balances.into_iter().find(|(found, _)| *found == line).map(|(_, balance)| balance))
    }
}

fn update(key: &KeyRecord, balance: Balance, old: Option<&Balance>) -> BalanceUpdate {
    BalanceUpdate { line: key.lineage(), balance, expected: old.map(|old| old.revision) }
}

/// An expired key may get another end; one that was replaced, not.
fn has_ended_for_good(key: &KeyRecord, now: Timestamp) -> bool {
    key.is_deleted()
        || key.revoked_at.is_some()
        || key.details.rotation.retires_at.is_some_and(|end| end <= now)
}
