//! What goes wrong, by chance.

use std::time::Duration;

use tokio::time::timeout;

use super::{BACK, NODES, Node, Run, Versions};
use crate::history::books::Flush;

impl Run {
    pub(super) async fn fault(&mut self) {
        let (world, store, bus) = (&self.world, &self.store, &self.bus);
        let number = world.below(NODES);
        let time = world.random().time(Duration::from_mins(1));
        let fault = world.below(23);
        world.trace(|| format!("fault {fault} for {time:?}, node {number}"));
        match fault {
            0 => store.goes_down(time),
            1 => store.slows_down(time),
            2 => store.fails_sometimes(time),
            3 => store.is_unsure(time),
            4 | 5 => {
                // In percent of what is allowed.
                let lags = [0, 10, 50, 99, 99];
                store.lags(self.lag_bound * lags[world.below(lags.len())] / 100);
            }
            // All servers have the backup by then.
            6 if self.versions == Versions::New && !world.was_restored(Duration::from_secs(20)) => {
                let behind = world.random().time(Duration::from_secs(20));
                store.fails_over(behind, time.min(Duration::from_secs(20)));
            }
            7 => bus.goes_down(time),
            8 => bus.slows_down(time),
            9 | 10 => bus.half_opens(number),
            11 => {
                world.saw("a clock was set back");
                world.troubles(Duration::from_secs(3));
                self.nodes[number].clock.jump(-i64::try_from(world.below(BACK as usize)).unwrap());
            }
            12 => {
                world.saw("a clock was set forward");
                self.nodes[number].clock.jump(i64::try_from(world.below(10_000)).unwrap());
            }
            13 => {
                world.saw("a node crashed");
                self.crash(number);
            }
            14 => self.restart(number).await,
            15 => {
                if let Some(limiter) = &self.limiter {
                    limiter.goes_down(time);
                }
            }
            16 => {
                if let Some(limiter) = &self.limiter {
                    limiter.is_silent(time);
                }
            }
            17 if matches!(self.versions, Versions::Upgraded(count) if count < NODES) => {
                let Versions::Upgraded(count) = self.versions else { return };
                self.versions = Versions::Upgraded(count + 1);
                world.saw("a node was upgraded");
                self.restart(count).await;
            }
            18 if world.chance(100) => self.long_outage().await,
            19 if self.versions == Versions::New => self.restore().await,
            20 if world.chance(200) => self.unheard_balance(number).await,
            21 if world.chance(150) => self.unheard_end().await,
            22 if world.chance(150) => self.fall_back(number).await,
            _ => {
                store.recovers();
                bus.recovers();
                if let Some(limiter) = &self.limiter {
                    limiter.recovers();
                }
            }
        }
    }

    /// With whatever went on in it.
    pub(super) fn crash(&mut self, number: usize) {
        let held = |node: &Node| {
            self.world.lineages().iter().map(|lineage| node.credits.held(*lineage)).sum::<u64>()
        };
        if held(&self.nodes[number]) > 0 {
            self.world.saw("a lease was lost with its node");
        }
        {
            let books = &mut self.world.history().books;
            books.crashes += 1;
            books.crashed.insert(self.nodes[number].life);
        }
        self.replace(number);
    }

    fn replace(&mut self, number: usize) {
        let node = self.node(number);
        self.bus.leaves(number);
        drop(std::mem::replace(&mut self.nodes[number], node));
    }

    /// In good order, if the store allows it.
    pub(super) async fn restart(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.tasks.shutdown().await;
        let began = self.world.now();
        match timeout(Duration::from_secs(10), node.manager.close()).await {
            Ok(Ok(())) => {
                self.world.saw("a node was restarted in good order");
                self.world.history().books.flushes.push(Flush { life: node.life, began });
                self.replace(number);
            }
            _ => self.crash(number),
        }
    }
}
