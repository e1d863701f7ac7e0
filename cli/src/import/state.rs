//! Whether a key is active where it comes from, as the columns of other systems say it.
//!
//! A value that is not understood is an error: a key must not come in active because of it.

use std::fmt;

use serde_json::Value;
use tower_api_key::Timestamp;

use super::{
    row::Bad,
    time::{self, Time},
};

/// The state of a key there. Of several, the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Active,
    /// Switched off, perhaps for now.
    Inactive,
    /// Revoked, deleted or expired: it is not to come alive here.
    Ended,
}

const NAMES: [(&str, State); 3] =
    [("active", State::Active), ("inactive", State::Inactive), ("ended", State::Ended)];

impl State {
    pub(super) fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, state)| *state)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Ended => "ended",
        }
    }
}

/// How a column says it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// Whether the key is active. An empty value does not say that it is.
    Active,
    /// Whether it is switched off.
    Inactive,
    /// Whether it has ended.
    Ended,
    /// In a word.
    Word,
    /// When it ended. An empty value says that it did not.
    EndedAt,
    /// The same, or whether it did: then zero is no time.
    EndedOrAt,
}

/// A value and its meaning: `--state WORD=STATE`.
#[derive(Clone)]
pub(super) struct Meaning {
    /// In lower case.
    word: String,
    state: State,
}

/// Reads `WORD=active`. The word may be empty, or a time.
pub(super) fn meaning(text: &str) -> Result<Meaning, String> {
    let must = || "must be like suspended=inactive: active, inactive or ended".to_owned();
    let (word, state) = text.rsplit_once('=').ok_or_else(must)?;
    let state = State::named(state).ok_or_else(must)?;
    Ok(Meaning { word: word.trim().to_lowercase(), state })
}

impl Meaning {
    /// Whether this is about a value: the same word, or the same time.
    fn is_of(&self, word: &str) -> bool {
        let time = |word: &str| time::read(&Value::String(word.to_owned()));
        self.word == word || time(&self.word).zip(time(word)).is_some_and(|(a, b)| a.is(&b))
    }
}

/// The state that a value of a column says, by its meanings first.
pub(super) fn read(
    column: &str,
    says: Says,
    value: &Value,
    meanings: &[Meaning],
    times: &time::Reading,
) -> Result<State, Bad> {
    let word = match value {
        Value::Null => String::new(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_lowercase(),
        Value::Array(_) | Value::Object(_) => return Err(unknown(column, "a list or an object")),
    };
    if let Some(meaning) = meanings.iter().find(|meaning| meaning.is_of(&word)) {
        return Ok(meaning.state);
    }
    let either = |is: Option<bool>, yes, no| is.map(|is| if is { yes } else { no });
    let state = match says {
        Says::Active if word.is_empty() => Some(State::Inactive),
        Says::Active => either(truth(&word), State::Active, State::Inactive),
        Says::Inactive => either(truth(&word), State::Inactive, State::Active),
        Says::Ended => either(truth(&word), State::Ended, State::Active),
        Says::Word => in_a_word(&word),
        Says::EndedOrAt if word == "0" => Some(State::Active),
        Says::EndedAt | Says::EndedOrAt => return ended_at(column, value, &word, times),
    };
    let what = if word.is_empty() { "nothing" } else { "a value that is not known" };
    state.ok_or_else(|| unknown(column, what))
}

fn unknown(column: &str, what: impl fmt::Display) -> Bad {
    Bad::new(format!(
        "{column} holds {what}; say what that means with --state VALUE=active, =inactive or =ended"
    ))
}

fn truth(word: &str) -> Option<bool> {
    match word {
        "1" | "t" | "true" | "y" | "yes" | "on" => Some(true),
        "0" | "f" | "false" | "n" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn in_a_word(word: &str) -> Option<State> {
    match word {
        "active" | "enabled" => Some(State::Active),
        "inactive" | "disabled" | "suspended" => Some(State::Inactive),
        "revoked" | "deleted" | "expired" => Some(State::Ended),
        _ => None,
    }
}

fn ended_at(column: &str, value: &Value, word: &str, times: &time::Reading) -> Result<State, Bad> {
    // Numbers that may be times are for `--zero-is-never` to judge.
    let is_flag = value.is_boolean() || word == "1" || (word != "0" && truth(word).is_some());
    if is_flag {
        let has_ended = truth(word) == Some(true);
        return Ok(if has_ended { State::Ended } else { State::Active });
    }
    let ended = |at: Timestamp| at <= times.now;
    match time::read(value) {
        Some(Time::Nothing) => Ok(State::Active),
        Some(Time::Zero) if times.zero_is_never => Ok(State::Active),
        Some(Time::Zero) => Err(time::zero(column)),
        Some(Time::At(at)) if ended(at) => Ok(State::Ended),
        Some(Time::Day(day)) if ended(time::start_of(day.into())) => Ok(State::Ended),
        Some(Time::At(_) | Time::Day(_) | Time::Never) => Err(unknown(column, "a time to come")),
        None => Err(unknown(column, "a value that is not known")),
    }
}
