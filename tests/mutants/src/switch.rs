//! The switch of the mutants, in the copy alone: the environment says which one is on.

use std::{
    fs::File,
    io::Write,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// None is, unless one is named.
static CHOSEN: LazyLock<Option<u32>> =
    LazyLock::new(|| std::env::var("MUTANT").ok().map(|number| number.parse().unwrap()));

/// A file that is told of each mutant that a test reaches.
static REACHED: LazyLock<Option<File>> = LazyLock::new(|| {
    let path = std::env::var_os("MUTANTS_REACHED")?;
    Some(File::options().append(true).create(true).open(path).unwrap())
});

/// Those that it was told of. Without a lock, since some tests of limits pass here millions of times.
static TOLD: [AtomicBool; 1 << 16] = [const { AtomicBool::new(false) }; 1 << 16];

/// Whether this mutant is on. Constants are those of the crate.
pub(crate) const fn is(mutant: u32) -> bool {
    std::intrinsics::const_eval_select((mutant,), never, is_chosen)
}

const fn never(_: u32) -> bool {
    false
}

fn is_chosen(mutant: u32) -> bool {
    if let Some(mut reached) = REACHED.as_ref() {
        let told = &TOLD[mutant as usize];
        if !told.load(Relaxed) && !told.swap(true, Relaxed) {
            // One write: threads append whole lines.
            reached.write_all(format!("{mutant}\n").as_bytes()).unwrap();
        }
    }
    *CHOSEN == Some(mutant)
}

/// One type for the iterators of a function and of its mutants.
pub(crate) enum Either<A, B> {
    Mutant(A),
    Other(B),
}

impl<A: Iterator, B: Iterator<Item = A::Item>> Iterator for Either<A, B> {
    type Item = A::Item;

    fn next(&mut self) -> Option<A::Item> {
        match self {
            Self::Mutant(mutant) => mutant.next(),
            Self::Other(other) => other.next(),
        }
    }
}
