//! `shadow-report`: events of layers in shadow, summed up.

use std::{fs, io, sync::Arc};

use axum::{
    body::Body,
    http::{Request, Response},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_api_key::{
    KeyManager, NewKey, Timestamp,
    clock::{Clock, SystemClock},
    store::MemoryStore,
};
use tracing_subscriber::util::SubscriberInitExt;

use crate::session::Shell;

#[test]
fn logs_are_summed_up() {
    let shell = Shell::on_sqlite();
    let log = r#"2026-11-23T09:00:00Z  INFO tower_api_key::shadow: would deny code="missing_key"
2026-11-23T09:00:01Z  INFO app: a line of the application
2026-11-23T09:00:02Z  INFO tower_api_key::shadow: would deny code="revoked_key" key=0190a0b0-0000-7000-8000-000000000001
2026-11-23T09:00:03Z  INFO tower_api_key::shadow: would deny code="missing_key"
2026-11-23T09:00:04Z  INFO tower_api_key::shadow: undecided
2026-11-23T09:00:05Z  INFO tower_api_key::shadow: answers differ difference="only_keys_deny" code="revoked_key" key=0190a0b0-0000-7000-8000-000000000001 status=200
"#;
    let json = r#"{"timestamp":"2026-11-22T00:00:00Z","level":"INFO","fields":{"message":"would deny","code":"missing_key"},"target":"tower_api_key::shadow"}
"#;
    fs::write(shell.directory.path().join("text.log"), log).unwrap();
    fs::write(shell.directory.path().join("json.log"), json).unwrap();
    fs::write(shell.directory.path().join("long.log"), vec![b'x'; 3 << 20]).unwrap();
    shell.session(
        r#"
$ env -u DATABASE_URL tower-api-key shadow-report text.log json.log long.log
WOULD DENY  REQUESTS  KEYS  FIRST  LAST
missing_key  3  0  <time>  <time>
revoked_key  1  1  <time>  <time>

DIFFERENCE  WOULD DENY  ANSWER  REQUESTS
only_keys_deny  revoked_key  200  1

KEY  REQUESTS  WOULD DENY
<id-1>  1  revoked_key

Undecided: 1 requests
$ tower-api-key shadow-report --json - < json.log
{"would_deny":"missing_key","requests":1,"keys":0,"first":"<time>","last":"<time>"}
{"undecided":0}
$ tower-api-key shadow-report < long.log
There is no event of a layer in shadow. They have the target tower_api_key::shadow and the level INFO.
$ echo 'INFO tower_api_key::shadow: in another form' | tower-api-key shadow-report
There is no event of a layer in shadow. They have the target tower_api_key::shadow and the level INFO.
tower-api-key: 1 lines name tower_api_key::shadow and cannot be read: write the log as JSON, or as text on one line for each event
=> 2
$ tower-api-key shadow-report no-such.log
tower-api-key: no-such.log cannot be read: No such file or directory (os error 2)
=> 2
"#,
    );
}

/// Writes into a file of the test.
#[derive(Clone)]
struct Log(Arc<fs::File>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As a subscriber writes them.
#[tokio::test]
async fn the_events_of_a_layer_are_read() {
    let shell = Shell::on_sqlite();
    let file =
        |name: &str| Log(Arc::new(fs::File::create(shell.directory.path().join(name)).unwrap()));
    let manager = KeyManager::new(MemoryStore::new());
    let issued = manager.create(NewKey::named("revoked")).await.unwrap();
    manager.revoke(issued.record.id, None).await.unwrap();
    let until = Timestamp::from_unix_millis(SystemClock.now().as_unix_millis() + 3_600_000);
    let layer = manager.layer().shadow_until(until);
    let send = async || {
        let inner = service_fn(async |_: Request<Body>| {
            Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
        });
        let request = Request::get("/").header("x-api-key", issued.secret.expose());
        let request = request.body(Body::empty()).unwrap();
        layer.layer(inner).oneshot(request).await.unwrap();
    };
    let log = file("plain.log");
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone());
    let guard = subscriber.finish().set_default();
    send().await;
    drop(guard);
    let command =
        shell.command("tower-api-key").args(["--json", "shadow-report", "plain.log"]).output();
    let printed = String::from_utf8(command.unwrap().stdout).unwrap();
    let first = printed.lines().next().unwrap_or_default();
    let expected = r#"{"would_deny":"revoked_key","requests":1,"keys":1,"first":"2"#;
    assert!(first.starts_with(expected), "{printed}");
}
