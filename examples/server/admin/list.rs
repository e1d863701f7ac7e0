//! `GET /admin/api-keys?owner=&cursor=&limit=`

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tower_api_key::{KeyId, KeyManager, store::ListQuery};

use crate::{problem::Problem, view::KeyView};

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

/// As text: the answers to bad ones are ours.
#[derive(Deserialize)]
pub(super) struct Parameters {
    /// An owner that was sent empty owns nothing: a client's empty variable must not list
    /// everybody's keys.
    owner: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

impl TryFrom<Parameters> for ListQuery {
    type Error = Problem;

    fn try_from(parameters: Parameters) -> Result<Self, Problem> {
        let limit = match parameters.limit {
            None => DEFAULT_LIMIT,
            Some(text) => match text.parse() {
                Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => limit,
                _ => {
                    let detail = format!("limit must be a number from 1 to {MAX_LIMIT}.");
                    return Err(Problem::invalid_parameter("limit", detail));
                }
            },
        };
        let mut query = Self::new(limit);
        if let Some(owner) = parameters.owner {
            query = query.with_owner(owner);
        }
        if let Some(cursor) = parameters.cursor {
            let after = cursor.parse().map_err(|_| {
                let detail = "cursor must be the next_cursor of an earlier page.";
                Problem::invalid_parameter("cursor", detail)
            })?;
            query = query.after(after);
        }
        Ok(query)
    }
}

#[derive(Serialize)]
struct Listing<'r> {
    items: Vec<KeyView<'r>>,
    next_cursor: Option<KeyId>,
}

pub(super) async fn list(
    State(keys): State<KeyManager>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(parameters) =
        parameters.map_err(|error| Problem::invalid_parameter("query", error.body_text()))?;
    let page = keys.list(&parameters.try_into()?).await?;
    let items = page.items.iter().map(|record| KeyView::from(&**record)).collect();
    Ok(Json(Listing { items, next_cursor: page.next }).into_response())
}
