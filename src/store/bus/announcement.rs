//! [`Announcement`]: the message of a bus, and its form as text.

use super::AnnouncedKey;
use crate::{key::KeyDigest, store::StoreId};

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
    is_incomplete: bool,
}

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

    /// Announces that any key may have changed: a cache then trusts nothing that it has read before.
    pub(super) fn forget_keys(&mut self) {
        self.keys = Vec::new();
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

    /// The digests of the keys.
    pub fn digests(&self) -> impl Iterator<Item = KeyDigest> {
        self.keys.iter().map(|key| *key.digest())
    }

    /// Whether it says nothing at all. A bus need not carry it.
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.is_incomplete
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
    /// messages. Each of them has one key at least, and hence up to 127 bytes.
    pub fn to_texts(&self, max_bytes: usize) -> Vec<String> {
        let head = self.store.map(|store| format!("{store};")).unwrap_or_default();
        let keys = self.keys.iter().map(|key| key.to_text());
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
            match AnnouncedKey::parse(key) {
                Some(key) => announcement.keys.push(key),
                None => announcement.is_incomplete = true,
            }
        }
        announcement
    }
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
            // A range of keys, in a message of its own.
            (format!("{STORE};*:1795392000000"), Some(STORE), vec![], false),
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
