//! What every schema has to refuse.

use crate::store::StoreError;

/// How many migrations were made, when the greatest version that is written down is `found`. More
/// than the `known` ones are an error: this program is older than the table.
pub(in crate::store) fn version(
    table: &str,
    found: i64,
    known: usize,
) -> Result<usize, StoreError> {
    let version = usize::try_from(found).ok().filter(|version| *version <= known);
    version.ok_or_else(|| {
        StoreError::corrupt(format!(
            "the table {table} has schema version {found}; this version of tower-api-key knows \
             versions up to {known}"
        ))
    })
}

/// The name is taken, and not by us.
pub(in crate::store) fn foreign_table(table: &str) -> StoreError {
    StoreError::corrupt(format!(
        "there is a table {table} already that tower-api-key did not make; \
         give the store another table name"
    ))
}
