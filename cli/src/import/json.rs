//! Rows from JSON: an object on each line, or an array of objects.

use std::{
    cell::Cell,
    fmt,
    io::{self, BufRead, Read},
    rc::Rc,
};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{
    row::Bad,
    source::{Item, Place, Row, Send},
};
use crate::exported::Fields;

/// A row is at most this long, so that a file without an end does not fill the memory.
const MAX_ROW: u64 = 1 << 20;

pub(super) fn lines(mut input: impl BufRead, send: Send<'_>) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if input.by_ref().take(MAX_ROW).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.len() as u64 == MAX_ROW {
            return Err(io::Error::other(format!("line {number} is longer than 1 MiB")));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        // The parser's own words may hold a piece of the line.
        let fields = serde_json::from_slice(&line)
            .map_or_else(|_| Err(Bad::new(NO_OBJECT)), |Element(fields)| fields);
        if !send(Ok(Item::Row(Row { place: Place::new("line", number), fields }))) {
            return Ok(());
        }
    }
    Ok(())
}

const NO_OBJECT: &str = "is not a JSON object";

pub(super) fn array(input: impl BufRead, send: Send<'_>) -> io::Result<()> {
    let left = Rc::new(Cell::new(MAX_ROW));
    let input = Bounded { input, left: left.clone() };
    let mut parser = serde_json::Deserializer::from_reader(input);
    let mut is_wanted = true;
    let read = parser
        .deserialize_seq(Elements { send, left, is_wanted: &mut is_wanted })
        .and_then(|()| parser.end());
    match read {
        Err(_) if !is_wanted => Ok(()),
        Err(error) if error.is_io() => Err(error.into()),
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            Err(io::Error::other(format!("there is no valid JSON at line {line}, column {column}")))
        }
        Ok(()) => Ok(()),
    }
}

/// Reads no more than is left.
struct Bounded<R> {
    input: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left.get()).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 && !buffer.is_empty() {
            return Err(io::Error::other("a row is longer than 1 MiB"));
        }
        let read = self.input.read(&mut buffer[..most])?;
        self.left.set(self.left.get() - read as u64);
        Ok(read)
    }
}

/// Hands over one element after the other.
struct Elements<'a> {
    send: Send<'a>,
    left: Rc<Cell<u64>>,
    is_wanted: &'a mut bool,
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let mut number = 0_u64;
        while let Some(Element(fields)) = elements.next_element()? {
            number += 1;
            self.left.set(MAX_ROW);
            if !(self.send)(Ok(Item::Row(Row { place: Place::new("element", number), fields }))) {
                *self.is_wanted = false;
                return Err(A::Error::custom("no more is wanted"));
            }
        }
        Ok(())
    }
}

/// A row, or why it is none. A member that is there twice would count by its last value alone, and
/// `"is_active":false` before `"is_active":true` be lost.
struct Element(Result<Fields, Bad>);

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Members)
    }
}

struct Members;

macro_rules! no_object {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E: Error>(self, _: $type) -> Result<Element, E> {
            Ok(Element(Err(Bad::new(NO_OBJECT))))
        })*
    };
}

impl<'de> Visitor<'de> for Members {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    no_object!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E: Error>(self) -> Result<Element, E> {
        Ok(Element(Err(Bad::new(NO_OBJECT))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Element, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Element(Err(Bad::new(NO_OBJECT))))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Element, A::Error> {
        let (mut fields, mut is_twice) = (Fields::new(), false);
        while let Some((name, value)) = members.next_entry()? {
            is_twice |= fields.insert(name, value).is_some();
        }
        let twice = || Bad::new("has a member that is there twice");
        Ok(Element(if is_twice { Err(twice()) } else { Ok(fields) }))
    }
}
