//! The client's address is what the nearest trusted proxy says, whatever the client sends.

use std::net::IpAddr;

use http::{HeaderValue, Request};

use super::choices::Choices;
use crate::{
    auth::ForwardedFor,
    request::{ClientAddress, RequestHead},
};

const TRUSTED: [&str; 2] = ["10.0.0.0/8", "2001:db8:1::/48"];
const PROXIES: [&str; 3] = ["10.0.0.1", "10.255.0.2", "2001:db8:1::7"];
const CLIENTS: [&str; 4] = ["192.0.2.1", "2001:db8:2::1", "11.0.0.1", "255.255.255.255"];
const HEADERS: [&str; 2] = ["X-Forwarded-For", "Forwarded"];

/// Lines that proxies append decide over any that came before.
pub fn forwarded(input: &[u8]) {
    let mut choices = Choices::new(input);
    let header = *choices.pick(&HEADERS);
    let is_standard = header == "Forwarded";
    let trusted = TRUSTED.map(|network| network.parse().unwrap());
    let proxies = ForwardedFor::new(header, trusted).unwrap();
    let client: IpAddr = choices.pick(&CLIENTS).parse().unwrap();
    let chain: Vec<&str> = (0..choices.below(3)).map(|_| *choices.pick(&PROXIES)).collect();
    let peer: IpAddr = choices.pick(&PROXIES).parse().unwrap();
    let joined = choices.is();
    let ours = chain.iter().fold(element(&mut choices, client, is_standard), |line, proxy| {
        let proxy = proxy.parse().unwrap();
        format!("{line},{}", element(&mut choices, proxy, is_standard))
    });
    let sent = choices.rest();

    let ask = |lines: &[&[u8]], peer| {
        let mut request = Request::new(());
        for line in lines {
            if let Ok(value) = HeaderValue::from_bytes(line) {
                request.headers_mut().append(header, value);
            }
        }
        proxies.client(Some(peer), &RequestHead::from(&request))
    };
    let known = ClientAddress::from(client);
    // Lines of their own, whatever stands before them.
    assert_eq!(ask(&[ours.as_bytes()], peer), known);
    assert_eq!(ask(&[sent, ours.as_bytes()], peer), known);
    // Past the proxies, no header counts.
    assert_eq!(ask(&[sent], client), known);
    assert_eq!(ask(&[sent, ours.as_bytes()], client), known);
    // On one line: a list of addresses is told apart from its end. A text that is broken before that may hide
    // the client, and never shows another.
    if joined {
        let line = [sent, b",", ours.as_bytes()].concat();
        if HeaderValue::from_bytes(&line).is_ok() {
            let found = ask(&[&line], peer);
            assert!(
                found == known || (is_standard && found == ClientAddress::unknown_behind(peer)),
                "{found:?}"
            );
        }
    }
    // Alone, it is an address that stands in it, or nothing.
    let alone = ask(&[sent], peer);
    if let Some(address) = alone.known() {
        if !is_standard {
            let text = String::from_utf8_lossy(sent);
            let reads = |element: &str| plain(element.trim_matches([' ', '\t'])) == Some(address);
            assert!(address == peer || text.split(',').any(reads), "{address}");
        }
        assert_eq!(address, address.to_canonical());
    }
    assert!(alone.charged().is_some());
}

/// An element for an address, in one of the ways to write it.
fn element(choices: &mut Choices<'_>, address: IpAddr, is_standard: bool) -> String {
    let port = if choices.is() { ":8080" } else { "" };
    let mapped = |text: String| match address {
        IpAddr::V4(_) if port.is_empty() => format!("::ffff:{text}"),
        _ => text,
    };
    let text = match address {
        IpAddr::V6(_) if !port.is_empty() || is_standard => format!("[{address}]"),
        _ => address.to_string(),
    };
    let text = if !is_standard && choices.is() { mapped(text) } else { text };
    let space = *choices.pick(&["", " ", "\t "]);
    if !is_standard {
        return format!("{space}{text}{port}{space}");
    }
    let name = *choices.pick(&["for", "For", "FOR"]);
    let value = match choices.below(3) {
        0 => format!("{text}{port}"),
        1 => format!("\"{text}{port}\""),
        _ => format!(
            "\"{}\"",
            format!("{text}{port}").chars().flat_map(|c| ['\\', c]).collect::<String>()
        ),
    };
    let others =
        *choices.pick(&["", ";proto=https", ";by=\"a,b;for=192.0.2.99\"", ";host=\"\\\"\""]);
    let first = *choices.pick(&["", "proto=http;", "by=_x; "]);
    format!("{space}{first}{name}={value}{others}{space}")
}

/// An address, perhaps with a port, by the readers of the standard library.
fn plain(text: &str) -> Option<IpAddr> {
    let address = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        port.strip_prefix(':')
            .map_or(port.is_empty(), is_port)
            .then_some(address)?
            .parse()
            .ok()
            .filter(IpAddr::is_ipv6)
    } else {
        text.parse().ok().or_else(|| {
            let (address, port) = text.rsplit_once(':').filter(|(_, port)| is_port(port))?;
            let _ = port;
            address.parse().ok().filter(IpAddr::is_ipv4)
        })
    };
    address.map(|address: IpAddr| address.to_canonical())
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}
