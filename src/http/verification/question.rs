//! [`Question`]: the body of a request. [`Answer`]: that of the response.

use std::{net::IpAddr, num::NonZeroU32};

use serde_core::de::{Deserialize, Deserializer, Error};

use crate::{
    auth::stated::Statement,
    clock::Timestamp,
    key::{KeyId, OwnerId, Scope, ScopeRule, Scopes, SecretKey},
    object::{read_object, write_object},
};

/// A key that a program asks about. A `null` is refused where it would ask for less.
pub(super) struct Question {
    key: Presented,
    address: Option<IpAddr>,
    scopes: Option<Vec<Scope>>,
    cost: Option<Cost>,
    spend: Option<bool>,
}

read_object!(Question { key: required, address: default, scopes: sent, cost: sent, spend: sent });

/// A key, taken over without a copy. An error shows nothing of it, nor of a number in its place.
struct Presented(SecretKey);

impl<'de> Deserialize<'de> for Presented {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = String::deserialize(deserializer);
        key.map(|key| Self(SecretKey::new(key))).map_err(|_| D::Error::custom("expected a text"))
    }
}

/// The requests that one counts for. A limit lets a larger cost than its burst in once nothing is owed, and then
/// none for as long as that takes: of what a client may have a word in, there is a bound.
struct Cost(NonZeroU32);

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const MAX: u32 = 100_000;
        let cost = NonZeroU32::deserialize(deserializer)?;
        if cost.get() > MAX {
            return Err(D::Error::custom("expected at most 100,000"));
        }
        Ok(Self(cost))
    }
}

impl Question {
    /// The statement that is judged, and whether it counts.
    pub(super) fn into_statement(self) -> (Statement, bool) {
        let Self { key: Presented(key), address, scopes, cost, spend } = self;
        let scopes = ScopeRule::all(scopes.unwrap_or_default().into_iter().map(ScopeRule::from));
        let statement =
            Statement { key, address, scopes, cost: cost.map_or(NonZeroU32::MIN, |cost| cost.0) };
        (statement, spend.unwrap_or_default())
    }
}

/// The answer, which has the same members for good keys and for bad ones.
#[derive(Default)]
pub(super) struct Answer<'k> {
    pub(super) valid: bool,
    pub(super) code: Option<&'static str>,
    pub(super) key_id: Option<KeyId>,
    pub(super) owner: Option<&'k OwnerId>,
    pub(super) scopes: Option<&'k Scopes>,
    pub(super) expires_at: Option<Timestamp>,
    /// In seconds.
    pub(super) retry_after: Option<u64>,
}

write_object!(Answer<'_> { valid, code, key_id, owner, scopes, expires_at, retry_after });
