//! Networks within networks.

use ipnet::IpNet;

use crate::runtime::unwrapped;

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
    unwrapped(*network).trunc()
}
