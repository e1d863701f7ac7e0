//! The elements of a line that proxies write, each as an address where it is one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An element, or `None` where it cannot be read.
pub(super) type Element = Option<IpAddr>;

/// The elements of a list with `,` between, the last one first.
pub(super) fn from_the_end(line: &[u8]) -> impl Iterator<Item = Element> {
    let elements = line.rsplit(|byte| *byte == b',');
    elements.map(|element| node(trimmed(str::from_utf8(element).ok()?)))
}

/// The elements of a list by RFC 7239 §4: with `,` between them, of pairs with `;` between. Both may
/// stand in a quoted value. From where it cannot be read, it is one element that cannot be read.
pub(super) fn forwarded(line: &[u8]) -> Vec<Element> {
    let line = String::from_utf8_lossy(line);
    let mut elements = Vec::new();
    let mut rest = Some(&*line);
    while let Some(text) = rest {
        let Some((element, after)) = first_element(text) else {
            elements.push(None);
            break;
        };
        elements.push(element);
        rest = after;
    }
    elements
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The first element of a list, and the list behind its comma; `None` if it is not written as one.
fn first_element(list: &str) -> Option<(Element, Option<&str>)> {
    let (mut text, mut client, mut times) = (list, None, 0);
    loop {
        let (name, after) = text.split_once('=')?;
        let name = trimmed(name);
        if name.is_empty() || !name.bytes().all(is_of_token) {
            return None;
        }
        let (value, after) = first_value(after)?;
        if name.eq_ignore_ascii_case("for") {
            times += 1;
            client = node(&value);
        }
        let after = trimmed(after);
        let element = || client.filter(|_| times == 1);
        if after.is_empty() {
            return Some((element(), None));
        }
        match (after.strip_prefix(';'), after.strip_prefix(',')) {
            (Some(next), _) => text = next,
            (_, Some(next)) => return Some((element(), Some(next))),
            _ => return None,
        }
    }
}

/// A token or a quoted text, and the text behind it.
fn first_value(text: &str) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => return Some((value, &quoted[at + 1..])),
                '\\' => value.push(characters.next()?.1),
                _ => value.push(character),
            }
        }
        return None;
    }
    let end = text.find([';', ',', ' ', '\t']).unwrap_or(text.len());
    let (value, after) = text.split_at(end);
    // Many proxies write an address of IPv6 or a port without the quotes that it needs.
    let is_good = |byte| is_of_token(byte) || matches!(byte, b':' | b'[' | b']');
    (!value.is_empty() && value.bytes().all(is_good)).then(|| (value.to_owned(), after))
}

/// RFC 9110 §5.6.2.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// An address, perhaps with a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`,
/// `[2001:db8::1]:80`.
fn node(text: &str) -> Element {
    let address = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, after) = bracketed.split_once(']')?;
            if !after.is_empty() {
                after.strip_prefix(':').filter(|port| is_port(port))?;
            }
            address.parse::<Ipv6Addr>().ok().map(IpAddr::from)
        }
        None => match text.split_once(':') {
            Some((address, port)) if is_port(port) => {
                // An address of IPv6 has more than one colon, so its rest is no port.
                address.parse::<Ipv4Addr>().ok().map(IpAddr::from)
            }
            _ => text.parse().ok(),
        },
    };
    address.map(|address| address.to_canonical())
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}
