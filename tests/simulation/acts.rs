//! Acts of administrators.

use std::{num::NonZeroU64, time::Duration};

use tower_api_key::{
    KeyManager, NewKey, RejectionKind, Timestamp,
    clock::Clock,
    credits::{CreditsPatch, NewCredits, Refill, RefillInterval},
    key::KeyRecord,
    limit::{Limit, Limits, Quota},
    manage::{ImportKey, KeyPatch, KeySet, ManageError, RotationGrace, TopUp},
    nonzero,
    store::{KeyStore, Watermark},
};

use crate::{
    history::{Act, Grace, Moment, Verdict, Wait, books},
    run::SLOTS,
    store::Store,
    world::{NodeClock, SKEW, World, verdict_of},
};

/// An administrator.
#[derive(Clone)]
pub(crate) struct Actor {
    pub(crate) world: World,
    /// As an administrator sees it, who asks the authority.
    pub(crate) store: Store,
    pub(crate) manager: KeyManager,
    pub(crate) other: KeyManager,
    pub(crate) slot: usize,
    pub(crate) choice: usize,
}

/// Keys of odd slots have a limit.
const QUOTA: Quota = Quota::per_second(nonzero!(1)).with_burst(nonzero!(4));

/// Those of the upper two have credits, and those of the last get some back.
const CREDITS: u64 = 20;
const REFILL: Refill =
    Refill::new(NonZeroU64::new(25).unwrap(), RefillInterval::Seconds(nonzero!(40)));

/// The owner of the keys of each slot.
pub(crate) const OWNERS: [Option<&str>; SLOTS] = [Some("anna"), None, Some("anna"), Some("bert")];

fn new_key(slot: usize) -> NewKey {
    let limit = Limit::new("burst", QUOTA).unwrap();
    let limits = if slot % 2 == 1 { Limits::new([limit]).unwrap() } else { Limits::default() };
    let refill = (slot == 3).then_some(REFILL);
    let credits = (slot >= 2).then_some(NewCredits { remaining: CREDITS, refill });
    NewKey { limits, credits, owner: OWNERS[slot].map(Into::into), ..NewKey::named("k") }
}

/// Does something to a key that can be done with it now, and says whether it is done.
pub(crate) async fn act(actor: &Actor) -> bool {
    let Actor { world, store, manager, other, slot, choice } = actor;
    let key = world.slot(*slot).current;
    let (began, digest) = (world.now(), world.key(key).1);
    let Ok(found) = store.find_fresh(&digest).await else { return false };
    let has_ended = found.as_ref().is_none_or(|found| {
        found.details.revoked_at.is_some() || found.details.rotation.retires_at.is_some()
    });
    // A key that has come to its end mostly makes room for another one.
    if has_ended && *choice >= 30 {
        let next = world.slot(*slot).next;
        let digest = world.key(next).1;
        let is_new = create(actor, ImportKey::from_digest(digest, new_key(*slot))).await;
        if is_new {
            world.moves_on(*slot);
            acknowledged(actor, next, began, Verdict::Accepted);
        }
        return is_new;
    }
    let Some(found) = found else {
        world.saw("deleted keys were purged");
        let before = world.true_clock().now().as_unix_millis() - SKEW;
        let _ = manager.purge(Timestamp::from_unix_millis(before)).await;
        let is_new = create(actor, ImportKey::from_digest(digest, new_key(*slot))).await;
        return is_new && acknowledged(actor, key, began, Verdict::Accepted);
    };
    let is_done = match choice {
        _ if has_ended => manager.delete(found.id).await.is_ok(),
        0..20 => {
            world.saw("a key was revoked");
            let revoked = Verdict::Refused(RejectionKind::Revoked);
            if manager.revoke(found.id, None).await.is_ok() {
                return acknowledged(actor, key, began, revoked);
            }
            // An administrator who hears nothing does it again.
            world.saw("a key was revoked again");
            let began = world.now();
            other.revoke(found.id, None).await.is_ok() && acknowledged(actor, key, began, revoked)
        }
        20..35 => manager.disable(found.id).await.is_ok(),
        35..55 => manager.enable(found.id).await.is_ok(),
        55..70 => {
            world.saw("a key was deleted");
            manager.delete(found.id).await.is_ok()
                && acknowledged(actor, key, began, Verdict::Refused(RejectionKind::Unknown))
        }
        70..84 => rotate(actor, &found).await,
        84..91 if found.details.credits.is_some() => top_up(actor, &found).await,
        91..98 if found.details.credits.is_some() => {
            let remaining = Some(10 + *choice as u64);
            let credits = Some(Some(CreditsPatch { remaining, ..CreditsPatch::default() }));
            let patch = KeyPatch { credits, ..KeyPatch::default() };
            manager.update(found.id, patch).await.is_ok()
        }
        _ => {
            let patch = KeyPatch { name: Some(format!("{choice}")), ..KeyPatch::default() };
            manager.update(found.id, patch).await.is_ok()
        }
    };
    if !is_done {
        world.saw("an act failed");
    }
    is_done
}

/// Writes down that an act was acknowledged.
fn acknowledged(actor: &Actor, key: usize, began: Moment, verdict: Verdict) -> bool {
    let returned = actor.world.now();
    actor.world.history().acts.push(Act { key, began, returned, verdict });
    true
}

async fn create(actor: &Actor, new: ImportKey) -> bool {
    let Actor { world, manager, .. } = actor;
    if !world.may_be_made(&new.digest) {
        return false;
    }
    let report = manager.import(&[new]).await;
    let is_new = report.is_ok_and(|report| !report.imported.is_empty());
    if is_new {
        world.saw("a key was created");
    }
    is_new
}

/// Clients have the new key as soon as this returns.
async fn rotate(actor: &Actor, old: &KeyRecord) -> bool {
    let Actor { world, manager, slot, choice, .. } = actor;
    let grace = match choice % 4 {
        0 => RotationGrace::NONE,
        1 => RotationGrace::FromFirstUse(Duration::from_secs(20)),
        _ => RotationGrace::FromNow(Duration::from_secs(40)),
    };
    let began = world.now();
    let Ok(issued) = manager.rotate(old.id, grace).await else { return false };
    world.saw("a key was rotated");
    if let RotationGrace::FromNow(lasts) = grace {
        let (key, returned) = (world.slot(*slot).current, world.now());
        world.history().graces.push(Grace { key, began, returned, lasts });
    }
    let old = world.slot(*slot).current;
    let key = world.takes_place(*slot, issued.secret.expose());
    if let RotationGrace::FromFirstUse(lasts) = grace {
        world.history().waits.push(Wait { old, new: key, lasts });
    }
    acknowledged(actor, key, began, verdict_of(&issued.record))
}

/// A client that hears nothing repeats its request at another node.
async fn top_up(actor: &Actor, key: &KeyRecord) -> bool {
    let Actor { world, manager, other, .. } = actor;
    let amount = world.next_amount();
    let top_up = || TopUp::new(amount).with_request_id(format!("payment-{amount}"));
    let lineage = key.lineage();
    for manager in [manager, other, manager] {
        let is_there = world.history().books.is_topped_up(lineage, amount);
        if manager.top_up(key.id, top_up()).await.is_ok() {
            if is_there {
                world.saw("a top-up that was done was repeated");
            } else {
                world.saw("a balance was topped up");
            }
            world.history().books.top_ups.push(books::TopUp { lineage, amount });
            return true;
        }
    }
    false
}

/// An administrator who revokes keys by the time of their creation.
#[derive(Clone)]
pub(crate) struct Revoker {
    pub(crate) world: World,
    pub(crate) manager: KeyManager,
    pub(crate) other: KeyManager,
    /// The one of the manager.
    pub(crate) clock: NodeClock,
    /// None: keys of all owners.
    pub(crate) owner: Option<&'static str>,
    /// Keys that were created so long ago.
    pub(crate) ago: Duration,
}

impl Revoker {
    /// The keys that are to be revoked by now.
    pub(crate) fn watermark(&self) -> Watermark {
        let moment = self.clock.now().as_unix_millis() - self.ago.as_millis() as i64;
        let watermark = Watermark::new(Timestamp::from_unix_millis(moment));
        Watermark { owner: self.owner.map(Into::into), ..watermark }
    }

    /// Revokes them, and says whether that is done. An administrator who hears nothing does it again at
    /// another node.
    pub(crate) async fn revoke(&self, watermark: &Watermark) -> bool {
        let moment = watermark.issued_before;
        for manager in [&self.manager, &self.other] {
            let done = match self.owner {
                None => manager.revoke_issued_before(moment, None).await,
                Some(owner) => {
                    manager.revoke_all(KeySet::of_owner(owner).issued_before(moment), None).await
                }
            };
            match done {
                Ok(_) => return true,
                Err(ManageError::Store(_)) => self.world.saw("keys were revoked once more"),
                // The moment has not come by the clock of the store, or of the other node.
                Err(_) => return false,
            }
        }
        false
    }
}
