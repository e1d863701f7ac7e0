//! Networks within networks.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Whether every address of these networks is one of those. No network at all is every address.
pub(super) fn are_within(networks: &[IpNet], others: &[IpNet]) -> bool {
    if others.is_empty() {
        return true;
    }
    // Several that lie side by side are one.
    let others = IpNet::aggregate(&others.iter().map(normal).collect());
    let is_within = |network: IpNet| others.iter().any(|other| other.contains(&network));
    !networks.is_empty() && networks.iter().map(normal).all(is_within)
}

/// A network without the bits of a host, and as IPv4 where IPv6 only wraps it.
fn normal(network: &IpNet) -> IpNet {
    /// How long `::ffff:0:0/96` is.
    const WRAPPED: u8 = 96;

    let network = network.trunc();
    match (network.addr().to_canonical(), network.prefix_len().checked_sub(WRAPPED)) {
        (IpAddr::V4(address), Some(length)) if network.addr().is_ipv6() => {
            Ipv4Net::new(address, length).map_or(network, IpNet::V4)
        }
        _ => network,
    }
}
