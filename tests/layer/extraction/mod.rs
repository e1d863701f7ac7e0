//! Where keys are found, and where they are not.

mod anything;
mod basic;
mod cookies;
mod custom;
mod headers;
mod paths;
mod queries;
mod several;
mod websockets;

use tower_api_key::{ApiKeyLayer, KeySource};

use crate::{
    stores::TestStore,
    support::{KEY, record},
};

/// A layer that lets [`KEY`] in from this source alone.
fn from(source: KeySource) -> ApiKeyLayer {
    ApiKeyLayer::new(TestStore::new([record(KEY)])).with_sources([source])
}
