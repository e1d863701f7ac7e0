//! Writes mutants behind a switch into a copy of the crate: `mutants SOURCE COPY < MUTANTS`, in which each mutant
//! is as cargo-mutants lists it, with its number. Its code lies between `/*<NUMBER*/` and `/*>*/`, and the whole
//! of what it changes between `/*<NUMBER,..*/` and `/*>*/`.
//!
//! One genre is not of cargo-mutants: `Text` replaces any text within a block. All that have one number are one
//! mutant.

mod sites;

use std::{collections::BTreeMap, error::Error, fs, io, path::PathBuf};

use serde::Deserialize;

#[derive(Deserialize)]
struct Mutant {
    number: u32,
    file: String,
    genre: String,
    span: Span,
    replacement: String,
}

#[derive(Deserialize)]
struct Span {
    start: Position,
    end: Position,
}

#[derive(Deserialize)]
struct Position {
    line: usize,
    column: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folders: Vec<_> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [source, copy] = folders.as_slice() else {
        return Err("mutants SOURCE COPY < MUTANTS".into());
    };
    let mutants: Vec<Mutant> = serde_json::from_reader(io::stdin())?;
    let mut files = BTreeMap::<_, Vec<_>>::new();
    for mutant in mutants {
        files.entry(mutant.file.clone()).or_default().push(mutant);
    }
    for (file, mutants) in files {
        let text = fs::read_to_string(source.join(&file))?;
        fs::write(copy.join(&file), sites::switched(&text, &mutants)?)?;
    }
    let library = fs::read_to_string(source.join("src/lib.rs"))?;
    let library = format!(
        "#![allow(warnings)]\n#![feature(const_eval_select, core_intrinsics)]\n{library}\nmod switch;\n"
    );
    fs::write(copy.join("src/lib.rs"), library)?;
    fs::write(copy.join("src/switch.rs"), include_str!("switch.rs"))?;
    Ok(())
}
