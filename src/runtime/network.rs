//! [`Network`]: the network of a client.

use std::net::IpAddr;

/// The network of a client, as a provider hands them out: the first 24 bits of an IPv4 address, the
/// first 56 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network(u64);

impl Network {
    /// A number that tells it from other networks.
    pub(crate) const fn number(self) -> u64 {
        self.0
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        // A dual-stack socket shows IPv4 clients as `::ffff:a.b.c.d`.
        Self(match address.to_canonical() {
            IpAddr::V4(address) => (1 << 56) | u64::from(u32::from(address) >> 8),
            IpAddr::V6(address) => (u128::from(address) >> 72) as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_told_apart() {
        let network = |text: &str| Network::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(network("192.0.2.1"), network("192.0.2.255"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.7"));
        assert_ne!(network("192.0.2.1"), network("192.0.3.1"));
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:ff:ffff::"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:100::1"));
        assert_ne!(network("0.0.7.1"), network("0:0:0:700::"));
    }
}
