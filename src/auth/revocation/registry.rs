//! The layers of the process, and the keys of each that are watched.
//!
//! An identity names its layer by a number: to carry the layer itself would cost each request two counts.
//! So what an identity needs of its layer is found here, by those few that ask.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Weak},
};

use tokio::{
    runtime::Handle,
    sync::watch::{Receiver, Sender, channel},
};

use super::watch::{State, Watch};
use crate::{
    auth::{
        attached::{LayerId, OwnerLayers},
        authenticated::AuthenticatedKey,
        config::Config,
    },
    key::KeyId,
    runtime::Mutex,
};

static LAYERS: LazyLock<Mutex<HashMap<LayerId, Layer>>> = LazyLock::new(Mutex::default);

struct Layer {
    config: Weak<Config>,
    /// While a stream waits for their end.
    keys: HashMap<WatchedKey, Sender<State>>,
}

/// A key, and the layers that must find its owner active.
type WatchedKey = (KeyId, OwnerLayers);

/// A layer that is in use from now on.
pub(in crate::auth) fn register(config: &Arc<Config>) {
    let mut layers = LAYERS.lock();
    layers.retain(|_, layer| layer.config.strong_count() > 0);
    let new = || Layer { config: Arc::downgrade(config), keys: HashMap::new() };
    layers.entry(config.id).or_insert_with(new);
}

/// The settings of a layer that is in use.
pub(in crate::auth) fn config_of(id: LayerId) -> Option<Arc<Config>> {
    LAYERS.lock().get(&id)?.config.upgrade()
}

/// The state of this key from now on: one watch of it for all that ask. `None`: its layer is gone.
pub(super) fn watch(runtime: &Handle, key: &AuthenticatedKey) -> Option<Receiver<State>> {
    let (layer, watched) = (key.layer(), (key.id(), key.owner_layers().clone()));
    let mut layers = LAYERS.lock();
    let entry = layers.get_mut(&layer)?;
    // One that has ended may be that of a key which was switched on again since.
    let running = entry.keys.get(&watched).filter(|states| !states.borrow().has_ended());
    if let Some(states) = running {
        return Some(states.subscribe());
    }
    let config = entry.config.upgrade()?;
    let (states, receiver) = channel(State::Good);
    entry.keys.insert(watched.clone(), states.clone());
    drop(layers);
    let entry = Entry { layer, watched, states: states.clone() };
    let mut watch = Watch::new(config, key, states);
    runtime.spawn(async move {
        // Dropped with the task, wherever it is: what waits for it then is told.
        let entry = entry;
        loop {
            watch.run().await;
            if entry.remove_unless_watched() {
                return;
            }
        }
    });
    Some(receiver)
}

/// The entry of a watch.
struct Entry {
    layer: LayerId,
    watched: WatchedKey,
    states: Sender<State>,
}

impl Entry {
    /// Removes it, unless something waits for the watch. What comes afterwards starts another one.
    fn remove_unless_watched(&self) -> bool {
        let mut layers = LAYERS.lock();
        let is_over = self.states.borrow().has_ended() || self.states.receiver_count() == 0;
        if is_over {
            self.remove_from(&mut layers);
        }
        is_over
    }

    /// Not that of another watch of the key, which has come in its place.
    fn remove_from(&self, layers: &mut HashMap<LayerId, Layer>) {
        if let Some(layer) = layers.get_mut(&self.layer)
            && layer.keys.get(&self.watched).is_some_and(|states| states.same_channel(&self.states))
        {
            layer.keys.remove(&self.watched);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.remove_from(&mut LAYERS.lock());
    }
}
