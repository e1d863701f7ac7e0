//! [`Debtors`]: the groups of clients whose failures are counted together.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
};

/// The longest prefix, the character behind it, and four more: enough for people to recognise a key.
const LONGEST_START: usize = 24 + 1 + 4;

/// The groups that one failure counts for, each as a hash with a secret. Nothing of the address and of
/// the credential can be read from it.
#[derive(Clone, Copy)]
pub(super) struct Debtors {
    /// An address of IPv4, a /64 of IPv6.
    pub(super) address: u64,
    /// Credentials that begin alike, from there.
    pub(super) start: u64,
    /// The networks of IPv6 around the address.
    pub(super) around: Option<Around>,
}

#[derive(Clone, Copy)]
pub(super) struct Around {
    /// A /56: a household or a small company.
    pub(super) of_56: u64,
    /// A /48: a company.
    pub(super) of_48: u64,
}

impl Debtors {
    pub(super) fn new(hasher: &RandomState, address: IpAddr, key: &[u8]) -> Self {
        let client = Client::from(address);
        let start = &key[..LONGEST_START.min(key.len() / 2)];
        let network = |bits: u32, subnet: u64| hasher.hash_one((bits, subnet >> (64 - bits)));
        Self {
            address: hasher.hash_one(client),
            start: hasher.hash_one((client, start)),
            around: match client {
                Client::V4(_) => None,
                Client::V6(subnet) => {
                    Some(Around { of_56: network(56, subnet), of_48: network(48, subnet) })
                }
            },
        }
    }

    /// The widest of the groups.
    pub(super) fn widest(&self) -> u64 {
        self.around.map_or(self.address, |around| around.of_48)
    }
}

#[derive(Clone, Copy, Hash)]
enum Client {
    V4(u32),
    /// The network. A client that has an address has the rest of it, too.
    V6(u64),
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        // A dual-stack socket shows IPv4 clients as `::ffff:a.b.c.d`.
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}
