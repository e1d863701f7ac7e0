//! The record of a key and the form of keys: plain values, which know of no store,
//! no server and no runtime. Values of another subject are in its module: [`scope`](crate::scope),
//! [`limit`](crate::limit), [`credits`](crate::credits), [`usage`](crate::usage).

pub(crate) mod balance;
pub(crate) mod characters;
mod checksum;
pub(crate) mod credits;
mod details;
mod digest;
mod event;
mod format;
mod id;
mod invalid_field;
mod keyed;
pub(crate) mod limits;
mod needs;
pub(crate) mod quota;
mod record;
pub(crate) mod refill;
pub(crate) mod rejection_kind;
pub(crate) mod scope;
pub(crate) mod scope_rule;
mod seal;
mod secret;
mod sha256;
mod shared_text;
mod short_text;
pub(crate) mod strength;
pub(crate) mod usage;
mod use_counter;
pub(crate) mod validate;

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(crate) use self::checksum::crc32;
pub(crate) use self::{
    balance::{Balance, MAX_CREDITS},
    credits::{CreditsPatch, NewCredits},
    event::EventHook,
    format::{Shape, has_checksum, is_accepted, is_prefixed, shape},
    limits::{Limit, Limits},
    quota::Quota,
    refill::Refill,
    rejection_kind::{ChallengeError, RejectionKind, Row, TABLE, UNIFORM},
    scope::{InvalidScope, Scope, Scopes},
    scope_rule::ScopeRule,
    usage::{HourlyUsage, LineageUsage, UsageCount, UsageOutcome, UsageQuery},
    use_counter::UseCounter,
};
pub use self::{
    details::{Details, KeyDetails, LegacyHash, Rotation},
    digest::{KeyDigest, KeyHasher, Peppers},
    event::{EventPage, EventQuery, KeyAction, KeyEvent},
    format::{GenerateError, KeyFormat},
    id::{EventId, KeyId, OwnerId, ParseIdError},
    invalid_field::InvalidField,
    needs::Needs,
    record::{KeyRecord, KeyStatus, Metadata},
    seal::IssuerSecrets,
    secret::SecretKey,
    short_text::ShortText,
};
pub use crate::text::Text;
