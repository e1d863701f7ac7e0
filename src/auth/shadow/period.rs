//! [`Period`]: until when a layer is in shadow.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicI64,
            Ordering::{AcqRel, Relaxed},
        },
    },
};

use http::Extensions;

use super::enforcement::Enforcement;
use crate::{
    auth::{attached::LayerId, authenticated::AuthenticatedKey},
    clock::{Clock, SystemClock, Timestamp},
    observe,
};

/// How often the log is told of a layer in shadow.
const REMINDER_MILLIS: i64 = 3_600_000;

/// The time in which a layer is in shadow.
#[derive(Debug)]
pub(crate) struct Period {
    layer: &'static str,
    until: Timestamp,
    /// When the log is told next.
    remind_at: AtomicI64,
    /// Whether the metrics know of it.
    is_counted: AtomicBool,
}

impl Period {
    /// A layer of this name is in shadow until then.
    pub(crate) const fn new(layer: &'static str, until: Timestamp) -> Self {
        let (remind_at, is_counted) = (AtomicI64::new(i64::MIN), AtomicBool::new(false));
        Self { layer, until, remind_at, is_counted }
    }

    /// Whether the layer is in shadow now. The log is told at first and every hour.
    pub(crate) fn is_running(&self, clock: &dyn Clock) -> bool {
        let now = clock.now();
        if now >= self.until {
            self.end();
            return false;
        }
        let now = now.as_unix_millis();
        let due = self.remind_at.load(Relaxed);
        // One of the requests that find it due at the same time says so.
        if now >= due && self.remind(due, now) {
            if !self.is_counted.swap(true, AcqRel) {
                observe::shadow_layers(true);
            }
            observe::in_shadow(self.layer, self.until);
        }
        true
    }

    fn remind(&self, due: i64, now: i64) -> bool {
        let next = now.saturating_add(REMINDER_MILLIS);
        self.remind_at.compare_exchange(due, next, AcqRel, Relaxed).is_ok()
    }

    fn end(&self) {
        if self.is_counted.load(Relaxed) && self.is_counted.swap(false, AcqRel) {
            observe::shadow_layers(false);
            observe::out_of_shadow(self.layer);
        }
    }
}

impl Drop for Period {
    fn drop(&mut self) {
        if self.is_counted.swap(false, AcqRel) {
            observe::shadow_layers(false);
        }
    }
}

/// The shadow of a layer inside.
#[derive(Clone)]
pub(crate) struct Shade {
    period: Option<Arc<Period>>,
    clock: Arc<dyn Clock>,
    enforcement: Option<Enforcement>,
    layer: LayerId,
}

impl Shade {
    /// None, by the system's clock.
    pub(crate) fn none() -> Self {
        let (clock, layer) = (Arc::new(SystemClock), LayerId::next_in_shadow());
        Self { period: None, clock, enforcement: None, layer }
    }

    pub(crate) fn set_clock(&mut self, clock: impl Clock) {
        self.clock = Arc::new(clock);
    }

    /// The layer of this name is in shadow until then.
    pub(crate) fn begin(&mut self, layer: &'static str, until: Timestamp) {
        self.period = Some(Arc::new(Period::new(layer, until)));
    }

    /// These keys are enforced.
    pub(crate) fn enforce(&mut self, enforcement: Enforcement) {
        self.enforcement = Some(enforcement);
    }

    /// Tells of the shadow at its start.
    pub(crate) fn tell(&self) {
        if let Some(period) = &self.period {
            period.is_running(&*self.clock);
        }
    }

    /// The layer, if it is in shadow for this request.
    #[inline]
    pub(crate) fn over(&self, extensions: &Extensions) -> Option<LayerId> {
        self.period.as_ref().filter(|period| self.is_over(period, extensions)).map(|_| self.layer)
    }

    #[cold]
    fn is_over(&self, period: &Period, extensions: &Extensions) -> bool {
        let key = extensions.get::<AuthenticatedKey>();
        let record = key.map(|key| &**key.record());
        period.is_running(&*self.clock)
            && !self.enforcement.as_ref().is_some_and(|enforcement| enforcement.is_of(record))
    }
}

impl fmt::Debug for Shade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.period.fmt(f)
    }
}
