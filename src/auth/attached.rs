//! What the layers leave in a request's extensions beside an [`AuthenticatedKey`], and which layer
//! left it.
//!
//! An identity belongs to the layer that judged it. Each [`ApiKeyLayer`](crate::ApiKeyLayer)
//! therefore begins with what it found out itself: [`attach_key`] and [`attach_no_key`] are the
//! only two ways in, and each removes everything that a layer further out has attached. A layer in
//! shadow only adds, in [`attach_in_shadow`].

use std::{
    any::Any,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::Extensions;

use super::{authenticated::AuthenticatedKey, shadow::WouldDeny};
use crate::key::KeyId;

/// Tells the layers of a process apart. Clones share it until one of them is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LayerId(NonZeroU64);

impl LayerId {
    pub(crate) fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        // Even, and not zero.
        Self(NonZeroU64::MIN.saturating_add((number << 1) - 1))
    }

    /// Of a layer in shadow.
    pub(crate) fn next_in_shadow() -> Self {
        Self(Self::next().0 | 1)
    }

    const fn is_in_shadow(self) -> bool {
        self.0.get() & 1 != 0
    }

    pub(super) const fn get(self) -> u64 {
        self.0.get()
    }
}

/// The layers that found the owner of a key to be active, on the way of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct OwnerLayers {
    /// Nearly always the only one.
    first: Option<LayerId>,
    others: Option<Arc<[LayerId]>>,
}

impl OwnerLayers {
    pub(super) fn iter(&self) -> impl Iterator<Item = LayerId> {
        self.first.into_iter().chain(self.others.iter().flat_map(|others| others.iter().copied()))
    }

    pub(super) fn add(&mut self, layer: LayerId) {
        if self.first.is_none() {
            self.first = Some(layer);
        } else if !self.iter().any(|other| other == layer) {
            self.others = Some(self.iter().skip(1).chain([layer]).collect());
        }
    }
}

/// What stands beside an identity, or in its place. One type for both, so that a layer removes
/// all of it in one step.
#[derive(Clone, Debug)]
enum Attachment {
    NoKey(NoKey),
    Owners(Owners),
    /// A layer in shadow has left a [`WouldDeny`] beside an identity that is not its own.
    Shadow,
}

/// A layer let the request in without an identity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoKey {
    #[cfg_attr(not(feature = "axum"), expect(dead_code, reason = "a guard compares it"))]
    pub(crate) layer: LayerId,
    /// Let in as a CORS preflight, and for no other reason.
    pub(crate) is_preflight: bool,
    /// Let in by a layer in shadow that could not decide.
    pub(crate) is_undecided: bool,
}

/// The owners of one key. The types are the application's, and extensions are found by type alone:
/// under one type of ours they can be removed without knowing theirs.
#[derive(Clone, Debug)]
struct Owners {
    layer: LayerId,
    key: KeyId,
    /// Nearly always the only one.
    first: AnyOwner,
    /// Of further types, where several layers resolve owners.
    others: Vec<AnyOwner>,
}

type AnyOwner = Arc<dyn Any + Send + Sync>;

/// Attaches the identity that a layer has found out, in place of what a layer further out attached.
#[inline]
pub(crate) fn attach_key(extensions: &mut Extensions, key: AuthenticatedKey) {
    extensions.insert(key);
    // Looking is cheaper than removing, and there is nothing unless layers stand inside each other.
    if extensions.get::<Attachment>().is_some() {
        extensions.remove::<Attachment>();
        extensions.remove::<WouldDeny>();
    }
}

/// Notes that a layer let the request in without an identity, in place of what a layer further out
/// attached.
pub(crate) fn attach_no_key(extensions: &mut Extensions, no_key: NoKey) {
    extensions.remove::<AuthenticatedKey>();
    extensions.remove::<WouldDeny>();
    extensions.insert(Attachment::NoKey(no_key));
}

/// The decision of a layer in shadow.
pub(crate) enum ShadowDecision {
    Admit(Option<AuthenticatedKey>),
    Deny(WouldDeny),
    Undecided,
}

/// Notes the decision of a layer in shadow, beside the attachments of layers further out. An identity that
/// another layer in shadow attached goes with the first denial; one of a layer that enforces stays.
pub(crate) fn attach_in_shadow(
    extensions: &mut Extensions,
    layer: LayerId,
    decision: ShadowDecision,
) {
    let identity_of = extensions.get::<AuthenticatedKey>().map(AuthenticatedKey::layer);
    let (would_deny, is_undecided) = match decision {
        ShadowDecision::Admit(Some(key)) if identity_of.is_none() => {
            return attach_key(extensions, key);
        }
        ShadowDecision::Admit(_) => (None, false),
        ShadowDecision::Undecided => (None, true),
        ShadowDecision::Deny(would_deny) => (Some(would_deny), false),
    };
    let no_key = Attachment::NoKey(NoKey { layer, is_preflight: false, is_undecided });
    if would_deny.is_some() && identity_of.is_some_and(LayerId::is_in_shadow) {
        extensions.remove::<AuthenticatedKey>();
        extensions.insert(no_key);
    } else if extensions.get::<Attachment>().is_none() {
        extensions.insert(if identity_of.is_some() { Attachment::Shadow } else { no_key });
    }
    if let Some(would_deny) = would_deny
        && extensions.get::<WouldDeny>().is_none()
    {
        extensions.insert(would_deny);
    }
}

/// Whether a layer let the request in without an identity.
pub(crate) fn no_key(extensions: &Extensions) -> Option<NoKey> {
    match extensions.get::<Attachment>()? {
        Attachment::NoKey(no_key) => Some(*no_key),
        Attachment::Owners(_) | Attachment::Shadow => None,
    }
}

/// Attaches an owner of the attached key, in place of another owner of the same type.
pub(crate) fn attach_owner<T: Send + Sync + 'static>(
    extensions: &mut Extensions,
    owner: Arc<T>,
    resolved_by: LayerId,
) {
    let Some(key) = extensions.get_mut::<AuthenticatedKey>() else { return };
    key.has_active_owner(resolved_by);
    let (layer, key) = (key.layer(), key.id());
    match extensions.get_mut::<Attachment>() {
        Some(Attachment::Owners(owners)) if owners.are_of(layer, key) => owners.put(owner),
        _ => {
            let owners = Owners { layer, key, first: owner, others: Vec::new() };
            extensions.insert(Attachment::Owners(owners));
        }
    }
}

/// The owner of the attached key. One that belongs to another key, or to what another layer
/// attached, is none.
pub(crate) fn owner<T: Send + Sync + 'static>(extensions: &Extensions) -> Option<Arc<T>> {
    let key = extensions.get::<AuthenticatedKey>()?;
    match extensions.get::<Attachment>()? {
        Attachment::Owners(owners) if owners.are_of(key.layer(), key.id()) => owners.get(),
        _ => None,
    }
}

impl Owners {
    fn are_of(&self, layer: LayerId, key: KeyId) -> bool {
        self.layer == layer && self.key == key
    }

    fn put<T: Send + Sync + 'static>(&mut self, owner: Arc<T>) {
        let mut all = std::iter::once(&mut self.first).chain(&mut self.others);
        match all.find(|other| other.is::<T>()) {
            Some(slot) => *slot = owner,
            None => self.others.push(owner),
        }
    }

    fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let mut all = std::iter::once(&self.first).chain(&self.others);
        let owner = all.find(|owner| owner.is::<T>())?;
        owner.clone().downcast().ok()
    }
}
