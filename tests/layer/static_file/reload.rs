//! Files that change while the layer uses them.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tower_api_key::{
    ApiKeyLayer, KeyHasher,
    key::KeyRecord,
    store::{FileErrorKind, FileStatus, FileStore, KeyStore, Lookup},
};

use super::{Folder, digest, toml};
use crate::support::{KEY, OTHER_KEY, send, with_key};

fn find(store: &FileStore, key: &str) -> Option<Arc<KeyRecord>> {
    match store.find_now(&KeyHasher::sha256().digest(key)) {
        Some(Lookup::Found(record)) => Some(record),
        Some(Lookup::NotFound) => None,
        None => panic!("a file's keys are in memory"),
    }
}

/// A store that looks often.
async fn watch(folder: &Folder) -> FileStore {
    let path = folder.path("keys.toml");
    FileStore::open(path).await.unwrap().with_interval(Duration::from_millis(10))
}

/// Waits for a status, or stops the test after a long time.
async fn until(store: &FileStore, wanted: impl Fn(&FileStatus) -> bool) -> FileStatus {
    for _ in 0..3_000 {
        let status = store.status();
        if wanted(&status) {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("still {:?}", store.status());
}

#[tokio::test]
async fn a_file_that_is_replaced() {
    let folder = Folder::new();
    folder.write("keys.toml", toml(&[KEY]));
    let store = watch(&folder).await;
    let (first, loaded) = (find(&store, KEY).unwrap(), store.status().loaded_at);
    folder.replace("keys.toml", toml(&[KEY, OTHER_KEY]));
    let status = until(&store, |status| status.keys == 2).await;
    assert!(status.loaded_at >= loaded && status.error.is_none());
    assert!(find(&store, OTHER_KEY).is_some());
    assert!(Arc::ptr_eq(&first, &find(&store, KEY).unwrap()), "unchanged, so the same record");
    folder.replace("keys.toml", toml(&[OTHER_KEY]));
    until(&store, |status| status.keys == 1).await;
    assert!(find(&store, KEY).is_none());
}

#[tokio::test]
async fn a_file_that_is_written_in_place() {
    let folder = Folder::new();
    folder.write("keys.toml", toml(&[KEY, OTHER_KEY]));
    let store = watch(&folder).await;
    folder.write("keys.toml", toml(&[OTHER_KEY]));
    until(&store, |status| status.keys == 1).await;
    assert!(find(&store, KEY).is_none());
}

/// As Kubernetes changes a `ConfigMap`: `keys.toml -> ..data/keys.toml`, `..data -> ..1`.
#[cfg(unix)]
#[tokio::test]
async fn a_link_to_the_folder_that_is_swapped() {
    use std::os::unix::fs::symlink;

    let folder = Folder::new();
    for (version, keys) in [("..1", &[KEY][..]), ("..2", &[KEY, OTHER_KEY])] {
        fs::create_dir(folder.path(version)).unwrap();
        folder.write(&format!("{version}/keys.toml"), toml(keys));
    }
    symlink("..1", folder.path("..data")).unwrap();
    symlink("..data/keys.toml", folder.path("keys.toml")).unwrap();
    let store = watch(&folder).await;
    assert_eq!(store.status().keys, 1);
    symlink("..2", folder.path("..data_tmp")).unwrap();
    fs::rename(folder.path("..data_tmp"), folder.path("..data")).unwrap();
    fs::remove_dir_all(folder.path("..1")).unwrap();
    until(&store, |status| status.keys == 2).await;
    assert!(find(&store, OTHER_KEY).is_some());
}

#[tokio::test]
async fn what_is_bad_keeps_the_last_good_one_and_says_so() {
    let folder = Folder::new();
    let good = toml(&[KEY]);
    let path = folder.write("keys.toml", &good);
    let store = watch(&folder).await;
    let first = find(&store, KEY).unwrap();
    let field = toml(&[OTHER_KEY]) + "scope = 1\n";
    let bad = [
        (Some(String::new()), FileErrorKind::MissingField),
        (Some(good[..good.len() - 5].to_owned()), FileErrorKind::Syntax),
        (Some(field), FileErrorKind::UnknownField),
        (None, FileErrorKind::Unreadable { cause: std::io::ErrorKind::NotFound }),
    ];
    for (text, kind) in bad {
        match &text {
            Some(text) => folder.replace("keys.toml", text),
            None => fs::remove_file(&path).unwrap(),
        }
        let is_bad =
            |status: &FileStatus| status.error.as_ref().is_some_and(|error| error.kind() == kind);
        let status = until(&store, is_bad).await;
        assert_eq!(status.keys, 1);
        assert!(Arc::ptr_eq(&first, &find(&store, KEY).unwrap()));
        assert!(find(&store, OTHER_KEY).is_none());
        assert_eq!(store.reload().await.unwrap_err().kind(), kind, "and by hand");
    }
    // As it was: good again.
    folder.replace("keys.toml", &good);
    until(&store, |status| status.error.is_none()).await;
    assert!(Arc::ptr_eq(&first, &find(&store, KEY).unwrap()));
}

#[tokio::test]
async fn by_hand() {
    let folder = Folder::new();
    folder.write("keys.toml", toml(&[KEY]));
    let store = watch(&folder).await.with_interval(Duration::MAX);
    let before = find(&store, KEY).unwrap();
    let changed = toml(&[KEY, OTHER_KEY]).replace("\"key 0\"", "\"key 0\"\ntier = \"gold\"");
    folder.write("keys.toml", &changed);
    store.reload().await.unwrap();
    assert_eq!(store.status().keys, 2);
    let after = find(&store, KEY).unwrap();
    assert_eq!(
        (after.details.tier.as_deref(), after.created_at),
        (Some("gold"), before.created_at)
    );
    assert!(after.revision > before.revision);
    assert_eq!(after.id, before.id);
    store.reload().await.unwrap();
    assert!(Arc::ptr_eq(&after, &find(&store, KEY).unwrap()));
}

/// The id follows from the name: another secret of the same name goes on under the same id, and
/// another name is another key.
#[tokio::test]
async fn names_carry_the_ids() {
    let folder = Folder::new();
    folder.write("keys.toml", toml(&[KEY]));
    let store = watch(&folder).await.with_interval(Duration::MAX);
    let before = find(&store, KEY).unwrap();
    folder.write("keys.toml", toml(&[OTHER_KEY]));
    store.reload().await.unwrap();
    assert_eq!(find(&store, OTHER_KEY).unwrap().id, before.id, "the secret was replaced");

    folder.write("keys.toml", toml(&[KEY]).replace("key 0", "another name"));
    store.reload().await.unwrap();
    let renamed = find(&store, KEY).unwrap();
    assert_ne!(renamed.id, before.id);
    assert!(renamed.revision >= before.revision);
}

/// A write that takes less than a fifth of a second is never seen twice, whenever it happens.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_half_written() {
    let folder = Folder::new();
    let whole = toml(&[KEY, OTHER_KEY]);
    folder.write("keys.toml", &whole);
    let store = FileStore::open(folder.path("keys.toml")).await.unwrap();
    let half = toml(&[KEY]);
    assert!(whole.starts_with(&half), "a good file by itself");
    // The clock moves while everything waits, and never while the file is looked at.
    for _ in 0..50 {
        folder.write("keys.toml", &half);
        tokio::time::sleep(Duration::from_millis(190)).await;
        assert!(find(&store, OTHER_KEY).is_some());
        folder.write("keys.toml", &whole);
        tokio::time::sleep(Duration::from_millis(950)).await;
        assert!(find(&store, OTHER_KEY).is_some());
    }
    assert_eq!(store.status().error, None);
    // Finished like this after all.
    folder.write("keys.toml", &half);
    until(&store, |status| status.keys == 1).await;
}

#[tokio::test]
async fn nothing_is_watched_for_nobody() {
    let folder = Folder::new();
    folder.write("keys.toml", toml(&[KEY]));
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(tasks(), 0);
    let store = watch(&folder).await;
    let clone = store.clone().with_interval(Duration::MAX);
    drop(store);
    assert_eq!(tasks(), 1, "the clone is left");
    drop(clone);
    for _ in 0..1_000 {
        if tasks() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} tasks", tasks());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_the_file_is_loaded_200_times() {
    const LOADS: usize = 200;
    let folder = Folder::new();
    folder.write("keys.toml", toml(&[KEY]));
    let store = FileStore::open(folder.path("keys.toml")).await.unwrap();
    let store = store.with_interval(Duration::MAX);
    let layer = ApiKeyLayer::new(store.clone());
    let (loading, sent) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let callers = [(); 2].map(|()| {
        let (layer, loading, sent) = (layer.clone(), loading.clone(), sent.clone());
        std::thread::spawn(move || {
            let mut failed = 0;
            while loading.load(SeqCst) {
                failed += usize::from(send(&layer, with_key(KEY)).outcome() != "admitted");
                sent.fetch_add(1, SeqCst);
            }
            failed
        })
    });
    for load in 0..LOADS {
        let sent_before = sent.load(SeqCst);
        let other = format!("a-key-that-comes-and-goes-{load}");
        let text = match load % 4 {
            0 => toml(&[KEY, &other]),
            1 => toml(&[KEY]) + "no = \"such field\"\n",
            2 => "keys = [".to_owned(),
            _ => toml(&[KEY, OTHER_KEY, &other]),
        };
        folder.replace("keys.toml", text);
        assert_eq!(store.reload().await.is_ok(), matches!(load % 4, 0 | 3));
        while sent.load(SeqCst) < sent_before + 2 {
            tokio::task::yield_now().await;
        }
    }
    loading.store(false, SeqCst);
    let failed = callers.map(|caller| caller.join().unwrap());
    assert_eq!(failed, [0, 0]);
    assert!(sent.load(SeqCst) >= 2 * LOADS);
    assert_eq!(store.status().keys, 3);
}

#[tokio::test]
async fn debug_shows_where_from_and_no_digest() {
    let folder = Folder::new();
    folder.write("keys.toml", toml(&[KEY]));
    let store = watch(&folder).await;
    let shown = format!("{store:?}");
    assert!(shown.contains("keys.toml") && shown.contains("keys: 1"), "{shown}");
    assert!(!shown.contains(&digest(KEY)[..16]));
}
