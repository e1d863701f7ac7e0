//! After hiding, no source finds a key of ours: not in the request that was judged by one of
//! several, not in one that nobody judged, and not in the copies that axum keeps.

use http::{Request, Uri};
use proptest::{collection::vec, prelude::*};
use tower_api_key::{ApiKeyLayer, KeyFormat, KeyManager, KeySource, NewKey, Precedence};

use crate::{
    stores::TestStore,
    support::{Answer, record, request_to, send},
};

/// Keys of the accepted format. The first is known, the others are of nobody.
const KEYS: usize = 3;

struct Keys {
    texts: Vec<String>,
    format: KeyFormat,
}

impl Keys {
    fn new() -> Self {
        let format = KeyFormat::new("acme").unwrap();
        let generate = |_| format.generate().unwrap().expose().to_owned();
        Self { texts: (0..KEYS).map(generate).collect(), format }
    }

    fn layer(&self) -> ApiKeyLayer {
        let sources = [
            KeySource::x_api_key(),
            KeySource::bearer(),
            KeySource::header_scheme("authorization", "Token").unwrap(),
            KeySource::query("api_key").unwrap(),
            KeySource::cookie("api_key").unwrap(),
        ];
        ApiKeyLayer::new(TestStore::new([record(&self.texts[0])]))
            .with_sources(sources)
            .with_formats([self.format.clone(), KeyFormat::opaque()])
    }

    /// Whether a key of ours can be read anywhere in what the service saw.
    fn are_in(&self, answer: &Answer) -> bool {
        let seen = answer.seen();
        let all = format!("{:?} {}", seen.headers, decoded(&seen.uri.to_string()));
        self.texts.iter().any(|text| all.contains(text))
    }
}

/// Undoes percent-encoding where there is some.
fn decoded(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut decoded = pieces.next().unwrap().to_owned();
    for piece in pieces {
        let byte = piece.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) => decoded.push(char::from(byte)),
            None => decoded.push('%'),
        }
        decoded.push_str(if byte.is_some() { &piece[2..] } else { piece });
    }
    decoded
}

/// A piece of a header, a query or a cookie line.
#[derive(Clone, Debug)]
enum Piece {
    /// A key of ours, and a number that chooses how it is written.
    Key(usize, u32),
    Other(String),
}

fn piece(other: &'static str) -> impl Strategy<Value = Piece> {
    prop_oneof![
        (0..KEYS, any::<u32>()).prop_map(|(key, how)| Piece::Key(key, how)),
        other.prop_map(Piece::Other),
    ]
}

/// Writes pieces as they are sent, and those that are to stay.
fn write(
    pieces: &[Piece],
    separator: &str,
    key: impl Fn(usize, u32) -> String,
) -> (String, Option<String>) {
    let all = pieces.iter().map(|piece| match piece {
        Piece::Key(index, how) => key(*index, *how),
        Piece::Other(text) => text.clone(),
    });
    let others = pieces.iter().filter_map(|piece| match piece {
        Piece::Key(..) => None,
        Piece::Other(text) => Some(text.as_str()),
    });
    let others: Vec<_> = others.collect();
    let rest = (!others.is_empty()).then(|| others.join(separator));
    (all.collect::<Vec<_>>().join(separator), rest)
}

/// Percent-encodes the bytes that `how` chooses.
fn encoded(text: &str, how: u32) -> String {
    let encode = |(index, byte): (usize, u8)| match how.rotate_right(u32::try_from(index).unwrap())
    {
        bits if bits & 3 == 3 => format!("%{byte:02x}"),
        bits if bits & 3 == 2 => format!("%{byte:02X}"),
        _ => char::from(byte).to_string(),
    };
    text.bytes().enumerate().map(encode).collect()
}

/// A whole request: pairs of the query, lines of cookies, and values of two headers.
#[derive(Clone, Debug)]
struct Sent {
    query: Vec<Piece>,
    cookies: Vec<Vec<Piece>>,
    authorization: Vec<Piece>,
    x_api_key: Vec<Piece>,
}

/// Pieces that are none of our keys, though some of them are in their places.
fn any_request() -> impl Strategy<Value = Sent> {
    let cookies = piece(r"([a-z]{1,3}|api_ke|Api_key)=[!#-+\--:<-~]{0,5}|api_key=opaque-[a-z]{12}");
    (
        vec(piece("[a-z]{0,2}(=[a-zA-Z0-9._~+/?-]{0,5})?|api_key=(acme_[a-z]{9}|%zz)?"), 0..6),
        vec(vec(cookies, 1..5), 0..4),
        vec(piece("Basic [a-z]{3}|Bearer (ey[a-z]{9}|acme_[a-z]{9})|Token|Tokens x"), 0..4),
        vec(piece("[a-z]{1,20}|acme_[a-zA-Z0-9]{48}"), 0..3),
    )
        .prop_map(|(query, cookies, authorization, x_api_key)| Sent {
            query,
            cookies,
            authorization,
            x_api_key,
        })
}

impl Sent {
    /// The request, and what is to be left of it: the target, and the values of each header.
    fn write(&self, keys: &Keys) -> (Request<()>, String, [Vec<String>; 3]) {
        let text = |index: usize| &keys.texts[index];
        let query = |index, how| {
            format!("{}={}", encoded("api_key", how), encoded(text(index), how.rotate_left(7)))
        };
        let (query, query_left) = write(&self.query, "&", query);
        let target = |query: Option<&str>| match query {
            Some(query) => format!("/a%2Fb?{query}"),
            None => "/a%2Fb".to_owned(),
        };
        let has_query = !self.query.is_empty();
        let mut headers: Vec<(&str, String)> = Vec::new();
        let mut left: [Vec<String>; 3] = Default::default();
        for line in &self.cookies {
            let cookie = |index, how: u32| match how % 3 {
                0 => format!("api_key={}", text(index)),
                1 => format!("api_key=\"{}\"", text(index)),
                _ => format!("api_key =  {} ", text(index)),
            };
            let (line, rest) = write(line, "; ", cookie);
            // A value ends without white space, as parsers of HTTP leave it.
            headers.push(("cookie", line.trim_end().to_owned()));
            left[0].extend(rest);
        }
        for value in &self.authorization {
            let scheme = |index, how: u32| match how % 3 {
                0 => format!("Bearer {}", text(index)),
                1 => format!("bEARER  {}", text(index)),
                _ => format!("Token {}", text(index)),
            };
            let (value, rest) = write(std::slice::from_ref(value), "", scheme);
            headers.push(("authorization", value));
            left[1].extend(rest);
        }
        for value in &self.x_api_key {
            let (value, rest) =
                write(std::slice::from_ref(value), "", |index, _| text(index).clone());
            headers.push(("x-api-key", value));
            left[2].extend(rest);
        }
        let request = request_to(&target(has_query.then_some(&query)), &headers);
        let left_of_target = target(query_left.as_deref()).parse::<Uri>().unwrap();
        (request, left_of_target.to_string(), left)
    }
}

/// What the service saw, in the form of what [`Sent::write`] leaves.
fn seen(answer: &Answer) -> (String, [Vec<String>; 3]) {
    let values = |name| {
        let values = answer.seen().headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    };
    (answer.seen().uri.to_string(), ["cookie", "authorization", "x-api-key"].map(values))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_of_ours_is_left_in_a_request_that_passes_by(sent in any_request()) {
        let keys = Keys::new();
        let (request, target, left) = sent.write(&keys);
        let layer = keys.layer().with_bypass(|_| true).hide_credentials();
        let answer = send(&layer, request);
        prop_assert_eq!(seen(&answer), (target, left));
        prop_assert!(!keys.are_in(&answer));
    }

    #[test]
    fn nothing_of_ours_is_left_beside_the_key_that_decided(mut sent in any_request()) {
        let keys = Keys::new();
        sent.x_api_key = vec![Piece::Key(0, 0)];
        let (request, target, left) = sent.write(&keys);
        let layer = keys.layer().with_precedence(Precedence::FirstSource).hide_credentials();
        let answer = send(&layer, request);
        prop_assert_eq!(answer.outcome(), "admitted");
        prop_assert_eq!(seen(&answer), (target, left));
        prop_assert!(!keys.are_in(&answer));
    }
}

/// The names of headers with a value that is marked sensitive.
fn marked(answer: &Answer) -> Vec<&str> {
    let headers = answer.seen().headers.iter();
    let marked = headers.filter(|(_, value)| value.is_sensitive());
    let mut names: Vec<_> = marked.map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn what_is_not_hidden_is_marked() {
    let keys = Keys::new();
    let (bearer, cookie) =
        (format!("Bearer {}", keys.texts[1]), format!("api_key={}", keys.texts[2]));
    let headers = [
        ("x-api-key", keys.texts[0].as_str()),
        ("authorization", &bearer),
        ("cookie", &cookie),
        ("x-other", &keys.texts[0]),
    ];
    let first =
        send(&keys.layer().with_precedence(Precedence::FirstSource), request_to("/", &headers));
    assert_eq!(first.outcome(), "admitted");
    assert_eq!(marked(&first), ["authorization", "cookie", "x-api-key"]);
    let bypassed = send(&keys.layer().with_bypass(|_| true), request_to("/", &headers));
    assert_eq!(marked(&bypassed), ["authorization", "cookie", "x-api-key"]);
    // A token that is not ours is for somebody else to mark.
    let foreign = [("authorization", "Bearer eyJhbGciOiJub25lIn0.e30."), ("x-api-key", &bearer)];
    let bypassed = send(&keys.layer().with_bypass(|_| true), request_to("/", &foreign));
    assert_eq!(marked(&bypassed), [""; 0]);
}

/// A layer outside that took the key out of the target and put it into a header, say: what axum
/// keeps is the target as it was sent.
#[cfg(feature = "axum")]
mod in_axum {
    use axum::{Router, body::Body, extract::OriginalUri, http::HeaderMap, routing::get};
    use http::Response;

    use super::*;
    use crate::support::respond;

    fn app(layer: ApiKeyLayer) -> Router {
        async fn shown(original: OriginalUri, uri: Uri, headers: HeaderMap) -> String {
            format!("{} {uri} {headers:?}", original.0)
        }
        let routes = || Router::new().route("/shown", get(shown));
        Router::new()
            .nest("/inside", routes().layer(layer.clone()))
            .nest("/outside", routes())
            .route("/shown", get(shown))
            .layer(layer)
    }

    async fn ask(layer: ApiKeyLayer, request: Request<()>) -> String {
        let response: Response<_> = respond(app(layer), request.map(|()| Body::empty())).await;
        assert_eq!(response.status(), 200, "{response:?}");
        String::from_utf8(response.body().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_original_target_is_hidden_as_well() {
        let keys = Keys::new();
        let key = &keys.texts[0];
        let lenient = keys.layer().with_precedence(Precedence::FirstSource);
        let opaque = ApiKeyLayer::new(TestStore::new([record(crate::support::KEY)]))
            .with_source(KeySource::query("api_key").unwrap());
        for path in ["/shown", "/inside/shown", "/outside/shown"] {
            for (layer, key) in [
                (keys.layer(), key.as_str()),
                (keys.layer().with_bypass(|_| true), key),
                (lenient.clone(), key),
                (opaque.clone(), crate::support::KEY),
            ] {
                // Twice on one way, the second time without a credential.
                let layer = layer.hide_credentials().allow_anonymous();
                let target = format!("{path}?a=1&api_key={}&b=2", encoded(key, 0x9f3_1c70));
                let text = ask(layer, request_to::<&str>(&target, &[])).await;
                assert!(text.starts_with(&format!("{path}?a=1&b=2 /shown?a=1&b=2 ")), "{text}");
            }
        }
        // A key in a header, of which a copy is in the original target.
        let headers = [("x-api-key", key.as_str())];
        let target = format!("/shown?api_key={key}");
        let text = ask(lenient.hide_credentials(), request_to(&target, &headers)).await;
        assert_eq!(text, "/shown /shown {}");
    }

    #[tokio::test]
    async fn a_copy_goes_also_where_the_target_itself_was_changed_before() {
        let keys = Keys::new();
        let key = keys.texts[0].clone();
        let service = tower::ServiceBuilder::new()
            .map_request({
                let key = key.clone();
                move |mut request: Request<()>| {
                    let original = OriginalUri(request.uri().clone());
                    request.extensions_mut().insert(original);
                    *request.uri_mut() = "/".parse().unwrap();
                    request.headers_mut().insert("x-api-key", key.parse().unwrap());
                    request
                }
            })
            .layer(keys.layer().hide_credentials())
            .service(tower::service_fn(async |request: Request<()>| {
                let original = &request.extensions().get::<OriginalUri>().unwrap().0;
                Ok::<_, std::convert::Infallible>(Response::new(original.to_string()))
            }));
        let sent = request_to::<&str>(&format!("http://api.test/p?api_key={key}&a"), &[]);
        assert_eq!(respond(service, sent).await.body(), "http://api.test/p?a");
    }
}

/// A manager's own layer knows the format of its keys.
#[tokio::test]
async fn a_managers_layer_hides_its_keys_from_what_passes_by() {
    let keys = KeyManager::new(tower_api_key::store::MemoryStore::new());
    let key = keys.create(NewKey::named("x")).await.unwrap().secret;
    let layer = keys.layer().with_bypass(|_| true).hide_credentials();
    let token = "Bearer eyJhbGciOiJub25lIn0.e30.";
    let answer =
        send(&layer, request_to("/", &[("x-api-key", key.expose()), ("authorization", token)]));
    assert!(!answer.seen().headers.contains_key("x-api-key"));
    assert_eq!(answer.seen().headers["authorization"], token);
}
