//! The audit log: `GET /{id}/events` and `GET /events`, with `?since=&until=&cursor=&limit=`

use std::net::IpAddr;

use axum::response::Response;
use http::StatusCode;

use super::{
    body,
    fields::{Id, limit, parsed},
    guard::Admitted,
    parameters::{Asked, Filters, Parameters},
    problem,
};
use crate::{
    clock::Timestamp,
    key::{EventId, EventPage, EventQuery, KeyEvent, KeyId, OwnerId},
    object::write_object,
    rejection::Problem,
};

/// Which events of a key are asked for.
pub(super) struct OfOne {
    since: Option<String>,
    until: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

impl Filters for OfOne {
    fn take(from: &mut Parameters) -> Self {
        Self {
            since: from.take("since"),
            until: from.take("until"),
            cursor: from.take("cursor"),
            limit: from.take("limit"),
        }
    }
}

/// Which events of all keys are asked for.
pub(super) struct OfAll {
    owner: Option<String>,
    others: OfOne,
}

impl Filters for OfAll {
    fn take(from: &mut Parameters) -> Self {
        Self { owner: from.take("owner"), others: OfOne::take(from) }
    }
}

impl TryFrom<OfAll> for EventQuery {
    type Error = Problem;

    fn try_from(filters: OfAll) -> Result<Self, Problem> {
        let owner = filters.owner.map(Into::into);
        Ok(Self { owner, ..filters.others.try_into()? })
    }
}

impl TryFrom<OfOne> for EventQuery {
    type Error = Problem;

    fn try_from(filters: OfOne) -> Result<Self, Problem> {
        let mut query = Self::new(limit(filters.limit.as_deref())?);
        let expected = "since must be a date and time such as 2030-01-31T12:00:00Z.";
        query.since = parsed("since", filters.since.as_deref(), expected)?;
        let expected = "until must be a date and time such as 2030-01-31T12:00:00Z.";
        query.until = parsed("until", filters.until.as_deref(), expected)?;
        let expected = "cursor must be the next_cursor of an earlier page.";
        query.after = parsed("cursor", filters.cursor.as_deref(), expected)?;
        Ok(query)
    }
}

/// An event as the outside sees it.
pub(super) struct EventView<'r> {
    id: EventId,
    at: Timestamp,
    action: &'static str,
    key: Option<KeyId>,
    owner: Option<&'r OwnerId>,
    /// The actor; not shown to owners.
    actor: Option<&'r str>,
    /// The actor's address; not shown to owners.
    address: Option<IpAddr>,
    detail: Option<&'r str>,
}

write_object!(EventView<'_> { id, at, action, key, owner, actor, address, detail });

impl<'r> EventView<'r> {
    fn new(event: &'r KeyEvent, is_owner: bool) -> Self {
        Self {
            id: event.id,
            at: event.at,
            action: event.action.as_str(),
            key: event.key,
            owner: event.owner.as_ref(),
            actor: event.actor.as_deref().filter(|_| !is_owner),
            address: event.address.filter(|_| !is_owner),
            detail: event.detail.as_deref(),
        }
    }
}

pub(super) struct EventListing<'r> {
    items: Vec<EventView<'r>>,
    /// The `cursor` of the next page.
    next_cursor: Option<EventId>,
}

write_object!(EventListing<'_> { items, next_cursor });

fn listing(page: &EventPage, is_owner: bool) -> Response {
    let items = page.items.iter().map(|event| EventView::new(event, is_owner)).collect();
    body::json(StatusCode::OK, &EventListing { items, next_cursor: page.next })
}

pub(super) async fn of_all(
    Asked(Admitted { keys, is_owner, .. }, filters): Asked<OfAll>,
) -> Result<Response, Problem> {
    let page = keys.events(&filters.try_into()?).await.map_err(problem::of_query)?;
    Ok(listing(&page, is_owner))
}

pub(super) async fn of_one(
    Asked(Admitted { keys, is_owner, .. }, filters): Asked<OfOne>,
    Id(id): Id,
) -> Result<Response, Problem> {
    let mut query = EventQuery::try_from(filters)?;
    query.key = Some(id);
    let page = keys.events(&query).await.map_err(problem::of_query)?;
    // A deleted key has a history and no more. Where there is neither, there is no such key.
    if page.items.is_empty() {
        keys.get(id).await?;
    }
    Ok(listing(&page, is_owner))
}
