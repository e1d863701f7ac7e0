//! [`Path`]: a target in normal form, so that all servers behind the proxy read the same path in it.

use crate::text::hex_digit;

/// The path of a target, taken apart and decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) segments: Vec<Vec<u8>>,
}

impl Path {
    /// The path of a target in origin form (RFC 9112 §3.2.1); `None` where it is not in normal form. It
    /// may end with a slash, which makes no difference here.
    pub(super) fn of_target(target: &str) -> Option<Self> {
        if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#' && byte != b'\\') {
            return None;
        }
        let path = target.split('?').next().unwrap_or_default();
        Self::parse(path)
    }

    /// A path by itself.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        if path.is_empty() {
            return Some(Self { segments: Vec::new() });
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments = path.split('/').map(segment).collect::<Option<_>>()?;
        Some(Self { segments })
    }
}

/// A segment, decoded.
fn segment(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let value = hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?;
                if !may_be_encoded(value) {
                    return None;
                }
                decoded.push(value);
            }
            b';' | b'\\' | b'?' | b'#' => return None,
            byte if byte.is_ascii_graphic() => decoded.push(byte),
            _ => return None,
        }
    }
    // Some servers drop these at the end of a name, and read bytes that are no text in their own way. Dots alone
    // are other segments.
    let is_exact =
        !matches!(decoded.last(), None | Some(b' ' | b'.')) && str::from_utf8(&decoded).is_ok();
    (is_exact && !holds_escape(&decoded)).then_some(decoded)
}

/// Unreserved characters are never encoded in normal form (RFC 3986 §6.2.2.2), the dot among them. Servers
/// read an encoded slash, backslash, semicolon, question mark or number sign in several ways, and a control byte
/// in none that is good.
const fn may_be_encoded(value: u8) -> bool {
    let is_unreserved = value.is_ascii_alphanumeric() || matches!(value, b'-' | b'.' | b'_' | b'~');
    !is_unreserved
        && !value.is_ascii_control()
        && !matches!(value, b'/' | b'\\' | b';' | b'?' | b'#')
}

/// Whether a server that decodes once more reads something else.
fn holds_escape(decoded: &[u8]) -> bool {
    decoded.windows(3).any(|three| {
        three[0] == b'%' && hex_digit(three[1]).is_some() && hex_digit(three[2]).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(target: &str) -> Option<Vec<String>> {
        let path = Path::of_target(target)?;
        let text = |segment| String::from_utf8_lossy(segment).into_owned();
        Some(path.segments.iter().map(|segment| text(segment)).collect())
    }

    #[test]
    fn targets_in_normal_form_are_taken_apart() {
        for (target, segments) in [
            ("/", &[][..]),
            ("/?", &[]),
            ("/a", &["a"]),
            ("/a/", &["a"]),
            ("/a/b?c=//&d=%2e%2e/;#"[..20].trim_end_matches('#'), &["a", "b"]),
            ("/a%20b/%C3%A9", &["a b", "é"]),
            ("/a%c3%a9", &["aé"]),
            ("/100%25", &["100%"]),
            ("/a:b@c,d=e!$&'()*+~_.-", &["a:b@c,d=e!$&'()*+~_.-"]),
            ("/...a/..a/a..b", &["...a", "..a", "a..b"]),
        ] {
            assert_eq!(read(target).unwrap(), segments, "{target}");
        }
    }

    #[test]
    fn every_other_form_is_refused() {
        for target in [
            "",
            "a",
            "*",
            "http://a.example/a",
            "//a",
            "/a//b",
            "/a//",
            "//",
            "/.",
            "/..",
            "/./a",
            "/a/../b",
            "/a/..",
            "/a/./",
            "/%2e",
            "/%2E%2e/a",
            "/.%2e/a",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a%5Cb",
            "/a\\b",
            "/a;b",
            "/a;jsessionid=1",
            "/a%3bb",
            "/;/a",
            "/a%00",
            "/a%0d%0a",
            "/a%7F",
            "/a\tb",
            "/a b",
            "/a\u{e9}",
            "/a#b",
            "/a?b#c",
            "/a?b c",
            "/a%",
            "/a%2",
            "/a%zz",
            "/%61dmin",
            "/a%2Db",
            "/%7euser",
            "/%252e",
            "/%2561dmin",
            "/a?b\\c",
            "/a./b",
            "/a..",
            "/...",
            "/a%20/b",
            "/%c0%ae%c0%ae/a",
            "/a%c0%afb",
            "/a%ff",
        ] {
            assert_eq!(read(target), None, "{target:?}");
        }
    }
}
