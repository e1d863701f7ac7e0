//! `POST /{id}/credits`

use std::num::NonZeroU64;

use axum::response::Response;
use serde::Deserialize;

use super::{body::JsonBody, fields::Id, guard::Administrator, problem::Problem, view};
use crate::limit::MOST_CREDITS;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopUp {
    /// How many credits come on top of what is left.
    add: NonZeroU64,
}

pub(super) async fn top_up(
    Administrator { keys }: Administrator,
    Id(id): Id,
    body: JsonBody,
) -> Result<Response, Problem> {
    let TopUp { add } = body.object()?;
    if add.get() > MOST_CREDITS {
        let detail = format!("There are at most {MOST_CREDITS} credits.");
        return Err(Problem::invalid_field("add", detail));
    }
    keys.top_up(id, add.get()).await?;
    view::shown(&keys, &keys.get(id).await?).await
}
