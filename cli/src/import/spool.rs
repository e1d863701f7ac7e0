//! Rows that were read and found good, kept until all are: then they are written as they were
//! checked. In a file without a name, so that memory stays bounded and nothing changes them.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Seek, Write},
};

use crate::{exported::Fields, failure::Failure};

pub(super) struct Spool {
    file: BufWriter<File>,
    pub(super) count: u64,
}

impl Spool {
    pub(super) fn new() -> Result<Self, Failure> {
        let file = tempfile::tempfile().map_err(failed)?;
        Ok(Self { file: BufWriter::new(file), count: 0 })
    }

    pub(super) fn push(&mut self, place: &str, fields: &Fields) -> Result<(), Failure> {
        // Two lines: in an object around both, a row that is nested deeply could not be read again.
        serde_json::to_writer(&mut self.file, place).map_err(|e| failed(e.into()))?;
        self.file.write_all(b"\n").map_err(failed)?;
        serde_json::to_writer(&mut self.file, fields).map_err(|e| failed(e.into()))?;
        self.file.write_all(b"\n").map_err(failed)?;
        self.count += 1;
        Ok(())
    }

    /// All of it again, in the same order.
    pub(super) fn rows(
        self,
    ) -> Result<impl Iterator<Item = Result<(String, Fields), Failure>>, Failure> {
        let mut file = self.file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.rewind().map_err(failed)?;
        let mut lines = BufReader::new(file).lines();
        Ok(std::iter::from_fn(move || {
            let (place, fields) = (lines.next()?, lines.next()?);
            let row = place.and_then(|place| {
                Ok((serde_json::from_str(&place)?, serde_json::from_str(&fields?)?))
            });
            Some(row.map_err(failed))
        }))
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn failed(error: io::Error) -> Failure {
    Failure::unavailable("the rows cannot be kept in a temporary file", &error)
}
