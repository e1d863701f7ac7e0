//! Keys are revoked by the time of their creation.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{GOES_ON, NODES, Run, SLOTS};
use crate::{
    acts::{OWNERS, Revoker},
    cancelled::cancelled_after,
    requests::request,
};

/// How late answers of the authority are that were read before a watermark was written: not so late that a cache
/// goes on without.
const LATE: Duration = Duration::from_millis(200);

impl Run {
    /// Keys are revoked by the time of their creation, what was begun is finished, or a watermark is made up.
    pub(super) fn watermarks(&mut self) {
        let (world, number) = (self.world.clone(), self.world.below(NODES));
        let (node, other) = (&self.nodes[number], &self.nodes[(number + 1) % NODES]);
        // Earlier versions know of none.
        if node.is_old {
            return;
        }
        let owner = if world.chance(700) { OWNERS[world.below(SLOTS)] } else { None };
        // Those that are asked for now are mostly meant.
        let is_late = world.chance(500);
        let longest = if is_late { Duration::from_secs(30) } else { Duration::from_mins(10) };
        // Or of this moment, while keys are made: some of before are written after it.
        let is_of_now = world.chance(300);
        let longest = if is_of_now { Duration::from_millis(5) } else { longest };
        let ago = world.random().time(longest);
        let (manager, other) = (node.manager.clone(), other);
        let other = if other.is_old { &manager } else { &other.manager }.clone();
        let clock = if is_of_now { world.true_clock() } else { node.clock.clone() };
        let revoker = Revoker { world: world.clone(), manager, other, clock, owner, ago };
        // At the same time as another act, which may come across it.
        if world.chance(500) {
            self.act();
        }
        if is_late {
            self.ask_before_and_after();
        }
        if is_of_now {
            (0..SLOTS).for_each(|_| self.act());
        }
        match world.below(100) {
            0..25 => {
                let node = &mut self.nodes[number];
                node.tasks.spawn(async move { drop(revoker.manager.finish_revocations().await) });
            }
            25..40 => self.bus.makes_up(revoker.watermark()),
            way => drop(self.acts.spawn(async move {
                if is_late || is_of_now {
                    sleep(Duration::from_millis(20)).await;
                }
                revoke(revoker, way).await;
            })),
        }
    }

    /// Lookups of the authority begin just before a watermark is written, and are answered after it was heard of.
    fn ask_before_and_after(&mut self) {
        self.store.answers_late(LATE);
        let slots = [(); NODES].map(|()| self.world.below(SLOTS));
        for (number, slot) in slots.into_iter().enumerate() {
            let key = |slot| self.world.slot(slot).current;
            let of_slot = |slot| self.client(&self.nodes[number], key(slot));
            let (client, all) = (of_slot(slot), [0, 1, 2, 3].map(of_slot));
            let node = &mut self.nodes[number];
            node.cache.forget(&[self.world.key(client.key).1]);
            node.tasks.spawn(async move {
                request(&client).await;
                for pause in [400, 1_000, 3_000] {
                    sleep(Duration::from_millis(pause)).await;
                    for client in &all {
                        request(client).await;
                    }
                }
            });
        }
    }
}

/// Revokes keys by the time of their creation: to the end, or as an administrator who goes away.
async fn revoke(revoker: Revoker, way: usize) {
    let world = &revoker.world;
    // At each await, one after the other.
    if (40..50).contains(&way) {
        for polls in 1.. {
            let (watermark, began) = (revoker.watermark(), world.now());
            let whole = timeout(Duration::from_mins(1), revoker.revoke(&watermark));
            let is_done = cancelled_after(polls, whole).await;
            if is_done.is_none() {
                sleep(GOES_ON).await;
            } else if polls > 1 {
                world.saw("an administrator of a watermark went away at each await");
            }
            let is_over = matches!(is_done, Some(Ok(true)));
            world.mark_returned(&watermark, began, is_over);
            if is_done.is_some() {
                break;
            }
        }
    } else {
        let longest = if way < 60 { Duration::from_millis(30) } else { Duration::from_mins(1) };
        let (watermark, began) = (revoker.watermark(), world.now());
        let is_done = timeout(longest, revoker.revoke(&watermark)).await;
        if is_done.is_err() {
            sleep(GOES_ON).await;
        }
        world.mark_returned(&watermark, began, is_done.unwrap_or(false));
    }
}
