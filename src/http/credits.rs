//! `POST /{id}/credits`

use std::num::NonZeroU64;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};

use super::{
    body::{self, JsonBody},
    fields::Id,
    guard::Admitted,
    idempotency, precondition,
};
use crate::{
    key::MAX_CREDITS,
    manage::{Deducted, Deduction, KeyView, TopUp},
    object::{read_object, write_object},
    rejection::Problem,
};

/// One of the two.
struct Adjustment {
    /// The number of credits to add to the balance.
    add: Option<NonZeroU64>,
    /// The number of credits to take from it.
    subtract: Option<NonZeroU64>,
    /// Whether the whole balance is taken where it is less.
    or_less: bool,
}

read_object!(Adjustment { add: default, subtract: default, or_less: default });

/// The answer to a subtraction.
struct Subtracted<'r> {
    view: KeyView<'r>,
    /// How many were taken.
    subtracted: u64,
}

write_object!(Subtracted<'_> { ..view, subtracted });

pub(super) async fn adjust(
    Admitted { keys, .. }: Admitted,
    Id(id): Id,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, Problem> {
    let Adjustment { add, subtract, or_less } = body.object()?;
    let request_id = idempotency::request_id(&headers)?;
    let keys = precondition::expect(&headers, keys, id).await?;
    match (add, subtract) {
        (Some(amount), None) if !or_less => {
            let mut top_up = TopUp::new(within_bounds("add", amount)?);
            top_up.request_id = request_id;
            let balance = keys.top_up(id, top_up).await.map_err(idempotency::problem)?;
            let record = keys.get(id).await?;
            let view = KeyView::new(&record, keys.now()).with_balance(Some(&balance));
            Ok(view.into_response())
        }
        (None, Some(amount)) => {
            let mut deduction = Deduction::new(within_bounds("subtract", amount)?);
            (deduction.or_less, deduction.request_id) = (or_less, request_id);
            let deducted = keys.deduct(id, deduction).await.map_err(idempotency::problem)?;
            let Deducted { amount, balance } = deducted;
            let record = keys.get(id).await?;
            let view = KeyView::new(&record, keys.now()).with_balance(Some(&balance));
            let answer = Subtracted { view, subtracted: amount };
            let mut response = body::json(StatusCode::OK, &answer);
            answer.view.headers(&mut response);
            Ok(response)
        }
        (Some(_), None) => Err(Problem::invalid_field("or_less", "or_less goes with subtract.")),
        _ => Err(Problem::invalid_field("add", "Send either add or subtract.")),
    }
}

fn within_bounds(field: &str, amount: NonZeroU64) -> Result<u64, Problem> {
    if amount.get() <= MAX_CREDITS {
        return Ok(amount.get());
    }
    let detail = format!("There are at most {MAX_CREDITS} credits.");
    Err(Problem::invalid_field(field, detail))
}
