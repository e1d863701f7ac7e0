//! What follows the database's name in a URL. The drivers pass over options that they do not know:
//! a mistyped `sslmode` would go without TLS, and a `schema` that is dropped keeps the keys
//! elsewhere. Here such a URL is an error.

use crate::error::ConfigError;

/// The parts of a URL behind its address.
struct Tail<'u> {
    query: &'u str,
    #[cfg_attr(
        not(any(feature = "mysql", feature = "postgres", feature = "redis")),
        expect(dead_code)
    )]
    fragment: &'u str,
}

fn tail(url: &str) -> Tail<'_> {
    let (url, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (_, query) = url.split_once('?').unwrap_or((url, ""));
    Tail { query, fragment }
}

/// The options of a query, as they stand there, each with its name.
fn options(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let options = query.split('&').filter(|option| !option.is_empty());
    options.map(|option| (option.split_once('=').map_or(option, |(name, _)| name), option))
}

/// Refuses options other than these, and any that is there twice: one of the two would be dropped.
fn check(url: &str, query: &str, is_known: impl Fn(&str) -> bool) -> Result<(), ConfigError> {
    let mut seen = Vec::new();
    for (name, _) in options(query) {
        if !is_known(name) {
            return Err(refused(url, name, "is none that this store knows"));
        }
        if seen.contains(&name) {
            return Err(refused(url, name, "is there twice"));
        }
        seen.push(name);
    }
    Ok(())
}

/// An error that names the option, unless that may be a part of a password: one with a `?` in it
/// that is not written in percent ends the address early.
fn refused(url: &str, name: &str, problem: &'static str) -> ConfigError {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.[]".contains(c);
    let is_plain = (1..=40).contains(&name.len()) && name.chars().all(is_name);
    let is_behind = url.rfind('@') < url.find(['?', '#']);
    let option = if is_plain && is_behind { format!("`{name}`") } else { "one".to_owned() };
    ConfigError::StoreOption { option, problem }
}

#[cfg(any(feature = "mysql", feature = "postgres"))]
fn no_fragment(url: &str, fragment: &str) -> Result<(), ConfigError> {
    match fragment {
        "" => Ok(()),
        _ => Err(refused(url, "#", "stands behind `#`, where a driver does not read it")),
    }
}

/// The URL for the driver of PostgreSQL, if it knows all options: those of libpq that sqlx has, and
/// `schema`, which other programs write for the first schema of the `search_path`.
#[cfg(feature = "postgres")]
pub(crate) fn postgres(url: &str) -> Result<String, ConfigError> {
    let Tail { query, fragment } = tail(url);
    no_fragment(url, fragment)?;
    check(url, query, |name| {
        let setting = name.strip_prefix("options[").and_then(|name| name.strip_suffix(']'));
        setting.is_some_and(|setting| !setting.is_empty())
            || matches!(
                name,
                "sslmode"
                    | "ssl-mode"
                    | "sslrootcert"
                    | "ssl-root-cert"
                    | "ssl-ca"
                    | "sslcert"
                    | "ssl-cert"
                    | "sslkey"
                    | "ssl-key"
                    | "statement-cache-capacity"
                    | "host"
                    | "hostaddr"
                    | "port"
                    | "dbname"
                    | "user"
                    | "password"
                    | "application_name"
                    | "options"
                    | "schema"
            )
    })?;
    let schema = options(query).find_map(|(_, option)| option.strip_prefix("schema="));
    let Some(schema) = schema else {
        // Without a value it is no name.
        return match options(query).find(|(name, _)| *name == "schema") {
            Some(_) => Err(refused(url, "schema", SCHEMA)),
            None => Ok(url.to_owned()),
        };
    };
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let begins = schema.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if !begins || !schema.chars().all(is_name) {
        return Err(refused(url, "schema", SCHEMA));
    }
    if options(query).any(|(name, _)| name == "options[search_path]") {
        return Err(refused(url, "schema", "is there beside `options[search_path]`"));
    }
    let (address, _) = url.split_once('?').unwrap_or((url, ""));
    let written = options(query).map(|(name, option)| match name {
        "schema" => format!("options[search_path]={schema}"),
        _ => option.to_owned(),
    });
    Ok(format!("{address}?{}", written.collect::<Vec<_>>().join("&")))
}

#[cfg(feature = "postgres")]
const SCHEMA: &str = "must be a name of lower-case letters, digits and `_`; for any other path, \
    write `options[search_path]`";

/// The same for MySQL. A character set other than `utf8mb4` would lose names in other scripts.
#[cfg(feature = "mysql")]
pub(crate) fn mysql(url: &str) -> Result<String, ConfigError> {
    let Tail { query, fragment } = tail(url);
    no_fragment(url, fragment)?;
    check(url, query, |name| {
        matches!(
            name,
            "sslmode"
                | "ssl-mode"
                | "sslca"
                | "ssl-ca"
                | "charset"
                | "collation"
                | "sslcert"
                | "ssl-cert"
                | "sslkey"
                | "ssl-key"
                | "statement-cache-capacity"
                | "socket"
                | "timezone"
                | "time-zone"
        )
    })?;
    let charset = options(query).find_map(|(_, option)| option.strip_prefix("charset="));
    if charset.is_some_and(|charset| !charset.eq_ignore_ascii_case("utf8mb4")) {
        return Err(refused(url, "charset", "must be `utf8mb4`"));
    }
    Ok(url.to_owned())
}

/// Checks the URL of a Redis, or of a node of a cluster.
#[cfg(feature = "redis")]
pub(crate) fn check_redis(url: &str) -> Result<(), ConfigError> {
    let Tail { query, fragment } = tail(url);
    if !matches!(fragment, "" | "insecure") {
        return Err(refused(url, "#", "stands behind `#`, where only `insecure` is known"));
    }
    let is_socket = url.starts_with("unix:")
        || url.starts_with("redis+unix:")
        || url.starts_with("valkey+unix:");
    check(url, query, |name| {
        name == "protocol" || is_socket && matches!(name, "db" | "user" | "pass")
    })
}

/// Checks the options of a SQLite URL. A file that is not there is made in any case.
#[cfg(feature = "sqlite")]
pub(crate) fn check_sqlite(url: &str) -> Result<(), ConfigError> {
    let Tail { query, .. } = tail(url);
    check(url, query, |name| name == "mode")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "postgres")]
    #[test]
    fn postgres_options() {
        for good in [
            "postgres://h/d",
            "postgres://h/d?",
            "postgres://h/d?sslmode=verify-full&sslrootcert=/a%20b.pem&application_name=x",
            "postgres://h/d?options[search_path]=a,b&options[statement_timeout]=5s",
        ] {
            assert_eq!(postgres(good).unwrap(), good);
        }
        let honoured = "postgres://h/d?sslmode=require&options[search_path]=shop";
        assert_eq!(postgres("postgres://h/d?sslmode=require&schema=shop").unwrap(), honoured);
        for (url, option) in [
            ("postgres://u:p@h/d?sslmod=require", "`sslmod`"),
            ("postgres://h/d?SSLMODE=require", "`SSLMODE`"),
            ("postgres://h/d?channel_binding=require", "`channel_binding`"),
            ("postgres://h/d?pgbouncer=true", "`pgbouncer`"),
            ("postgres://h/d?connection_limit=1&schema=a", "`connection_limit`"),
            ("postgres://h/d?options[=x", "`options[`"),
            ("postgres://h/d?options[]=x", "`options[]`"),
            ("postgres://h/d?sslmode=require&sslmode=disable", "`sslmode`"),
            ("postgres://h/d?schema=Shop", "`schema`"),
            ("postgres://h/d?schema=", "`schema`"),
            ("postgres://h/d?schema", "`schema`"),
            ("postgres://h/d?schema=a,b", "`schema`"),
            ("postgres://h/d?schema=a&options[search_path]=b", "`schema`"),
            ("postgres://h/d#sslmode=require", "`#`"),
        ] {
            let text = postgres(url).unwrap_err().to_string();
            assert!(text.contains(option), "{url}: {text}");
        }
    }

    /// A password that should have been written in percent.
    #[cfg(feature = "postgres")]
    #[test]
    fn no_part_of_a_password_is_shown() {
        for url in [
            "postgres://u:1?hunter2@h/d",
            "postgres://u:1?a=b&hunter2@h/d",
            "postgres://u:1?hunter2&x@h/d",
            "postgres://u:1#hunter2@h/d",
            "postgres://h/d?hunter2%20=1",
        ] {
            let text = postgres(url).unwrap_err().to_string();
            assert!(!text.contains("hunter2"), "{url}: {text}");
        }
    }

    #[cfg(feature = "mysql")]
    #[test]
    fn mysql_options() {
        for good in ["mysql://h/d", "mysql://h/d?ssl-mode=REQUIRED&charset=UTF8MB4"] {
            assert_eq!(mysql(good).unwrap(), good);
        }
        for (url, option) in [
            ("mysql://h/d?ssl_mode=REQUIRED", "`ssl_mode`"),
            ("mysql://h/d?sslmode=REQUIRED&useSSL=true", "`useSSL`"),
            ("mysql://h/d?charset=latin1", "`charset`"),
            ("mysql://h/d?schema=a", "`schema`"),
        ] {
            let text = mysql(url).unwrap_err().to_string();
            assert!(text.contains(option), "{url}: {text}");
        }
    }

    #[cfg(feature = "redis")]
    #[test]
    fn redis_options() {
        for good in [
            "redis://h/1?protocol=resp3",
            "rediss://h#insecure",
            "unix:///run/redis.sock?db=1&user=u&pass=p",
        ] {
            check_redis(good).unwrap();
        }
        for (url, option) in [
            ("redis://h?db=1", "`db`"),
            ("redis://h/0?ssl_cert_reqs=none", "`ssl_cert_reqs`"),
            ("rediss://h#secure", "`#`"),
        ] {
            let text = check_redis(url).unwrap_err().to_string();
            assert!(text.contains(option), "{url}: {text}");
        }
    }
}
