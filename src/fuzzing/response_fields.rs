//! Response fields that are written are read back by the grammars of their standards.

use std::{num::NonZeroU32, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::choices::Choices;
use crate::{
    key::{ChallengeError, Limit, Limits, Quota},
    limit::{Fields, LimitReport, LimitState},
    rejection::{Challenges, bare},
};

const DRAFT: [&str; 2] = ["ratelimit-policy", "ratelimit"];
const LEGACY: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

/// `RateLimit` and `RateLimit-Policy` are structured fields (RFC 9651), and challenges are those of RFC 9110.
pub fn response_fields(input: &[u8]) {
    let mut choices = Choices::new(input);
    limits(&mut choices);
    challenges(choices);
}

fn limits(choices: &mut Choices<'_>) {
    let number = |choices: &mut Choices<'_>| {
        NonZeroU32::new(
            choices.number().to_le_bytes()[0..4].try_into().map_or(1, u32::from_le_bytes),
        )
        .unwrap_or(NonZeroU32::MIN)
    };
    let some = (0..=choices.below(8)).filter_map(|_| {
        let name = choices.text(36);
        let quota = Quota::new(number(choices), Duration::from_millis(choices.number()));
        let limit = Limit::new(&name, quota.ok()?);
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let is_good = (1..=32).contains(&name.len()) && name.bytes().all(is_name);
        assert_eq!(limit.is_ok(), is_good);
        limit.ok()
    });
    let Ok(limits) = Limits::new(some.collect::<Vec<_>>()) else { return };
    let fields = *choices.pick(&[Fields::Draft, Fields::DraftAndLegacy, Fields::None]);
    let (place, remaining) = (choices.below(9), number(choices).get() - 1);
    let reset = Duration::from_nanos(choices.number());
    let state = LimitState::from_parts(place, remaining, reset);
    let report = LimitReport::new(&limits, state, fields);
    assert_eq!(report.is_some(), place < limits.len() && fields != Fields::None);
    let Some(report) = report else { return };

    let inner = choices.is().then(|| choices.pick(&DRAFT)).copied();
    let mut headers = HeaderMap::new();
    if let Some(name) = inner {
        headers
            .append(HeaderName::from_static(name), HeaderValue::from_static("\"inner\";r=1;t=1"));
    }
    report.apply(&mut headers);
    let once = headers.clone();
    report.apply(&mut headers);
    assert_eq!(headers, once);

    let limit = &limits[place];
    let seconds = |time: Duration| u64::try_from(time.as_nanos().div_ceil(1_000_000_000)).unwrap();
    let requests = u64::from(limit.quota().requests().get());
    let reset = seconds(reset).min(u32::MAX.into());
    let policy = [("q", requests), ("w", seconds(limit.quota().window()))];
    let item_of = [("r", remaining.into()), ("t", reset)];
    for (name, parameters) in DRAFT.into_iter().zip([policy, item_of]) {
        let mut values = headers.get_all(name).iter();
        let value = values.next().unwrap().to_str().unwrap();
        assert!(values.next().is_none());
        let (item, read) = string_with_integers(value).unwrap();
        if inner == Some(name) {
            assert_eq!(item, "inner");
        } else {
            assert_eq!(item, limit.name());
            assert_eq!(read, parameters.map(|(key, value)| (key.to_owned(), value)));
        }
    }
    for (name, number) in LEGACY.into_iter().zip([requests, remaining.into(), reset]) {
        let value = headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(value, (fields == Fields::DraftAndLegacy).then(|| number.to_string()));
    }
}

/// A string and its parameters, all of them integers, as RFC 9651 §4.2 reads them.
fn string_with_integers(text: &str) -> Option<(String, Vec<(String, u64)>)> {
    let (item, mut rest) = string(text)?;
    let mut parameters = Vec::new();
    while !rest.is_empty() {
        let parameter = rest.strip_prefix(';')?;
        let end = parameter.find(';').unwrap_or(parameter.len());
        let (key, value) = parameter[..end].split_once('=')?;
        let is_key = key.starts_with(|c: char| c.is_ascii_lowercase())
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let is_integer =
            (1..=15).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
        if !is_key || !is_integer {
            return None;
        }
        parameters.push((key.to_owned(), value.parse().ok()?));
        rest = &parameter[end..];
    }
    Some((item, parameters))
}

/// A text in quotes, and what follows it. Also the quoted text of RFC 9110 §5.6.4, with fewer characters.
fn string(text: &str) -> Option<(String, &str)> {
    let mut characters = text.strip_prefix('"')?.char_indices();
    let mut read = String::new();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((read, &text[at + 2..])),
            '\\' => read.extend(Some(
                characters.next().map(|(_, c)| c).filter(|c| matches!(c, '"' | '\\'))?,
            )),
            ' '..='~' => read.push(c),
            _ => return None,
        }
    }
    None
}

fn challenges(mut choices: Choices<'_>) {
    let error = *choices.pick(&[
        None,
        Some(ChallengeError::InvalidToken),
        Some(ChallengeError::InsufficientScope),
        Some(ChallengeError::InvalidRequest),
    ]);
    let realm = choices.text(40);
    let scope = choices.is().then(|| choices.text(40));
    // Those without an error are kept for ever: of these, the realms are few.
    let families = if error.is_none() { [bare("api")] } else { [bare(&realm)] };
    let realm = if error.is_none() { "api".to_owned() } else { realm };
    let shown = |text: &str| -> String {
        text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect()
    };
    for value in Challenges::new(&families).values(error, scope.as_deref()) {
        let text = value.to_str().unwrap();
        let mut rest = text.strip_prefix("ApiKey ").unwrap();
        let mut read = Vec::new();
        while !rest.is_empty() {
            let (name, value) = rest.split_once('=').unwrap();
            let (value, after) = string(value).unwrap();
            read.push((name, value));
            rest = if after.is_empty() { after } else { after.strip_prefix(", ").unwrap() };
        }
        let mut expected = vec![("realm", shown(&realm))];
        expected.extend(error.map(|error| ("error", error.as_str().to_owned())));
        let is_told = !matches!(error, None | Some(ChallengeError::InvalidToken));
        expected.extend(scope.as_deref().filter(|_| is_told).map(|scope| ("scope", shown(scope))));
        assert_eq!(read, expected);
    }
}
