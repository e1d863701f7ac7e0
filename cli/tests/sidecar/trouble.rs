//! The table of the guide: what clients behind nginx see when the sidecar or its store fails.

use std::thread;

use crate::{
    process::{REPEATED_WITHIN, Server},
    proxy::Proxy,
    servers::{self, Database},
    started::{Place, ask, code, nginx, order, until},
    web_server::{self, WebServer},
};

/// A sidecar between nginx and a PostgreSQL that can be cut off. `known` has been used, and `other` has not.
struct Scene {
    place: Place,
    store: Proxy,
    known: String,
    other: String,
    _database: Database,
}

/// `settings` stand before the file of the guide. None when a server is left out.
async fn scene(settings: &str) -> Option<Scene> {
    if web_server::is_left_out("nginx") {
        return None;
    }
    let database = Database::new(servers::Server::Postgres).await?;
    let store = Proxy::before(database.url());
    let place = Place::on(store.url());
    place.add(settings);
    let scene = tokio::task::spawn_blocking(move || {
        let keys = ["known", "other"].map(|_| place.key(&["--scope", "orders:read"]));
        let [known, other] = keys;
        Scene { place, store, known, other, _database: database }
    });
    Some(scene.await.unwrap())
}

impl Scene {
    /// Starts the sidecar and nginx, and uses the known key.
    fn start(&self) -> (Server, WebServer) {
        let sidecar = self.place.start();
        let nginx = nginx(self.place.folder.path(), sidecar.address());
        assert_eq!(order(nginx.address, &self.known).status, 200);
        (sidecar, nginx)
    }

    /// The statuses of the known key, the other one, and none.
    fn statuses(&self, nginx: &WebServer) -> [u16; 3] {
        let none = ask(nginx.address, "GET /orders/7 HTTP/1.1", &[]);
        [
            order(nginx.address, &self.known).status,
            order(nginx.address, &self.other).status,
            none.status,
        ]
    }
}

/// A figure of the sidecar's metrics.
fn metric(sidecar: &Server, name: &str) -> f64 {
    let text = ask(sidecar.address(), "GET /metrics HTTP/1.1", &[]).body;
    let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

/// Everything that blocks runs beside the proxy before the store, which is a task of the test.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_under_way_is_answered_after_sigterm() {
    let Some(scene) = scene("").await else { return };
    let (mut scene, sidecar, nginx) = blocking(move || {
        let (sidecar, nginx) = scene.start();
        (scene, sidecar, nginx)
    })
    .await;
    scene.store.freeze();
    let (address, other) = (nginx.address, scene.other.clone());
    let asking = thread::spawn(move || order(address, &other));
    let sidecar = blocking(move || {
        until(|| metric(&sidecar, "tower_api_key_waiting_requests") >= 1.0);
        sidecar.signal("TERM");
        sidecar.wait_for_stderr("shutting down");
        sidecar
    })
    .await;
    scene.store.pass();
    blocking(move || {
        let answered = asking.join().unwrap();
        assert_eq!(answered.status, 200, "{answered:?}");
        let finished = sidecar.wait();
        assert_eq!(finished.status.code(), Some(0), "{finished:?}");
        assert_eq!(scene.statuses(&nginx), [500; 3]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let Some(scene) = scene("drain = \"1h\"").await else { return };
    let (mut scene, sidecar, nginx) = blocking(move || {
        let (sidecar, nginx) = scene.start();
        (scene, sidecar, nginx)
    })
    .await;
    scene.store.freeze();
    let (address, other) = (nginx.address, scene.other.clone());
    let asking = thread::spawn(move || order(address, &other));
    blocking(move || {
        until(|| metric(&sidecar, "tower_api_key_waiting_requests") >= 1.0);
        sidecar.signal("TERM");
        sidecar.wait_for_stderr("shutting down");
        thread::sleep(REPEATED_WITHIN);
        sidecar.signal("TERM");
        let finished = sidecar.wait();
        assert_eq!(finished.status.code(), Some(3), "{finished:?}");
        assert!(finished.stderr.contains("second signal"), "{finished:?}");
        assert!(matches!(asking.join().unwrap().status, 500 | 503));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_passes_after_kill_9_and_everything_goes_on_after_a_start() {
    let Some(scene) = scene("").await else { return };
    blocking(move || {
        let (sidecar, nginx) = scene.start();
        assert_eq!(scene.statuses(&nginx), [200, 200, 401]);
        let address = sidecar.address().to_string();
        sidecar.kill();
        assert_eq!(scene.statuses(&nginx), [500; 3]);
        let _sidecar = Server::start(scene.place.serve().env("ADDR", address));
        assert_eq!(scene.statuses(&nginx), [200, 200, 401]);
    })
    .await;
}

/// For as long as nginx waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_passes_while_it_hangs() {
    let Some(scene) = scene("").await else { return };
    blocking(move || {
        let (sidecar, nginx) = scene.start();
        sidecar.signal("STOP");
        let asked = [Some(&scene.known), Some(&scene.other), None].map(|key| {
            let (address, header) = (nginx.address, key.map(|key| format!("X-API-Key: {key}")));
            thread::spawn(move || {
                let headers: Vec<_> = header.iter().map(String::as_str).collect();
                ask(address, "GET /orders/7 HTTP/1.1", &headers).status
            })
        });
        assert_eq!(asked.map(|asked| asked.join().unwrap()), [500; 3]);
        sidecar.signal("CONT");
        assert_eq!(scene.statuses(&nginx), [200, 200, 401]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_dies_stops_no_known_key() {
    let Some(scene) = scene("cache.ttl = \"50ms\"").await else { return };
    let (mut scene, sidecar, nginx) = blocking(move || {
        let (sidecar, nginx) = scene.start();
        (scene, sidecar, nginx)
    })
    .await;
    scene.store.cut().await;
    let (mut scene, sidecar, nginx) = blocking(move || {
        // Until its time is over, and a request goes on with the old answer.
        until(|| {
            assert_eq!(order(nginx.address, &scene.known).status, 200);
            metric(&sidecar, "tower_api_key_cache_stale_total") >= 1.0
        });
        assert_eq!(scene.statuses(&nginx), [200, 503, 401]);
        assert_eq!(code(&order(nginx.address, &scene.other)), "store_unavailable");
        assert_eq!(ask(sidecar.address(), "GET /ready HTTP/1.1", &[]).status, 200);
        (scene, sidecar, nginx)
    })
    .await;
    scene.store.pass();
    blocking(move || {
        until(|| order(nginx.address, &scene.other).status == 200);
        assert_eq!(scene.statuses(&nginx), [200, 200, 401]);
        drop(sidecar);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_key_is_503_once_its_time_is_over() {
    let settings = "cache = { ttl = \"50ms\", stale_if_error = \"0s\" }";
    let Some(scene) = scene(settings).await else { return };
    let (mut scene, sidecar, nginx) = blocking(move || {
        let (sidecar, nginx) = scene.start();
        (scene, sidecar, nginx)
    })
    .await;
    scene.store.cut().await;
    blocking(move || {
        until(|| match order(nginx.address, &scene.known) {
            reply if reply.status == 200 => false,
            reply => {
                assert_eq!((reply.status, &*code(&reply)), (503, "store_unavailable"));
                assert!(reply.header("retry-after").is_some(), "{reply:?}");
                true
            }
        });
        drop(sidecar);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_store_is_503_and_never_401() {
    let settings = "cache.ttl = \"50ms\"\nstore.lookup_timeout = \"1s\"";
    let Some(scene) = scene(settings).await else { return };
    let (mut scene, sidecar, nginx) = blocking(move || {
        let (sidecar, nginx) = scene.start();
        (scene, sidecar, nginx)
    })
    .await;
    scene.store.freeze();
    let (mut scene, sidecar, nginx) = blocking(move || {
        let denied = order(nginx.address, &scene.other);
        assert_eq!((denied.status, &*code(&denied)), (503, "store_unavailable"));
        until(|| {
            assert_eq!(order(nginx.address, &scene.known).status, 200);
            metric(&sidecar, "tower_api_key_cache_stale_total") >= 1.0
        });
        assert_eq!(scene.statuses(&nginx), [200, 503, 401]);
        (scene, sidecar, nginx)
    })
    .await;
    scene.store.pass();
    blocking(move || {
        until(|| order(nginx.address, &scene.other).status == 200);
        drop(sidecar);
    })
    .await;
}

/// Uses that cannot be written are lost, and the exit code tells of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_nothing_at_the_end_is_told() {
    for is_silent in [false, true] {
        let Some(scene) = scene("drain = \"1s\"").await else { return };
        let (mut scene, sidecar, nginx) = blocking(move || {
            let (sidecar, nginx) = scene.start();
            (scene, sidecar, nginx)
        })
        .await;
        if is_silent {
            scene.store.freeze();
        } else {
            scene.store.cut().await;
        }
        blocking(move || {
            // A use that is not written yet.
            assert_eq!(order(nginx.address, &scene.known).status, 200);
            sidecar.signal("TERM");
            let finished = sidecar.wait();
            assert_eq!(finished.status.code(), Some(3), "{finished:?}");
            assert!(finished.stderr.contains("not everything was written"), "{finished:?}");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_start_while_its_store_is_down() {
    let Some(mut scene) = scene("").await else { return };
    scene.store.cut().await;
    blocking(move || {
        let finished = scene.place.fail();
        assert_eq!(finished.status.code(), Some(3), "{finished:?}");
        assert!(finished.stderr.contains("DATABASE_URL"), "{finished:?}");
        assert!(finished.stderr.contains("Connection refused"), "{finished:?}");
    })
    .await;
}

/// nginx takes more headers than the sidecar does.
#[test]
fn a_head_that_the_sidecar_does_not_take_passes_nothing() {
    if web_server::is_left_out("nginx") {
        return;
    }
    let place = Place::on_sqlite();
    let key = place.key(&["--scope", "orders:read"]);
    let sidecar = place.start();
    let nginx = nginx(place.folder.path(), sidecar.address());
    let good = format!("X-API-Key: {key}");
    let many: Vec<String> = (0..120).map(|number| format!("X-{number}: 1")).collect();
    let many: Vec<&str> = many.iter().map(|line| &**line).collect();
    let line = "GET /orders/7 HTTP/1.1";
    assert_eq!(ask(nginx.address, line, &[&[&*good], &many[..50]].concat()).status, 200);
    assert_eq!(ask(nginx.address, line, &[&[&*good], &many[..]].concat()).status, 500);
}
