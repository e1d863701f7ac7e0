//! [`assert_denied!`](super::assert_denied): a response is this denial and no other.

use http::{Extensions, StatusCode};

use crate::{
    key::{RejectionKind, Scopes},
    rejection::Rejection,
};

/// Asserts that a response is a denial of this kind, or with this `code`; and of
/// [`InsufficientScope`](RejectionKind::InsufficientScope), that the key lacks these scopes and no
/// others.
///
/// It reads the [`Rejection`] in the response's extensions, which says the truth also where a layer
/// [tells clients less](crate::ApiKeyLayer::with_uniform_denials). A response that came over the network
/// has none.
///
/// ```
/// use http::Response;
/// use tower_api_key::{Rejection, RejectionKind, Scopes, testing::assert_denied};
///
/// let mut response = Response::builder().status(403).body(()).unwrap();
/// let missing = Scopes::parse(["orders:read"]).unwrap();
/// response.extensions_mut().insert(Rejection::insufficient_scope(missing));
///
/// assert_denied!(response, RejectionKind::InsufficientScope);
/// assert_denied!(response, "insufficient_scope", ["orders:read"]);
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __assert_denied {
    ($response:expr, $expected:expr $(,)?) => {
        match &$response {
            response => $crate::testing::denied::check(
                response.status(),
                response.extensions(),
                &$expected,
                ::core::option::Option::None::<[&str; 0]>,
            ),
        }
    };
    ($response:expr, $expected:expr, $scopes:expr $(,)?) => {
        match &$response {
            response => $crate::testing::denied::check(
                response.status(),
                response.extensions(),
                &$expected,
                ::core::option::Option::Some($scopes),
            ),
        }
    };
}

/// A kind, or its code.
pub trait Expected {
    fn code(&self) -> &str;
}

impl Expected for RejectionKind {
    fn code(&self) -> &str {
        (*self).code()
    }
}

impl Expected for &str {
    fn code(&self) -> &str {
        self
    }
}

/// Panics unless it is this denial.
#[track_caller]
pub fn check<T: AsRef<str>>(
    status: StatusCode,
    extensions: &Extensions,
    expected: &impl Expected,
    scopes: Option<impl IntoIterator<Item = T>>,
) {
    let expected = expected.code();
    assert!(
        RejectionKind::all().any(|kind| kind.code() == expected),
        "no denial has the code `{expected}`: see `RejectionKind`",
    );
    let Some(rejection) = extensions.get::<Rejection>() else {
        let of_another = if status.is_success() {
            "it was let in"
        } else {
            "the extensions hold no `Rejection`, so another layer, a router or a handler answered"
        };
        panic!("expected the denial `{expected}`, got {status}: {of_another}");
    };
    let found = rejection.kind().code();
    let key = rejection.key().map(|key| format!(" of the key {key}")).unwrap_or_default();
    assert!(found == expected, "expected the denial `{expected}`, got {status} `{found}`{key}");
    if let Some(scopes) = scopes {
        let scopes = Scopes::parse(scopes).unwrap_or_else(|error| panic!("{error}"));
        let missing = rejection.missing_scopes().cloned().unwrap_or_default();
        assert!(
            missing == scopes,
            "expected `{expected}` for lack of `{}`, got it for lack of `{}`{key}",
            scopes.as_str(),
            missing.as_str(),
        );
    }
}
