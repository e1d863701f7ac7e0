//! URLs of servers, and of clusters.

/// Behind the scheme of a server.
const CLUSTER: &str = "+cluster";

/// The URL of each node of a cluster. There is no standard for one of all of them; this is the form
/// of several other programs, with the `+` of redis-rs's own `redis+unix`.
///
/// `None` for the URL of a server.
pub(crate) fn cluster_nodes(url: &str) -> Option<Vec<String>> {
    let (scheme, rest) = url.split_once(':')?;
    let scheme = scheme.strip_suffix(CLUSTER)?;
    let rest = rest.trim_start_matches("//");
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    Some(hosts.split(',').map(|host| format!("{scheme}://{user}{host}{tail}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_has_the_urls_of_its_nodes() {
        for (scheme, rest, nodes) in [
            ("redis", "//one", &["redis://one"][..]),
            ("valkey", "//one:1,two:2", &["valkey://one:1", "valkey://two:2"]),
            (
                "rediss",
                "//u:p%2C@one,[::1]:7/0?a=b,c",
                &["rediss://u:p%2C@one/0?a=b,c", "rediss://u:p%2C@[::1]:7/0?a=b,c"],
            ),
            (
                "redis",
                "//:p@ss@one,two#insecure",
                &["redis://:p@ss@one#insecure", "redis://:p@ss@two#insecure"],
            ),
            ("redis", "//one,", &["redis://one", "redis://"]),
        ] {
            let url = format!("{scheme}+cluster:{rest}");
            assert_eq!(cluster_nodes(&url).unwrap(), nodes);
        }
        assert_eq!(cluster_nodes("redis://one,two"), None);
    }
}
