//! 6. Look up, where no store knows the key: another system may have kept a slow hash of it.

use std::{future::Future, pin::Pin};

use super::{Attempt, LookupResult};
use crate::{
    auth::{config::Config, extract},
    error::StoreError,
    key::{KeyDigest, SecretKey},
    legacy::LegacyHashes,
    request::RequestHead,
    runtime::{Network, before},
};

/// A key that may have a slow hash.
pub(super) struct SlowHash {
    legacy: LegacyHashes,
    /// A copy, for other threads to hash.
    key: SecretKey,
    /// The digest under which the key is stored once it is proven: that of the current pepper.
    digest: KeyDigest,
    network: Option<Network>,
}

impl SlowHash {
    /// None if the layer knows of no slow hashes, or the key cannot have one.
    pub(super) fn new(
        config: &Config,
        request: &RequestHead<'_>,
        current: &Attempt,
    ) -> Option<Self> {
        let legacy = config.legacy.clone()?;
        let credential = extract::find(&config.sources, config.precedence, request).ok()??;
        let copy = |key: &[u8]| str::from_utf8(key).ok().map(SecretKey::new);
        let key = config.with_key(&credential, copy)??;
        let network = config.hint(request).address.map(Network::from);
        Some(Self { legacy, key, digest: current.digest, network })
    }

    /// Whether the key may have one, without a copy of it.
    pub(super) fn may_exist(config: &Config, request: &RequestHead<'_>, current: &Attempt) -> bool {
        let Some(legacy) = &config.legacy else { return false };
        let may_hold =
            |key: &[u8]| str::from_utf8(key).is_ok_and(|key| legacy.may_hold(&current.digest, key));
        let credential = extract::find(&config.sources, config.precedence, request);
        credential.ok().flatten().and_then(|key| config.with_key(&key, may_hold)) == Some(true)
    }

    /// Whether it has to be found out.
    pub(super) fn may_be(&self) -> bool {
        self.legacy.may_hold(&self.digest, self.key.expose())
    }

    /// The record of the key whose hash it is. None if the client has `gone` before the hash was
    /// begun; one that was is computed to its end.
    pub(super) async fn prove(
        self,
        mut gone: Pin<&mut impl Future<Output = ()>>,
    ) -> Option<LookupResult> {
        let Self { legacy, key, digest, network } = self;
        let begin = legacy.verify(digest, key, network);
        let mut verification = match before(gone.as_mut(), begin).await? {
            Ok(Some(verification)) => verification,
            Ok(None) => return Some(Ok(None)),
            Err(error) => return Some(Err(error)),
        };
        let given_up = || Err(StoreError::unavailable("proving the key was given up"));
        if let Some(answer) = before(gone, verification.answer()).await {
            return Some(answer.unwrap_or_else(given_up));
        }
        verification.leave();
        verification.answer().await
    }
}
