//! [`Plan`]: the requests of an audit.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;

use super::{
    report::{AuditFailure, AuditReason, AuditedRow, SentKey},
    variant::{Variant, matches, without_names},
};
use crate::{
    auth::KeySource,
    key::Scopes,
    testing::routes::{Access, METHODS, Operation, Routes},
};

/// An operation, or all of a path, that needs no key.
#[derive(Clone, Debug)]
pub(super) struct Public {
    method: Option<Method>,
    path: String,
}

impl Public {
    pub(super) fn parse(text: &str) -> Self {
        match text.split_once(' ') {
            Some((method, path)) => {
                let method = method.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"));
                Self { method: Some(method), path: path.to_owned() }
            }
            None => Self { method: None, path: text.to_owned() },
        }
    }

    fn names(&self, method: Option<&Method>, path: &str) -> bool {
        self.has_method(method) && without_names(&self.path) == without_names(path)
    }

    /// `HEAD` is a part of `GET`.
    fn has_method(&self, method: Option<&Method>) -> bool {
        match &self.method {
            None => true,
            Some(known) if method == Some(known) => true,
            Some(known) => known == Method::GET && method == Some(&Method::HEAD),
        }
    }
}

/// The requests, by operation, and what is wrong with the list itself.
pub(super) struct Plan {
    pub(super) rows: Vec<Row>,
    pub(super) failures: Vec<AuditFailure>,
}

/// One operation, or the other methods of a path.
pub(super) struct Row {
    pub(super) shown: AuditedRow,
    pub(super) probes: Vec<Probe>,
}

/// One request.
pub(super) struct Probe {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) variant: Variant,
    pub(super) sent: SentKey,
    pub(super) source: Option<KeySource>,
    /// Those that the operation asks for.
    pub(super) scopes: Scopes,
    pub(super) expected: Expected,
}

/// The right answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// 401 with a challenge.
    NoGoodKey,
    /// 403 that names exactly the scopes.
    LacksScopes,
    /// A denial, or 405.
    NoMethod,
    /// A denial, or no route.
    NoRoute,
    /// No denial.
    LetIn,
}

impl Plan {
    pub(super) fn new(
        routes: &Routes,
        public: &[Public],
        parameters: &BTreeMap<String, String>,
        runs_handlers: bool,
    ) -> Self {
        let mut paths: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
        for operation in &routes.operations {
            add(paths.entry(without_names(&operation.path)).or_default(), operation);
        }
        let planner = Planner { public, parameters, runs_handlers };
        let mut plan = Self { rows: Vec::new(), failures: Vec::new() };
        for operations in paths.values() {
            for operation in operations {
                planner.operation(operation, &mut plan);
            }
            planner.other_methods(operations, &mut plan);
        }
        let fallbacks = routes.fallbacks.iter().map(|below| below.trim_end_matches('/'));
        for below in fallbacks.chain([""]).collect::<BTreeSet<_>>() {
            planner.fallback(below, &mut plan);
        }
        for unused in public.iter().filter(|public| {
            let mut listed = routes.operations.iter();
            !listed.any(|known| {
                public.names(known.method.as_ref().or(public.method.as_ref()), &known.path)
            })
        }) {
            let shown = AuditedRow::new(unused.method.as_ref(), &unused.path, "nothing");
            plan.failures.push(AuditFailure::of_list(&shown, AuditReason::NotListed));
        }
        plan
    }
}

/// Adds what a list says of an operation to what another says.
fn add(operations: &mut Vec<Operation>, new: &Operation) {
    let Some(known) = operations.iter_mut().find(|known| known.method == new.method) else {
        return operations.push(new.clone());
    };
    if known.access == Access::Unsaid {
        known.access = new.access;
    }
    known.scopes =
        known.scopes.iter().chain(new.scopes.iter()).filter_map(|s| s.parse().ok()).collect();
    known.source = known.source.take().or(new.source.clone());
}

struct Planner<'p> {
    public: &'p [Public],
    parameters: &'p BTreeMap<String, String>,
    runs_handlers: bool,
}

impl Planner<'_> {
    fn is_public(&self, method: Option<&Method>, path: &str) -> bool {
        self.public.iter().any(|public| public.names(method, path))
    }

    fn operation(&self, operation: &Operation, plan: &mut Plan) {
        let Operation { method, path, access, scopes, .. } = operation;
        let is_public = self.is_public(method.as_ref(), path);
        let asks_for = match access {
            _ if is_public => "nothing: public",
            Access::Open => "nothing",
            _ if !scopes.is_empty() => scopes.as_str(),
            Access::Optional => "a key or none",
            Access::Unsaid | Access::Key => "a key",
        };
        let shown = AuditedRow::new(method.as_ref(), path, asks_for);
        let is_guarded = *access == Access::Key || !scopes.is_empty();
        let mismatch = match (is_public, access) {
            (true, _) if is_guarded => Some(AuditReason::PublicButGuarded),
            (false, Access::Open) => Some(AuditReason::OpenButNotPublic),
            _ => None,
        };
        let is_asked = !is_public && *access != Access::Open;
        plan.failures.extend(mismatch.map(|reason| AuditFailure::of_list(&shown, reason)));
        // The methods of a path of which nothing is known are asked as its other methods are.
        let probes = match method {
            Some(method) if is_asked => self.probes(operation, method),
            None if is_asked => return,
            _ => Vec::new(),
        };
        plan.rows.push(Row { shown, probes });
    }

    /// The requests for an operation that asks for a key.
    fn probes(&self, operation: &Operation, method: &Method) -> Vec<Probe> {
        let Operation { path, access, scopes, source, .. } = operation;
        let listed = Variant::AsListed.of(path, self.parameters).unwrap_or_default();
        let probe = |path: &str, variant, sent, expected| Probe {
            method: method.clone(),
            path: path.to_owned(),
            variant,
            sent,
            source: source.clone(),
            scopes: scopes.clone(),
            expected,
        };
        let as_listed = |sent, expected| probe(&listed, Variant::AsListed, sent, expected);
        let is_optional = *access == Access::Optional;
        let mut probes = Vec::new();
        if is_optional {
            probes.push(as_listed(SentKey::Unknown, Expected::NoGoodKey));
        } else {
            probes.push(as_listed(SentKey::None, Expected::NoGoodKey));
        }
        let sent = if scopes.is_empty() {
            SentKey::None
        } else {
            probes.push(as_listed(SentKey::WithoutScopes, Expected::LacksScopes));
            SentKey::WithoutScopes
        };
        if !is_optional || sent == SentKey::WithoutScopes {
            for (variant, path) in self.variants(method, path) {
                probes.push(probe(&path, variant, sent, Expected::NoRoute));
            }
        }
        if self.runs_handlers {
            probes.push(as_listed(SentKey::WithScopes, Expected::LetIn));
        }
        probes
    }

    /// Other forms of a path, but for those that a public path is meant to answer.
    fn variants(&self, method: &Method, path: &str) -> impl Iterator<Item = (Variant, String)> {
        let variants = Variant::OF_PATHS.into_iter();
        let forms =
            variants.filter_map(|variant| Some((variant, variant.of(path, self.parameters)?)));
        forms.filter(|(_, path)| !self.is_meant(method, path))
    }

    fn is_meant(&self, method: &Method, path: &str) -> bool {
        self.public
            .iter()
            .any(|public| public.has_method(Some(method)) && matches(&public.path, path))
    }

    /// The methods that the list does not have for a path. Of a path of which nothing else is known, those
    /// are all, in each of its forms.
    fn other_methods(&self, operations: &[Operation], plan: &mut Plan) {
        let Some(Operation { path, source, .. }) = operations.first() else { return };
        if self.is_public(None, path) {
            return;
        }
        let known = || operations.iter().filter(|operation| operation.method.is_some());
        let is_known = known().next().is_some();
        let guarded = || {
            known().filter(|one| {
                !matches!(one.access, Access::Open | Access::Optional)
                    && !self.is_public(one.method.as_ref(), path)
            })
        };
        let all_ask_for_scopes =
            guarded().next().is_some() && guarded().all(|one| !one.scopes.is_empty());
        let sent = if all_ask_for_scopes { SentKey::WithoutScopes } else { SentKey::None };
        // `HEAD` is answered by what answers `GET`.
        let is_get_open = known().any(|one| one.method == Some(Method::GET))
            && !guarded().any(|one| one.method == Some(Method::GET));
        let mut probes = Vec::new();
        for method in METHODS {
            let is_listed = known().any(|one| one.method.as_ref() == Some(&method));
            let is_open = method == Method::HEAD && is_get_open;
            if is_listed || is_open || self.is_public(Some(&method), path) {
                continue;
            }
            let listed = Variant::AsListed.of(path, self.parameters);
            let listed = listed.map(|path| (Variant::OtherMethod, path, Expected::NoMethod));
            let variants = (!is_known).then(|| self.variants(&method, path)).into_iter().flatten();
            let variants = variants.map(|(variant, path)| (variant, path, Expected::NoRoute));
            for (variant, path, expected) in listed.into_iter().chain(variants) {
                probes.push(Probe {
                    method: method.clone(),
                    path,
                    variant,
                    sent,
                    source: source.clone(),
                    scopes: Scopes::default(),
                    expected,
                });
            }
        }
        let asks_for = if is_known { "not listed" } else { "a key" };
        plan.rows.push(Row { shown: AuditedRow::new(None, path, asks_for), probes });
    }

    fn fallback(&self, below: &str, plan: &mut Plan) {
        let path = format!("{below}/{UNLISTED}");
        if self.is_meant(&Method::GET, &path) {
            return;
        }
        let path = Variant::UnlistedPath.of(&path, self.parameters).unwrap_or_default();
        let shown = AuditedRow::new(Some(&Method::GET), &path, "no route");
        let probe = Probe {
            method: Method::GET,
            path,
            variant: Variant::UnlistedPath,
            sent: SentKey::None,
            source: None,
            scopes: Scopes::default(),
            expected: Expected::NoRoute,
        };
        plan.rows.push(Row { shown, probes: vec![probe] });
    }
}

/// The last segment of a path that no route is expected to have.
const UNLISTED: &str = "no-route-has-this-path";
