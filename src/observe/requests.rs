//! Requests by outcome. Each thread counts for itself: two processors that write one line of memory
//! take turns, and each turn costs as much as all else that is done for a request.

#[cfg(feature = "metrics")]
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[cfg(feature = "metrics")]
use metrics::counter;

#[cfg(feature = "metrics")]
use crate::runtime::{THREADS, thread};

/// What an `ApiKeyLayer` has decided about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decided {
    /// Let in with a good key.
    Accepted,
    /// Let in without a credential.
    Anonymous,
    /// Passed by.
    Bypassed,
    /// Passed by as a preflight.
    Preflight,
    /// Left to the other layer of a combinator.
    Elsewhere,
    Denied,
    /// Let on by a layer in shadow, which would have denied it.
    WouldDeny,
    /// Let on by a layer in shadow before it had decided.
    Undecided,
}

#[cfg_attr(
    not(any(feature = "metrics", feature = "tracing")),
    expect(dead_code, reason = "they have no names")
)]
impl Decided {
    pub(super) const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Anonymous,
        Self::Bypassed,
        Self::Preflight,
        Self::Elsewhere,
        Self::Denied,
        Self::WouldDeny,
        Self::Undecided,
    ];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Anonymous => "anonymous",
            Self::Bypassed => "bypassed",
            Self::Preflight => "preflight",
            Self::Elsewhere => "elsewhere",
            Self::Denied => "denied",
            Self::WouldDeny => "would_deny",
            Self::Undecided => "undecided",
        }
    }
}

/// Of one thread, on lines of its own: processors fetch two at a time.
#[cfg(feature = "metrics")]
#[repr(align(128))]
struct Counts([AtomicU64; Decided::ALL.len()]);

#[cfg(feature = "metrics")]
static COUNTS: [Counts; THREADS] =
    [const { Counts([const { AtomicU64::new(0) }; Decided::ALL.len()]) }; THREADS];

/// A request was judged.
#[inline]
pub(crate) fn decided(decided: Decided) {
    // Threads beyond the number of them share with earlier ones.
    #[cfg(feature = "metrics")]
    COUNTS[thread()].0[decided as usize].fetch_add(1, Relaxed);
}

#[cfg(feature = "metrics")]
pub(super) fn publish() {
    for decided in Decided::ALL {
        let of_thread = |counts: &Counts| counts.0[decided as usize].load(Relaxed);
        let sum = COUNTS.iter().map(of_thread).sum();
        counter!("tower_api_key_requests_total", "outcome" => decided.label()).absolute(sum);
    }
}
