//! [`LookupHint`]: facts about the request of a lookup.

use std::net::IpAddr;

/// Facts about the request that needs a lookup, for a store that must choose which lookups to
/// make first.
///
/// A hint orders lookups. It decides nothing: a key is good or not whatever its hint says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct LookupHint {
    /// The client's address, never an IPv4 address mapped to IPv6; `None` where it is unknown.
    pub address: Option<IpAddr>,
    /// The key begins like one that another system stored as a slow hash: it may be good although no
    /// store has its digest.
    pub may_have_slow_hash: bool,
}

impl LookupHint {
    /// Nothing is known.
    pub const fn new() -> Self {
        Self { address: None, may_have_slow_hash: false }
    }

    /// Of a request from this address.
    pub const fn with_address(mut self, address: Option<IpAddr>) -> Self {
        self.address = match address {
            Some(address) => Some(address.to_canonical()),
            None => None,
        };
        self
    }

    /// Of a key that may have a slow hash.
    pub const fn with_slow_hash(mut self, may_have: bool) -> Self {
        self.may_have_slow_hash = may_have;
        self
    }
}
