//! Networks of IPv4 that are written as IPv6.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// The network as addresses are compared with it, which are canonical: of IPv4 where IPv6 only wraps it, as
/// `::ffff:192.0.2.0/120` does. As it is written, it would hold no address at all.
pub(crate) fn unwrapped(network: IpNet) -> IpNet {
    /// How long `::ffff:0:0/96` is.
    const WRAPPED: u8 = 96;

    match (network.addr().to_canonical(), network.prefix_len().checked_sub(WRAPPED)) {
        (IpAddr::V4(address), Some(length)) if network.addr().is_ipv6() => {
            Ipv4Net::new(address, length).map_or(network, IpNet::V4)
        }
        _ => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_networks_are_of_ipv4_and_no_others() {
        for (written, meant) in [
            ("::ffff:192.0.2.7/128", "192.0.2.7/32"),
            ("::ffff:192.0.2.7/120", "192.0.2.7/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::ffff:0:0/95"),
            ("::/0", "::/0"),
            ("::192.0.2.7/128", "::192.0.2.7/128"),
            ("64:ff9b::192.0.2.7/128", "64:ff9b::192.0.2.7/128"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("192.0.2.0/24", "192.0.2.0/24"),
        ] {
            let [written, meant] = [written, meant].map(|text| text.parse::<IpNet>().unwrap());
            assert_eq!(unwrapped(written), meant);
        }
    }
}
