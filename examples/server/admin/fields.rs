//! Fields that need their own way of reading.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

/// A network such as `10.0.0.0/8`, or one address.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Network(IpNet);

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network
            .map(Self)
            .map_err(|_| format!("{text:?} is neither a network such as 10.0.0.0/8 nor an address"))
    }
}

pub(super) fn networks(list: Vec<Network>) -> Vec<IpNet> {
    list.into_iter().map(|network| network.0).collect()
}
