//! Keys of the right shape with a wrong seal: the store never hears of them.

use proptest::prelude::*;
use tower_api_key::{
    ApiKeyLayer, IssuerSecrets, KeyHasher, KeyManager, NewKey, Peppers, RejectionKind,
    store::{MemoryStore, StoreErrorKind},
};

use super::{OTHER, SECRET, generate, outcome, plain, sealed, sealed_only};
use crate::{
    stores::TestStore,
    support::{record, send, with_key},
};

#[test]
fn ten_thousand_forged_keys_ask_the_store_nothing() {
    let good = generate(&sealed_only(SECRET));
    let three = IssuerSecrets::new(SECRET).unwrap().with_next(&[1; 32]).unwrap();
    let three = three.with_retired(&[2; 32]).unwrap();
    let elsewhere = sealed_only(OTHER);
    for format in [sealed_only(SECRET), sealed(three)] {
        let store = TestStore::new([record(&good)]);
        let layer = ApiKeyLayer::new(store.clone()).with_formats([format]);
        for _ in 0..5_000 {
            assert_eq!(outcome(&layer, &generate(&elsewhere)), "malformed_key");
        }
        assert_eq!((store.asked_now(), store.asked()), (0, 0));
        assert_eq!(outcome(&layer, &good), "admitted");
        assert_eq!((store.asked_now(), store.asked()), (1, 0));
    }
}

/// In an outage as well: what the seal says needs no store.
#[test]
fn an_unknown_secret_is_malformed_whatever_the_store_does() {
    for store in [TestStore::failing(StoreErrorKind::Unavailable), TestStore::stuck()] {
        let layer = ApiKeyLayer::new(store.clone()).with_formats([sealed_only(SECRET)]);
        let answer = send(&layer, with_key(&generate(&sealed_only(OTHER))));
        assert_eq!(answer.rejection().kind(), RejectionKind::Malformed);
        assert_eq!((store.asked_now(), store.asked()), (0, 0));
    }
}

/// A seal is no digest under a pepper: the pepper's digest in the place of the seal is a forgery.
#[tokio::test]
async fn seals_and_peppers_stand_beside_each_other() {
    let hasher = KeyHasher::hmac_sha256(Peppers::new(OTHER).unwrap());
    let secrets = IssuerSecrets::new(SECRET).unwrap();
    let format = plain().sealed(secrets, &hasher).unwrap().sealed_only().unwrap();
    let manager =
        KeyManager::new(MemoryStore::new()).with_format(format).with_hasher(hasher.clone());
    let issued = manager.create(NewKey::named("both")).await.unwrap();
    assert_eq!(issued.record.digest, hasher.digest(issued.secret.expose()));
    assert_eq!(outcome(&manager.layer(), issued.secret.expose()), "admitted");
    assert_eq!(outcome(&manager.layer(), &generate(&sealed_only(OTHER))), "malformed_key");
}

proptest! {
    /// Each byte of a key counts: of the prefix, of the secret and of the seal.
    #[test]
    fn any_changed_character_is_noticed_without_a_lookup(
        position in 0_usize..60,
        character in "[ -~]",
        is_strict: bool,
    ) {
        let format = if is_strict {
            sealed_only(SECRET)
        } else {
            sealed(IssuerSecrets::new(SECRET).unwrap())
        };
        let good = generate(&format);
        let mut changed = good.clone();
        changed.replace_range(position..=position, &character);
        let store = TestStore::new([record(&good), record(&changed)]);
        let layer = ApiKeyLayer::new(store.clone()).with_formats([format]);
        if changed == good {
            prop_assert_eq!(outcome(&layer, &changed), "admitted");
        } else {
            prop_assert_eq!(outcome(&layer, &changed), "malformed_key");
            prop_assert_eq!((store.asked_now(), store.asked()), (0, 0));
        }
    }

    /// So does their number.
    #[test]
    fn a_key_that_is_cut_or_has_more_is_malformed(cut in 0_usize..60, more in "[0-9A-Za-z]{1,60}") {
        let format = sealed_only(SECRET);
        let good = generate(&format);
        let store = TestStore::new([record(&good)]);
        let layer = ApiKeyLayer::new(store.clone()).with_formats([format]);
        for bad in [&good[..cut], &format!("{good}{more}"), &format!("{}{more}", &good[..48])] {
            let answer = send(&layer, with_key(bad));
            prop_assert!(bad == good || answer.rejection().kind() == RejectionKind::Malformed);
        }
        prop_assert_eq!(store.asked_now(), 0);
    }
}
