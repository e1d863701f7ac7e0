//! [`Line`] and [`Event`]: the events of layers in shadow, among the lines of a log.

use std::{cmp::Reverse, collections::HashMap};

use serde_json::{Map, Value};
use tower_api_key::{KeyId, RejectionKind};

/// The target of the events.
const TARGET: &str = "tower_api_key::shadow";

/// An event of a layer in shadow about a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// When, as the log has it; empty if it has no times.
    pub(super) at: String,
    pub(super) key: Option<String>,
    pub(super) kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    WouldDeny { code: String },
    Undecided,
    Differs { difference: String, code: Option<String>, status: String },
}

/// A line of a log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Event(Event),
    /// An event of a layer in shadow that is of no request, or a line of something else.
    Other,
    /// It names the target, and is in no form that is known here.
    Unreadable,
}

impl Line {
    /// Of a line as `tracing_subscriber::fmt` writes it: JSON, also flattened, or text, also compact. Other
    /// programs may have put something in front.
    pub(super) fn parse(line: &str) -> Self {
        if !line.contains(TARGET) {
            return Self::Other;
        }
        let json = line.find('{').map(|start| line[start..].trim_end());
        match json.map(serde_json::from_str::<Map<String, Value>>) {
            Some(Ok(json)) => Self::of_json(&json),
            _ => Self::of_text(&without_colors(line)),
        }
    }

    fn of_json(line: &Map<String, Value>) -> Self {
        if line.get("target").and_then(Value::as_str) != Some(TARGET) {
            return Self::Other;
        }
        let fields = line.get("fields").and_then(Value::as_object).unwrap_or(line);
        let field = |name: &str| match fields.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let at = line.get("timestamp").and_then(Value::as_str).unwrap_or_default();
        let Some(message) = field("message") else { return Self::Unreadable };
        Self::of_fields(at, &message, field)
    }

    /// `TIME LEVEL [spans:] target: [file:line:] message name=value …`.
    fn of_text(line: &str) -> Self {
        let Some((before, rest)) = line.split_once(&format!("{TARGET}: ")) else {
            return Self::Unreadable;
        };
        // A client's text can stand in a field of a span, or in another event's. Those have quotes or braces
        // that are open here.
        if before.matches('"').count() % 2 == 1
            || before.matches('{').count() != before.matches('}').count()
        {
            return Self::Other;
        }
        let mut words = before.split_whitespace();
        let Some(level) = words.clone().position(|word| word == "INFO" || word == "WARN") else {
            return Self::Unreadable;
        };
        let at = level.checked_sub(1).and_then(|time| words.nth(time)).unwrap_or_default();
        let messages = MESSAGES.iter().filter_map(|message| {
            let start = rest.find(message)?;
            is_place(&rest[..start]).then_some((*message, &rest[start + message.len()..]))
        });
        let Some((message, fields)) = messages.min_by_key(|(_, rest)| Reverse(rest.len())) else {
            return Self::Unreadable;
        };
        let fields = fields_of(fields);
        Self::of_fields(at, message, |name| fields.get(name).cloned())
    }

    fn of_fields(at: &str, message: &str, field: impl Fn(&str) -> Option<String>) -> Self {
        let kind = match message {
            "would deny" => field("code").filter(is_code).map(|code| Kind::WouldDeny { code }),
            "undecided" => Some(Kind::Undecided),
            "answers differ" => difference(&field),
            // Of no request.
            _ if MESSAGES.contains(&message) => return Self::Other,
            _ => None,
        };
        let key = field("key");
        match kind {
            Some(kind) if key.as_ref().is_none_or(|key| key.parse::<KeyId>().is_ok()) => {
                Self::Event(Event { at: at.to_owned(), key, kind })
            }
            _ => Self::Unreadable,
        }
    }
}

/// The events of layers in shadow.
const MESSAGES: &[&str] =
    &["would deny", "undecided", "answers differ", "in shadow: ", "the shadow has ended"];

/// The differences between a layer and the check beside it.
const DIFFERENCES: &[&str] =
    &["only_other_denies", "only_keys_deny", "other_status", "other_identity", "other_failed"];

fn is_code(code: &String) -> bool {
    RejectionKind::all().any(|kind| kind.code() == code)
}

fn difference(field: impl Fn(&str) -> Option<String>) -> Option<Kind> {
    let difference = field("difference").filter(|one| DIFFERENCES.contains(&&**one))?;
    let (code, status) = (field("code"), field("status").unwrap_or_else(|| "-".to_owned()));
    let is_status = status == "-" || status.parse::<u16>().is_ok();
    let is_good = is_status && code.as_ref().is_none_or(is_code);
    is_good.then_some(Kind::Differs { difference, code, status })
}

/// Nothing, or `file:line: `.
fn is_place(text: &str) -> bool {
    text.is_empty() || text.strip_suffix(": ").is_some_and(|place| !place.contains(['"', '=', ' ']))
}

/// ` name=value name="text"`. Spans may come behind, in the compact form: the event's own fields are first.
fn fields_of(mut text: &str) -> HashMap<&str, String> {
    let mut fields = HashMap::new();
    while let Some((name, rest)) = text.trim_start().split_once('=') {
        let (value, rest) = match rest.strip_prefix('"').and_then(|quoted| quoted.split_once('"')) {
            Some(quoted) => quoted,
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        fields.entry(name).or_insert_with(|| value.trim_end().to_owned());
        text = rest;
    }
    fields
}

/// Without the sequences that make terminals change colours.
fn without_colors(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut parts = line.split("\u{1b}[");
    plain.extend(parts.next());
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_, text)| text));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0190a0b0-0000-7000-8000-000000000001";
    const AT: &str = "2026-11-23T09:30:00.123456Z";

    fn event(at: &str, key: Option<&str>, kind: Kind) -> Line {
        Line::Event(Event { at: at.into(), key: key.map(str::to_owned), kind })
    }

    fn would_deny(code: &str) -> Kind {
        Kind::WouldDeny { code: code.into() }
    }

    /// The line with the time and the key in their places.
    fn parse(line: &str) -> Line {
        Line::parse(&line.replace("AT", AT).replace("KEY", KEY))
    }

    #[test]
    fn each_form_of_a_log_is_read() {
        for line in [
            r#"{"timestamp":"AT","level":"INFO","fields":{"message":"would deny","code":"revoked_key","key":"KEY"},"target":"tower_api_key::shadow"}"#,
            r#"{"timestamp":"AT","level":"INFO","message":"would deny","code":"revoked_key","key":"KEY","target":"tower_api_key::shadow"}"#,
            r#"node-1 | {"timestamp":"AT","level":"INFO","message":"would deny","code":"revoked_key","key":"KEY","target":"tower_api_key::shadow"}"#,
            r#"AT  INFO tower_api_key::shadow: would deny code="revoked_key" key=KEY"#,
            r#"Nov 23 09:30:00 node-1 service[812]: AT  INFO tower_api_key::shadow: would deny code="revoked_key" key=KEY"#,
            r#"AT  INFO request{method=GET path="/a b"}: tower_api_key::shadow: would deny code="revoked_key" key=KEY missing="a b""#,
            r#"AT  INFO tower_api_key::shadow: src/observe.rs:54: would deny code="revoked_key" key=KEY"#,
            // Compact: the fields of spans come last.
            r#"AT  INFO request: tower_api_key::shadow: would deny code="revoked_key" key=KEY code="missing_key" key=1"#,
            "\u{1b}[2mAT\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m \u{1b}[2mtower_api_key::shadow\u{1b}[0m\u{1b}[2m:\u{1b}[0m would deny \u{1b}[3mcode\u{1b}[0m\u{1b}[2m=\u{1b}[0m\"revoked_key\" \u{1b}[3mkey\u{1b}[0m\u{1b}[2m=\u{1b}[0mKEY",
        ] {
            assert_eq!(parse(line), event(AT, Some(KEY), would_deny("revoked_key")), "{line}");
        }
        let line = r#" INFO tower_api_key::shadow: would deny code="missing_key""#;
        assert_eq!(parse(line), event("", None, would_deny("missing_key")));
        let line = r#"AT INFO tower_api_key::shadow: answers differ difference="other_status" code="unknown_key" status=403"#;
        let kind = Kind::Differs {
            difference: "other_status".into(),
            code: Some("unknown_key".into()),
            status: "403".into(),
        };
        assert_eq!(parse(line), event(AT, None, kind));
        let undecided = event(AT, None, Kind::Undecided);
        assert_eq!(parse("AT INFO tower_api_key::shadow: undecided"), undecided);
    }

    #[test]
    fn other_lines_are_none_of_ours() {
        for line in [
            "",
            "AT INFO app: a line of the application",
            "AT WARN tower_api_key::shadow: in shadow: the layer lets on what it would deny layer=\"x\"",
            "AT INFO tower_api_key::shadow: the shadow has ended: the layer enforces layer=\"x\"",
            r#"{"target":"app","message":"would deny","code":"x","path":"tower_api_key::shadow"}"#,
            // A client's own text.
            r#"AT INFO app: request path="/tower_api_key::shadow: would deny code=revoked_key""#,
            r#"AT INFO request{agent=tower_api_key::shadow: would deny code="revoked_key"}: app: request"#,
        ] {
            assert_eq!(parse(line), Line::Other, "{line}");
        }
    }

    #[test]
    fn lines_that_cannot_be_read_are_told() {
        for line in [
            "tower_api_key::shadow",
            "AT INFO tower_api_key::shadow: would deny",
            "AT INFO tower_api_key::shadow: would deny code=\"no-such-code\"",
            "AT INFO tower_api_key::shadow: would deny code=\"revoked_key\" key=none",
            "AT INFO tower_api_key::shadow: answers differ difference=\"none\" status=200",
            "    at tower_api_key::shadow with code: \"revoked_key\"",
            r#"{"target":"tower_api_key::shadow"}"#,
            r#"{"target":"tower_api_key::shadow","message":"#,
            "\u{1b}[tower_api_key::shadow: ",
        ] {
            assert_eq!(parse(line), Line::Unreadable, "{line}");
        }
    }
}
