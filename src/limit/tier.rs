//! [`Tiers`]: rate limits that many keys share, by the name of their tier.

use crate::{
    key::{KeyRecord, Limits},
    text::Text,
};

/// The rate limits of keys that have none of their own, by their
/// [`tier`](crate::key::KeyDetails::tier).
///
/// A key's own [`limits`](crate::key::KeyDetails::limits), if it has any, take the place of those
/// of its tier.
///
/// ```
/// use tower_api_key::{
///     limit::{Limit, Limits, Quota, Tiers},
///     nonzero,
/// };
///
/// let minute = |requests| Limits::new([Limit::new("minute", Quota::per_minute(requests))?]);
/// let tiers = Tiers::new()
///     .with_tier("basic", minute(nonzero!(100))?)
///     .with_tier("pro", minute(nonzero!(1_000))?)
///     .with_default(minute(nonzero!(60))?);
/// # let _ = tiers;
/// # Ok::<(), tower_api_key::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Tiers {
    /// There are few, so the names are compared one by one.
    tiers: Vec<(Text, Limits)>,
    default: Limits,
}

impl Tiers {
    /// No tiers, and no limits for keys without limits of their own.
    pub fn new() -> Self {
        Self::default()
    }

    /// The limits of keys of this tier. The last that is said about a tier counts. No error tells that
    /// the tier of a key is misspelt: give such keys limits by [`with_default`](Self::with_default).
    pub fn with_tier(mut self, name: impl Into<Text>, limits: Limits) -> Self {
        let name = name.into();
        self.tiers.retain(|(other, _)| *other != name);
        self.tiers.push((name, limits));
        self
    }

    /// The limits of keys that have none of their own and no tier, or an unknown one. Without
    /// these, nothing limits such keys: not those whose tier is misspelt, either.
    pub fn with_default(mut self, limits: Limits) -> Self {
        self.default = limits;
        self
    }

    /// The names of the tiers, in the order in which they were added.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tiers.iter().map(|(name, _)| name.as_str())
    }

    /// The limits of a key.
    #[inline]
    pub(crate) fn limits<'l>(&'l self, record: &'l KeyRecord) -> &'l Limits {
        let Some(details) = record.details.get() else { return &self.default };
        if !details.limits.is_empty() {
            return &details.limits;
        }
        let Some(tier) = &details.tier else { return &self.default };
        let known = self.tiers.iter().find(|(name, _)| name == tier);
        known.map_or(&self.default, |(_, limits)| limits)
    }
}
