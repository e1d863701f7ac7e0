//! [`Choices`]: the bytes of a fuzzer as a row of decisions.

/// What is left of an input. At its end, every choice is the first one.
pub(super) struct Choices<'d>(&'d [u8]);

impl<'d> Choices<'d> {
    pub(super) const fn new(input: &'d [u8]) -> Self {
        Self(input)
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(super) fn is(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below this one, which is at most 256.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    pub(super) fn pick<'c, T>(&mut self, of: &'c [T]) -> &'c T {
        &of[self.below(of.len())]
    }

    /// Fewer bytes than this, as a first byte says.
    pub(super) fn bytes(&mut self, below: usize) -> &'d [u8] {
        let length = self.below(below).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    pub(super) fn text(&mut self, below: usize) -> String {
        String::from_utf8_lossy(self.bytes(below)).into_owned()
    }

    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    /// A number, small ones as often as large ones.
    pub(super) fn number(&mut self) -> u64 {
        let shift = self.below(64);
        u64::from_le_bytes(self.array()) >> shift
    }

    pub(super) const fn rest(self) -> &'d [u8] {
        self.0
    }
}
