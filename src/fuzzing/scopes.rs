//! Scopes and rules mean what the documentation says, segment by segment.

use super::choices::Choices;
use crate::key::{Scope, ScopeRule, Scopes};

/// A rule as a tree, to be read without the crate's own.
enum Rule {
    Scope(String),
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
}

/// A second reading agrees on scopes, sets, rules, and the scopes that are missing.
pub fn scopes(input: &[u8]) {
    let mut choices = Choices::new(input);
    let sets: Vec<_> = (0..3).map(|_| set(&mut choices)).collect();
    let (rule, ours) = rule(&mut choices, 4);
    for (scopes, texts) in &sets {
        assert_eq!(ours.is_met_by(scopes), is_met(&rule, texts));
        let missing = ours.missing(scopes);
        if is_met(&rule, texts) {
            assert!(missing.is_empty());
        } else if can_be_helped(&rule) {
            let both = Scopes::parse(scopes.iter().chain(missing.iter())).unwrap();
            assert!(!missing.is_empty() && ours.is_met_by(&both));
        }
        assert!(missing.iter().all(|scope| !texts.iter().any(|granted| covers(granted, scope))));
    }
    // A ceiling of a ceiling is one, and nothing under it is above it.
    let [(a, _), (b, of_b), (c, of_c)] = sets.as_slice() else { return };
    assert!(!(a.allow_all(b) && b.allow_all(c)) || a.allow_all(c));
    for scope in of_b.iter().chain(of_c) {
        let scope: Scope = scope.parse().unwrap();
        assert!(!(a.allow_all(b) && b.allow(&scope)) || a.allow(&scope));
    }
}

/// A set, and the texts in it.
fn set(choices: &mut Choices<'_>) -> (Scopes, Vec<String>) {
    let texts: Vec<_> = (0..choices.below(5)).filter_map(|_| scope(choices)).collect();
    let scopes = Scopes::parse(&texts).unwrap();
    let (mut sorted, json) = (texts.clone(), serde_json::to_string(&scopes).unwrap());
    sorted.sort();
    sorted.dedup();
    assert!(scopes.iter().eq(sorted.iter()));
    assert_eq!((scopes.len(), scopes.is_empty()), (sorted.len(), sorted.is_empty()));
    assert_eq!(scopes.as_str(), sorted.join(" "));
    assert_eq!(serde_json::from_str::<Scopes>(&json).unwrap(), scopes);
    (scopes, texts)
}

/// A scope, if the text that was chosen is one.
fn scope(choices: &mut Choices<'_>) -> Option<String> {
    let text = if choices.below(8) == 0 {
        choices.text(140)
    } else {
        let letters =
            choices.bytes(10).iter().map(|byte| *b"aab:*: \"".get(usize::from(byte % 8)).unwrap());
        letters.map(char::from).collect()
    };
    let segments: Vec<_> = text.split(':').collect();
    let (last, others) = segments.split_last().unwrap();
    let is_plain = |segment: &str| !segment.is_empty() && !segment.contains('*');
    let is_scope = text.len() <= 128
        && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
        && others.iter().all(|segment| is_plain(segment))
        && (is_plain(last) || *last == "*");
    let read = text.parse::<Scope>();
    assert_eq!(read.is_ok(), is_scope, "{text:?}");
    read.is_ok().then_some(text)
}

fn rule(choices: &mut Choices<'_>, depth: usize) -> (Rule, ScopeRule) {
    let kind = if depth == 0 { 0 } else { choices.below(6) };
    let several = |choices: &mut Choices<'_>| -> (Vec<Rule>, Vec<ScopeRule>) {
        (0..choices.below(4)).map(|_| rule(choices, depth - 1)).unzip()
    };
    match kind {
        3 => {
            let (rules, ours) = several(choices);
            (Rule::All(rules), ScopeRule::all(ours))
        }
        4 => {
            let (rules, ours) = several(choices);
            (Rule::Any(rules), ScopeRule::any(ours))
        }
        5 => {
            let (inner, ours) = rule(choices, depth - 1);
            (Rule::Not(Box::new(inner)), !ours)
        }
        _ => {
            let text = scope(choices).unwrap_or_else(|| "a".to_owned());
            let ours = ScopeRule::scope(&text).unwrap();
            (Rule::Scope(text), ours)
        }
    }
}

fn is_met(rule: &Rule, granted: &[String]) -> bool {
    match rule {
        Rule::Scope(scope) => granted.iter().any(|granted| covers(granted, scope)),
        Rule::All(rules) => !rules.iter().any(|rule| !is_met(rule, granted)),
        Rule::Any(rules) => rules.iter().any(|rule| is_met(rule, granted)),
        Rule::Not(rule) => !is_met(rule, granted),
    }
}

/// Whether scopes that are added can have a key meet it, and none can keep it from that.
fn can_be_helped(rule: &Rule) -> bool {
    match rule {
        Rule::Scope(_) => true,
        Rule::All(rules) => rules.iter().all(can_be_helped),
        Rule::Any(rules) => !rules.is_empty() && rules.iter().all(can_be_helped),
        Rule::Not(_) => false,
    }
}

fn covers(granted: &str, required: &str) -> bool {
    let (granted, required): (Vec<_>, Vec<_>) =
        (granted.split(':').collect(), required.split(':').collect());
    for (place, segment) in granted.iter().enumerate() {
        if *segment == "*" {
            return required.len() > place;
        }
        if required.get(place) != Some(segment) {
            return false;
        }
    }
    granted.len() == required.len()
}
