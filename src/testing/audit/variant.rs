//! [`Variant`]: other ways to write a path, which a guard may take for another and a router for the same.

use std::{collections::BTreeMap, fmt};

/// The form in which an audit asks for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Variant {
    /// As the list has it.
    AsListed,
    /// With a method that the list does not have for this path.
    OtherMethod,
    /// `//` for each `/`.
    DoubledSlashes,
    /// `/%2e` in front: the segment `.`, percent-encoded.
    DotSegment,
    /// With a slash at the end where the path has none, or without it.
    TrailingSlash,
    /// Upper case for lower case, and the other way round.
    OtherCase,
    /// A path that no route has.
    UnlistedPath,
}

impl Variant {
    pub(super) const OF_PATHS: [Self; 4] =
        [Self::DoubledSlashes, Self::DotSegment, Self::TrailingSlash, Self::OtherCase];

    /// The path in this form, with values for its parameters. `None` where it has no such form.
    pub(super) fn of(self, path: &str, parameters: &BTreeMap<String, String>) -> Option<String> {
        let plain = || filled(path, parameters);
        let other = match self {
            Self::DoubledSlashes => plain().replace('/', "//"),
            Self::DotSegment => format!("/%2e{}", plain()),
            Self::TrailingSlash => match plain().strip_suffix('/') {
                Some("") => return None,
                Some(without) => without.to_owned(),
                None => plain() + "/",
            },
            Self::OtherCase => {
                let other = each_segment(path, |segment| segment.chars().map(other_case).collect());
                filled(&other, parameters)
            }
            Self::AsListed | Self::OtherMethod | Self::UnlistedPath => return Some(plain()),
        };
        (other != plain()).then_some(other)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AsListed => "as listed",
            Self::OtherMethod => "with a method that is not listed",
            Self::DoubledSlashes => "with doubled slashes",
            Self::DotSegment => "with a dot segment",
            Self::TrailingSlash => "with another end",
            Self::OtherCase => "in letters of the other case",
            Self::UnlistedPath => "a path that is not listed",
        })
    }
}

/// The value of a parameter that has none given.
const VALUE: &str = "1";

fn other_case(letter: char) -> char {
    if letter.is_ascii_lowercase() {
        letter.to_ascii_uppercase()
    } else {
        letter.to_ascii_lowercase()
    }
}

fn filled(path: &str, parameters: &BTreeMap<String, String>) -> String {
    let mut filled = String::new();
    let mut rest = path;
    while let Some((before, name, after)) = parameter(rest) {
        let name = name.trim_start_matches('*');
        filled.push_str(before);
        filled.push_str(parameters.get(name).map_or(VALUE, String::as_str));
        rest = after;
    }
    filled + rest
}

/// The first parameter of a path: before it, its name, and after it.
fn parameter(path: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = path.split_once('{')?;
    let (name, after) = rest.split_once('}')?;
    Some((before, name, after))
}

/// Changes the segments without a parameter.
fn each_segment(path: &str, change: impl Fn(&str) -> String) -> String {
    let changed = |segment| match parameter(segment) {
        Some(_) => segment.to_owned(),
        None => change(segment),
    };
    path.split('/').map(changed).collect::<Vec<_>>().join("/")
}

/// The path without the names of its parameters, by which two lists are compared.
pub(super) fn without_names(path: &str) -> String {
    let mut without = String::new();
    let mut rest = path;
    while let Some((before, name, after)) = parameter(rest) {
        without.push_str(before);
        without.push_str(if name.starts_with('*') { "{*}" } else { "{}" });
        rest = after;
    }
    without + rest
}

/// Whether a router would find this listed path for a request's.
pub(super) fn matches(listed: &str, path: &str) -> bool {
    let Some((before, name, after)) = parameter(listed) else { return listed == path };
    let Some(rest) = path.strip_prefix(before) else { return false };
    if name.starts_with('*') {
        return !rest.is_empty();
    }
    let end = rest.find('/').unwrap_or(rest.len());
    (1..=end).any(|end| rest.is_char_boundary(end) && matches(after, &rest[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_other_forms() {
        let parameters = BTreeMap::from([("id".to_owned(), "aB".to_owned())]);
        let of = |variant: Variant, path| variant.of(path, &parameters);
        for (variant, expected) in [
            (Variant::AsListed, "/Orders/aB/x1"),
            (Variant::DoubledSlashes, "//Orders//aB//x1"),
            (Variant::DotSegment, "/%2e/Orders/aB/x1"),
            (Variant::TrailingSlash, "/Orders/aB/x1/"),
            (Variant::OtherCase, "/oRDERS/aB/X1"),
        ] {
            assert_eq!(
                of(variant, "/Orders/{id}/x{other}").as_deref().map(|p| p.replace('X', "x")),
                Some(expected.replace('X', "x"))
            );
        }
        assert_eq!(of(Variant::TrailingSlash, "/docs/").as_deref(), Some("/docs"));
        assert_eq!(of(Variant::TrailingSlash, "/"), None);
        assert_eq!(of(Variant::OtherCase, "/{*rest}"), None);
    }

    #[test]
    fn listed_paths_are_found() {
        assert_eq!(without_names("/a/{id}/{*rest}"), "/a/{}/{*}");
        for (listed, path, expected) in [
            ("/a/{id}", "/a/1", true),
            ("/a/{id}", "/a/", false),
            ("/a/{id}", "/a/1/2", false),
            ("/{id}.json", "/1.json", true),
            ("/{id}.json", "/1.xml", false),
            ("/{*rest}", "/a/1/2", true),
            ("/{*rest}", "//a", true),
            ("/a/{*rest}", "/a/", false),
            ("/a", "/A", false),
            ("/a/", "/a", false),
        ] {
            assert_eq!(matches(listed, path), expected, "{listed} {path}");
        }
    }
}
