//! A server that refuses the key: the file is read again.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::join_all};
use http::Response;
use tokio::{sync::Mutex, time::Instant};
use tower_api_key::client::{AttachApiKeyLayer, ClientKey};

use crate::support::{Answers, Folder, KEY, ORIGIN, OTHER_KEY, X_API_KEY, get, layer, send};

/// A server that takes the other key alone.
fn rotated() -> Answers {
    Answers::new(|seen| {
        let status = if seen.all(&X_API_KEY) == [OTHER_KEY] { 200 } else { 401 };
        Response::builder().status(status).body("the server's own".to_owned()).unwrap()
    })
}

async fn from_file(folder: &Folder) -> AttachApiKeyLayer {
    let key = ClientKey::from_file(folder.path("key")).await.unwrap();
    AttachApiKeyLayer::new(key, [ORIGIN]).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_next_request_has_a_key_that_was_replaced() {
    let folder = Folder::new();
    folder.write(KEY);
    let (layer, answers) = (from_file(&folder).await, rotated());
    folder.replace(OTHER_KEY);
    let start = Instant::now();
    let refused = send(&layer, &answers, get(ORIGIN)).await;
    assert_eq!((refused.status().as_u16(), &**refused.body()), (401, "the server's own"));
    assert_eq!(send(&layer, &answers, get(ORIGIN)).await.status(), 200);
    // A tenth of a second until it is read, and a fifth until it is read again.
    assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
    assert_eq!(answers.seen().len(), 2, "no request is sent twice");
}

/// That they share the readings is counted in `src/runtime/watched_file.rs`.
#[tokio::test(start_paused = true)]
async fn many_that_are_refused_have_the_new_key_next() {
    let folder = Folder::new();
    folder.write(KEY);
    let (layer, answers) = (from_file(&folder).await, rotated());
    folder.replace(OTHER_KEY);
    let start = Instant::now();
    let refused = join_all((0..100).map(|_| send(&layer, &answers, get(ORIGIN)))).await;
    assert!(refused.iter().all(|response| response.status() == 401));
    assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
    let good = join_all((0..100).map(|_| send(&layer, &answers, get(ORIGIN)))).await;
    assert!(good.iter().all(|response| response.status() == 200));
}

/// A server that refuses everything has the file read ten times a second at most.
#[tokio::test(start_paused = true)]
async fn a_file_that_has_not_changed_is_not_read_for_each() {
    let folder = Folder::new();
    folder.write(KEY);
    let (layer, answers) = (from_file(&folder).await, rotated());
    let start = Instant::now();
    for _ in 0..10 {
        let before = Instant::now();
        assert_eq!(send(&layer, &answers, get(ORIGIN)).await.status(), 401);
        assert!(before.elapsed() <= Duration::from_millis(110), "{:?}", before.elapsed());
    }
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
}

/// Without a runtime the response is handed on as it is.
#[test]
fn a_refusal_outside_of_a_runtime() {
    let folder = Folder::new();
    folder.write(KEY);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().build().unwrap();
    let layer = runtime.block_on(from_file(&folder));
    for _ in 0..2 {
        let refused = send(&layer, &rotated(), get(ORIGIN)).now_or_never();
        assert_eq!(refused.unwrap().status(), 401);
    }
    drop(runtime);
    let refused = send(&layer, &rotated(), get(ORIGIN)).now_or_never();
    assert_eq!(refused.unwrap().status(), 401);
}

/// While refusals come in all the time, a half-written file is still looked at twice.
#[tokio::test(start_paused = true)]
async fn a_half_written_file_is_not_taken_for_a_refusal() {
    let folder = Folder::new();
    folder.write(KEY);
    let (layer, answers) = (Arc::new(from_file(&folder).await), rotated());
    for _ in 0..20 {
        let refused = (0..20).map(|number| {
            let (layer, answers) = (layer.clone(), answers.clone());
            async move {
                tokio::time::sleep(Duration::from_millis(number * 10)).await;
                send(&layer, &answers, get(ORIGIN)).await
            }
        });
        folder.write(&KEY[..12]);
        let write = async {
            tokio::time::sleep(Duration::from_millis(190)).await;
            folder.write(KEY);
        };
        tokio::join!(join_all(refused), write);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(answers.seen().iter().all(|seen| seen.all(&X_API_KEY) == [KEY]));
}

/// Only the key that was sent is refused; and a key in no file cannot be read again.
#[tokio::test(start_paused = true)]
async fn nothing_waits_where_there_is_nothing_to_read() {
    let folder = Folder::new();
    folder.write(KEY);
    let key = ClientKey::from_file(folder.path("key")).await.unwrap();
    let file = AttachApiKeyLayer::new(key.clone(), [ORIGIN]).unwrap();
    let start = Instant::now();
    for status in [200, 400, 403, 404, 500, 503] {
        let answers =
            Answers::new(move |_| Response::builder().status(status).body(String::new()).unwrap());
        assert_eq!(send(&file, &answers, get(ORIGIN)).await.status(), status);
    }
    assert_eq!(send(&layer(&[ORIGIN]), &rotated(), get(ORIGIN)).await.status(), 401);
    assert_eq!(send(&file, &rotated(), get("https://evil.example")).await.status(), 401);
    assert_eq!(start.elapsed(), Duration::ZERO);

    // Read meanwhile, by another that was refused.
    let reloading = Arc::new(Mutex::new(()));
    let answers = rotated();
    let guard = reloading.clone().lock_owned().await;
    let slow = tower::service_fn({
        let answers = answers.clone();
        move |request: http::Request<String>| {
            let (answers, reloading) = (answers.clone(), reloading.clone());
            async move {
                let response = tower::ServiceExt::oneshot(answers, request).await;
                drop(reloading.lock().await);
                response
            }
        }
    });
    let sent =
        tokio::spawn(tower::ServiceExt::oneshot(tower::Layer::layer(&file, slow), get(ORIGIN)));
    while answers.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    folder.write(OTHER_KEY);
    key.reload().await.unwrap();
    let start = Instant::now();
    drop(guard);
    assert_eq!(sent.await.unwrap().unwrap().status(), 401);
    assert_eq!(start.elapsed(), Duration::ZERO);
}
