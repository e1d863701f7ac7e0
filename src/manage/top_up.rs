//! Adding to a balance, and taking from it.

use super::{
    KeyManager,
    change::Done,
    credits::MOST_KEYS,
    error::ManageError,
    once::{Act, spends, with_result},
};
use crate::{
    clock::Timestamp,
    key::{Balance, KeyAction, KeyId, KeyRecord, MAX_CREDITS},
    object::{read_object, write_object},
    store::{ApplyOutcome, BalanceUpdate, Changes, KeyUpdate},
};

/// Credits to add to a balance: see [`KeyManager::top_up`]. A number is that many.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct TopUp {
    /// How many.
    pub amount: u64,
    /// The caller's name for the request, so that it adds once however often it is repeated: 1 to
    /// 255 visible ASCII characters. Each lineage, and each handle's owner, has names of its
    /// own.
    pub request_id: Option<String>,
}

/// Credits to take from a balance, as for a refund: see [`KeyManager::deduct`]. A number is that
/// many, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Deduction {
    /// How many.
    pub amount: u64,
    /// Whether the whole balance is taken where it is less; otherwise nothing is.
    pub or_less: bool,
    /// See [`TopUp::request_id`].
    pub request_id: Option<String>,
}

/// The outcome of [`KeyManager::deduct`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deducted {
    /// How many credits.
    pub amount: u64,
    /// The balance afterwards.
    pub balance: Balance,
}

impl TopUp {
    /// So many credits.
    pub fn new(amount: u64) -> Self {
        Self { amount, request_id: None }
    }

    /// Names the request, so that it adds once.
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }
}

impl From<u64> for TopUp {
    fn from(amount: u64) -> Self {
        Self::new(amount)
    }
}

impl Deduction {
    /// So many credits, or none where there are not enough.
    pub fn new(amount: u64) -> Self {
        Self { amount, or_less: false, request_id: None }
    }

    /// Takes the whole balance where it is less.
    pub fn or_less(mut self) -> Self {
        self.or_less = true;
        self
    }

    /// Names the request, so that it takes once.
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }
}

impl From<u64> for Deduction {
    fn from(amount: u64) -> Self {
        Self::new(amount)
    }
}

impl KeyManager {
    /// Adds credits to the balance of a key's lineage, and returns it. It ends at 2⁶³ − 1.
    ///
    /// The keys of the lineage get another revision, so that nodes that refuse them as exhausted
    /// learn of it with the changed key. To set a balance anew, see [`KeyPatch::credits`].
    ///
    /// With a [`request_id`](TopUp::request_id), a repetition adds nothing and returns what the
    /// first request returned. The same id with another amount, for another key of the lineage or
    /// for another act is [`RequestIdReused`](ManageError::RequestIdReused). Ids are kept for 30
    /// days at least, until a [purge](Self::purge) after that. A repository that cannot keep them
    /// is a [`Store`](ManageError::Store) error of kind
    /// [`Unsupported`](crate::store::StoreErrorKind::Unsupported), and nothing is added.
    ///
    /// A key that spends no credits is [`NoCredits`](ManageError::NoCredits).
    ///
    /// On a handle [`for_owner`](Self::for_owner), this and setting a balance work as on any other:
    /// a handle says whose keys are changed, and not which of their fields. An application that
    /// gives owners such a handle keeps these two to itself, as the management routes do.
    ///
    /// ```
    /// use tower_api_key::{
    ///     KeyManager, NewKey, credits::NewCredits, manage::TopUp, store::MemoryStore,
    /// };
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = KeyManager::new(MemoryStore::new());
    /// let credits = NewCredits { remaining: 1_000, refill: None };
    /// let new = NewKey { credits: Some(credits), ..NewKey::named("CI of the shop") };
    /// let key = manager.create(new).await?.record;
    /// assert_eq!(manager.top_up(key.id, 500).await?.remaining, 1_500);
    ///
    /// let paid = TopUp::new(500).with_request_id("invoice-17");
    /// assert_eq!(manager.top_up(key.id, paid.clone()).await?.remaining, 2_000);
    /// assert_eq!(manager.top_up(key.id, paid).await?.remaining, 2_000);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`KeyPatch::credits`]: super::KeyPatch::credits
    pub async fn top_up(
        &self,
        id: KeyId,
        top_up: impl Into<TopUp> + Send,
    ) -> Result<Balance, ManageError> {
        let TopUp { amount, request_id } = top_up.into();
        let change = Change { act: "top_up", amount, adds: true, or_less: false };
        self.adjust(id, change, request_id).await.map(|done| done.balance)
    }

    /// Takes credits from the balance of a key's lineage, as for a refund, and says how many.
    ///
    /// Where there are less, it is [`NotEnoughCredits`](ManageError::NotEnoughCredits), which says
    /// how many there are, or takes those if it [may](Deduction::or_less). The balance never
    /// becomes less than nothing.
    ///
    /// Credits that this node has taken to spend are given back first where they are needed. Those
    /// that other nodes have taken count as spent: the unused ones come back after some seconds.
    ///
    /// A [`request_id`](Deduction::request_id) and a key without credits are as for
    /// [`top_up`](Self::top_up).
    ///
    /// ```
    /// use tower_api_key::{
    ///     KeyManager, NewKey,
    ///     credits::NewCredits,
    ///     manage::{Deduction, ManageError},
    ///     store::MemoryStore,
    /// };
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = KeyManager::new(MemoryStore::new());
    /// let credits = NewCredits { remaining: 1_000, refill: None };
    /// let new = NewKey { credits: Some(credits), ..NewKey::named("CI of the shop") };
    /// let key = manager.create(new).await?.record;
    ///
    /// assert_eq!(manager.deduct(key.id, 600).await?.balance.remaining, 400);
    /// let refused = manager.deduct(key.id, 600).await;
    /// assert!(matches!(refused, Err(ManageError::NotEnoughCredits { remaining: 400 })));
    /// assert_eq!(manager.deduct(key.id, Deduction::new(600).or_less()).await?.amount, 400);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn deduct(
        &self,
        id: KeyId,
        deduction: impl Into<Deduction> + Send,
    ) -> Result<Deducted, ManageError> {
        let Deduction { amount, or_less, request_id } = deduction.into();
        let act = if or_less { "deduct_or_less" } else { "deduct" };
        self.adjust(id, Change { act, amount, adds: false, or_less }, request_id).await
    }

    async fn adjust(
        &self,
        id: KeyId,
        change: Change,
        request_id: Option<String>,
    ) -> Result<Deducted, ManageError> {
        self.refuse_owners("credits")?;
        let mut has_recalled = false;
        loop {
            let keys = self.lineage_of(id).await?;
            let Some(key) = keys.first() else { return Err(ManageError::NotFound) };
            let lineage = key.lineage();
            let act = Act { name: change.act, key: id, amount: change.amount };
            let request = self.request_of(act, lineage, request_id.as_deref())?;
            if let Some(done) = self.done_before::<Outcome>(request.as_ref()).await? {
                return Ok(done.into());
            }
            self.access.check_revision(key)?;
            let balances = self.balances(&[lineage]).await?;
            let Some(old) = balances.of(lineage).filter(|_| spends(key)) else {
                return Err(ManageError::NoCredits);
            };
            let current = old.at(balances.now);
            let amount = match change.amount_of(current.remaining) {
                Some(amount) if amount == change.amount => amount,
                // The credits that this node holds are to be taken as well.
                _ if !has_recalled => {
                    self.recall(lineage).await?;
                    has_recalled = true;
                    continue;
                }
                Some(amount) => amount,
                None => {
                    return Err(ManageError::NotEnoughCredits { remaining: current.remaining });
                }
            };
            let remaining = if change.adds {
                current.remaining.saturating_add(amount).min(MAX_CREDITS)
            } else {
                current.remaining.saturating_sub(amount)
            };
            let update = BalanceUpdate::of(lineage, old, Balance { remaining, ..current });
            let mut balance = update.balance.clone();
            balance.remaining = remaining.saturating_add(self.held_of(lineage, balance.epoch));
            let done = Deducted { amount, balance };
            if amount == 0 && request.is_none() {
                return Ok(done);
            }
            let now = self.clock.now();
            let detail =
                format!("{amount} credits {}", if change.adds { "added" } else { "taken" });
            let event = Done { action: KeyAction::Updated, detail: Some(detail.into()) };
            let spending = keys.iter().take(MOST_KEYS).filter(|key| spends(key));
            let mut changes = Changes {
                updates: spending
                    .map(|key| KeyUpdate::revised(key, KeyRecord::clone(key), now))
                    .collect(),
                balances: vec![update],
                requests: with_result(request, &Outcome::from(&done)).into_iter().collect(),
                events: vec![self.event(now, event, Some(key))?],
                ..Changes::default()
            };
            // As every write of several keys does, so that no two wait for each other.
            changes.updates.sort_by_key(|update| update.record.id);
            // Each `Stale` means that another change was written, so this cannot go round for ever.
            if self.apply(&changes).await? == ApplyOutcome::Done {
                return Ok(done);
            }
        }
    }

    /// Has this node give back the credits that it holds of a lineage.
    async fn recall(&self, lineage: KeyId) -> Result<(), ManageError> {
        match &self.credits {
            Some(credits) => Ok(credits.recall(lineage).await?),
            None => Ok(()),
        }
    }
}

/// A change of a balance.
#[derive(Clone, Copy)]
struct Change {
    act: &'static str,
    amount: u64,
    adds: bool,
    or_less: bool,
}

impl Change {
    /// How many credits are added or taken where so many remain; `None` if there are too few.
    fn amount_of(&self, remaining: u64) -> Option<u64> {
        if self.adds || self.amount <= remaining {
            return Some(self.amount);
        }
        self.or_less.then_some(remaining)
    }
}

/// [`Deducted`] as it is kept for a repetition.
struct Outcome {
    amount: u64,
    remaining: u64,
    refill: Option<crate::key::Refill>,
    since: Timestamp,
    next_refill_at: Option<Timestamp>,
    granted: i64,
    epoch: u64,
    revision: u64,
}

read_object!(Outcome {
    amount: required,
    remaining: required,
    refill: default,
    since: required,
    next_refill_at: default,
    granted: required,
    epoch: required,
    revision: required,
    ..
});

write_object!(Outcome {
    amount,
    remaining,
    refill,
    since,
    next_refill_at,
    granted,
    epoch,
    revision,
});

impl From<&Deducted> for Outcome {
    fn from(done: &Deducted) -> Self {
        let Balance { remaining, refill, since, next_refill_at, granted, epoch, revision } =
            done.balance;
        let amount = done.amount;
        Self { amount, remaining, refill, since, next_refill_at, granted, epoch, revision }
    }
}

impl From<Outcome> for Deducted {
    fn from(outcome: Outcome) -> Self {
        let Outcome { amount, remaining, refill, since, next_refill_at, granted, epoch, revision } =
            outcome;
        let balance =
            Balance { remaining, refill, since, next_refill_at, granted, epoch, revision };
        Self { amount, balance }
    }
}
