//! URLs of servers, and of clusters.

const SCHEMES: [&str; 4] = ["redis", "rediss", "valkey", "valkeys"];

/// Behind the scheme of a server.
const CLUSTER: &str = "+cluster";

/// Whether this is the scheme of a server, or of a cluster.
pub(crate) fn is_scheme(scheme: &str) -> bool {
    SCHEMES.contains(&scheme.strip_suffix(CLUSTER).unwrap_or(scheme))
}

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
    }

    #[test]
    fn schemes_of_redis() {
        for scheme in ["redis", "rediss", "valkey", "valkeys"] {
            assert!(is_scheme(scheme) && is_scheme(&format!("{scheme}+cluster")), "{scheme}");
        }
        for other in ["redi", "redis+clusters", "redis+unix", "postgres", "", "+cluster"] {
            assert!(!is_scheme(other), "{other}");
        }
        assert_eq!(cluster_nodes("redis://one,two"), None);
    }
}
