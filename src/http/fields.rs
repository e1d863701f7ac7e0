//! Fields and parameters that need their own way of reading.

use std::{net::IpAddr, str::FromStr};

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use ipnet::IpNet;
use serde_core::de::{Deserialize, Deserializer, Error};

use super::problem;
use crate::{key::KeyId, rejection::Problem};

/// How many items a page has.
const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

/// The id in the path. A text that is no id is the id of no key.
pub(super) struct Id(pub(super) KeyId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        // The last one: the path that this router is nested under may have parameters of its own.
        let id = path.ok().and_then(|Path(mut path)| path.pop()?.1.parse().ok());
        id.map(Self).ok_or_else(problem::no_such_key)
    }
}

/// How many items a page is to have.
pub(super) fn limit(text: Option<&str>) -> Result<usize, Problem> {
    let Some(text) = text else { return Ok(DEFAULT_LIMIT) };
    text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or_else(|| {
        let detail = format!("limit must be a number from 1 to {MAX_LIMIT}.");
        Problem::invalid_parameter("limit", detail)
    })
}

/// A parameter that may be left out but must be right when it is there.
pub(super) fn parsed<T: FromStr>(
    name: &str,
    text: Option<&str>,
    expected: &'static str,
) -> Result<Option<T>, Problem> {
    let wrong = |_| Problem::invalid_parameter(name, expected);
    text.map(|text| text.parse().map_err(wrong)).transpose()
}

/// A network such as `10.0.0.0/8`, or one address.
pub(super) struct Network(IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let unreadable = "expected a network such as 10.0.0.0/8, or an address";
        network.map(Self).map_err(|_| D::Error::custom(unreadable))
    }
}

pub(super) fn networks(list: Vec<Network>) -> Vec<IpNet> {
    list.into_iter().map(|network| network.0).collect()
}
