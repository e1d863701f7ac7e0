//! [`Inbox`]: what requests leave for the recorder. None of them waits for more than a moment.

use std::{mem, net::IpAddr};

use super::{addresses::LastAddresses, collected::Hours};
use crate::key::{HourlyUsage, KeyId};
use crate::request::{ClientAddress, Hook, RequestHead};
use crate::runtime::{Mutex, PerThread};
use crate::store::SharedRecord;

/// The uses and denials that requests leave for the recorder.
pub(super) struct Inbox {
    /// Records whose counters are not zero. A record is in it once, so a busy key costs nothing
    /// here; only stores that make a record for every lookup add one for every use.
    used: PerThread<Vec<SharedRecord>>,
    denied: Mutex<Hours>,
    /// Where keys were last used from, if that is to be known.
    addresses: Option<(Hook<ClientAddress>, LastAddresses)>,
}

/// Where so much has come in, it is collected before the interval is over.
pub(super) const MANY: usize = 10_000;

impl Inbox {
    pub(super) fn new(address: Option<Hook<ClientAddress>>) -> Self {
        let addresses = address.map(|address| (address, LastAddresses::default()));
        Self { used: PerThread::default(), denied: Mutex::default(), addresses }
    }

    /// Puts a record in whose counter was zero. True where that makes [`MANY`] of this thread.
    pub(super) fn put(&self, record: SharedRecord) -> bool {
        let mut used = self.used.mine();
        used.push(record);
        used.len() == MANY
    }

    /// Counts a denial, and keeps no more than `most` counts. Returns how many were dropped for
    /// that, and whether there are [`MANY`] now.
    pub(super) fn deny(&self, denial: HourlyUsage, most: usize) -> (usize, bool) {
        let mut denied = self.denied.lock();
        let before = denied.len();
        denied.add(denial);
        let is_many = before < denied.len() && denied.len() == MANY;
        (denied.drop_beyond(most), is_many)
    }

    /// Notes where a key is used from, before the use is counted: the writer that collects the
    /// use then finds the address.
    #[inline]
    pub(super) fn note<'r>(&self, key: KeyId, request: impl FnOnce() -> RequestHead<'r>) {
        if let Some((address, addresses)) = &self.addresses
            && let Some(address) = address(&request()).known()
        {
            addresses.note(key, address);
        }
    }

    pub(super) fn take_used(&self) -> Vec<SharedRecord> {
        let mut all = Vec::new();
        // Each keeps its room, so that requests need not make it anew.
        self.used.each(|used| all.append(used));
        all
    }

    pub(super) fn take_denied(&self) -> Hours {
        mem::take(&mut *self.denied.lock())
    }

    pub(super) fn take_address(&self, key: KeyId) -> Option<IpAddr> {
        self.addresses.as_ref().and_then(|(_, addresses)| addresses.take(key))
    }
}
