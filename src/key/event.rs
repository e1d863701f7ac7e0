//! [`KeyEvent`]: changes of keys, and denials, for hooks and for the audit log.

use std::{fmt, net::IpAddr, sync::Arc};

use super::{
    id::{EventId, KeyId, OwnerId},
    rejection_kind::RejectionKind,
};
use crate::{clock::Timestamp, text::Text};

/// Something that happened to a key, or that a key was denied for. Never holds a secret.
///
/// A [`KeyManager`](crate::KeyManager) makes one for every change, gives it to the repository
/// together with the change, and to its [hook](crate::KeyManager::with_event_hook) when the change is
/// done. A layer makes one for every denial, for its [hook](crate::ApiKeyLayer::with_event_hook)
/// alone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyEvent {
    /// The name of the event. Sorts by time.
    pub id: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// The act.
    pub action: KeyAction,
    /// The key that it happened to, where one is known.
    pub key: Option<KeyId>,
    /// The owner of the key, where it is known.
    pub owner: Option<OwnerId>,
    /// The person or program that did it, in the words of the application.
    pub actor: Option<Text>,
    /// The client address that it was done from, where one is known.
    pub address: Option<IpAddr>,
    /// More about it, for people: the fields that were changed, the reason given.
    pub detail: Option<Text>,
}

impl KeyEvent {
    /// An event about no key in particular.
    pub fn new(id: EventId, at: Timestamp, action: KeyAction) -> Self {
        Self { id, at, action, key: None, owner: None, actor: None, address: None, detail: None }
    }
}

/// An action on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyAction {
    /// It was issued.
    Created,
    /// It was taken over from another system.
    Imported,
    /// Some of its fields were changed.
    Updated,
    /// It was switched off.
    Disabled,
    /// It was switched on again.
    Enabled,
    /// It was withdrawn for good.
    Revoked,
    /// It was replaced by another key.
    Rotated,
    /// It was deleted.
    Deleted,
    /// Rows of keys that had ended were removed.
    Purged,
    /// A request was denied. Told to hooks, not kept in the audit log.
    Denied(RejectionKind),
}

impl KeyAction {
    /// Everything that the audit log may hold.
    pub(crate) const AUDITED: [Self; 9] = [
        Self::Created,
        Self::Imported,
        Self::Updated,
        Self::Disabled,
        Self::Enabled,
        Self::Revoked,
        Self::Rotated,
        Self::Deleted,
        Self::Purged,
    ];

    /// `created`, `imported`, `updated`, `disabled`, `enabled`, `revoked`, `rotated`, `deleted`,
    /// `purged` or `denied`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Imported => "imported",
            Self::Updated => "updated",
            Self::Disabled => "disabled",
            Self::Enabled => "enabled",
            Self::Revoked => "revoked",
            Self::Rotated => "rotated",
            Self::Deleted => "deleted",
            Self::Purged => "purged",
            Self::Denied(_) => "denied",
        }
    }

    /// The action of this name, if it is one that the audit log may hold.
    pub fn from_audit_log(name: &str) -> Option<Self> {
        Self::AUDITED.into_iter().find(|action| action.as_str() == name)
    }
}

impl fmt::Display for KeyAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A listener to events.
pub(crate) type EventHook = Arc<dyn Fn(&KeyEvent) + Send + Sync>;

/// Which events to list.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct EventQuery {
    /// Only events about this key.
    pub key: Option<KeyId>,
    /// Only events about keys of this owner.
    pub owner: Option<OwnerId>,
    /// Only events at or after this moment.
    pub since: Option<Timestamp>,
    /// Only events before this moment.
    pub until: Option<Timestamp>,
    /// Only events with smaller ids than this one: those that come after it in the list.
    pub after: Option<EventId>,
    /// At most this many events.
    pub limit: usize,
}

impl EventQuery {
    /// The latest `limit` events.
    pub const fn new(limit: usize) -> Self {
        Self { key: None, owner: None, since: None, until: None, after: None, limit }
    }

    /// Whether the list contains this event, its length aside.
    pub fn matches(&self, event: &KeyEvent) -> bool {
        self.key.is_none_or(|key| event.key == Some(key))
            && self.owner.as_ref().is_none_or(|owner| event.owner.as_ref() == Some(owner))
            && self.since.is_none_or(|since| event.at >= since)
            && self.until.is_none_or(|until| event.at < until)
            && self.after.is_none_or(|after| event.id < after)
    }
}

/// Some events of a list, the latest (greatest) id first.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EventPage {
    /// The events.
    pub items: Vec<KeyEvent>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<EventId>,
}

impl EventPage {
    /// A page of `limit` events, from `limit + 1` that were read: the one too many says that there
    /// is another page.
    pub fn from_one_more(mut items: Vec<KeyEvent>, limit: usize) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|event| event.id);
        Self { items, next }
    }
}
