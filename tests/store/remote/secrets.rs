//! Where digests and passwords must not be.

use tower_api_key::store::{KeyRepository, KeyStore};

use super::{Remote, Session, open, session};
use crate::{
    conformance::{digest, record},
    servers::Database,
    support::texts,
};

pub(crate) async fn errors_and_debug_tell_no_digest<R: Remote>(database: &Database) {
    let store = open::<R>(database).await;
    let mut text = record(2);
    text.digest = tower_api_key::key::KeyDigest::from_bytes(*b"A digest that happens to be text");
    let mut said = vec![format!("{store:?}")];
    for record in [&record(1), &text] {
        store.insert(record).await.unwrap();
        let mut same_digest = record.clone();
        same_digest.id = crate::conformance::record(99).id;
        said.push(texts(&store.insert(record).await.unwrap_err()));
        said.push(texts(&store.insert(&same_digest).await.unwrap_err()));
    }
    session::<R>(database).await.run("UPDATE api_keys SET metadata = '{'").await.unwrap();
    said.push(texts(&store.find(&digest(1)).await.unwrap_err()));
    assert_eq!(said[0], format!("{store:?}"));

    let bytes = digest(1);
    for part in [bytes.to_hex(), format!("{:?}", bytes.as_bytes()), "happens".to_owned()] {
        for text in &said {
            assert!(!text.contains(&part), "{text}");
        }
    }
    // MySQL's way to show what is no text.
    assert!(said.iter().all(|text| !text.to_lowercase().contains("\\xa5")), "{said:?}");
}

pub(crate) async fn errors_and_debug_tell_no_password<R: Remote>(database: &Database) {
    let (scheme, rest) = database.url().split_once("://").unwrap();
    let host = rest.rsplit('@').next().unwrap();
    for url in [
        format!("{scheme}://nobody:hunter2@{host}"),
        format!("{scheme}://nobody:hunter2@127.0.0.1:1/keys"),
        format!("{scheme}://nobody:hunter2@127.0.0.1:port/keys"),
        format!("{scheme}://nobody:hunter2@[127.0.0.1/keys"),
        format!("{scheme}:nobody:hunter2"),
        "hunter2".to_owned(),
    ] {
        match R::connect(&url).await {
            Ok(store) => assert!(!format!("{store:?}").contains("hunter2")),
            Err(error) => assert!(!texts(&error).contains("hunter2"), "{error:?}"),
        }
    }
    let store = open::<R>(database).await;
    assert!(format!("{store:?}").ends_with("Store(api_keys)"));
}
