//! The parameters in the query: those that a route knows, each at most once, and no others. One that
//! is passed over does harm: `?owner_id=` would list the keys of all owners.

use axum::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::request::Parts;

use super::guard::{Admitted, Management};
use crate::rejection::Problem;

/// The parameters that a route knows, as text: the answers to bad values are ours.
pub(super) trait Filters: Sized {
    /// Takes every parameter that there is.
    fn take(from: &mut Parameters) -> Self;
}

/// A request that may manage keys and asks for some of them. Without it a route has [`Admitted`],
/// and with that no parameters at all.
pub(super) struct Asked<F>(pub(super) Admitted, pub(super) F);

impl<F: Filters> FromRequestParts<Management> for Asked<F> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &Management) -> Result<Self, Response> {
        // The caller first: a stranger learns nothing about the query.
        let admitted = Admitted::identified(parts, state).map_err(|answer| *answer)?;
        let filters = state.parameters.read(parts).map_err(IntoResponse::into_response)?;
        Ok(Self(admitted, filters))
    }
}

/// For routes without parameters.
pub(super) struct NoFilters;

impl Filters for NoFilters {
    fn take(_: &mut Parameters) -> Self {
        Self
    }
}

/// The names of parameters that something outside the routes reads, such as a layer that looks for
/// keys in the query.
#[derive(Clone, Default)]
pub(super) struct Outside(Vec<String>);

impl Outside {
    pub(super) fn add<T: Into<String>>(&mut self, names: impl IntoIterator<Item = T>) {
        self.0.extend(names.into_iter().map(Into::into));
    }

    /// The parameters that the route knows, if there are no others.
    pub(super) fn read<F: Filters>(&self, parts: &Parts) -> Result<F, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let sent = form_urlencoded::parse(query.as_bytes()).into_owned();
        let sent = sent.filter(|(name, _)| !self.0.contains(name)).collect();
        let mut parameters = Parameters { sent, known: Vec::new() };
        let filters = F::take(&mut parameters);
        match parameters.sent.first() {
            None => Ok(filters),
            Some((name, _)) => Err(refused(name, &parameters.known)),
        }
    }
}

/// The parameters that the route has not taken yet.
pub(super) struct Parameters {
    sent: Vec<(String, String)>,
    known: Vec<&'static str>,
}

impl Parameters {
    /// The value of this parameter, if it was sent. A second one stays, and is refused.
    pub(super) fn take(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let place = self.sent.iter().position(|(sent, _)| sent == name)?;
        Some(self.sent.remove(place).1)
    }
}

fn refused(name: &str, known: &[&str]) -> Problem {
    if known.contains(&name) {
        return Problem::invalid_parameter(name, format!("Send {name} at most once."));
    }
    let detail = match known {
        [] => "No query parameters are known here.".to_owned(),
        [name] => format!("The only query parameter that is known here is {name}."),
        [names @ .., last] => {
            format!("The query parameters that are known here are {} and {last}.", names.join(", "))
        }
    };
    Problem::unknown_parameter(name, detail)
}
