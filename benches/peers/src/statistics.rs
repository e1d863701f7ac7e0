//! Medians.

/// The one in the middle, of an odd number of values.
///
/// # Panics
///
/// Without any.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
