//! Credits: a balance that requests spend.

mod balance;
mod refill;

pub use self::{
    balance::Balance,
    refill::{Refill, RefillInterval},
};
