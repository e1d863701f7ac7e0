//! The layers of the process that resolve owners, for the streams that must end with their owner.
//!
//! An identity names these layers by their numbers, as it does its own: see [`registry`](super::registry).

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, LazyLock, Weak},
    task::{Context, Poll},
};

use tokio::sync::Semaphore;

use crate::{
    auth::attached::{LayerId, OwnerLayers},
    key::OwnerId,
    runtime::{Mutex, async_methods},
};

static LAYERS: LazyLock<Mutex<HashMap<LayerId, Weak<dyn OwnerJudge>>>> =
    LazyLock::new(Mutex::default);

/// A layer that refuses owners who are not active.
pub(crate) trait OwnerJudge: Send + Sync {
    async_methods! {
        /// Whether the layer would let a key of this owner on. `None` if its resolver cannot tell.
        async fn is_active(&self, owner: &OwnerId) -> Option<bool>;
    }
}

/// A layer that is in use from now on.
pub(crate) fn register_owner_layer(id: LayerId, judge: Weak<dyn OwnerJudge>) {
    let mut layers = LAYERS.lock();
    layers.retain(|_, judge| judge.strong_count() > 0);
    layers.insert(id, judge);
}

/// The question whether the owner of a key is active, of every layer that has let its requests on.
pub(super) struct OwnerQuestion {
    owner: Option<OwnerId>,
    answer: Pin<Box<dyn Future<Output = Option<bool>> + Send>>,
}

impl OwnerQuestion {
    /// `None` where no layer asks for an owner.
    pub(super) fn new(layers: &OwnerLayers, owner: Option<&OwnerId>) -> Option<Self> {
        let registered = LAYERS.lock();
        let judges: Vec<Option<Arc<dyn OwnerJudge>>> =
            layers.iter().map(|id| registered.get(&id)?.upgrade()).collect();
        drop(registered);
        if judges.is_empty() {
            return None;
        }
        let answer = Box::pin(are_all_active(judges, owner.cloned()));
        Some(Self { owner: owner.cloned(), answer })
    }

    pub(super) fn is_of(&self, owner: Option<&OwnerId>) -> bool {
        self.owner.as_ref() == owner
    }
}

impl Future for OwnerQuestion {
    type Output = Option<bool>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<bool>> {
        self.answer.as_mut().poll(context)
    }
}

/// Questions for streams under way at a time: an act on many keys has each of their streams ask.
static TURNS: Semaphore = Semaphore::const_new(16);

/// A layer that is gone cannot tell.
async fn are_all_active(
    judges: Vec<Option<Arc<dyn OwnerJudge>>>,
    owner: Option<OwnerId>,
) -> Option<bool> {
    let Some(owner) = owner else { return Some(false) };
    let _turn = TURNS.acquire().await.ok()?;
    let mut all_can_tell = true;
    for judge in judges {
        let answer = match judge {
            Some(judge) => judge.is_active(&owner).await,
            None => None,
        };
        match answer {
            Some(true) => {}
            // Whatever the others would say.
            Some(false) => return Some(false),
            None => all_can_tell = false,
        }
    }
    all_can_tell.then_some(true)
}
