//! [`RequestRecord`]: the effect of a request that must take effect once.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    key::{KeyDigest, KeyId},
    text::Text,
};

/// How long requests are kept at least.
pub(crate) const KEPT: Duration = Duration::from_hours(30 * 24);

/// The effect of a request with an id of its own on a lineage. While the repository keeps it,
/// no other request with that id can do anything to the same lineage.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestRecord {
    /// The lineage, by its first key. A creation is kept a second time, under an id that is no
    /// key's and the same for all creations.
    pub lineage: KeyId,
    /// The hash of the caller's id of the request. Unique in its lineage.
    pub request: KeyDigest,
    /// When it was written, by the [clock](super::Balances::now) of the repository, which sets it.
    pub at: Timestamp,
    /// The act: `create`, `rotate`, `top_up`, `deduct` or `deduct_or_less`.
    pub act: Text,
    /// The key that it was done to.
    pub key: KeyId,
    /// How many credits were asked for.
    pub amount: u64,
    /// The actor in whose name it was done.
    pub actor: Option<Text>,
    /// The result, for the answer to the same request.
    pub result: Text,
}

impl RequestRecord {
    /// What a request is about to do.
    pub fn new(lineage: KeyId, request: KeyDigest, act: impl Into<Text>, key: KeyId) -> Self {
        Self {
            lineage,
            request,
            at: Timestamp::UNIX_EPOCH,
            act: act.into(),
            key,
            amount: 0,
            actor: None,
            result: Text::default(),
        }
    }
}
