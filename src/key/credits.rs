//! [`NewCredits`], [`CreditsPatch`] and [`RefillPatch`]: what is said about the credits of a key, in Rust and as the
//! JSON that the management routes and the command line read.

use std::{fmt, marker::PhantomData, num::NonZeroU64};

use serde_core::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Unexpected, Visitor, value::MapAccessDeserializer},
};

use super::{
    balance::MAX_CREDITS,
    invalid_field::InvalidField,
    refill::{self, Refill, RefillInterval},
};
use crate::object::read_object;

/// The credits that a key is given.
///
/// They are spent through [`Credits`](crate::Credits).
///
/// As JSON, a number, or `{"remaining":1000,"refill":{"amount":1000,"interval":"month"}}`, see
/// [`Refill`]. One of the two may be left out; then there is no refill, or as much as it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewCredits {
    /// How many there are: at most 2⁶³ − 1.
    pub remaining: u64,
    /// How they come back, if they do.
    pub refill: Option<Refill>,
}

/// Changes of the credits of a key. What is `None` stays as it is, within a refill too. A
/// key that spends no credits yet begins to with either half: without the other, there is no refill,
/// or as much as it gives.
///
/// As JSON, a number, which is what remains, or `{"remaining":1000,"refill":{"amount":1000,
/// "interval":"month"}}`, where `null` takes the refill away, and anything may be left out.
///
/// ```
/// use tower_api_key::{KeyPatch, credits::CreditsPatch};
///
/// // What is left stays, and nothing comes back any more.
/// let credits = CreditsPatch { refill: Some(None), ..CreditsPatch::default() };
/// let patch = KeyPatch { credits: Some(Some(credits)), ..KeyPatch::default() };
/// # let _ = patch;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CreditsPatch {
    /// How many there are: at most 2⁶³ − 1. What nodes have taken and not spent is forgotten.
    pub remaining: Option<u64>,
    /// How they come back; `Some(None)`: not any more.
    pub refill: Option<Option<RefillPatch>>,
}

/// Changes of how credits come back. What is `None` stays as it is; a key without a refill
/// needs both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefillPatch {
    /// See [`Refill::amount`](field@Refill::amount).
    pub amount: Option<NonZeroU64>,
    /// See [`Refill::interval`]. Counted from now on, also where it is what it was.
    pub interval: Option<RefillInterval>,
}

impl From<Refill> for RefillPatch {
    /// Both halves.
    fn from(refill: Refill) -> Self {
        Self { amount: Some(refill.amount), interval: Some(refill.interval) }
    }
}

impl RefillPatch {
    /// What it makes of a refill.
    pub(crate) fn applied(self, old: Option<Refill>) -> Result<Option<Refill>, InvalidField> {
        if self == Self::default() {
            return Ok(old);
        }
        let missing = |field| InvalidField::new(field, "must be given: the key has no refill yet");
        let amount = self.amount.or(old.map(|old| old.amount));
        let interval = self.interval.or(old.map(|old| old.interval));
        Ok(Some(Refill {
            amount: amount.ok_or_else(|| missing("credits.refill.amount"))?,
            interval: interval.ok_or_else(|| missing("credits.refill.interval"))?,
        }))
    }
}

impl From<NewCredits> for CreditsPatch {
    /// Both halves.
    fn from(credits: NewCredits) -> Self {
        Self {
            remaining: Some(credits.remaining),
            refill: Some(credits.refill.map(RefillPatch::from)),
        }
    }
}

impl<'de> Deserialize<'de> for NewCredits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(NumberOrObject::<Fields>::new())? {
            Sent::Number(remaining) => Ok(Self { remaining, refill: None }),
            Sent::Object(Fields { remaining, refill }) => {
                let refill = refill.map(|refill| refill.0);
                let remaining = remaining.map(|remaining| remaining.0);
                let remaining = remaining.or(refill.map(|refill| refill.amount.get()));
                let remaining = remaining.ok_or_else(|| D::Error::missing_field("remaining"))?;
                Ok(Self { remaining, refill })
            }
        }
    }
}

impl<'de> Deserialize<'de> for CreditsPatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match deserializer.deserialize_any(NumberOrObject::<PatchFields>::new())? {
            Sent::Number(remaining) => Self { remaining: Some(remaining), refill: None },
            Sent::Object(PatchFields { remaining, refill }) => Self {
                remaining: remaining.map(|remaining| remaining.0),
                refill: refill.map(|refill| refill.map(|refill| refill.0)),
            },
        })
    }
}

/// A number of credits, or an object with these fields.
struct NumberOrObject<F>(PhantomData<F>);

enum Sent<F> {
    Number(u64),
    Object(F),
}

impl<F> NumberOrObject<F> {
    fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, F: Deserialize<'de>> Visitor<'de> for NumberOrObject<F> {
    type Value = Sent<F>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of credits, or an object with remaining and refill")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Sent<F>, E> {
        within_bounds(number).map(Sent::Number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Sent<F>, E> {
        let negative = |_| E::invalid_value(Unexpected::Signed(number), &self);
        u64::try_from(number).map_err(negative).and_then(|number| self.visit_u64(number))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Sent<F>, A::Error> {
        F::deserialize(MapAccessDeserializer::new(map)).map(Sent::Object)
    }
}

struct Fields {
    remaining: Option<Bounded<u64>>,
    refill: Option<Bounded<Refill>>,
}

read_object!(Fields { remaining: default, refill: default });

/// What was left out is `None`; a refill may be `null`, and what remains may not.
#[expect(clippy::option_option, reason = "left out, null and a value are three things")]
struct PatchFields {
    remaining: Option<Bounded<u64>>,
    refill: Option<Option<Bounded<RefillPatch>>>,
}

read_object!(PatchFields { remaining: sent, refill: sent });

impl<'de> Deserialize<'de> for RefillPatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (amount, interval) = refill::halves(deserializer)?;
        Ok(Self { amount, interval })
    }
}

/// What has a number of credits. It is judged where it is read, so that an error is that field's.
struct Bounded<T>(T);

impl<'de, T: Deserialize<'de> + HasAmount> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = T::deserialize(deserializer)?;
        value.amount().map_or(Ok(0), within_bounds)?;
        Ok(Self(value))
    }
}

trait HasAmount {
    fn amount(&self) -> Option<u64>;
}

impl HasAmount for u64 {
    fn amount(&self) -> Option<u64> {
        Some(*self)
    }
}

impl HasAmount for Refill {
    fn amount(&self) -> Option<u64> {
        Some(self.amount.get())
    }
}

impl HasAmount for RefillPatch {
    fn amount(&self) -> Option<u64> {
        self.amount.map(NonZeroU64::get)
    }
}

fn within_bounds<E: Error>(number: u64) -> Result<u64, E> {
    if number <= MAX_CREDITS {
        return Ok(number);
    }
    Err(E::custom(format_args!("there are at most {MAX_CREDITS} credits")))
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroU64};

    use super::super::refill::RefillInterval;
    use super::*;

    #[test]
    fn a_patch_tells_what_was_left_out_from_null() {
        let refill = Refill { amount: NonZeroU64::MIN, interval: RefillInterval::Month };
        let refill = RefillPatch::from(refill);
        for (json, remaining, refill) in [
            ("5", Some(5), None),
            ("{}", None, None),
            (r#"{"remaining":5}"#, Some(5), None),
            (r#"{"refill":null}"#, None, Some(None)),
            (r#"{"remaining":5,"refill":null}"#, Some(5), Some(None)),
            (r#"{"refill":{"amount":1,"interval":"month"}}"#, None, Some(Some(refill))),
            (
                r#"{"refill":{"amount":1}}"#,
                None,
                Some(Some(RefillPatch { interval: None, ..refill })),
            ),
            (
                r#"{"refill":{"interval":"month"}}"#,
                None,
                Some(Some(RefillPatch { amount: None, ..refill })),
            ),
            (r#"{"refill":{}}"#, None, Some(Some(RefillPatch::default()))),
        ] {
            let read: CreditsPatch = serde_json::from_str(json).unwrap();
            assert_eq!(read, CreditsPatch { remaining, refill }, "{json}");
        }
        for json in [
            "null",
            "-1",
            r#"{"remaining":null}"#,
            r#"{"remaining":9223372036854775808}"#,
            r#"{"refill":{"amount":9223372036854775808,"interval":"month"}}"#,
            r#"{"refill":{"amount":null}}"#,
            r#"{"refill":{"interval":"month","interval_seconds":1}}"#,
            r#"{"next_refill_at":null}"#,
        ] {
            assert!(serde_json::from_str::<CreditsPatch>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn credits_are_a_number_or_an_object() {
        let refill =
            |amount, interval| Some(Refill { amount: NonZeroU64::new(amount).unwrap(), interval });
        let daily = RefillInterval::Seconds(NonZeroU32::new(86_400).unwrap());
        for (json, remaining, refill) in [
            ("0", 0, None),
            ("9223372036854775807", MAX_CREDITS, None),
            (r#"{"remaining":5}"#, 5, None),
            (r#"{"remaining":5,"refill":null}"#, 5, None),
            (r#"{"refill":{"amount":7,"interval":"month"}}"#, 7, refill(7, RefillInterval::Month)),
            (
                r#"{"remaining":0,"refill":{"amount":7,"interval_seconds":86400}}"#,
                0,
                refill(7, daily),
            ),
        ] {
            let read: NewCredits = serde_json::from_str(json).unwrap();
            assert_eq!(read, NewCredits { remaining, refill }, "{json}");
        }
        for (json, why) in [
            ("-1", "number of credits"),
            ("1.5", "number of credits"),
            (r#""5""#, "number of credits"),
            ("[5]", "number of credits"),
            ("9223372036854775808", "at most"),
            ("{}", "missing field `remaining`"),
            (r#"{"remaining":null}"#, "missing field `remaining`"),
            (r#"{"remaining":-1}"#, "-1"),
            (r#"{"remaining":9223372036854775808}"#, "at most"),
            (r#"{"remaining":1,"of":1}"#, "unknown field `of`"),
            (r#"{"refill":{"amount":9223372036854775808,"interval":"month"}}"#, "at most"),
            (r#"{"refill":{"amount":1}}"#, "interval"),
            (r#"{"refill":{"amount":0,"interval":"month"}}"#, "nonzero"),
        ] {
            let error = serde_json::from_str::<NewCredits>(json).unwrap_err().to_string();
            assert!(error.contains(why), "{json}: {error}");
        }
    }
}
