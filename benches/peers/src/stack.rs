//! The stacks by their names, and what can be asked of each.

use std::convert::Infallible;

use http::{Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    by_hand::{Floor, SameWork},
    inner::NoOp,
    keys::Keys,
    ours,
    requests::Carrier,
    sharded::Sharded,
    tower_http::{authorize, layer, static_bearer},
};

/// The layers in front of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stack {
    /// Nothing.
    Bare,
    /// Nothing, and the service's response has no headers.
    BareEmpty,
    /// The least.
    Floor,
    /// The same, with a compare in constant time.
    FloorCompare,
    /// The same, with records of its own for each thread.
    Sharded,
    /// All that the layer's defaults do.
    SameWork,
    /// tower-http's static bearer token.
    StaticBearer,
    /// tower-http's `AsyncRequireAuthorizationLayer` over a map.
    AsyncAuth,
    /// axum's `from_fn` over a map.
    #[cfg(feature = "axum")]
    FromFn,
    /// axum's `from_fn` over a cache of moka.
    #[cfg(feature = "moka")]
    FromFnMoka,
    /// The layer over a store in memory.
    Defaults,
    /// The same, and the service's response has no headers.
    DefaultsEmpty,
    /// Without cache headers.
    NoCacheHeaders,
    /// Without cache headers and formats, with one source.
    OneSource,
    /// Hides the key.
    Hide,
    /// Over a cache.
    Cached,
    /// Over a cache, and uses are counted.
    CachedUsage,
    /// Over a cache, with a limit.
    CachedLimit,
    /// Over a cache, with a limit and its fields.
    CachedLimitFields,
    /// Over a cache, with a limit that Redis lends.
    #[cfg(feature = "redis")]
    CachedLease,
    /// As the reference server, for a key that spends no credits.
    Server,
    /// As the reference server.
    Everything,
    /// Sealed keys.
    Sealed,
    /// Sealed keys under the last of three secrets.
    SealedThree,
}

/// A stack, its name in arguments, and its title in tables.
const NAMES: &[(Stack, &str, &str)] = &[
    (Stack::Bare, "bare", "bare service"),
    (Stack::BareEmpty, "bare-empty", "bare service, its response has no headers"),
    (Stack::Floor, "floor", "floor: hash, map, expiry, scope"),
    (Stack::FloorCompare, "floor-compare", "floor with a constant-time compare"),
    (Stack::Sharded, "sharded", "floor with records for each thread"),
    (Stack::SameWork, "same-work", "the layer's whole work by hand"),
    (Stack::StaticBearer, "static-bearer", "tower-http, static bearer token"),
    (Stack::AsyncAuth, "async-auth", "tower-http, `AsyncRequireAuthorization` and a map"),
    #[cfg(feature = "axum")]
    (Stack::FromFn, "from-fn", "axum, `from_fn` and a map"),
    #[cfg(feature = "moka")]
    (Stack::FromFnMoka, "from-fn-moka", "axum, `from_fn` and moka"),
    (Stack::Defaults, "defaults", "ours, defaults"),
    (Stack::DefaultsEmpty, "defaults-empty", "ours, defaults, the response has no headers"),
    (Stack::NoCacheHeaders, "no-cache-headers", "ours, no cache headers"),
    (Stack::OneSource, "one-source", "ours, no cache headers, one source, any key"),
    (Stack::Hide, "hide", "ours, hiding the key"),
    (Stack::Cached, "cached", "ours, cached"),
    (Stack::CachedUsage, "cached-usage", "ours, cached, uses counted"),
    (Stack::CachedLimit, "cached-limit", "ours, cached, a local limit"),
    (Stack::CachedLimitFields, "cached-limit-fields", "ours, cached, a local limit and its fields"),
    #[cfg(feature = "redis")]
    (Stack::CachedLease, "cached-lease", "ours, cached, a limit leased from Redis"),
    (Stack::Server, "server", "ours, as the reference server"),
    (Stack::Everything, "everything", "ours, the same, and credits are spent"),
    (Stack::Sealed, "sealed", "ours, sealed keys"),
    (Stack::SealedThree, "sealed-three", "ours, sealed keys, the last of three secrets"),
];

/// The fate of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// A valid key.
    Valid,
    /// No key.
    Missing,
    /// A key of another shape.
    Malformed,
    /// A sealed key under another seal.
    Forged,
    /// An unknown key, the same each time.
    Unknown,
    /// An unknown key, another one each time.
    NewUnknown,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Valid,
        Self::Missing,
        Self::Malformed,
        Self::Forged,
        Self::Unknown,
        Self::NewUnknown,
    ];

    /// The name in arguments and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Forged => "forged",
            Self::Unknown => "unknown",
            Self::NewUnknown => "new-unknown",
        }
    }

    /// The answer of every stack.
    pub fn status(self) -> StatusCode {
        if self == Self::Valid { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
    }
}

impl Stack {
    /// All of them, with the features of this build.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(stack, ..)| *stack)
    }

    fn entry(self) -> &'static (Self, &'static str, &'static str) {
        NAMES.iter().find(|(stack, ..)| *stack == self).expect("each has names")
    }

    /// The name in arguments.
    pub fn name(self) -> &'static str {
        self.entry().1
    }

    /// The title in tables.
    pub fn title(self) -> &'static str {
        self.entry().2
    }

    /// The stack with this name.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, other, _)| *other == name).map(|(stack, ..)| *stack)
    }

    /// The bare service that it is compared with.
    pub fn base(self) -> Self {
        match self {
            Self::BareEmpty | Self::DefaultsEmpty => Self::BareEmpty,
            _ => Self::Bare,
        }
    }

    /// Whether it knows many keys.
    pub fn has_many_keys(self) -> bool {
        // Permits are lent for one key before it is measured.
        #[cfg(feature = "redis")]
        if self == Self::CachedLease {
            return false;
        }
        !matches!(self, Self::StaticBearer | Self::Sealed | Self::SealedThree)
    }

    /// Whether it takes the key out of the request.
    pub fn hides(self) -> bool {
        matches!(self, Self::Hide | Self::Server | Self::Everything)
    }

    /// Where it looks for the key.
    pub fn carrier(self) -> Carrier {
        if self == Self::StaticBearer { Carrier::Bearer } else { Carrier::Own }
    }

    /// Whether it can have this outcome. A bare service has but one; a stack that knows no shape of
    /// keys looks up each.
    pub fn has(self, outcome: Outcome) -> bool {
        match (self, outcome) {
            (_, Outcome::Valid) => true,
            (Self::Sealed | Self::SealedThree, outcome) => outcome == Outcome::Forged,
            (Self::Bare | Self::BareEmpty, _) | (_, Outcome::Forged) => false,
            (stack, Outcome::Malformed) => {
                stack.is_ours() && stack != Self::OneSource || stack == Self::SameWork
            }
            _ => true,
        }
    }

    /// Whether it is the layer.
    pub fn is_ours(self) -> bool {
        self.title().starts_with("ours")
    }
}

/// A program with services of different types.
pub trait Visitor {
    /// The result for a service.
    type Output;

    /// A service that takes requests with such bodies, and for a stack with a key of its own, this
    /// key.
    fn visit<S, B, R>(self, service: S, key: Option<String>) -> Self::Output
    where
        S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Default + Send + 'static;
}

/// Gives the stack's service to the visitor. `None` where what it needs is not there.
pub fn visit<V: Visitor>(stack: Stack, keys: &Keys, visitor: V) -> Option<V::Output> {
    let inner = NoOp { with_headers: true };
    let empty = NoOp { with_headers: false };
    let records = keys.records();
    // Some layers start tasks when they are built.
    let _guard = keys.runtime().enter();
    macro_rules! visit {
        ($service:expr) => {
            visitor.visit::<_, (), _>($service, None)
        };
        ($service:expr, $key:expr) => {
            visitor.visit::<_, (), _>($service, Some($key))
        };
    }
    Some(match stack {
        Stack::Bare => visit!(inner),
        Stack::BareEmpty => visit!(empty),
        Stack::Floor => visit!(Floor::<false>::new(inner, records.clone())),
        Stack::FloorCompare => visit!(Floor::<true>::new(inner, records.clone())),
        Stack::Sharded => visit!(Sharded::new(inner, records)),
        Stack::SameWork => visit!(SameWork::new(inner, records.clone())),
        Stack::StaticBearer => {
            let key = keys.sent()[0].clone();
            visit!(static_bearer(&key).layer(inner), key)
        }
        Stack::AsyncAuth => {
            let records = records.clone();
            visit!(layer(move |request| authorize(records.clone(), request)).layer(inner))
        }
        #[cfg(feature = "axum")]
        Stack::FromFn => {
            let function = crate::middleware::with_map;
            let layer = axum::middleware::from_fn_with_state(records.clone(), function);
            visitor.visit::<_, axum::body::Body, _>(layer.layer(inner), None)
        }
        #[cfg(feature = "moka")]
        Stack::FromFnMoka => {
            let cache = crate::middleware::Cache::new(records.len() as u64 * 2 + 1_000);
            keys.runtime().block_on(async {
                for (digest, record) in records.iter() {
                    cache.insert(*digest, record.clone()).await;
                }
            });
            let function = crate::middleware::with_moka;
            let layer = axum::middleware::from_fn_with_state(cache, function);
            visitor.visit::<_, axum::body::Body, _>(layer.layer(inner), None)
        }
        Stack::Defaults => visit!(ours::defaults(keys).layer(inner)),
        Stack::DefaultsEmpty => visit!(ours::defaults(keys).layer(empty)),
        Stack::NoCacheHeaders => {
            visit!(ours::defaults(keys).insecure_without_cache_headers().layer(inner))
        }
        Stack::OneSource => visit!(ours::one_source(keys).layer(inner)),
        Stack::Hide => visit!(ours::hiding(keys).layer(inner)),
        Stack::Cached => visit!(ours::cached(keys).layer(inner)),
        Stack::CachedUsage => visit!(ours::counting(keys).layer(inner)),
        Stack::CachedLimit => visit!(ours::limited(keys, false).layer(inner)),
        Stack::CachedLimitFields => visit!(ours::limited(keys, true).layer(inner)),
        #[cfg(feature = "redis")]
        Stack::CachedLease => visit!(ours::leased(keys)?.layer(inner)),
        Stack::Server => visit!(ours::without_spending(keys).layer(inner)),
        Stack::Everything => visit!(ours::everything(keys).layer(inner)),
        Stack::Sealed => {
            let (layer, key) = ours::sealed(keys, 1);
            visit!(layer.layer(inner), key)
        }
        Stack::SealedThree => {
            let (layer, key) = ours::sealed(keys, 3);
            visit!(layer.layer(inner), key)
        }
    })
}
