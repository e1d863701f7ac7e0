//! The users that keys belong to. In a real service this is a table, or another service.

use tower_api_key::OwnerId;

/// Whether this is a user, and one who may use the service.
pub(crate) fn is_active(owner: &OwnerId) -> bool {
    /// Id, and whether active.
    const USERS: [(&str, bool); 3] = [("user-1", true), ("user-2", true), ("user-3", false)];
    USERS.iter().any(|(id, active)| *active && *id == owner.as_str())
}
