//! The switch of the mutants, in the copy alone: the environment says which one is on.

use std::{
    collections::HashSet,
    fs::File,
    io::Write,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

/// None is, unless one is named.
static CHOSEN: LazyLock<Option<u32>> =
    LazyLock::new(|| std::env::var("MUTANT").ok().map(|number| number.parse().unwrap()));

/// A file that is told of each mutant that a test reaches.
static REACHED: LazyLock<Option<Mutex<(File, HashSet<u32>)>>> = LazyLock::new(|| {
    let path = std::env::var_os("MUTANTS_REACHED")?;
    let file = File::options().append(true).create(true).open(path).unwrap();
    Some(Mutex::new((file, HashSet::new())))
});

/// Whether this mutant is on. Constants are those of the crate.
pub(crate) const fn is(mutant: u32) -> bool {
    std::intrinsics::const_eval_select((mutant,), never, is_chosen)
}

const fn never(_: u32) -> bool {
    false
}

fn is_chosen(mutant: u32) -> bool {
    if let Some(reached) = &*REACHED {
        let mut reached: MutexGuard<'_, _> = reached.lock().unwrap_or_else(PoisonError::into_inner);
        if reached.1.insert(mutant) {
            writeln!(reached.0, "{mutant}").unwrap();
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
