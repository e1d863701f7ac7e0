//! Credits: a balance that requests spend.

mod balance;
mod refill;

pub(crate) use self::balance::MOST as MOST_CREDITS;
pub use self::{
    balance::Balance,
    refill::{Refill, RefillInterval},
};
