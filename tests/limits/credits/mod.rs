//! Credits: spent in memory, taken from a store some at a time.
