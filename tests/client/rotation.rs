//! A key in a file that changes while the client uses it.

use std::{fs, io::ErrorKind, os::unix::fs::symlink, time::Duration};

use futures_util::FutureExt;
use http::header::AUTHORIZATION;
use tokio::{
    runtime,
    time::{Instant, sleep},
};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_key::{
    ConfigError, KeyFormat, SecretKey,
    client::{AttachApiKeyLayer, ClientKey, KeyFileErrorKind},
};

use crate::support::{Answers, Folder, KEY, ORIGIN, OTHER_KEY, X_API_KEY, get, send};

/// By then, a change has been seen twice.
const SOON: Duration = Duration::from_millis(1_300);

fn layer(key: &ClientKey) -> AttachApiKeyLayer {
    AttachApiKeyLayer::new(key.clone(), [ORIGIN]).unwrap()
}

/// The key that the next request has.
async fn sent(key: &ClientKey) -> String {
    let answers = Answers::well();
    send(&layer(key), &answers, get(ORIGIN)).await;
    answers.seen_once().all(&X_API_KEY)[0].to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_replaced_or_written_in_place() {
    let folder = Folder::new();
    let key = ClientKey::from_file(folder.write(format!("{KEY}\n"))).await.unwrap();
    let bearer = layer(&key).with_bearer();
    assert_eq!(sent(&key).await, KEY);
    folder.replace(format!(" {OTHER_KEY}\r\n"));
    sleep(SOON).await;
    assert_eq!(sent(&key).await, OTHER_KEY);
    folder.write(KEY);
    sleep(SOON).await;
    assert_eq!(sent(&key).await, KEY);
    let answers = Answers::well();
    send(&bearer, &answers, get(ORIGIN)).await;
    assert_eq!(answers.seen_once().all(&AUTHORIZATION), [format!("Bearer {KEY}")]);
}

/// As Kubernetes does with a `Secret`.
#[tokio::test(start_paused = true)]
async fn a_link_to_the_folder_that_is_swapped() {
    let folder = Folder::new();
    for (name, key) in [("one", KEY), ("two", OTHER_KEY)] {
        fs::create_dir(folder.path(name)).unwrap();
        fs::write(folder.path(name).join("key"), key).unwrap();
    }
    symlink("one", folder.path("current")).unwrap();
    symlink("current/key", folder.path("key")).unwrap();
    let key = ClientKey::from_file(folder.path("key")).await.unwrap();
    symlink("two", folder.path("next")).unwrap();
    fs::rename(folder.path("next"), folder.path("current")).unwrap();
    sleep(SOON).await;
    assert_eq!(sent(&key).await, OTHER_KEY);
}

/// A write that takes less than a fifth of a second is never seen twice, whenever it happens.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_half_written() {
    let folder = Folder::new();
    let key = ClientKey::from_file(folder.write(KEY)).await.unwrap();
    let half = &KEY[..KEY.len() / 2];
    // The clock moves while everything waits, and never while the file is read.
    for _ in 0..50 {
        folder.write(half);
        sleep(Duration::from_millis(190)).await;
        assert_eq!(sent(&key).await, KEY);
        folder.write(KEY);
        sleep(Duration::from_millis(950)).await;
        assert_eq!(sent(&key).await, KEY);
    }
    assert_eq!(key.file_error(), None);
    // Finished like this after all.
    folder.write(half);
    sleep(SOON).await;
    assert_eq!(sent(&key).await, half);
}

fn bad() -> [(Vec<u8>, KeyFileErrorKind); 8] {
    use KeyFileErrorKind::{Empty, NotAKey, TooLarge};
    [
        (Vec::new(), Empty),
        (b" \r\n\t".to_vec(), Empty),
        (b"acme_7b".to_vec(), NotAKey),
        (vec![b'k'; 4097], NotAKey),
        (format!("{KEY}\n{OTHER_KEY}").into(), NotAKey),
        (format!("{KEY}\u{e9}").into(), NotAKey),
        (b"acme_\xff\x00_not_text".to_vec(), NotAKey),
        (vec![b'k'; 8 * 1024 + 1], TooLarge),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_bad_file_keeps_the_last_good_key() {
    let folder = Folder::new();
    let key = ClientKey::from_file(folder.write(KEY)).await.unwrap();
    let path = folder.path("key");
    let unreadable = KeyFileErrorKind::Unreadable { cause: ErrorKind::NotFound };
    for (content, kind) in bad() {
        folder.write(&content);
        sleep(SOON).await;
        assert_eq!(sent(&key).await, KEY);
        let error = key.file_error().unwrap();
        assert_eq!((error.kind(), error.path()), (kind, &*path));
        assert_eq!(key.reload().await.unwrap_err(), error);

        fs::remove_file(&path).unwrap();
        sleep(SOON).await;
        assert_eq!(
            (sent(&key).await.as_str(), key.file_error().unwrap().kind()),
            (KEY, unreadable)
        );

        folder.write(KEY);
        sleep(SOON).await;
        assert_eq!((sent(&key).await.as_str(), key.file_error()), (KEY, None));
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    sleep(SOON).await;
    assert_eq!(sent(&key).await, KEY);
    assert_eq!(key.file_error().unwrap().kind(), KeyFileErrorKind::NotAFile);
}

#[tokio::test(start_paused = true)]
async fn a_file_without_a_key_is_an_error_at_first() {
    let folder = Folder::new();
    for (content, kind) in bad() {
        let error = ClientKey::from_file(folder.write(&content)).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("key: ") && !shown.contains(KEY), "{shown}");
        assert!(!shown.contains("acme") && !shown.contains("kkk"), "{shown}");
    }
    let error = ClientKey::from_file(folder.path("none")).await.unwrap_err();
    assert_eq!(error.kind(), KeyFileErrorKind::Unreadable { cause: ErrorKind::NotFound });
    let error = ClientKey::from_file(folder.path("")).await.unwrap_err();
    assert_eq!(error.kind(), KeyFileErrorKind::NotAFile);
}

#[tokio::test(start_paused = true)]
async fn by_hand() {
    let folder = Folder::new();
    let key = ClientKey::from_file(folder.write(KEY)).await.unwrap();
    folder.write(OTHER_KEY);
    key.clone().reload().await.unwrap();
    assert_eq!(sent(&key).await, OTHER_KEY);
    crate::support::key().reload().await.unwrap();
}

/// Replaced keys may be good for a while, so they go to no other origin either.
#[tokio::test(start_paused = true)]
async fn keys_that_were_replaced_are_still_taken_out_elsewhere() {
    let folder = Folder::new();
    let key = ClientKey::from_file(folder.write(KEY)).await.unwrap();
    let keys: Vec<_> = (10..26).map(|number| format!("{OTHER_KEY}-{number}")).collect();
    for other in &keys {
        folder.write(other);
        key.reload().await.unwrap();
    }
    let answers = Answers::well();
    for old in keys.iter().map(String::as_str).chain([KEY]) {
        let mut request = get("https://evil.example");
        request.headers_mut().insert(X_API_KEY, old.parse().unwrap());
        send(&layer(&key), &answers, request).await;
        assert!(answers.seen_once().headers.is_empty(), "{old}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_has_the_key_of_when_it_is_sent() {
    let folder = Folder::new();
    let key = ClientKey::from_file(folder.write(KEY)).await.unwrap();
    let answers = Answers::new(|seen| {
        let status = if seen.all(&X_API_KEY) == [KEY] { 429 } else { 200 };
        let response = http::Response::builder().status(status).header("retry-after", "10");
        response.body(String::new()).unwrap()
    });
    let layer = layer(&key);
    assert_eq!(send(&layer, &answers, get(ORIGIN)).await.status(), 429);
    folder.replace(OTHER_KEY);
    assert_eq!(send(&layer, &answers, get(ORIGIN)).await.status(), 200);
}

/// However long it stays.
#[tokio::test(start_paused = true)]
async fn a_part_of_a_key_that_has_a_checksum() {
    let folder = Folder::new();
    let format = KeyFormat::new("acme").unwrap();
    let keys = [(); 2].map(|()| format.generate().unwrap());
    let [first, second] = keys.each_ref().map(SecretKey::expose);
    let key = ClientKey::from_file(folder.write(first)).await.unwrap();
    let key = key.with_format(format.clone()).unwrap();
    for part in [&second[..20], &second[..second.len() - 1], KEY] {
        folder.write(part);
        sleep(SOON).await;
        assert_eq!(sent(&key).await, *first);
        assert_eq!(key.file_error().unwrap().kind(), KeyFileErrorKind::NotAKey);
        let other = ClientKey::from_file(folder.path("key")).await.unwrap();
        assert_eq!(other.with_format(format.clone()).unwrap_err(), ConfigError::ClientKey);
    }
    folder.write(second);
    sleep(SOON).await;
    assert_eq!((sent(&key).await.as_str(), key.file_error()), (second, None));
    let fixed = |text: &str| ClientKey::new(&SecretKey::new(text)).unwrap();
    assert!(fixed(first).with_format(format.clone()).is_ok());
    assert_eq!(fixed(KEY).with_format(format).unwrap_err(), ConfigError::ClientKey);
}

/// The pause was asked for with the old key.
#[tokio::test(start_paused = true)]
async fn another_key_ends_a_pause() {
    let folder = Folder::new();
    let key = ClientKey::from_file(folder.write(KEY)).await.unwrap();
    let answers = Answers::new(|seen| {
        let is_old = seen.all(&X_API_KEY) == [KEY];
        let response = http::Response::builder().status(if is_old { 429 } else { 200 });
        response.header("retry-after", "30").body(String::new()).unwrap()
    });
    let layer = layer(&key);
    // Sent with the old key, and answered after the change.
    let late = ServiceBuilder::new().layer(&layer).service(service_fn({
        let answers = answers.clone();
        move |request: http::Request<String>| {
            let sent = answers.clone().oneshot(request);
            async move {
                sleep(Duration::from_secs(5)).await;
                sent.await
            }
        }
    }));
    let late = tokio::spawn(late.oneshot(get(ORIGIN)));
    tokio::task::yield_now().await;
    send(&layer, &answers, get(ORIGIN)).await;
    let start = Instant::now();
    let held = tokio::spawn(send(&layer, &answers, get(ORIGIN)));
    sleep(Duration::from_millis(100)).await;
    folder.replace(OTHER_KEY);
    key.reload().await.unwrap();
    assert_eq!(send(&layer, &answers, get(ORIGIN)).await.status(), 200);
    assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
    assert_eq!(held.await.unwrap().status(), 200);
    assert!(start.elapsed() < Duration::from_millis(1_100), "{:?}", start.elapsed());

    assert_eq!(late.await.unwrap().unwrap().status(), 429);
    let start = Instant::now();
    assert_eq!(send(&layer, &answers, get(ORIGIN)).await.status(), 200);
    assert_eq!(start.elapsed(), Duration::ZERO, "a late response is of the old key");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_watched_once_the_last_clone_is_gone() {
    let folder = Folder::new();
    let tasks = || runtime::Handle::current().metrics().num_alive_tasks();
    let key = ClientKey::from_file(folder.write(KEY)).await.unwrap();
    let layer = layer(&key);
    drop(key);
    assert_eq!(tasks(), 1, "the layer is left");
    drop(layer);
    sleep(SOON).await;
    assert_eq!(tasks(), 0);
}

/// A program may read its key in a runtime of its own, before the one that serves.
#[test]
fn the_file_is_watched_in_the_runtime_that_sends() {
    let folder = Folder::new();
    let build =
        || runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let key = build().block_on(ClientKey::from_file(folder.write(KEY))).unwrap();
    folder.replace(OTHER_KEY);
    build().block_on(async {
        assert_eq!(sent(&key).await, KEY);
        sleep(SOON).await;
        assert_eq!(sent(&key).await, OTHER_KEY);
    });
}

/// The runtime that read the key is kept, and does not run.
#[test]
fn the_file_is_watched_where_a_runtime_stands_still() {
    let folder = Folder::new();
    let build =
        || runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let first = build();
    let key = first.block_on(ClientKey::from_file(folder.write(KEY))).unwrap();
    folder.replace(OTHER_KEY);
    build().block_on(async {
        sleep(Duration::from_secs(4)).await;
        assert_eq!((sent(&key).await.as_str(), key.file_error()), (KEY, None));
        sleep(SOON).await;
        assert_eq!(sent(&key).await, OTHER_KEY);
    });
    // Nor does any other.
    build().block_on(async {
        sleep(Duration::from_mins(1)).await;
        assert_eq!(key.file_error().unwrap().kind(), KeyFileErrorKind::NotRead);
        assert_eq!(sent(&key).await, OTHER_KEY);
        sleep(SOON).await;
        assert_eq!(key.file_error(), None);
    });
    drop(first);
}

/// No timer, so nothing is watched; and no task panics for each request.
#[test]
fn a_file_that_cannot_be_watched() {
    let folder = Folder::new();
    let path = folder.write(KEY);
    let without_time = || runtime::Builder::new_current_thread().build().unwrap();
    let read = || without_time().block_on(ClientKey::from_file(&path));
    std::panic::catch_unwind(read).unwrap_err();

    let mut with_time = runtime::Builder::new_current_thread();
    let with_time = with_time.enable_time().build().unwrap();
    let key = with_time.block_on(ClientKey::from_file(&path)).unwrap();
    drop(with_time);
    let runtime = without_time();
    let tasks = || runtime.metrics().num_alive_tasks();
    for expected in [1, 0, 0] {
        assert_eq!(runtime.block_on(sent(&key)), KEY);
        assert_eq!(tasks(), expected, "one was spawned and has panicked");
        runtime.block_on(tokio::task::yield_now());
        assert_eq!(tasks(), 0);
    }
}

/// The program ends, which is no fault of the file.
#[test]
fn a_reading_that_is_cancelled_is_no_fault() {
    let folder = Folder::new();
    let mut runtime = runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().build().unwrap();
    let key = runtime.block_on(ClientKey::from_file(folder.write(KEY))).unwrap();
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    let _entered = handle.enter();
    let error = key.reload().now_or_never().unwrap().unwrap_err();
    assert!(matches!(error.kind(), KeyFileErrorKind::Unreadable { .. }), "{error:?}");
    assert_eq!(key.file_error(), None);
}

/// Opening one would wait for a writer.
#[tokio::test(start_paused = true)]
async fn a_pipe_in_the_place_of_the_file() {
    let folder = Folder::new();
    let make = |name| {
        let made = std::process::Command::new("mkfifo").arg(folder.path(name)).status().unwrap();
        assert!(made.success());
    };
    make("pipe");
    let error = ClientKey::from_file(folder.path("pipe")).await.unwrap_err();
    assert_eq!(error.kind(), KeyFileErrorKind::NotAFile);
    let key = ClientKey::from_file(folder.write(KEY)).await.unwrap();
    fs::rename(folder.path("pipe"), folder.path("key")).unwrap();
    sleep(SOON).await;
    assert_eq!(sent(&key).await, KEY);
    assert_eq!(key.file_error().unwrap().kind(), KeyFileErrorKind::NotAFile);
}

/// As `a_file_that_is_half_written`, at the start and by hand.
#[tokio::test(start_paused = true)]
async fn a_half_written_file_is_not_taken_at_the_start_nor_by_hand() {
    let folder = Folder::new();
    let half = &KEY[..KEY.len() / 2];
    let finish = |text: &'static str| {
        let path = folder.path("key");
        tokio::spawn(async move {
            sleep(Duration::from_millis(190)).await;
            fs::write(path, text).unwrap();
        })
    };
    let finished = finish(KEY);
    let key = ClientKey::from_file(folder.write(half)).await.unwrap();
    assert_eq!(sent(&key).await, KEY);
    finished.await.unwrap();

    let finished = finish(OTHER_KEY);
    folder.write(half);
    key.reload().await.unwrap();
    assert_eq!(sent(&key).await, OTHER_KEY);
    finished.await.unwrap();
}
