//! [`Pulse`]: the beat that a server shows.

use sqlx::{ColumnIndex, Decode, Row, Type};

/// The beat that a server has, and the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Pulse {
    pub(super) beat: i64,
    pub(super) previous: i64,
}

impl Pulse {
    /// Whether the beat came right after this one.
    pub(super) const fn follows(self, beat: i64) -> bool {
        self.previous == beat && self.beat != beat
    }
}

/// Reads a row with a beat.
pub(super) fn pulse<'r, R>(row: &'r R) -> sqlx::Result<Pulse>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    Ok(Pulse { beat: row.try_get("beat")?, previous: row.try_get("previous")? })
}

/// Reads how many milliseconds old the beat in a row is.
pub(super) fn age<'r, R>(row: &'r R) -> sqlx::Result<i64>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    row.try_get("age")
}
