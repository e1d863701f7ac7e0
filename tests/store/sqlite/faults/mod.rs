//! Trouble with the file: the caller is told to try again, nothing is lost, and when the trouble
//! is over, so is the outage.

mod dropped_calls;
mod full_disk;
mod locks;
mod read_only;
