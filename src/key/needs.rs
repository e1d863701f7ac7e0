//! [`Needs`]: what a program must be able to enforce to let a key in.

use std::fmt;

/// Restrictions of a key that a program must be able to enforce to let it in: a set of bits, kept
/// with the key.
///
/// What stands in the steps of every layer (status, times, addresses) needs no bit. Rate limits and
/// credits do, since a layer may be built without them, and so does what a later version of this
/// crate may restrict keys with: a program that does not know it refuses the key, instead of
/// letting it in without the restriction.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Needs(u64);

impl Needs {
    /// Nothing but the steps of every layer.
    pub const NONE: Self = Self(0);
    /// Rate limits of the key's own. (A tier is a name that configuration gives a meaning, which may
    /// be another than limits.)
    pub const LIMITS: Self = Self(1);
    /// Credits that requests spend.
    pub const CREDITS: Self = Self(1 << 1);

    const KNOWN: Self = Self::LIMITS.and(Self::CREDITS);

    /// From the number that a store keeps. A database counts with a sign, so there are 63 bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The number for a store to keep.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Both.
    #[must_use]
    #[inline]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of these that are not among `others`.
    #[must_use]
    #[inline]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that this version of the crate does not know.
    #[must_use]
    pub const fn unknown(self) -> Self {
        self.without(Self::KNOWN)
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = [(Self::LIMITS, "rate limits"), (Self::CREDITS, "credits")];
        let known = known.iter().filter(|(need, _)| need.without(*self).is_empty());
        let mut names: Vec<String> = known.map(|(_, name)| (*name).to_owned()).collect();
        if !self.unknown().is_empty() {
            names.push(format!(
                "what a later version restricts keys with ({:#x})",
                self.unknown().0
            ));
        }
        f.write_str(&names.join(" and "))
    }
}

impl fmt::Debug for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Needs({:#x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_told_by_name() {
        for (needs, text) in [
            (Needs::NONE, ""),
            (Needs::LIMITS, "rate limits"),
            (Needs::LIMITS.and(Needs::CREDITS), "rate limits and credits"),
            (
                Needs::from_bits(0x101),
                "rate limits and what a later version restricts keys with (0x100)",
            ),
        ] {
            assert_eq!(needs.to_string(), text);
        }
        assert_eq!(Needs::from_bits(0x103).unknown(), Needs::from_bits(0x100));
        assert_eq!(Needs::from_bits(0x103).bits(), 0x103);
    }

    /// A layer is told of its limits once more.
    #[test]
    fn what_is_named_twice_is_needed() {
        let both = Needs::LIMITS.and(Needs::CREDITS);
        assert_eq!(both.and(Needs::LIMITS), both);
    }
}
