//! The text at the server's start: where it is, and how to try it.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::config::{ADMIN_VARIABLE, Config};

/// The steps, each with the command that shows it. `{url}` and `{show}` are filled in.
///
/// Indented lines are commands for a shell, and work in this order. None needs more than `curl`
/// and `sed`.
const STEPS: &str = r#"
Create a key. It is shown this once; the variable keeps it.
    KEY=$(curl -sS {url}/admin/api-keys -H "X-Admin-Key: $ADMIN_API_KEY" -H 'Content-Type: application/json' -d '{"name":"my first key","owner":"user-1","scopes":["orders:read"]}' | sed 's/.*"key":"\([^"]*\)".*/\1/')

Use it, in any of the four places.
    curl -sS {show} {url}/articles -H "X-API-Key: $KEY"
    curl -sS {show} {url}/articles -H "Authorization: Bearer $KEY"
    curl -sS {show} "{url}/articles?api_key=$KEY"
    curl -sS {show} {url}/articles -b "api_key=$KEY"

Be refused: without a key, with a wrong one, and for a scope that it lacks.
    curl -sS {show} {url}/articles
    curl -sS {show} {url}/articles -H 'X-API-Key: wrong'
    curl -sS {show} -X POST {url}/webhook/inventory -H "X-API-Key: $KEY"

Ask which key it is, and keep its id.
    ID=$(curl -sS {url}/me/key -H "X-API-Key: $KEY" | sed 's/.*"id":"\([^"]*\)".*/\1/')

Let it make one request a minute, use that, and be refused. Then see what became of its requests.
    curl -sS {show} -X PATCH {url}/admin/api-keys/$ID -H "X-Admin-Key: $ADMIN_API_KEY" -H 'Content-Type: application/json' -d '{"limits":[{"name":"minute","requests":1,"window_seconds":60}]}'
    curl -sS {show} {url}/articles -H "X-API-Key: $KEY"
    curl -sS {show} {url}/articles -H "X-API-Key: $KEY"
    curl -sS {show} {url}/admin/api-keys/$ID/usage -H "X-Admin-Key: $ADMIN_API_KEY"

List the owner's keys, revoke this one, and be refused.
    curl -sS {show} "{url}/admin/api-keys?owner=user-1" -H "X-Admin-Key: $ADMIN_API_KEY"
    curl -sS {show} -X POST {url}/admin/api-keys/$ID/revoke -H "X-Admin-Key: $ADMIN_API_KEY"
    curl -sS {show} {url}/articles -H "X-API-Key: $KEY"

Or try it in a browser: {url}/docs

Ctrl-C stops the server.
"#;

/// Puts the status behind the body, on the same line.
const SHOW: &str = r"-w ' -> %{http_code}\n'";

pub(crate) fn print(address: SocketAddr, config: &Config) -> io::Result<()> {
    let url = format!("http://{}", reachable(address));
    let mut out = io::stdout().lock();
    writeln!(out, "Listening on {url}")?;
    writeln!(out, "Keys are in {}", config.database)?;
    writeln!(out, "\nTry it in another terminal.\n")?;
    match &config.generated_admin_key {
        Some(key) => {
            writeln!(out, "The administrator's key, made for this run:")?;
            writeln!(out, "    {ADMIN_VARIABLE}={}", key.expose())?;
        }
        None => writeln!(out, "{ADMIN_VARIABLE} is the one that you set; set it there too.")?,
    }
    out.write_all(STEPS.replace("{url}", &url).replace("{show}", SHOW).as_bytes())?;
    out.flush()
}

/// An address that a client can connect to: `0.0.0.0` and `::` only mean "all of mine".
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
