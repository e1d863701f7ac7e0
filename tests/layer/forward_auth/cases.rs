//! Requests that every proxy asks about, with a good key: of `ForwardAuth` and of `ExtAuthz`.

/// Targets that servers read in several ways.
pub(crate) const MANY_MEANINGS: [&str; 38] = [
    "//orders/7",
    "/orders//7",
    "/orders/./7",
    "/x/../orders/7",
    "/orders/%2e",
    "/orders/%2E%2E",
    "/orders/a%2fb",
    "/orders/a%2Fb",
    "/orders/a%5cb",
    "/orders/a\\b",
    "/orders/7;a=b",
    "/orders/7%3ba",
    "/orders/7%00",
    "/orders/%0a",
    "/orders/7%7f",
    "/orders/%37",
    "/%6frders/7",
    "/orders/%2537",
    "/orders/7#a",
    "http://api.example/orders/7",
    "https://a@b/orders/7",
    "*",
    "orders/7",
    "api.example:443",
    "/orders/7?a#b",
    "/orders/%",
    "/orders/%4",
    "/orders/7%3fa",
    "/orders/7%3Fa",
    "/orders/7%23a",
    "/orders/7?_method=DELETE",
    "/orders/7?a=b&_METHOD=DELETE",
    "/orders/7?.method=DELETE",
    "/orders/7?%2Emethod=DELETE",
    "/orders/7?%20_method=DELETE",
    "/orders/7?+%5Fmethod=DELETE",
    "/orders/7?_method%00=DELETE",
    "/orders/7?_method[a]=DELETE",
];

pub(crate) const ONE_MEANING: [&str; 5] = [
    "/orders/7",
    "/orders/7/",
    "/orders/a%20b?c=//%2e%2e;",
    "/orders/%C3%A9",
    "/orders/7?method=a&_methods=b&a_method=c&d=_method",
];

/// Methods and targets, and whether they are refused.
pub(crate) const RULES: [(&str, &str, bool); 11] = [
    ("GET", "/orders/7", false),
    ("HEAD", "/orders/7", false),
    ("DELETE", "/orders/7", true),
    ("get", "/orders/7", true),
    ("OPTIONS", "/orders/7", true),
    ("GET", "/orders", true),
    ("GET", "/Orders/7", true),
    ("GET", "/", true),
    ("GET", "/orders/7/items", true),
    ("PATCH", "/profile", false),
    ("CONNECT", "/orders/7", true),
];

/// Headers that give a request another meaning.
pub(crate) const OTHER_MEANING: [&str; 9] = [
    "x-http-method",
    "x_http_method_override",
    "x-rewrite-url",
    "x_original_url",
    "x-http-method-override",
    "x-method-override",
    "x_api_key_id",
    "x-api_key-owner",
    "x.api.key.scopes",
];

/// Headers of the identity. Envoy replaces them, and other proxies take them out before they ask.
pub(crate) const IDENTITY: [&str; 3] = ["x-api-key-id", "x-api-key-owner", "x-api-key-scopes"];

/// No method, scheme, host or target.
pub(crate) const NO_VALUES: [&str; 6] =
    ["", " ", "\u{e9}", "GET, POST", "https, http", "a.example,b.example"];
