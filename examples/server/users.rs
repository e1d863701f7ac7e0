//! The users that keys belong to. In a real service this is a table, or another service.

use std::convert::Infallible;

use tower_api_key::OwnerId;

/// A user of the service.
pub(crate) struct User {
    pub(crate) id: OwnerId,
}

/// The active user with this id.
pub(crate) async fn find(id: OwnerId) -> Result<Option<User>, Infallible> {
    /// Id, and whether active.
    const USERS: [(&str, bool); 3] = [("user-1", true), ("user-2", true), ("user-3", false)];
    let is_active = USERS.contains(&(id.as_str(), true));
    Ok(is_active.then_some(User { id }))
}
