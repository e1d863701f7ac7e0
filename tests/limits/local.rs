//! `LocalLimiter`: counts in the memory of the process.
