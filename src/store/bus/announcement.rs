//! [`Announcement`]: the message of a bus, and its form as text.

use super::AnnouncedKey;
use crate::{
    clock::Timestamp,
    key::{KeyDigest, OwnerId},
    store::{StoreId, Watermark},
    text::{hex, text_from_hex},
};

/// The keys that were created, changed or ended in a store, for caches to forget what they know of
/// them.
///
/// A bus carries it as it is, or as [text](Self::to_text). A reader never fails: what it cannot read
/// is [marked](Self::is_readable), and a cache then trusts nothing that it has read before.
///
/// # Text
///
/// `<store>;<key>,<key>,…`, in ASCII. The store is its identity in 32 hexadecimal digits, and left out
/// with the semicolon where it is not known. A key is its digest in 64 hexadecimal digits. Behind the
/// store and behind each key there may be fields, each with a `:` in front of it, and behind the keys
/// further parts, each with a `;` in front of it. The first two fields of a key are its
/// [revision](AnnouncedKey::revision), in decimal, and its [state](super::AnnouncedState::as_str) after the
/// change. A reader passes over those that it does not know: later versions add them, and to forget a
/// key is always right. None of the four signs stands within a field.
///
/// In place of a key there may be a [watermark](Watermark): `*` with the field of its time, in milliseconds
/// since 1970, and with that of its owner, in hexadecimal digits, unless it is of all keys. A reader that knows
/// none trusts nothing that it has read before. `reset` in place of a key is a [reset](Self::reset).
///
/// ```
/// use tower_api_key::{key::KeyDigest, store::{Announcement, StoreId}};
///
/// let store = StoreId::from_bytes([0x11; 16]);
/// let heard = Announcement::from([KeyDigest::from_bytes([0xa5; 32])]).of_store(store);
/// let text = heard.to_text();
/// assert_eq!(text, format!("{};{}", "11".repeat(16), "a5".repeat(32)));
/// assert_eq!(Announcement::parse(text.as_bytes()), heard);
/// let later = Announcement::parse(format!("{text}:of a later version").as_bytes());
/// assert_eq!(later, heard);
/// assert!(!Announcement::parse(b"hello").is_readable());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    store: Option<StoreId>,
    keys: Vec<AnnouncedKey>,
    watermarks: Vec<Watermark>,
    is_reset: bool,
    is_incomplete: bool,
}

/// In place of a key.
const RESET: &str = "reset";

/// A key that no reader can read.
const UNREADABLE: &str = "?";

impl Announcement {
    /// The announcement of these keys, of whichever store.
    pub fn new(keys: impl IntoIterator<Item = AnnouncedKey>) -> Self {
        Self { keys: keys.into_iter().collect(), ..Self::default() }
    }

    /// The same, of this store: caches of other stores pass it over. `None`: of whichever.
    pub fn of_store(self, store: impl Into<Option<StoreId>>) -> Self {
        Self { store: store.into(), ..self }
    }

    /// The same, with keys that were revoked by the time of their creation.
    pub fn with_watermarks(self, watermarks: impl IntoIterator<Item = Watermark>) -> Self {
        Self { watermarks: watermarks.into_iter().collect(), ..self }
    }

    /// The announcement that what was announced before no longer counts, as after the store was restored from a
    /// backup: a cache then forgets everything, and believes the store also where it has heard of a later
    /// change.
    ///
    /// ```
    /// use tower_api_key::store::Announcement;
    ///
    /// let reset = Announcement::reset();
    /// assert_eq!(reset.to_text(), "reset");
    /// assert!(Announcement::parse(b"reset").is_reset());
    /// ```
    pub fn reset() -> Self {
        Self { is_reset: true, ..Self::default() }
    }

    /// Whether what was announced before no longer counts.
    pub const fn is_reset(&self) -> bool {
        self.is_reset
    }

    /// Announces that any key may have changed: a cache then trusts nothing that it has read before.
    pub(super) fn forget_keys(&mut self) {
        (self.keys, self.watermarks) = (Vec::new(), Vec::new());
        self.is_incomplete = true;
    }

    /// Announces the other one's keys as well. Of two stores, the message is of whichever.
    pub(super) fn add(&mut self, other: Self) {
        if self.is_empty() {
            self.store = other.store;
        } else if self.store != other.store {
            self.store = None;
        }
        self.keys.extend(other.keys);
        self.watermarks.extend(other.watermarks);
        self.is_reset |= other.is_reset;
        self.is_incomplete |= other.is_incomplete;
    }

    /// The store that has the keys, if that is known.
    pub const fn store(&self) -> Option<StoreId> {
        self.store
    }

    /// The keys.
    pub fn keys(&self) -> &[AnnouncedKey] {
        &self.keys
    }

    /// The keys that were revoked by the time of their creation.
    pub fn watermarks(&self) -> &[Watermark] {
        &self.watermarks
    }

    /// The digests of the keys.
    pub fn digests(&self) -> impl Iterator<Item = KeyDigest> {
        self.keys.iter().map(|key| *key.digest())
    }

    /// Whether it says nothing at all. A bus need not carry it.
    pub const fn is_empty(&self) -> bool {
        let says_nothing = self.keys.is_empty() && self.watermarks.is_empty();
        says_nothing && !self.is_reset && !self.is_incomplete
    }

    /// Whether the whole message could be read. Otherwise any key may have changed.
    pub const fn is_readable(&self) -> bool {
        !self.is_incomplete
    }

    /// The announcement as one text: empty, if it [says nothing](Self::is_empty).
    pub fn to_text(&self) -> String {
        self.to_texts(usize::MAX).pop().unwrap_or_default()
    }

    /// The announcement as texts of no more than so many bytes each, for a bus that bounds its
    /// messages. Each of them has one key or watermark at least, and hence up to 127 bytes, or with an owner
    /// twice as many as that is long, and 56.
    pub fn to_texts(&self, max_bytes: usize) -> Vec<String> {
        let head = self.store.map(|store| format!("{store};")).unwrap_or_default();
        let keys = self.is_reset.then(|| RESET.to_owned()).into_iter();
        let keys = keys.chain(self.keys.iter().map(|key| key.to_text()));
        let keys = keys.chain(self.watermarks.iter().map(to_text));
        let keys = keys.chain(self.is_incomplete.then(|| UNREADABLE.to_owned()));
        let mut texts: Vec<String> = Vec::new();
        for key in keys {
            match texts.last_mut() {
                Some(text) if text.len() + 1 + key.len() <= max_bytes => {
                    text.push(',');
                    text.push_str(&key);
                }
                _ => texts.push(format!("{head}{key}")),
            }
        }
        texts
    }

    /// Reads a text, of this version, an earlier or a later one.
    ///
    /// A text in which a key cannot be read is not [readable](Self::is_readable): the keys that can
    /// be read are there all the same.
    pub fn parse(text: &[u8]) -> Self {
        let mut parts = text.split(|byte| *byte == b';');
        let (first, second) = (parts.next().unwrap_or_default(), parts.next());
        let keys = second.unwrap_or(first);
        let store = second.and_then(|_| {
            let store = first.split(|byte| *byte == b':').next()?;
            str::from_utf8(store).ok()?.parse().ok()
        });
        let mut announcement = Self { store, ..Self::default() };
        for key in keys.split(|byte| *byte == b',') {
            if let Some(key) = AnnouncedKey::parse(key) {
                announcement.keys.push(key);
            } else if let Some(watermark) = parse(key) {
                announcement.watermarks.push(watermark);
            } else if key == RESET.as_bytes() {
                announcement.is_reset = true;
            } else {
                announcement.is_incomplete = true;
            }
        }
        announcement
    }
}

/// `*:<time>`, or `*:<time>:<owner>`.
fn to_text(watermark: &Watermark) -> String {
    let before = watermark.issued_before.as_unix_millis();
    match &watermark.owner {
        Some(owner) => format!("*:{before}:{}", hex(owner.as_str())),
        None => format!("*:{before}"),
    }
}

/// Without fields that are unknown: they might say that fewer keys are meant, and none is revoked by mistake.
fn parse(text: &[u8]) -> Option<Watermark> {
    let mut fields = str::from_utf8(text).ok()?.strip_prefix("*:")?.split(':');
    let millis = fields.next().filter(|millis| !millis.starts_with('+'))?;
    let issued_before = Timestamp::from_unix_millis(millis.parse().ok()?);
    let owner = fields.next().map(|owner| text_from_hex(owner).map(OwnerId::from));
    let owner = match owner {
        Some(owner) => Some(owner?),
        None => None,
    };
    fields.next().is_none().then_some(Watermark { owner, issued_before })
}

impl FromIterator<KeyDigest> for Announcement {
    fn from_iter<I: IntoIterator<Item = KeyDigest>>(digests: I) -> Self {
        Self::new(digests.into_iter().map(AnnouncedKey::new))
    }
}

impl<const N: usize> From<[KeyDigest; N]> for Announcement {
    fn from(digests: [KeyDigest; N]) -> Self {
        digests.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::AnnouncedState;

    fn digest(number: u8) -> KeyDigest {
        KeyDigest::from_bytes([number; 32])
    }

    const STORE: StoreId = StoreId::from_bytes([0x11; 16]);

    #[test]
    fn keys_that_are_forgotten_are_any() {
        let mut late = Announcement::from([digest(1)]).of_store(STORE);
        late.add(Announcement::from([digest(2)]).of_store(STORE));
        late.forget_keys();
        assert!(!late.is_empty() && !late.is_readable());
        let heard = Announcement::parse(late.to_text().as_bytes());
        assert!(!heard.is_readable());
        assert_eq!((heard.store(), heard.keys().len()), (Some(STORE), 0));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            keys in proptest::collection::vec(any::<([u8; 32], Option<(u64, usize)>)>(), 0..400),
            store in any::<Option<[u8; 16]>>(),
            max in 0_usize..9_000,
        ) {
            let store = store.map(StoreId::from_bytes);
            let keys = keys.into_iter().map(|(bytes, change)| {
                let key = AnnouncedKey::new(KeyDigest::from_bytes(bytes));
                change.map_or(key, |(revision, state)| {
                    key.with_change(revision, AnnouncedState::ALL[state % AnnouncedState::ALL.len()])
                })
            });
            let keys: Vec<_> = keys.collect();
            let announcement = Announcement::new(keys.iter().copied()).of_store(store);
            let mut read = Vec::new();
            for text in announcement.to_texts(max) {
                prop_assert!(text.len() <= max.max(127), "{}", text.len());
                let one = Announcement::parse(text.as_bytes());
                prop_assert!(one.is_readable() && one.store() == store);
                read.extend_from_slice(one.keys());
            }
            prop_assert_eq!(read, keys);
            if !announcement.is_empty() {
                let text = announcement.to_text();
                prop_assert_eq!(Announcement::parse(text.as_bytes()), announcement);
            }
        }

        #[test]
        fn anything_else_is_not_readable(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let read = Announcement::parse(&bytes);
            prop_assert!(!read.is_readable() && !read.is_empty() && read.keys().is_empty());
        }
    }

    /// Each text, its store, its digests, and whether it is readable.
    #[test]
    fn texts_of_all_versions() {
        let (one, two) = (digest(1).to_hex(), digest(2).to_hex());
        for (text, store, digests, is_readable) in [
            // Before stores had an identity.
            (format!("{one},{two}"), None, vec![digest(1), digest(2)], true),
            (format!("{STORE};{one}"), Some(STORE), vec![digest(1)], true),
            (format!("{STORE};{one},{two}"), Some(STORE), vec![digest(1), digest(2)], true),
            // Of versions to come.
            (
                format!("{STORE}:field;{one}:7:live,{two}:;more;"),
                Some(STORE),
                vec![digest(1), digest(2)],
                true,
            ),
            (format!("another form of store;{one}"), None, vec![digest(1)], true),
            (format!(";{one}"), None, vec![digest(1)], true),
            (format!("{STORE};reset"), Some(STORE), vec![], true),
            (format!("reset,{one}"), None, vec![digest(1)], true),
            (format!("{STORE};reset:7"), Some(STORE), vec![], false),
            // Watermarks, and what might be one of a version to come.
            (format!("{STORE};*:1795392000000"), Some(STORE), vec![], true),
            (format!("{STORE};*:1795392000000:616e6e61"), Some(STORE), vec![], true),
            (format!("{STORE};*:1795392000000:616e6e61:7"), Some(STORE), vec![], false),
            (format!("{STORE};*:1795392000000:616"), Some(STORE), vec![], false),
            (format!("{STORE};*:1795392000000:ff"), Some(STORE), vec![], false),
            (format!("{STORE};*:now"), Some(STORE), vec![], false),
            (format!("{STORE};*:+7"), Some(STORE), vec![], false),
            (format!("{STORE};*"), Some(STORE), vec![], false),
            // One good digest does not make a good message: it may have been cut off.
            (format!("{STORE};{one},"), Some(STORE), vec![digest(1)], false),
            (format!("{one},{}", &two[..63]), None, vec![digest(1)], false),
            (format!("{STORE};{one},?"), Some(STORE), vec![digest(1)], false),
            (STORE.to_string(), None, vec![], false),
            (format!("{STORE};"), Some(STORE), vec![], false),
            (String::new(), None, vec![], false),
            (format!("{one} {two}"), None, vec![], false),
            ("é".repeat(3_000), None, vec![], false),
        ] {
            let read = Announcement::parse(text.as_bytes());
            assert_eq!((read.store(), read.is_readable()), (store, is_readable), "{text}");
            assert_eq!(read.digests().collect::<Vec<_>>(), digests, "{text}");
        }
    }

    #[test]
    fn millions_of_bytes_are_read() {
        let text = vec![digest(7).to_hex(); 100_000].join(",");
        assert_eq!(Announcement::parse(text.as_bytes()).keys().len(), 100_000);
        assert!(!Announcement::parse(text.replace('0', "é").as_bytes()).is_readable());
    }

    /// A bus that reads a message and writes it again loses nothing.
    #[test]
    fn what_could_not_be_read_stays_so() {
        let read = Announcement::parse(format!("{},hello", digest(1).to_hex()).as_bytes());
        let text = read.clone().of_store(STORE).to_text();
        let again = Announcement::parse(text.as_bytes());
        assert_eq!(again, read.of_store(STORE));
        assert!(!again.is_readable());
        assert!(!Announcement::parse(Announcement::parse(b"").to_text().as_bytes()).is_readable());
        assert!(Announcement::default().is_empty() && Announcement::default().is_readable());
    }
}
