//! A bus that delays, repeats and mixes up what it carries, and that is cut.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};
use tower_api_key::store::{
    AnnouncedState, Announcement, Invalidations, StoreError, Subscription, Watermark,
};

use crate::{
    history::{Life, Moment},
    world::World,
};

/// Well within what is promised from an announcement to its effect.
const DELAY: Duration = Duration::from_millis(40);

/// How long a subscription may be dead without a sign: real ones ask and wait for so long.
const HALF_OPEN: Duration = Duration::from_secs(7);

/// Clones are the same.
#[derive(Clone)]
pub(crate) struct Bus(Arc<State>);

struct State {
    world: World,
    subscribers: Mutex<Vec<Arc<Subscriber>>>,
    down_until: Mutex<Moment>,
    /// It takes no messages, and subscriptions live on.
    is_mute: Mutex<bool>,
    /// Messages take seconds until then.
    slow_until: Mutex<Moment>,
}

struct Subscriber {
    node: usize,
    /// Reads announcements as earlier versions do.
    is_old: bool,
    inbox: Mutex<Inbox>,
    wakes: Notify,
}

#[derive(Default)]
struct Inbox {
    /// When each is due, when it was published, and what it says.
    messages: Vec<(Instant, Moment, Announcement)>,
    /// Since when nothing arrives any more.
    half_open: Option<Moment>,
    is_dead: bool,
}

/// The bus as a node has it.
pub(crate) struct NodeBus {
    bus: Bus,
    life: Life,
    /// Writes announcements as earlier versions do.
    is_old: bool,
}

impl Bus {
    pub(crate) fn new(world: &World) -> Self {
        Self(Arc::new(State {
            world: world.clone(),
            subscribers: Mutex::default(),
            down_until: Mutex::default(),
            is_mute: Mutex::default(),
            slow_until: Mutex::default(),
        }))
    }

    /// As the node has it that has this number now.
    pub(crate) fn of_node(&self, node: usize, is_old: bool) -> NodeBus {
        NodeBus { bus: self.clone(), life: self.0.world.life(node), is_old }
    }

    /// Ends all subscriptions, and takes no messages for a while.
    pub(crate) fn goes_down(&self, time: Duration) {
        self.0.world.saw("the bus was cut");
        *self.0.down_until.lock().unwrap() = self.0.world.now() + time;
        let subscribers = std::mem::take(&mut *self.0.subscribers.lock().unwrap());
        for subscriber in subscribers {
            self.kill(&subscriber);
        }
    }

    /// Takes no messages for now, while others may be heard, or takes them again.
    pub(crate) fn is_mute(&self, is_mute: bool) {
        *self.0.is_mute.lock().unwrap() = is_mute;
    }

    pub(crate) fn slows_down(&self, time: Duration) {
        *self.0.slow_until.lock().unwrap() = self.0.world.now() + time;
    }

    pub(crate) fn recovers(&self) {
        *self.0.down_until.lock().unwrap() = Moment::ZERO;
        *self.0.slow_until.lock().unwrap() = Moment::ZERO;
    }

    /// A subscription from which nothing comes any more, and of which that is found out later.
    pub(crate) fn half_opens(&self, node: usize) {
        let subscribers = self.0.subscribers.lock().unwrap();
        let Some(subscriber) = subscribers.iter().find(|of| of.node == node).cloned() else {
            return;
        };
        drop(subscribers);
        self.0.world.saw("a subscription was half open");
        subscriber.inbox.lock().unwrap().half_open.get_or_insert(self.0.world.now());
        let bus = self.clone();
        tokio::spawn(async move {
            let time = bus.0.world.random().below(HALF_OPEN.as_millis() as usize);
            sleep(Duration::from_millis(time as u64)).await;
            bus.0.subscribers.lock().unwrap().retain(|of| !Arc::ptr_eq(of, &subscriber));
            bus.kill(&subscriber);
        });
    }

    /// A node that is gone.
    pub(crate) fn leaves(&self, node: usize) {
        self.0.subscribers.lock().unwrap().retain(|subscriber| subscriber.node != node);
    }

    fn kill(&self, subscriber: &Subscriber) {
        let mut inbox = subscriber.inbox.lock().unwrap();
        if inbox.is_dead {
            return;
        }
        inbox.is_dead = true;
        self.0.world.trace(|| format!("the subscription of node {} ends", subscriber.node));
        // What had not arrived is lost.
        let now = self.0.world.now();
        let lost = inbox.messages.iter().map(|(_, published, _)| *published);
        let since = lost.chain(inbox.half_open).chain([now]).min().unwrap();
        drop(inbox);
        // Until it listens again.
        self.0.world.deaf(subscriber.node, since, Moment::MAX);
        subscriber.wakes.notify_one();
    }

    /// Something that can write to the channel makes up a watermark.
    pub(crate) fn makes_up(&self, watermark: Watermark) {
        self.0.world.announced_watermark(&watermark);
        self.send_all(&Announcement::default().with_watermarks([watermark]));
    }

    /// An operator announces that what was announced before no longer counts. Whether the bus took it.
    pub(crate) fn resets(&self) -> bool {
        let is_up = *self.0.down_until.lock().unwrap() <= self.0.world.now();
        if is_up {
            self.0.world.announced_reset();
            self.send_all(&Announcement::reset());
        }
        is_up
    }

    fn send_all(&self, announcement: &Announcement) {
        let subscribers = self.0.subscribers.lock().unwrap().clone();
        for subscriber in subscribers {
            if subscriber.inbox.lock().unwrap().half_open.is_none() {
                self.send(&subscriber, announcement);
            }
        }
    }

    fn send(&self, subscriber: &Subscriber, announcement: &Announcement) {
        let State { world, slow_until, .. } = &*self.0;
        let mut inbox = subscriber.inbox.lock().unwrap();
        let now = world.now();
        let copies = if world.chance(100) { 2 } else { 1 };
        for copy in 0..copies {
            let is_late = now < *slow_until.lock().unwrap() && world.chance(500);
            let longest = if is_late { Duration::from_secs(5) } else { DELAY };
            let delay = world.random().time(longest).min(longest);
            let due = Instant::now() + delay;
            if inbox.messages.iter().any(|(other, ..)| due < *other) {
                world.saw("an announcement overtook another");
            }
            if delay > DELAY && copy == 0 {
                world.saw("an announcement was late");
                world.deaf(subscriber.node, now, now + delay);
            }
            if copy == 1 {
                world.saw("an announcement came twice");
            }
            inbox.messages.push((due, now, announcement.clone()));
        }
        drop(inbox);
        subscriber.wakes.notify_one();
    }
}

#[async_trait]
impl Invalidations for NodeBus {
    async fn publish(&self, announcement: &Announcement) -> Result<(), StoreError> {
        let State { world, down_until, is_mute, .. } = &*self.bus.0;
        announcement.digests().for_each(|digest| world.attempts(&digest));
        announcement.watermarks().iter().for_each(|mark| world.attempts_watermark(mark));
        world.pause(Duration::from_millis(5)).await;
        world.is_alive(self.life).await;
        // Also by itself, while others are heard.
        let is_down = world.now() < *down_until.lock().unwrap() || *is_mute.lock().unwrap();
        if is_down || world.chance(50) {
            world.saw("a change could not be announced");
            return Err(StoreError::unavailable("connection refused"));
        }
        let announcement = if self.is_old {
            world.saw("an earlier version announced a change");
            announcement.digests().collect::<Announcement>().of_store(announcement.store())
        } else {
            announcement.clone()
        };
        for key in announcement.keys() {
            let is_sure = key.state().is_some_and(|state| state != AnnouncedState::Unsure);
            world.announced(key.digest(), key.revision(), is_sure);
        }
        announcement.watermarks().iter().for_each(|mark| world.announced_watermark(mark));
        self.bus.send_all(&announcement);
        Ok(())
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, StoreError> {
        let State { world, subscribers, down_until, .. } = &*self.bus.0;
        world.pause(Duration::from_millis(20)).await;
        world.is_alive(self.life).await;
        if world.now() < *down_until.lock().unwrap() {
            return Err(StoreError::unavailable("connection refused"));
        }
        let subscriber = Arc::new(Subscriber {
            node: self.life.node,
            is_old: self.is_old,
            inbox: Mutex::default(),
            wakes: Notify::new(),
        });
        world.trace(|| format!("node {} subscribes", self.life.node));
        subscribers.lock().unwrap().push(subscriber.clone());
        let now = world.now();
        for span in world.history().deaf.entry(self.life.node).or_default() {
            span.ended = span.ended.min(now);
        }
        Ok(Box::new(Listening { world: world.clone(), subscriber }))
    }
}

struct Listening {
    world: World,
    subscriber: Arc<Subscriber>,
}

impl Listening {
    /// As this node reads it: an earlier version cannot read what it does not know.
    fn read(&self, message: Announcement) -> Announcement {
        if !self.subscriber.is_old || message.watermarks().is_empty() {
            return message;
        }
        let keys = Announcement::new(message.keys().iter().copied()).to_text();
        Announcement::parse(format!("{keys},?").as_bytes())
    }
}

#[async_trait]
impl Subscription for Listening {
    async fn next(&mut self) -> Result<Announcement, StoreError> {
        let Subscriber { inbox, wakes, .. } = &*self.subscriber;
        loop {
            let due = {
                let mut inbox = inbox.lock().unwrap();
                if inbox.is_dead {
                    return Err(StoreError::unavailable("connection reset"));
                }
                let messages = inbox.messages.iter().enumerate();
                let first =
                    messages.min_by_key(|(_, (due, ..))| *due).map(|(place, of)| (place, of.0));
                match first {
                    Some((place, due)) if due <= Instant::now() => {
                        let message = inbox.messages.swap_remove(place).2;
                        self.world.trace(|| {
                            format!("node {} hears {}", self.subscriber.node, message.keys().len())
                        });
                        return Ok(self.read(message));
                    }
                    first => first.map(|(_, due)| due),
                }
            };
            match due {
                Some(due) => drop(timeout_at(due, wakes.notified()).await),
                None => wakes.notified().await,
            }
        }
    }
}
