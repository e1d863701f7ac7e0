//! The troubles of a service, and the alerts that they are to have.

use std::pin::Pin;

use crate::{back_ends, lookups, requests, servers::Server, service::Stage};

pub(crate) struct Scenario {
    /// The job of Prometheus.
    pub(crate) name: &'static str,
    /// A server of its own, which is ended.
    pub(crate) ends: Option<Server>,
    /// All that fire, in the order of their names, without `ApiKey`; with the back end or the code.
    pub(crate) alerts: &'static [&'static str],
    pub(crate) run: fn(Stage) -> Run,
}

type Run = Pin<Box<dyn Future<Output = ()>>>;

macro_rules! scenarios {
    ($($name:literal, $ends:expr, $run:path => [$($alert:literal),*];)*) => {
        pub(crate) const SCENARIOS: &[Scenario] = &[$(Scenario {
            name: $name,
            ends: $ends,
            alerts: &[$($alert),*],
            run: |stage| Box::pin($run(stage)),
        }),*];
    };
}

scenarios! {
    "calm", None, requests::calm => [];
    "counts", None, back_ends::counts => ["CountsNotWritten"];
    "credits", None, back_ends::credits =>
        ["BackEndDown key_store", "CreditsLost", "RequestsUnanswered store_unavailable"];
    "deaf", Some(Server::Redis), back_ends::deaf => ["BackEndDown bus", "NotListening"];
    "guesses", None, requests::guesses => ["Guesses"];
    "limiter", Some(Server::Redis), back_ends::limiter =>
        ["BackEndDown rate_limiter", "RequestsUnanswered limiter_unavailable"];
    "shadow", None, requests::shadow => ["InShadow"];
    "shed", None, lookups::shed => ["GoodKeysShed", "RequestsUnanswered lookup_overloaded"];
    "slow", None, lookups::slow => ["LookupsSlow"];
    "store", Some(Server::Postgres), back_ends::store =>
        ["BackEndDown key_store", "RequestsUnanswered store_unavailable"];
    "unenforceable", None, requests::unenforceable => ["Unenforceable"];
    "waiting", None, lookups::waiting => ["RequestsUnanswered lookup_overloaded"];
}
