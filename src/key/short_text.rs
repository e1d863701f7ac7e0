//! [`ShortText`]: a text that is hardly ever longer than 14 bytes.

use std::{fmt, ops::Deref};

use crate::text::Text;

/// The start of a key: a text that is never changed in place.
///
/// Up to 14 bytes, such as `acme_live_Ab3x`, are kept in the value itself, which is 16 bytes large; a
/// longer one is elsewhere. Reads like a `str`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ShortText(Kept);

const SHORT: usize = 14;

#[derive(Clone, PartialEq, Eq, Hash)]
enum Kept {
    /// The first `length` bytes are text; the others are zero.
    Here {
        length: u8,
        bytes: [u8; SHORT],
    },
    Elsewhere(Box<Text>),
}

impl ShortText {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Kept::Here { length, bytes } => {
                let text = bytes.get(..usize::from(*length)).unwrap_or_default();
                // It was a text when it was copied.
                std::str::from_utf8(text).unwrap_or_default()
            }
            Kept::Elsewhere(text) => text,
        }
    }
}

impl Default for ShortText {
    fn default() -> Self {
        Self(Kept::Here { length: 0, bytes: [0; SHORT] })
    }
}

impl Deref for ShortText {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for ShortText {
    fn as_ref(&self) -> &str {
        self
    }
}

impl PartialEq<str> for ShortText {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for ShortText {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl From<&str> for ShortText {
    fn from(text: &str) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(here), Ok(length)) => {
                here.copy_from_slice(text.as_bytes());
                Self(Kept::Here { length, bytes })
            }
            _ => Self(Kept::Elsewhere(Box::new(text.into()))),
        }
    }
}

impl From<String> for ShortText {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<Text> for ShortText {
    fn from(text: Text) -> Self {
        text.as_str().into()
    }
}

impl From<&Text> for ShortText {
    fn from(text: &Text) -> Self {
        text.as_str().into()
    }
}

impl From<ShortText> for Text {
    fn from(text: ShortText) -> Self {
        match text.0 {
            Kept::Here { .. } => text.as_str().into(),
            Kept::Elsewhere(text) => *text,
        }
    }
}

impl fmt::Display for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_small() {
        assert_eq!([size_of::<ShortText>(), size_of::<Option<ShortText>>()], [16, 16]);
    }

    proptest! {
        #[test]
        fn every_text_is_read_back(text in "\\PC{0,20}") {
            let short = ShortText::from(text.as_str());
            prop_assert_eq!(&*short, text.as_str());
            prop_assert_eq!(&short, &ShortText::from(Text::from(text.as_str())));
            prop_assert_eq!(matches!(short.0, Kept::Here { .. }), text.len() <= SHORT);
        }

        #[test]
        fn only_equal_texts_are_equal(one in "[ab\0]{0,16}", other in "[ab\0]{0,16}") {
            let [short, other_short] = [&one, &other].map(|text| ShortText::from(text.as_str()));
            prop_assert_eq!(short == other_short, one == other);
        }
    }
}
