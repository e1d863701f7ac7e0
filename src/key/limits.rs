//! [`Limits`]: the rate limits that a key has, by name.

use std::{num::NonZeroU32, ops::Deref, sync::Arc, time::Duration};

use serde_core::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
    ser::SerializeStruct,
};

use super::quota::Quota;
use crate::{error::ConfigError, object::read_object, text::Text};

/// A rate limit with a name, by which a denied caller is told which one it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    name: Text,
    quota: Quota,
    /// What limits of a bucket are told apart by, where names are too long.
    tag: u64,
}

/// The longest name.
const MAX_NAME: usize = 32;

/// The most limits that a key has. Each is checked on every request.
const MAX_LIMITS: usize = 8;

impl Limit {
    /// A limit. Its name has 1 to 32 ASCII letters, digits and `_-.`.
    ///
    /// ```
    /// use tower_api_key::{
    ///     limit::{Limit, Quota},
    ///     nonzero,
    /// };
    ///
    /// let limit = Limit::new("minute", Quota::per_minute(nonzero!(100)))?;
    /// # let _ = limit;
    /// # Ok::<(), tower_api_key::ConfigError>(())
    /// ```
    pub fn new(name: &str, quota: Quota) -> Result<Self, ConfigError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(good) {
            return Ok(Self { name: name.into(), quota, tag: tag(name) });
        }
        Err(ConfigError::LimitName)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A number for the name. Two of the eight names that a key may have do not share one by
    /// accident, and an application that does it on purpose has one limit in place of two.
    #[inline]
    pub(crate) const fn tag(&self) -> u64 {
        self.tag
    }

    /// How many requests in how much time.
    pub const fn quota(&self) -> Quota {
        self.quota
    }
}

/// FNV-1a, <http://www.isthe.com/chongo/tech/comp/fnv/>.
fn tag(name: &str) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, mix)
}

/// The rate limits of a key: all of them have to let a request in, or none of them counts it.
///
/// A clone is one reference count. Reads like a slice. As JSON:
///
/// ```
/// use tower_api_key::{
///     limit::{Limit, Limits, Quota},
///     nonzero,
/// };
///
/// let quota = Quota::per_minute(nonzero!(100)).with_burst(nonzero!(20));
/// let limits = Limits::new([Limit::new("minute", quota)?])?;
/// let json = r#"[{"name":"minute","requests":100,"window_seconds":60,"burst":20}]"#;
/// assert_eq!(serde_json::to_string(&limits).unwrap(), json);
/// assert_eq!(serde_json::from_str::<Limits>(json).unwrap(), limits);
/// # Ok::<(), tower_api_key::ConfigError>(())
/// ```
///
/// `burst` may be left out and is then `requests`; `window_seconds` may have up to three decimals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Limits(Option<Arc<[Limit]>>);

impl Limits {
    /// At most eight limits, each with another name.
    pub fn new(limits: impl IntoIterator<Item = Limit>) -> Result<Self, ConfigError> {
        let limits: Vec<Limit> = limits.into_iter().take(MAX_LIMITS + 1).collect();
        if limits.len() > MAX_LIMITS {
            return Err(ConfigError::TooManyLimits);
        }
        let twice = |(place, limit): (usize, &Limit)| {
            limits[..place].iter().any(|other| other.name == limit.name)
        };
        if limits.iter().enumerate().any(twice) {
            return Err(ConfigError::DuplicateLimit);
        }
        Ok(if limits.is_empty() { Self(None) } else { Self(Some(limits.into())) })
    }
}

impl Limits {
    /// Whether these are the same, which clones of one another are at first sight.
    #[cfg(feature = "redis")]
    #[inline]
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other) || own == other,
            (own, other) => own.is_none() && other.is_none(),
        }
    }
}

impl Deref for Limits {
    type Target = [Limit];

    #[inline]
    fn deref(&self) -> &[Limit] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<'l> IntoIterator for &'l Limits {
    type Item = &'l Limit;
    type IntoIter = std::slice::Iter<'l, Limit>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let window = self.quota.window();
        let mut fields = serializer.serialize_struct("Limit", 4)?;
        fields.serialize_field("name", self.name())?;
        fields.serialize_field("requests", &self.quota.requests())?;
        if window.subsec_nanos() == 0 {
            fields.serialize_field("window_seconds", &window.as_secs())?;
        } else {
            fields.serialize_field("window_seconds", &window.as_secs_f64())?;
        }
        fields.serialize_field("burst", &self.quota.burst())?;
        fields.end()
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Limit;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object with name, requests, window_seconds and perhaps burst")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Limit, A::Error> {
                let fields = Fields::deserialize(MapAccessDeserializer::new(map))?;
                let quota = Quota::new(fields.requests, fields.window_seconds.0);
                let quota = quota.map_err(A::Error::custom)?;
                let quota = fields.burst.map_or(quota, |burst| quota.with_burst(burst));
                Limit::new(&fields.name.0, quota).map_err(A::Error::custom)
            }
        }

        // Not a derived struct, which a list would be read as, too.
        deserializer.deserialize_struct(
            "Limit",
            &["name", "requests", "window_seconds", "burst"],
            Object,
        )
    }
}

/// Each value is judged where it is read, so that an error is that field's.
struct Fields {
    name: Name,
    requests: NonZeroU32,
    window_seconds: Window,
    burst: Option<NonZeroU32>,
}

read_object!(Fields {
    name: required,
    requests: required,
    window_seconds: required,
    burst: default,
});

struct Name(Text);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let limit = Limit::new(&name, Quota::per_second(NonZeroU32::MIN));
        limit.map(|limit| Self(limit.name)).map_err(D::Error::custom)
    }
}

struct Window(Duration);

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let window = seconds(f64::deserialize(deserializer)?);
        let quota = Quota::new(NonZeroU32::MIN, window);
        quota.map(|quota| Self(quota.window())).map_err(D::Error::custom)
    }
}

/// A number of seconds with up to three decimals; zero, which no window is, for any other.
fn seconds(number: f64) -> Duration {
    let millis = number * 1_000.0;
    if !millis.is_finite() || (millis - millis.round()).abs() > 1e-6 {
        return Duration::ZERO;
    }
    Duration::try_from_secs_f64(millis.round() / 1_000.0).map_or(Duration::ZERO, |time| {
        // What is left of the way through a double.
        Duration::from_millis(u64::try_from((time.as_nanos() + 500_000) / 1_000_000).unwrap_or(0))
    })
}

impl Serialize for Limits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::<Limit>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nonzero;

    #[test]
    fn what_is_no_limit_is_refused() {
        for (json, why) in [
            ("{}", "missing field `name`"),
            (r#"{"name":"a","requests":0,"window_seconds":1}"#, "nonzero"),
            (r#"{"name":"a","requests":1,"window_seconds":0}"#, "window"),
            (r#"{"name":"a","requests":1,"window_seconds":-1}"#, "window"),
            (r#"{"name":"a","requests":1,"window_seconds":0.0001}"#, "window"),
            (r#"{"name":"a","requests":1,"window_seconds":1e300}"#, "window"),
            (r#"{"name":"a","requests":1,"window_seconds":1,"burst":0}"#, "nonzero"),
            (r#"{"name":"","requests":1,"window_seconds":1}"#, "name of a limit"),
            (r#"{"name":"a b","requests":1,"window_seconds":1}"#, "name of a limit"),
            (r#"{"name":"a","requests":1,"window_seconds":1,"of":1}"#, "unknown field `of`"),
            (r#"["a",1,1,1]"#, "object"),
        ] {
            let error = serde_json::from_str::<Limit>(json).unwrap_err().to_string();
            assert!(error.contains(why), "{json}: {error}");
        }
    }

    #[test]
    fn names_are_unique_and_few() {
        let limit = |name: &str| Limit::new(name, Quota::per_second(nonzero!(1))).unwrap();
        assert_eq!(Limits::new([limit("a"), limit("a")]), Err(ConfigError::DuplicateLimit));
        let many = (0..9).map(|number| limit(&number.to_string()));
        assert_eq!(Limits::new(many), Err(ConfigError::TooManyLimits));
        assert_eq!(Limits::new([]), Ok(Limits::default()));
    }

    proptest! {
        #[test]
        fn limits_read_back_equal(
            name in "[A-Za-z0-9_.-]{1,32}", requests: NonZeroU32, burst: NonZeroU32,
            millis in 1..=LONGEST,
        ) {
            let quota = Quota::new(requests, Duration::from_millis(millis)).unwrap();
            let limits = Limits::new([Limit::new(&name, quota.with_burst(burst)).unwrap()]).unwrap();
            let json = serde_json::to_string(&limits).unwrap();
            prop_assert_eq!(serde_json::from_str::<Limits>(&json).unwrap(), limits);
        }
    }

    const LONGEST: u64 = 31 * 24 * 3_600 * 1_000;
}
