//! The places in a file that mutants change, and the file with a switch at each.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    error::Error,
    fmt::Write,
    ops::Range,
};

use syn::{
    Arm, Block, ExprBinary, ExprMatch, ExprStruct, ExprUnary, ImplItem, ImplItemFn, ItemFn, Macro,
    ReturnType, TraitItemFn, Type,
    parse::ParseStream,
    spanned::Spanned,
    visit::{self, Visit},
};

use crate::{Mutant, Position};

/// Of one place: an expression, a pattern, or the statements of a function.
struct Site<'m> {
    range: Range<usize>,
    change: Change<'m>,
}

enum Change<'m> {
    /// Another value of a function.
    Value { mutants: Vec<&'m Mutant>, is_iterator: bool },
    /// Another operator, between the same operands: of `a && b && c`, the first mutant is
    /// `(a || b) && c`, where cargo-mutants, which replaces text, has `a || b && c`.
    Binary { mutants: Vec<&'m Mutant>, operator: String, left: Range<usize>, right: Range<usize> },
    /// No operator.
    Unary { mutant: &'m Mutant, operand: Range<usize> },
    /// Another guard of an arm, or none of its patterns.
    Guard { guards: Vec<&'m Mutant>, deleted: Option<&'m Mutant> },
    /// None of the patterns of an arm without a guard.
    Arm { mutant: &'m Mutant },
    /// Nothing: the compiler complains here of these.
    Marked { mutants: Vec<&'m Mutant> },
    /// Not that field, with the comma behind it.
    Fields { mutants: Vec<(&'m Mutant, Range<usize>)> },
    /// Other text somewhere in a block.
    Block { mutants: Vec<&'m Mutant>, is_iterator: bool },
}

impl<'m> Change<'m> {
    fn mutants(&self) -> Vec<&'m Mutant> {
        match self {
            Self::Value { mutants, .. }
            | Self::Binary { mutants, .. }
            | Self::Block { mutants, .. }
            | Self::Marked { mutants } => mutants.clone(),
            Self::Unary { mutant, .. } | Self::Arm { mutant } => vec![mutant],
            Self::Guard { guards, deleted } => guards.iter().chain(deleted).copied().collect(),
            Self::Fields { mutants } => mutants.iter().map(|(mutant, _)| *mutant).collect(),
        }
    }
}

/// The text of a file, with these mutants behind their switches.
pub(crate) fn switched(text: &str, mutants: &[Mutant]) -> Result<String, Box<dyn Error>> {
    let mut found = Finder::default();
    let mut texts = Vec::new();
    for mutant in mutants {
        let start = byte(text, &mutant.span.start);
        if mutant.genre == "Text" {
            texts.push((start..byte(text, &mutant.span.end), mutant));
        } else {
            found.starts.entry((start, mutant.genre.as_str())).or_default().push(mutant);
        }
    }
    texts.sort_by_key(|(range, _)| range.start);
    found.texts.clone_from(&texts);
    found.visit_file(&syn::parse_file(text)?);
    let texts_left = found.texts.iter().map(|(_, mutant)| mutant);
    if let Some(mutant) = found.starts.values().flatten().chain(texts_left).next() {
        return Err(format!("mutant {} is nowhere in {}", mutant.number, mutant.file).into());
    }
    let mut sites = found.sites;
    // Those around others first. Of those with one range, it is the order in which they were visited.
    sites.sort_by_key(|site| (site.range.start, Reverse(site.range.end)));
    Ok(Writer { text, texts, sites }.range(0..text.len(), 0))
}

/// The byte of a place, of which columns are characters.
fn byte(text: &str, place: &Position) -> usize {
    let mut lines = text.split_inclusive('\n');
    let before: usize = lines.by_ref().take(place.line - 1).map(str::len).sum();
    let line = lines.next().unwrap_or_default();
    before + line.char_indices().nth(place.column - 1).map_or(line.len(), |(at, _)| at)
}

#[derive(Default)]
struct Finder<'m> {
    /// The mutants that start at a byte, by genre, as long as their place was not seen.
    starts: HashMap<(usize, &'m str), Vec<&'m Mutant>>,
    /// Those that replace text, as long as no block around it was seen.
    texts: Vec<(Range<usize>, &'m Mutant)>,
    /// Where the bodies of functions start that have iterators of a type without a name.
    iterators: HashSet<usize>,
    sites: Vec<Site<'m>>,
}

impl<'m> Finder<'m> {
    fn take(&mut self, at: usize, genre: &'static str) -> Vec<&'m Mutant> {
        self.starts.remove(&(at, genre)).unwrap_or_default()
    }

    fn site(&mut self, range: Range<usize>, change: Change<'m>) {
        if !change.mutants().is_empty() {
            self.sites.push(Site { range, change });
        }
    }

    fn function(&mut self, output: &ReturnType, block: &Block) {
        let is_iterator =
            matches!(output, ReturnType::Type(_, of) if matches!(**of, Type::ImplTrait(_)));
        if is_iterator {
            self.iterators.insert(bytes(block).start);
        }
        if let [first, .., last] | [first @ last] = block.stmts.as_slice() {
            let range = bytes(first).start..bytes(last).end;
            let mutants = self.take(range.start, "FnValue");
            if let Some(last) = mutants.last().filter(|_| is_iterator) {
                // `empty()` comes first, and is of any type.
                self.site(bytes(output), Change::Marked { mutants: vec![last] });
            }
            self.site(range, Change::Value { mutants, is_iterator });
        }
    }
}

impl<'a> Visit<'a> for Finder<'_> {
    fn visit_item_fn(&mut self, function: &'a ItemFn) {
        self.function(&function.sig.output, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'a ImplItemFn) {
        self.function(&function.sig.output, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'a TraitItemFn) {
        if let Some(block) = &function.default {
            self.function(&function.sig.output, block);
        }
        visit::visit_trait_item_fn(self, function);
    }

    /// Such as `async_methods!`, in which methods stand as they would without it.
    fn visit_macro(&mut self, invoked: &'a Macro) {
        let methods = |input: ParseStream<'_>| {
            let mut methods = Vec::<ImplItem>::new();
            while !input.is_empty() {
                methods.push(input.parse()?);
            }
            Ok(methods)
        };
        for method in invoked.parse_body_with(methods).iter().flatten() {
            self.visit_impl_item(method);
        }
    }

    /// The innermost block takes a text: those in it are visited first.
    fn visit_block(&mut self, block: &'a Block) {
        visit::visit_block(self, block);
        let Range { start, end } = bytes(block);
        let range = start + 1..end - 1;
        let is_here = |text: &Range<usize>| range.start <= text.start && text.end <= range.end;
        let here = self.texts.extract_if(.., |(text, _)| is_here(text));
        let mut mutants: Vec<_> = here.map(|(_, mutant)| mutant).collect();
        mutants.sort_by_key(|mutant| mutant.number);
        mutants.dedup_by_key(|mutant| mutant.number);
        let is_iterator = self.iterators.contains(&start);
        self.site(range, Change::Block { mutants, is_iterator });
    }

    fn visit_expr_binary(&mut self, binary: &'a ExprBinary) {
        let mutants = self.take(bytes(&binary.op).start, "BinaryOperator");
        let operator = binary.op.span().source_text().unwrap();
        let (left, right) = (bytes(&binary.left), bytes(&binary.right));
        self.site(bytes(binary), Change::Binary { mutants, operator, left, right });
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'a ExprUnary) {
        if let [mutant] = self.take(bytes(&unary.op).start, "UnaryOperator")[..] {
            self.site(bytes(unary), Change::Unary { mutant, operand: bytes(&unary.expr) });
        }
        visit::visit_expr_unary(self, unary);
    }

    fn visit_expr_match(&mut self, expression: &'a ExprMatch) {
        let start = |arm: &Arm| (bytes(arm).start, "MatchArm");
        let deleted = expression.arms.iter().filter_map(|arm| self.starts.get(&start(arm)));
        let mutants = deleted.flatten().copied().collect();
        self.site(bytes(&*expression.expr), Change::Marked { mutants });
        visit::visit_expr_match(self, expression);
    }

    fn visit_arm(&mut self, arm: &'a Arm) {
        let deleted = self.take(bytes(arm).start, "MatchArm").first().copied();
        if let Some((_, guard)) = &arm.guard {
            let guards = self.take(bytes(&**guard).start, "MatchArmGuard");
            self.site(bytes(&**guard), Change::Guard { guards, deleted });
        } else if let Some(mutant) = deleted {
            self.site(bytes(&arm.pat), Change::Arm { mutant });
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, expression: &'a ExprStruct) {
        let mut mutants = Vec::new();
        for pair in expression.fields.pairs() {
            let (start, end) = (bytes(*pair.value()).start, bytes(&pair).end);
            let deleted = self.take(start, "StructField");
            mutants.extend(deleted.into_iter().map(|mutant| (mutant, start..end)));
        }
        self.site(bytes(expression), Change::Fields { mutants });
        visit::visit_expr_struct(self, expression);
    }
}

/// In bytes of the file.
fn bytes(of: &impl Spanned) -> Range<usize> {
    of.span().byte_range()
}

struct Writer<'t> {
    text: &'t str,
    /// What is replaced, in the order of the file.
    texts: Vec<(Range<usize>, &'t Mutant)>,
    sites: Vec<Site<'t>>,
}

impl Writer<'_> {
    /// The text of a range, with the sites from this one on that lie in it.
    fn range(&self, range: Range<usize>, from: usize) -> String {
        let (mut written, mut at) = (String::new(), range.start);
        for (number, site) in self.sites.iter().enumerate().skip(from) {
            if site.range.start >= at && site.range.end <= range.end {
                written += &self.text[at..site.range.start];
                written += &self.site(site, number + 1);
                at = site.range.end;
            }
        }
        written + &self.text[at..range.end]
    }

    /// The text of a range, with all that a mutant replaces there.
    fn replaced(&self, range: &Range<usize>, number: u32) -> String {
        let (mut written, mut at) = (String::new(), range.start);
        for (text, mutant) in &self.texts {
            if mutant.number == number && text.start >= at && text.end <= range.end {
                written += &self.text[at..text.start];
                written += &mutant.replacement;
                at = text.end;
            }
        }
        written + &self.text[at..range.end]
    }

    /// The text of a site. The next one is the first that may lie in it.
    fn site(&self, site: &Site<'_>, next: usize) -> String {
        let inner = |range: &Range<usize>| self.range(range.clone(), next);
        let whole = inner(&site.range);
        let changed = match &site.change {
            Change::Value { mutants, is_iterator: false } => {
                let value = |mutant: &Mutant| {
                    format!("if {} {{ return {}; }}", is(mutant), mutant.replacement)
                };
                marked_each(mutants, value) + &whole
            }
            Change::Value { mutants, is_iterator: true } => {
                let mut values = String::new();
                for (depth, mutant) in mutants.iter().enumerate() {
                    let value = nested(
                        depth,
                        &format!("crate::switch::Either::Mutant({})", mutant.replacement),
                    );
                    let value = format!("if {} {{ return {value}; }}", is(mutant));
                    values += &marked(&mutant.number.to_string(), &value);
                }
                values + &nested(mutants.len(), &format!("({{ {whole} }})"))
            }
            // Each operand once: of a long chain, there would be many copies.
            Change::Binary { mutants, operator, left, right }
                if ["&&", "||"].contains(&operator.as_str()) =>
            {
                let ([left, right], is) = ([inner(left), inner(right)], is(mutants[0]));
                if operator == "&&" {
                    format!("(if ({left}) != {is} {{ {right} }} else {{ {is} }})")
                } else {
                    format!("(if ({left}) == {is} {{ {right} }} else {{ !{is} }})")
                }
            }
            Change::Binary { mutants, operator, left, right } => {
                let (left, right) = (inner(left), inner(right));
                let value = |mutant: &Mutant| {
                    format!(
                        "if {} {{ ({left}) {} ({right}) }} else ",
                        is(mutant),
                        mutant.replacement
                    )
                };
                format!("({} {{ ({left}) {operator} ({right}) }})", marked_each(mutants, value))
            }
            Change::Unary { mutant, operand } => {
                format!("(if {} {{ {} }} else {{ {whole} }})", is(mutant), inner(operand))
            }
            Change::Guard { guards, deleted } => {
                let mut guard = format!("({whole})");
                for mutant in guards {
                    guard = match mutant.replacement.as_str() {
                        "true" => format!("({} || {guard})", is(mutant)),
                        _ => format!("(!{} && {guard})", is(mutant)),
                    };
                }
                deleted.iter().fold(guard, |guard, mutant| format!("(!{} && {guard})", is(mutant)))
            }
            Change::Marked { .. } => whole,
            Change::Block { mutants, is_iterator } => {
                let either = |case: &str, code: String| match is_iterator {
                    true => format!("crate::switch::Either::{case}({{ {code} }})"),
                    false => code,
                };
                mutants.iter().fold(whole, |other, mutant| {
                    let number = mutant.number;
                    let changed = marked(&number.to_string(), &self.replaced(&site.range, number));
                    let [changed, other] = [either("Mutant", changed), either("Other", other)];
                    format!("if {} {{ {changed} }} else {{ {other} }}", is(mutant))
                })
            }
            Change::Arm { mutant } => format!("{whole} if !{}", is(mutant)),
            Change::Fields { mutants } => {
                let mut value = String::from("(");
                for (mutant, field) in mutants {
                    let (before, after) =
                        (site.range.start..field.start, field.end..site.range.end);
                    let without = inner(&before) + &inner(&after);
                    let without = format!("if {} {{ {without} }} else ", is(mutant));
                    value += &marked(&mutant.number.to_string(), &without);
                }
                value + &format!("{{ {whole} }})")
            }
        };
        let numbers: Vec<_> =
            site.change.mutants().iter().map(|mutant| mutant.number.to_string()).collect();
        marked(&numbers.join(","), &changed)
    }
}

fn is(mutant: &Mutant) -> String {
    format!("crate::switch::is({})", mutant.number)
}

fn marked(numbers: &str, code: &str) -> String {
    format!("/*<{numbers}*/{code}/*>*/")
}

fn marked_each(mutants: &[&Mutant], code: impl Fn(&Mutant) -> String) -> String {
    mutants.iter().fold(String::new(), |mut all, mutant| {
        let _ = write!(all, "{}", marked(&mutant.number.to_string(), &code(mutant)));
        all
    })
}

/// The iterator of a function, behind those of so many mutants.
fn nested(depth: usize, iterator: &str) -> String {
    format!("{}{iterator}{}", "crate::switch::Either::Other(".repeat(depth), ")".repeat(depth))
}
