//! Reading moments from text: RFC 3339, and ends of validity as databases and people write them.

use std::{fmt, str::FromStr};

use jiff::{
    civil::{Date, DateTime, Time},
    fmt::{
        strtime::BrokenDownTime,
        temporal::{Pieces, PiecesOffset},
    },
};

use super::Timestamp;

/// The last moment of a day, as an end that names only the day.
const LAST_MILLISECOND: Time = Time::constant(23, 59, 59, 999_000_000);

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    /// Parses RFC 3339, with any offset. Fractions beyond the millisecond are cut off.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<jiff::Timestamp>() {
            Ok(moment) => Ok(Self::from_unix_millis(moment.as_millisecond())),
            Err(_) => within_the_last_hours(text).ok_or_else(|| ParseTimestampError::of(text)),
        }
    }
}

impl Timestamp {
    /// Parses the end of a key's validity; `None` is "never".
    ///
    /// Beside RFC 3339 this takes a date alone, such as `2030-01-31`, for the last millisecond of
    /// that day in UTC. Any moment of the year 9999 and PostgreSQL's `infinity` are never: that is
    /// how tables without a null say that there is no end.
    ///
    /// ```
    /// use tower_api_key::Timestamp;
    ///
    /// let end = Timestamp::parse_end("2030-01-31")?;
    /// assert_eq!(end.unwrap().to_string(), "2030-01-31T23:59:59.999Z");
    /// assert_eq!(Timestamp::parse_end("9999-12-31T23:59:59Z")?, None);
    /// assert_eq!(Timestamp::parse_end("infinity")?, None);
    /// # Ok::<(), tower_api_key::clock::ParseTimestampError>(())
    /// ```
    pub fn parse_end(text: &str) -> Result<Option<Self>, ParseTimestampError> {
        if text == "infinity" {
            return Ok(None);
        }
        let end = match date(text) {
            Some(date) => utc(date.to_datetime(LAST_MILLISECOND)),
            None => text.parse()?,
        };
        Ok(Some(end).filter(|end| !end.is_never()))
    }
}

impl Timestamp {
    /// Parses the date of a header field, in each of the three forms that it may have
    /// (RFC 9110 §5.6.7).
    pub(crate) fn from_http_date(text: &str) -> Option<Self> {
        const FORMS: [&str; 3] =
            ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
        // None is longer; the parser would pass over white space.
        if text.len() > "Wednesday, 06-Nov-94 08:49:37 GMT".len() {
            return None;
        }
        let read = |form| BrokenDownTime::parse(form, text).ok()?.to_datetime().ok();
        FORMS.into_iter().find_map(read).map(utc)
    }
}

/// A date and nothing else. The parser by itself would pass over a time behind it.
fn date(text: &str) -> Option<Date> {
    const FORM: &[u8] = b"dddd-dd-dd";
    let fits = |(byte, form): (u8, &u8)| match form {
        b'd' => byte.is_ascii_digit(),
        form => byte == *form,
    };
    (text.len() == FORM.len() && text.bytes().zip(FORM).all(fits)).then(|| text.parse().ok())?
}

fn utc(moment: DateTime) -> Timestamp {
    let since_1970 = moment.duration_since(jiff::Timestamp::UNIX_EPOCH.to_zoned(UTC).datetime());
    Timestamp::from_unix_millis(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
}

const UTC: jiff::tz::TimeZone = jiff::tz::TimeZone::UTC;

/// jiff leaves out the last 26 hours of the year 9999, in which some offset is in the year after.
fn within_the_last_hours(text: &str) -> Option<Timestamp> {
    let pieces = Pieces::parse(text).ok().filter(|pieces| pieces.date().year() == 9999)?;
    let (time, offset) = (pieces.time()?, pieces.offset()?);
    let offset = match offset {
        PiecesOffset::Zulu => 0,
        PiecesOffset::Numeric(offset) => offset.offset().seconds(),
        _ => return None,
    };
    let local = utc(pieces.date().to_datetime(time)).as_unix_millis();
    Some(Timestamp::from_unix_millis(local - i64::from(offset) * 1000))
}

/// The text is not an RFC 3339 date and time, or names a moment outside of the years 0 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseTimestampError(Fault);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Format,
    Range,
}

impl ParseTimestampError {
    /// Why a text that was refused was refused: RFC 3339 has four digits for a year.
    fn of(text: &str) -> Self {
        let digits = text.trim_start_matches(['+', '-']);
        let years = digits.bytes().take_while(u8::is_ascii_digit).count();
        let is_year = digits.as_bytes().get(years) == Some(&b'-');
        let is_signed = digits.len() < text.len() && years >= 4;
        let in_range = !is_year || (years <= 4 && !is_signed);
        Self(if in_range { Fault::Format } else { Fault::Range })
    }

    /// Whether the text names a moment, but one outside of the years 0 to 9999.
    pub fn is_out_of_range(self) -> bool {
        self.0 == Fault::Range
    }
}

impl fmt::Display for ParseTimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Fault::Format => "not an RFC 3339 date and time such as 2030-01-31T12:00:00Z",
            Fault::Range => "outside of the years 0000 to 9999",
        })
    }
}

impl std::error::Error for ParseTimestampError {}

/// The end of a key's validity as a field of a body or of a file; see [`Timestamp::parse_end`].
#[cfg(any(feature = "axum", feature = "file"))]
#[derive(Clone, Copy)]
pub(crate) struct End(pub(crate) Option<Timestamp>);

#[cfg(any(feature = "axum", feature = "file"))]
mod end {
    use super::{End, FromStr, ParseTimestampError, Timestamp};

    impl FromStr for End {
        type Err = ParseTimestampError;

        fn from_str(text: &str) -> Result<Self, Self::Err> {
            Timestamp::parse_end(text).map(Self)
        }
    }

    impl std::fmt::Display for End {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            match self.0 {
                Some(end) => end.fmt(f),
                None => f.write_str("infinity"),
            }
        }
    }

    crate::text::serde_as_text!(End, "an RFC 3339 date and time, or a date");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> Option<String> {
        Timestamp::parse_end(text).unwrap().map(|end| end.to_string())
    }

    #[test]
    fn offsets_are_converted_to_utc() {
        let parsed: Timestamp = "2030-01-01T01:00:00+01:00".parse().unwrap();
        assert_eq!(parsed.to_string(), "2030-01-01T00:00:00.000Z");
        assert!("2030-01-01".parse::<Timestamp>().is_err(), "a moment needs a time");
    }

    #[test]
    fn fractions_are_cut_off_and_three_digits_are_written() {
        for (text, written) in [
            ("2030-01-01T00:00:00Z", "2030-01-01T00:00:00.000Z"),
            ("2030-01-01T00:00:00.1Z", "2030-01-01T00:00:00.100Z"),
            ("2030-01-01T00:00:00.1239999Z", "2030-01-01T00:00:00.123Z"),
            ("1960-01-01T00:00:00.5Z", "1960-01-01T00:00:00.500Z"),
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), written, "{text}");
        }
    }

    #[test]
    fn dates_of_header_fields_have_three_forms() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            let date = Timestamp::from_http_date(text).expect(text);
            assert_eq!(date.to_string(), "1994-11-06T08:49:37.000Z", "{text}");
            assert_eq!(date.http_date().unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
        }
        for bad in [
            "",
            "Sun, 06 Nov 1994",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 25:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT GMT",
            "1994-11-06T08:49:37Z",
            "@784111777",
        ] {
            assert_eq!(Timestamp::from_http_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn ends_of_days_and_ends_that_never_come() {
        assert_eq!(end("2030-01-31").as_deref(), Some("2030-01-31T23:59:59.999Z"));
        assert_eq!(end("2030-01-31T12:00:00Z").as_deref(), Some("2030-01-31T12:00:00.000Z"));
        assert_eq!(end("9998-12-31").as_deref(), Some("9998-12-31T23:59:59.999Z"));
        for never in [
            "infinity",
            "9999-01-01",
            "9999-12-31",
            "9999-01-01T00:00:00Z",
            "9999-12-30T23:00:00Z",
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59.9999999Z",
            "9999-12-31T23:59:59-12:00",
            "9999-12-31T23:59:59+14:00",
        ] {
            assert_eq!(end(never), None, "{never}");
        }
        for bad in ["", "never", "-infinity", "Infinity", "2030-02-30", "2030-1-31", "2030-01-31 "]
        {
            assert!(Timestamp::parse_end(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_year_outside_of_the_range_is_told_from_nonsense() {
        for outside in ["10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "+010000-01-01T00:00:00Z"]
        {
            assert!(outside.parse::<Timestamp>().unwrap_err().is_out_of_range(), "{outside}");
        }
        for nonsense in ["", "soon", "2030-13-01T00:00:00Z", "1893456000", "12345678", "-", "--5-"]
        {
            assert!(!nonsense.parse::<Timestamp>().unwrap_err().is_out_of_range(), "{nonsense}");
        }
    }
}
