//! Keys in the path: the segment after a prefix.

use http::Uri;

use super::Credential;

/// Whether this can be a prefix: in normal form, so that there is one way to write it.
pub(super) fn is_prefix(text: &str) -> bool {
    let is_segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_graphic() && !b"%?#\\".contains(&byte))
    };
    match text.strip_prefix('/') {
        Some("") => true,
        Some(segments) => segments.split('/').all(is_segment),
        None => false,
    }
}

/// The segment after the prefix, which ends with `/`.
///
/// One with a percent sign is no key: to a router it may be another segment, or two. Nor is an empty one or
/// one of dots, which something on the way may have taken apart; both are shorter than any key.
pub(super) fn find<'r>(prefix: &str, uri: &'r Uri) -> Option<Credential<'r>> {
    let (segment, _) = split(prefix, uri.path())?;
    Some(Credential::plain(if segment.contains('%') { &[] } else { segment.as_bytes() }))
}

/// The path without that segment.
pub(super) fn without_key(prefix: &str, path: &str) -> Option<String> {
    let (_, rest) = split(prefix, path)?;
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let path = format!("{prefix}{rest}");
    // Two slashes at the start would name a host, where a redirect repeats them.
    Some(format!("/{}", path.trim_start_matches('/')))
}

/// The segment after the prefix, and the rest with the slash before it.
fn split<'p>(prefix: &str, path: &'p str) -> Option<(&'p str, &'p str)> {
    let rest = path.strip_prefix(prefix)?;
    Some(rest.split_at(rest.find('/').unwrap_or(rest.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_written_in_one_way() {
        for good in ["/", "/hooks", "/v1/hooks", "/a.b/~c", "/..."] {
            assert!(is_prefix(good), "{good}");
        }
        for bad in [
            "", "hooks", "/hooks/", "//", "/a//b", "/.", "/a/..", "/a%2Fb", "/a?b", "/a#b", "/a b",
            "/\\", "/ä",
        ] {
            assert!(!is_prefix(bad), "{bad}");
        }
    }

    #[test]
    fn the_key_is_the_segment_after_the_prefix() {
        for (prefix, path, key, hidden) in [
            ("/hooks/", "/hooks/a-key/build", Some("a-key"), "/hooks/build"),
            ("/hooks/", "/hooks/a-key", Some("a-key"), "/hooks"),
            ("/hooks/", "/hooks/a-key/", Some("a-key"), "/hooks/"),
            ("/hooks/", "/hooks/a-key//b", Some("a-key"), "/hooks//b"),
            ("/", "/a-key/build", Some("a-key"), "/build"),
            ("/", "/a-key", Some("a-key"), "/"),
            ("/", "/", Some(""), "/"),
            ("/", "/a-key//other.example/x", Some("a-key"), "/other.example/x"),
            ("/hooks/", "/hooks/", Some(""), "/hooks"),
            ("/hooks/", "/hooks//a-key", Some(""), "/hooks/a-key"),
            ("/hooks/", "/hooks/a%2Dkey/b", Some(""), "/hooks/b"),
            ("/hooks/", "/hooks", None, ""),
            ("/hooks/", "/Hooks/a-key", None, ""),
            ("/hooks/", "//hooks/a-key", None, ""),
            ("/hooks/", "/%68ooks/a-key", None, ""),
            ("/hooks/", "/x/../hooks/a-key", None, ""),
        ] {
            let uri: Uri = path.parse().unwrap();
            let found = find(prefix, &uri).map(|found| found.raw);
            assert_eq!(found, key.map(str::as_bytes), "{prefix} {path}");
            assert_eq!(
                without_key(prefix, path).as_deref(),
                key.map(|_| hidden),
                "{prefix} {path}"
            );
        }
    }
}
