//! `GET /?owner=&status=&scope=&prefix=&expires_before=&expires_after=&last_used_before=
//! &last_used_after=&cursor=&limit=`

use axum::response::Response;
use http::StatusCode;

use super::{
    body,
    fields::{limit, parsed},
    guard::Admitted,
    parameters::{self, Asked, Parameters},
    problem,
};
use crate::{
    clock::Timestamp,
    key::{KeyId, KeyStatus},
    manage::KeyView,
    object::write_object,
    rejection::Problem,
    store::KeyQuery,
};

pub(super) struct Filters {
    /// An owner that was sent empty owns nothing: a client's empty variable must not list
    /// the keys of all owners.
    owner: Option<String>,
    status: Option<String>,
    scope: Option<String>,
    prefix: Option<String>,
    expires_before: Option<String>,
    expires_after: Option<String>,
    last_used_before: Option<String>,
    last_used_after: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

impl parameters::Filters for Filters {
    fn take(from: &mut Parameters) -> Self {
        Self {
            owner: from.take("owner"),
            status: from.take("status"),
            scope: from.take("scope"),
            prefix: from.take("prefix"),
            expires_before: from.take("expires_before"),
            expires_after: from.take("expires_after"),
            last_used_before: from.take("last_used_before"),
            last_used_after: from.take("last_used_after"),
            cursor: from.take("cursor"),
            limit: from.take("limit"),
        }
    }
}

impl Filters {
    fn query(self, now: Timestamp) -> Result<KeyQuery, Problem> {
        let mut query = KeyQuery::new(limit(self.limit.as_deref())?);
        query.owner = self.owner.map(Into::into);
        query.status = self.status.as_deref().map(status).transpose()?.map(|status| (status, now));
        let expected = "scope must be a scope such as orders:read.";
        query.scope = parsed("scope", self.scope.as_deref(), expected)?;
        query.prefix = self.prefix.map(without_nul).transpose()?.map(Into::into);
        query.expires_before = time("expires_before", self.expires_before.as_deref())?;
        query.expires_after = time("expires_after", self.expires_after.as_deref())?;
        query.last_used_before = time("last_used_before", self.last_used_before.as_deref())?;
        query.last_used_after = time("last_used_after", self.last_used_after.as_deref())?;
        let expected = "cursor must be the next_cursor of an earlier page.";
        query.after = parsed("cursor", self.cursor.as_deref(), expected)?;
        Ok(query)
    }
}

fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    parsed(name, text, "This must be a date and time such as 2030-01-31T12:00:00Z.")
}

/// No name has one, and not every database takes it in a text.
fn without_nul(prefix: String) -> Result<String, Problem> {
    if prefix.contains('\0') {
        return Err(Problem::invalid_parameter("prefix", "prefix must not contain NUL."));
    }
    Ok(prefix)
}

fn status(text: &str) -> Result<KeyStatus, Problem> {
    KeyStatus::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
        let detail = "status must be active, not_yet_valid, expired, disabled or revoked.";
        Problem::invalid_parameter("status", detail)
    })
}

pub(super) struct Listing<'r> {
    items: Vec<KeyView<'r>>,
    /// The `cursor` of the next page.
    next_cursor: Option<KeyId>,
}

write_object!(Listing<'_> { items, next_cursor });

pub(super) async fn list(
    Asked(Admitted { keys, .. }, filters): Asked<Filters>,
) -> Result<Response, Problem> {
    let now = keys.now();
    let page = keys.list(&filters.query(now)?).await.map_err(problem::of_query)?;
    let balances = keys.balances_of(&page.items).await?;
    let items = page.items.iter().zip(&balances);
    let items =
        items.map(|(record, balance)| KeyView::new(record, now).with_balance(balance.as_ref()));
    let items = items.collect();
    Ok(body::json(StatusCode::OK, &Listing { items, next_cursor: page.next }))
}
