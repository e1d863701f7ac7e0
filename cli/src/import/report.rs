//! The report on the rows.

use serde::Serialize;

use crate::{
    failure::Failure,
    output::{Output, plain},
};

/// So many places are named.
pub(super) const SHOWN: u64 = 10;

#[derive(Default, Serialize)]
pub(super) struct Report {
    pub(super) imported: u64,
    /// Keys that were there already.
    pub(super) duplicates: u64,
    /// Where the first of them are.
    pub(super) duplicate_rows: Vec<String>,
    /// Keys that were revoked or deleted, and left out.
    pub(super) ended: u64,
    /// Keys that have ended or are switched off there, and are active here.
    pub(super) still_active: u64,
    /// Where the first of them are.
    pub(super) still_active_rows: Vec<String>,
    /// Those of them that were ended here.
    pub(super) ended_here: u64,
    pub(super) invalid: u64,
    pub(super) dry_run: bool,
}

/// Names a place, if there is room.
pub(super) fn name(places: &mut Vec<String>, place: &str) {
    if (places.len() as u64) < SHOWN {
        places.push(place.to_owned());
    }
}

impl Report {
    pub(super) fn tell(&self, out: &mut Output) -> Result<(), Failure> {
        if out.is_json() {
            return out.object(self);
        }
        let imported = if self.dry_run { "Could be imported" } else { "Imported" };
        out.say(&format!("{imported}: {}", self.imported))?;
        if self.duplicates > 0 {
            let rows = listed(self.duplicates, &self.duplicate_rows);
            out.say(&format!("There already: {rows}"))?;
        }
        if self.ended > 0 {
            out.say(&format!("Left out, revoked or deleted: {}", self.ended))?;
        }
        if self.ended_here > 0 {
            out.say(&format!("Ended here as they have there: {}", self.ended_here))?;
        }
        if self.still_active > self.ended_here {
            let rows = listed(self.still_active, &self.still_active_rows);
            let text = "--end-ended ends them here as well";
            out.say(&format!("Active here, but not there any more: {rows}; {text}"))?;
        }
        if self.invalid > 0 {
            out.say(&format!("Left out, invalid: {}", self.invalid))?;
        }
        Ok(())
    }
}

fn listed(count: u64, places: &[String]) -> String {
    let more = if count > SHOWN { ", …" } else { "" };
    format!("{count} ({}{more})", plain(&places.join(", ")))
}
