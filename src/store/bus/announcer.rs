//! [`Announcer`]: publishes changes, and lets no act wait for a bus that is known to be silent.

use std::{mem::take, sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::Mutex as Turns, time::timeout};

use super::{Announcement, Invalidations};
use crate::{
    error::{BackEnd, StoreError},
    observe,
    runtime::{Background, Circuit, Mutex, Turn},
};

/// A publication that has no answer for so long lets the next acts go on at once. Many times what
/// an answer takes.
const SILENCE: Duration = Duration::from_millis(500);

/// How long a publication that no act waits for may take. Buses give up earlier.
const LONGEST: Duration = Duration::from_secs(10);

/// Digests that wait for a silent bus, of 32 bytes each: a message that any bus carries within the time
/// of an attempt. With more, what is announced is that any key may have changed.
const MAX: usize = 10_000;

/// Publishes changes.
///
/// While the bus is silent, a change is handed to a task, which publishes all that have come by
/// then, one batch after the other. Each is tried as it is when its act waits: only the act does not.
pub(super) struct Announcer {
    invalidations: Arc<dyn Invalidations>,
    circuit: Circuit,
    /// What the task publishes next.
    late: Mutex<Announcement>,
    publisher: Background,
    /// Held while a late batch is published.
    turns: Turns<()>,
}

impl Announcer {
    pub(super) fn new(invalidations: Arc<dyn Invalidations>) -> Self {
        Self {
            invalidations,
            circuit: Circuit::new(BackEnd::Bus, observe::back_end, SILENCE),
            late: Mutex::default(),
            publisher: Background::default(),
            turns: Turns::default(),
        }
    }

    /// Publishes a change, or has it published. A failure is logged.
    pub(super) async fn announce(self: &Arc<Self>, announcement: Announcement) {
        match (self.circuit.turn(), Handle::try_current()) {
            (Turn::Probe | Turn::Down, Ok(runtime)) => self.announce_later(&runtime, announcement),
            _ => self.publish(self.invalidations.publish(&announcement)).await,
        }
    }

    /// Publishes what no act waits for, before the program ends.
    pub(super) async fn close(&self) {
        let _turn = self.turns.lock().await;
        self.publish_late().await;
    }

    async fn publish(&self, publication: impl Future<Output = Result<(), StoreError>>) {
        if let Err(error) = self.circuit.watch(publication).await {
            observe::not_announced(&error.of(BackEnd::Bus));
        }
    }

    fn announce_later(self: &Arc<Self>, runtime: &Handle, announcement: Announcement) {
        {
            let mut late = self.late.lock();
            late.add(announcement);
            if late.keys().len() + late.watermarks().len() > MAX {
                late.forget_keys();
            }
        }
        let Some(mut running) = self.publisher.begin() else { return };
        let this = self.clone();
        runtime.spawn(async move {
            loop {
                let turn = this.turns.lock().await;
                this.publish_late().await;
                drop(turn);
                let Some(on) = running.unless(|| this.late.lock().is_empty()) else { return };
                running = on;
            }
        });
    }

    async fn publish_late(&self) {
        let late = take(&mut *self.late.lock());
        if !late.is_empty() {
            let publication = timeout(LONGEST, self.invalidations.publish(&late));
            self.publish(async {
                publication.await.unwrap_or_else(|_| Err(StoreError::timeout()))
            })
            .await;
        }
    }
}
