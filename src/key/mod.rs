//! What a store keeps about a key, and what keys look like: plain values, which know of no store,
//! no server and no runtime.

mod balance;
pub(crate) mod characters;
mod checksum;
mod credits;
mod details;
mod digest;
mod event;
mod format;
mod id;
mod invalid_field;
mod limits;
mod needs;
mod quota;
mod record;
mod refill;
mod rejection_kind;
mod scope;
mod scope_rule;
mod secret;
pub(crate) mod strength;
mod usage;
mod use_counter;
pub(crate) mod validate;

pub use self::{
    balance::Balance,
    credits::{CreditsPatch, NewCredits, RefillPatch},
    details::{Details, KeyDetails, LegacyHash, Rotation},
    digest::{KeyDigest, KeyHasher, Peppers},
    event::{EventPage, EventQuery, KeyAction, KeyEvent},
    format::{GenerateError, KeyFormat},
    id::{EventId, KeyId, OwnerId, ParseIdError},
    invalid_field::InvalidField,
    limits::{Limit, Limits},
    needs::Needs,
    quota::Quota,
    record::{KeyRecord, KeyStatus, Metadata},
    refill::{Refill, RefillInterval},
    rejection_kind::RejectionKind,
    scope::{InvalidScope, Scope, Scopes},
    scope_rule::ScopeRule,
    secret::SecretKey,
    usage::{HourlyUsage, LineageUsage, UsageCount, UsageOutcome, UsageQuery},
};
pub(crate) use self::{
    balance::MAX_CREDITS,
    event::EventHook,
    format::{is_accepted, is_prefixed},
    rejection_kind::{ChallengeError, Row, TABLE, UNIFORM},
};
