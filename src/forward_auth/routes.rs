//! [`Routes`]: which scopes a request needs.

use std::sync::Arc;

use http::Method;

use super::target::Path;
use crate::{error::ConfigError, key::ScopeRule};

/// The rules, by path.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes(Vec<Route>);

#[derive(Clone, Debug)]
struct Route {
    pattern: Vec<Segment>,
    /// Those of single methods, and of all others.
    methods: Vec<(Option<Method>, Required)>,
}

/// The scopes that a request needs, in its extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Required(pub(super) Arc<ScopeRule>);

/// In the order in which they are preferred.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Text(Vec<u8>),
    /// Any one segment.
    One,
    /// One or more, to the end.
    Rest,
}

impl Routes {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a rule for a method, or for all that have none of their own.
    pub(super) fn add(
        &mut self,
        method: Option<Method>,
        pattern: &str,
        rule: ScopeRule,
    ) -> Result<(), ConfigError> {
        let error = |problem| ConfigError::ForwardAuthRule { path: pattern.into(), problem };
        if method == Some(Method::HEAD) {
            return Err(error("is for HEAD, which counts as GET"));
        }
        let segments = parse(pattern).map_err(error)?;
        let at = self.0.iter().position(|route| route.pattern == segments);
        let at = at.unwrap_or_else(|| {
            self.0.push(Route { pattern: segments, methods: Vec::new() });
            self.0.len() - 1
        });
        let route = &mut self.0[at];
        if route.methods.iter().any(|(other, _)| *other == method) {
            return Err(error("has another rule for this method already"));
        }
        route.methods.push((method, Required(Arc::new(rule))));
        Ok(())
    }

    /// The rule for this request. None where a server that takes upper and lower case for the same, or a
    /// path with a slash at its end for one inside, would look for another one.
    pub(super) fn find(&self, method: &Method, path: &Path) -> Option<&Required> {
        if method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) {
            return None;
        }
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let route = self.best(path, <[u8]>::eq)?;
        let in_any_case = self.best(path, <[u8]>::eq_ignore_ascii_case)?;
        if route.pattern != in_any_case.pattern || self.has_rest_of(path, route) {
            return None;
        }
        let of = |wanted: Option<&Method>| {
            route.methods.iter().find(|(method, _)| method.as_ref() == wanted)
        };
        of(Some(method)).or_else(|| of(None)).map(|(_, rule)| rule)
    }

    /// Whether a more precise rule is for all that is inside of this path.
    fn has_rest_of(&self, path: &Path, found: &Route) -> bool {
        self.0.iter().any(|route| {
            let Some((Segment::Rest, before)) = route.pattern.split_last() else { return false };
            before.len() == path.segments.len()
                && are_alike(before, path, <[u8]>::eq_ignore_ascii_case)
                && route.pattern < found.pattern
        })
    }

    /// Of those that match, the one that says most in its first segments.
    fn best(&self, path: &Path, is_same: fn(&[u8], &[u8]) -> bool) -> Option<&Route> {
        let matching = self.0.iter().filter(|route| matches(&route.pattern, path, is_same));
        matching.min_by(|one, other| one.pattern.cmp(&other.pattern))
    }
}

fn matches(pattern: &[Segment], path: &Path, is_same: fn(&[u8], &[u8]) -> bool) -> bool {
    let has_rest = pattern.last() == Some(&Segment::Rest);
    let is_long_enough = if has_rest {
        path.segments.len() >= pattern.len()
    } else {
        path.segments.len() == pattern.len()
    };
    is_long_enough && are_alike(pattern, path, is_same)
}

fn are_alike(pattern: &[Segment], path: &Path, is_same: fn(&[u8], &[u8]) -> bool) -> bool {
    pattern.iter().zip(&path.segments).all(|(segment, sent)| match segment {
        Segment::Text(text) => is_same(text, sent),
        Segment::One | Segment::Rest => true,
    })
}

fn parse(pattern: &str) -> Result<Vec<Segment>, &'static str> {
    let path = Path::parse(pattern)
        .ok_or("is no path in normal form, such as `/orders/{id}` or `/files/{*path}`")?;
    if pattern.len() > 1 && pattern.ends_with('/') {
        return Err("ends with a slash: the rule without it is for both");
    }
    let count = path.segments.len();
    let segment = |(at, text): (usize, Vec<u8>)| {
        let name = text.strip_prefix(b"{").and_then(|text| text.strip_suffix(b"}"));
        match name {
            Some([b'*', name @ ..]) if is_name(name) && at + 1 == count => Ok(Segment::Rest),
            Some(name) if is_name(name) => Ok(Segment::One),
            Some(_) => {
                Err("has a segment in braces that is no `{name}`, or a `{*name}` before its end")
            }
            None if text.contains(&b'{') || text.contains(&b'}') || text.contains(&b'*') => {
                Err("has a brace or an asterisk beside other characters of a segment")
            }
            None => Ok(Segment::Text(text)),
        }
    };
    path.segments.into_iter().enumerate().map(segment).collect()
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(scope: &str) -> ScopeRule {
        ScopeRule::scope(scope).unwrap()
    }

    fn routes() -> Routes {
        let mut routes = Routes::default();
        for (method, pattern, scope) in [
            (None, "/{*rest}", "other"),
            (Some(Method::GET), "/orders", "list"),
            (Some(Method::POST), "/orders", "create"),
            (Some(Method::GET), "/orders/{id}", "read"),
            (None, "/orders/{id}", "write"),
            (Some(Method::GET), "/orders/latest", "latest"),
            (None, "/admin/{*rest}", "admin"),
            (None, "/a%20b", "space"),
        ] {
            routes.add(method, pattern, rule(scope)).unwrap();
        }
        routes
    }

    #[test]
    fn the_most_precise_path_decides_and_then_the_method() {
        for (method, target, scope) in [
            ("GET", "/orders", Some("list")),
            ("HEAD", "/orders", Some("list")),
            ("POST", "/orders", Some("create")),
            ("GET", "/orders/?page=2", Some("list")),
            // Its path has rules, and none for the method: no less precise one is looked for.
            ("DELETE", "/orders", None),
            ("get", "/orders", None),
            ("GET", "/orders/7", Some("read")),
            ("HEAD", "/orders/7", Some("read")),
            ("PATCH", "/orders/7", Some("write")),
            ("GET", "/orders/latest", Some("latest")),
            ("DELETE", "/orders/latest", None),
            ("GET", "/orders/7/items", Some("other")),
            ("GET", "/admin/x", Some("admin")),
            // Of a path with a more precise rule for all that is inside, and none for itself.
            ("GET", "/admin", None),
            ("GET", "/admin/", None),
            ("GET", "/ADMIN/", None),
            ("get", "/orders/7", None),
            ("pATCH", "/orders/7", None),
            ("GET", "/a%20b", Some("space")),
            ("GET", "/", None),
            // To a server that takes both cases for the same, it is another resource.
            ("GET", "/Admin/x", None),
            ("GET", "/ORDERS", None),
            ("GET", "/orders/Latest", None),
            ("GET", "/others/Latest", Some("other")),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let path = Path::of_target(target).unwrap();
            let (routes, expected) = (routes(), scope.map(rule));
            let found = routes.find(&method, &path).map(|required| &*required.0);
            assert_eq!(found, expected.as_ref(), "{method} {target}");
        }
    }

    #[test]
    fn a_rule_that_cannot_be_meant_is_refused() {
        for pattern in [
            "",
            "orders",
            "/new/",
            "//",
            "/a//b",
            "/../a",
            "/%61",
            "/a?b",
            "/{}",
            "/{*}",
            "/{a",
            "/a}",
            "/{a}b",
            "/*",
            "/{*rest}/a",
            "/{a-b}",
            "/new space",
            "/orders/{other}",
        ] {
            let mut routes = routes();
            let is_new = routes.add(Some(Method::GET), pattern, rule("x"));
            assert!(is_new.is_err(), "{pattern:?}");
        }
        assert!(routes().add(Some(Method::HEAD), "/new", rule("x")).is_err());
        for pattern in ["/", "/new"] {
            routes().add(Some(Method::GET), pattern, rule("x")).unwrap();
        }
    }
}
