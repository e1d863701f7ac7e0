//! [`Stock`]: the products that the tools are about.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The products that there are.
pub const PRODUCTS: [&str; 2] = ["apples", "pears"];

/// How often a tool that watches reports.
pub const TICK: Duration = Duration::from_millis(100);

/// The most reports of one call: ten minutes of them. A client asks for no more work than that.
pub const MAX_REPORTS: u32 = 6_000;

/// How many there are of each product.
#[derive(Clone, Debug, Default)]
pub struct Stock {
    levels: Arc<Mutex<[i64; PRODUCTS.len()]>>,
}

impl Stock {
    /// How many there are. `None`: there is no such product.
    pub fn level(&self, product: &str) -> Option<i64> {
        self.adjust(product, 0)
    }

    /// Adds so many, and returns how many there are.
    pub fn adjust(&self, product: &str, by: i64) -> Option<i64> {
        let index = PRODUCTS.iter().position(|name| *name == product)?;
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        levels[index] = levels[index].saturating_add(by);
        Some(levels[index])
    }
}
