//! `FailureThrottle`: callers with too many failures wait.
