//! [`Statement`]: a key that a program asks about, and the layer that judges it.

use std::{net::IpAddr, num::NonZeroU32, sync::Arc};

use http::Request;

use super::{
    extract::{CustomSource, KeySource},
    layer::ApiKeyLayer,
};
use crate::{
    error::ConfigError,
    key::{ScopeRule, SecretKey},
    request::RequestHead,
};

/// A key that a program asks about, and what it says of the request that the key came with.
pub(crate) struct Statement {
    pub(crate) key: SecretKey,
    /// The address of the client that sent the key, where the program says it.
    pub(crate) address: Option<IpAddr>,
    pub(crate) scopes: ScopeRule,
    /// How many requests it counts for, and how many credits it spends.
    pub(crate) cost: NonZeroU32,
}

impl Statement {
    /// A request in place of the one that is not here. It holds nothing but the statement.
    pub(crate) fn into_request(self) -> Request<()> {
        let mut request = Request::new(());
        request.extensions_mut().insert(Arc::new(self));
        request
    }

    pub(crate) fn of<'r>(request: &RequestHead<'r>) -> Option<&'r Self> {
        request.extensions.get::<Arc<Self>>().map(|statement| &**statement)
    }

    fn cost_of(request: &RequestHead<'_>) -> u32 {
        Self::of(request).map_or(1, |statement| statement.cost.get())
    }
}

/// The key as a header would hold it: white space around it is no part of it.
fn key<'r>(request: &RequestHead<'r>) -> Vec<&'r [u8]> {
    let key = |statement: &'r Statement| statement.key.expose().as_bytes().trim_ascii();
    Statement::of(request).map(key).into_iter().collect()
}

impl ApiKeyLayer {
    /// The same decision about [statements](Statement): by this layer's store, formats, hasher, clock and
    /// throttle. The address and the cost are the stated ones, and the transport is not asked for: the
    /// program saw the request, and this layer does not.
    ///
    /// Unless it `spends`, the decision leaves nothing behind but failures: no limit, credit or use is
    /// counted, and nothing is written back.
    ///
    /// A layer that lets requests in without a key is a [`Contradiction`](ConfigError::Contradiction).
    pub(crate) fn judging_statements(self, spends: bool) -> Result<Self, ConfigError> {
        let contradiction = |setting| {
            let problem = "every request that is asked about has a key";
            Err(ConfigError::Contradiction { settings: ["verification_router", setting], problem })
        };
        if self.config().bypass.is_some() {
            return contradiction("with_bypass");
        }
        if self.config().allow_anonymous {
            return contradiction("allow_anonymous");
        }
        let source = KeySource::custom(CustomSource::new("stated", key, |_, _| ())?);
        let address = |request: &RequestHead<'_>| Statement::of(request)?.address;
        let layer = self.with_sources([source]).with_client_address(address);
        Ok(layer.without_grpc_denials().with(|config| {
            config.secure_transport = None;
            config.hide_credentials = false;
            config.tells_access = false;
            config.renderer.hook = None;
            if spends {
                let limits = config.rate_limits.take();
                config.rate_limits = limits.map(|limits| limits.with_cost(Statement::cost_of));
                let credits = config.credits.take();
                config.credits = credits
                    .map(|credits| credits.at_cost(|request| Statement::cost_of(request).into()));
            } else {
                // What a key needs is asked for all the same: `config.enforced` stays.
                config.rate_limits = None;
                config.credits = None;
                config.usage = None;
                config.write_back = None;
                #[cfg(feature = "legacy-hashes")]
                {
                    config.legacy = config.legacy.take().map(|legacy| legacy.apart().clone());
                }
            }
        }))
    }
}
