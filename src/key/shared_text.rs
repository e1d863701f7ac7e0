//! [`SharedText`]: texts of which many are alike.

use std::{
    collections::HashSet,
    ops::Deref,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

/// A text that equal ones share, in eight bytes: a million keys have a handful of sets of scopes among
/// them.
///
/// It is made under a lock of the process, and read without one.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct SharedText(Option<Arc<Box<str>>>);

impl SharedText {
    pub(super) fn new(text: String) -> Self {
        static IN_USE: LazyLock<Mutex<InUse>> = LazyLock::new(Mutex::default);
        if text.is_empty() {
            return Self(None);
        }
        let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        Self(Some(in_use.shared(text.into())))
    }
}

impl Deref for SharedText {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.0.as_ref().map_or("", |text| text)
    }
}

/// The texts that are in use, and no more than twice as many in all, or a few.
#[derive(Default)]
struct InUse {
    texts: HashSet<Arc<Box<str>>>,
    swept_at: usize,
}

/// So many texts are not worth a look whether they are in use.
const FEW: usize = 64;

impl InUse {
    fn shared(&mut self, text: Box<str>) -> Arc<Box<str>> {
        if let Some(shared) = self.texts.get(&text) {
            return shared.clone();
        }
        if self.texts.len() >= self.swept_at.max(FEW) {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.swept_at = 2 * self.texts.len();
            self.texts.shrink_to(self.swept_at);
        }
        let shared = Arc::new(text);
        self.texts.insert(shared.clone());
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one() {
        let [one, same, other] = ["a b", "a b", "a c"].map(|text| SharedText::new(text.to_owned()));
        assert!(Arc::ptr_eq(one.0.as_ref().unwrap(), same.0.as_ref().unwrap()));
        assert!(one == same && one != other);
        assert_eq!([&*one, &*other], ["a b", "a c"]);
        assert_eq!(&*SharedText::new(String::new()), "");
        assert!(SharedText::new(String::new()) == SharedText::default());
    }

    #[test]
    fn texts_that_nothing_uses_are_forgotten() {
        let mut in_use = InUse::default();
        let kept: Vec<_> =
            (0..100).map(|number| in_use.shared(number.to_string().into())).collect();
        for number in 0..100_000 {
            in_use.shared(format!("once {number}").into());
            assert!(in_use.texts.len() <= 2 * kept.len() + FEW, "{}", in_use.texts.len());
        }
        for (number, text) in kept.iter().enumerate() {
            assert!(Arc::ptr_eq(text, &in_use.shared(number.to_string().into())));
        }
    }
}
