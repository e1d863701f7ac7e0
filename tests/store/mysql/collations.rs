//! Databases and servers to which letters, spaces and even the ends of texts do not matter.

use tower_api_key::{
    key::KeyDigest,
    store::{KeyQuery, KeyRepository, KeyStore, MySqlStore, StoreErrorKind, UsageLog},
    usage::{HourlyUsage, UsageOutcome, UsageQuery},
};

use super::MySql;
use crate::{
    conformance::{assert_duplicate, at, record, usage},
    remote::{Remote, Session},
    servers::{Database, Server},
};

#[tokio::test]
async fn capitals_and_spaces_matter_whatever_the_default() {
    let Some(database) = Database::new(Server::MySql).await else { return };
    let mut session = MySql::session(database.url()).await;
    // What this database does with texts of its own.
    session.run("CREATE TABLE sloppy (owner VARCHAR(255))").await.unwrap();
    session.run("INSERT INTO sloppy VALUES ('anna'), ('ANNA '), ('ánna')").await.unwrap();
    assert_eq!(session.rows("SELECT count(*) FROM sloppy WHERE owner = 'anna'").await, ["3"]);

    let store = MySqlStore::connect(database.url()).await.unwrap();
    let owners = ["anna", "ANNA", "anna ", "anna  ", "ánna", "a\u{301}nna", ""];
    for (number, owner) in (0..).zip(owners) {
        let mut record = record(number);
        record.owner = Some(owner.into());
        store.insert(&record).await.unwrap();
    }
    for (number, owner) in (0..).zip(owners) {
        let page = store.list(&KeyQuery::new(10).with_owner(owner)).await.unwrap();
        let ids: Vec<_> = page.items.iter().map(|record| record.id).collect();
        assert_eq!(ids, [record(number).id], "{owner:?}");
    }

    // Digests that are texts, and the same to such a collation.
    let digests = [
        *b"a digest that happens to be text",
        *b"A digest that happens to be text",
        *b"a digest that happens to be tex ",
        *b"a digest that happens to be tex\0",
    ];
    for (number, digest) in (100..).zip(digests) {
        let mut record = record(number);
        record.digest = KeyDigest::from_bytes(digest);
        assert!(store.find(&record.digest).await.unwrap().is_none());
        store.insert(&record).await.unwrap();
        assert_eq!(store.find(&record.digest).await.unwrap().as_deref(), Some(&record));
        assert_duplicate(store.insert(&record).await);
    }
    let digests = digests.map(KeyDigest::from_bytes);
    let unknown = KeyDigest::from_bytes(*b"A DIGEST that happens to be text");
    let answers = store.find_many(&[&digests[..], &[unknown]].concat()).await;
    let ids = answers.into_iter().map(|answer| answer.unwrap().map(|record| record.id));
    let expected = (100..104).map(|number| Some(record(number).id)).chain([None]);
    assert!(ids.eq(expected));
}

/// Texts are on their way to the table as JSON, and come through a database in which they have no
/// room.
#[tokio::test]
async fn usage_is_told_apart_whatever_the_character_set() {
    let Some(database) = Database::new(Server::MySql).await else { return };
    let mut session = MySql::session(database.url()).await;
    let latin1 = "ALTER DATABASE CHARACTER SET latin1 COLLATE latin1_swedish_ci";
    session.run(latin1).await.unwrap();
    let store = MySqlStore::connect(database.url()).await.unwrap();
    usage::outcomes_lines_hours_and_owners_are_told_apart(store).await;
}

/// A server that is not in strict mode cuts off what has no room, and says nothing.
#[tokio::test]
async fn no_owner_is_cut_short() {
    let Some((_, database)) = super::open().await else { return };
    let options = sqlx::mysql::MySqlPoolOptions::new().after_connect(|connection, _| {
        Box::pin(async { connection.run("SET sql_mode = ''").await.map_err(sqlx::Error::Protocol) })
    });
    let store = MySqlStore::from_pool(options.connect(database.url()).await.unwrap());
    let mut long = record(1);
    long.owner = Some("é".repeat(255).into());
    store.insert(&long).await.unwrap();
    assert_eq!(*store.get(long.id).await.unwrap().unwrap(), long);

    let mut longer = record(2);
    longer.owner = Some("é".repeat(256).into());
    let error = store.insert(&longer).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(store.get(longer.id).await.unwrap().is_none());
    (longer.id, longer.revision) = (long.id, long.revision + 1);
    assert!(store.update(&long, &longer).await.is_err());
    assert_eq!(*store.get(long.id).await.unwrap().unwrap(), long);

    let used =
        |owner| HourlyUsage::new(long.id, at(0), UsageOutcome::Accepted, 1).with_owner(owner);
    assert!(store.record_usage(&[used(longer.owner.clone())]).await.is_err());
    let mut cut = UsageQuery::new(at(0), at(1));
    assert_eq!(store.usage(&cut).await.unwrap(), []);
    store.record_usage(&[used(long.owner.clone())]).await.unwrap();
    cut.owner.clone_from(&long.owner);
    assert_eq!(store.usage(&cut).await.unwrap().len(), 1);
}
