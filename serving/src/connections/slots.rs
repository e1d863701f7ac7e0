//! How many connections there may be, in all and from one address, and which makes way for another.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ipnet::IpNet;
use tokio::{sync::Notify, time::Instant};

use super::activity::Activity;

/// How many connections an address may have, or a network of IPv6 that is one customer's. Loopback
/// and trusted proxies may have all: behind each is every client of the proxy.
pub(crate) const MAX_OF_ADDRESS: usize = 64;

/// How often the log says that every slot is taken.
const REMINDER: Duration = Duration::from_mins(1);

/// How many connections there may be. Every connection takes one slot, and clones share them.
#[derive(Clone)]
pub struct Slots(Arc<Shared>);

struct Shared {
    max: usize,
    /// The networks of proxies.
    trusted: Vec<IpNet>,
    taken: Mutex<Taken>,
    /// A slot is free, or its connection may make way.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Taken {
    connections: HashMap<u64, Connected>,
    of_address: HashMap<IpAddr, usize>,
    next: u64,
    warned_at: Option<Instant>,
}

struct Connected {
    activity: Arc<Activity>,
    /// Whether its address may have only so many.
    is_bounded: bool,
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("max", &self.0.max).finish_non_exhaustive()
    }
}

/// How many connections fit within the limit of open files of this process, with 64 other files open: those
/// of a store, of a limiter, of the program itself.
#[cfg(unix)]
pub fn fitting_connections() -> usize {
    use nix::sys::resource::{Resource, getrlimit};

    const OTHERS: u64 = 64;
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    usize::try_from(files.saturating_sub(OTHERS)).unwrap_or(usize::MAX).max(1)
}

/// How many connections fit: here, no limit is known.
#[cfg(not(unix))]
pub const fn fitting_connections() -> usize {
    usize::MAX
}

/// Why there is no slot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// All are taken.
    Full,
    /// This address has as many as it may have.
    Address,
}

impl Slots {
    /// So many in all, at most 64 of them from an address or a /64 of IPv6; but loopback and the proxies in
    /// the networks `trusted` may have any number.
    pub fn new(max: usize, trusted: Vec<IpNet>) -> Self {
        let (taken, changed) = (Mutex::default(), Arc::default());
        Self(Arc::new(Shared { max, trusted, taken, changed }))
    }

    /// A slot for a client who waits for it. `None` if its address may have no more.
    ///
    /// When all are taken, the connection goes that has been without a request for the longest
    /// time, or else one that has only the body of a refused request to send; but one of loopback or a trusted
    /// proxy last. If each has a request, the client gets the slot of the first that is done: others wait
    /// behind it, in the backlog of the system.
    pub(crate) async fn take(&self, peer: IpAddr) -> Option<Slot> {
        loop {
            match self.try_take(peer) {
                Ok(slot) => return Some(slot),
                Err(Refused::Address) => return None,
                Err(Refused::Full) => self.make_way(),
            }
            self.0.changed.notified().await;
        }
    }

    pub(crate) fn try_take(&self, peer: IpAddr) -> Result<Slot, Refused> {
        let peer = peer.to_canonical();
        // A network of IPv4 may be written as one of IPv6.
        let wrapped = match peer {
            IpAddr::V4(peer) => peer.to_ipv6_mapped().into(),
            IpAddr::V6(_) => peer,
        };
        let is_trusted = |network: &IpNet| network.contains(&peer) || network.contains(&wrapped);
        let is_bounded = !peer.is_loopback() && !self.0.trusted.iter().any(is_trusted);
        let address = counted(peer);
        let mut taken = self.taken();
        let of_address = taken.of_address.get(&address).copied().unwrap_or_default();
        if is_bounded && of_address >= MAX_OF_ADDRESS {
            return Err(Refused::Address);
        }
        if taken.connections.len() >= self.0.max {
            return Err(Refused::Full);
        }
        let id = taken.next;
        taken.next += 1;
        let activity = Arc::new(Activity::new(self.0.changed.clone()));
        taken.connections.insert(id, Connected { activity: activity.clone(), is_bounded });
        taken.of_address.insert(address, of_address + 1);
        Ok(Slot { slots: self.clone(), id, address, activity })
    }

    /// Asks the connection to leave that may go first, unless one is leaving.
    fn make_way(&self) {
        let mut taken = self.taken();
        let now = Instant::now();
        if taken.warned_at.is_none_or(|at| now.duration_since(at) >= REMINDER) {
            taken.warned_at = Some(now);
            tracing::warn!("all {} connections are taken", self.0.max);
        }
        let connections = || taken.connections.values();
        if connections().any(|connected| connected.activity.is_leaving()) {
            return;
        }
        let candidates = connections().filter_map(|Connected { activity, is_bounded }| {
            Some(((!is_bounded, activity.may_leave()?), activity))
        });
        if let Some((_, first)) = candidates.min_by_key(|(rank, _)| *rank) {
            first.ask_to_leave();
        }
    }

    /// Waits until there is no connection.
    pub(crate) async fn all_free(&self) {
        while !self.taken().connections.is_empty() {
            self.0.changed.notified().await;
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The network that a connection is counted for: an address of IPv4, or a /64 of IPv6, all of whose addresses
/// are usually one machine's to choose from.
fn counted(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(peer) => Ipv6Addr::from_bits(peer.to_bits() & (!0 << 64)).into(),
    }
}

/// The place of a connection, until this is dropped.
pub(crate) struct Slot {
    slots: Slots,
    id: u64,
    address: IpAddr,
    pub(crate) activity: Arc<Activity>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        taken.connections.remove(&self.id);
        if let Some(count) = taken.of_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.of_address.remove(&self.address);
            }
        }
        self.slots.0.changed.notify_one();
    }
}
