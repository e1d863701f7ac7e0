//! A service in a process of its own: what it counts is of its process.

use std::{
    env,
    io::{Write, stderr, stdout},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use axum::{Router, routing::get};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::watch,
    time::{sleep, timeout},
};
use tower_api_key::telemetry;
use tracing_subscriber::filter::LevelFilter;

use crate::scenarios::{SCENARIOS, Scenario};

/// For so many scrapes, one a second, nothing is wrong.
pub(crate) const CALM: u32 = 15;

/// After this it ends by itself, should the test have been killed.
const LONGEST: Duration = Duration::from_mins(5);

const NAME: &str = "TOWER_API_KEY_SCENARIO";
const FOLDER: &str = "TOWER_API_KEY_FOLDER";
const SHARED_REDIS: &str = "TOWER_API_KEY_SHARED_REDIS";
const OWN_SERVER: &str = "TOWER_API_KEY_OWN_SERVER";

/// What a scenario has to play with.
pub(crate) struct Stage {
    pub(crate) folder: PathBuf,
    /// Of all scenarios. Nothing happens to it.
    pub(crate) shared_redis: String,
    /// Its own, which is ended when the trouble begins.
    pub(crate) own_server: String,
    pub(crate) metrics: PrometheusHandle,
    scrapes: watch::Receiver<u32>,
}

impl Stage {
    /// Waits until the service has been seen without trouble.
    pub(crate) async fn trouble(&mut self) {
        self.scrapes.wait_for(|scrapes| *scrapes >= CALM).await.unwrap();
    }
}

/// How this process is started again for a scenario.
pub(crate) fn command(
    scenario: &Scenario,
    folder: PathBuf,
    shared_redis: &str,
    own_server: &str,
) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "service::service", "--ignored", "--nocapture"]);
    command.env(NAME, scenario.name).env(FOLDER, folder);
    command.env(SHARED_REDIS, shared_redis).env(OWN_SERVER, own_server);
    command
}

#[test]
#[ignore = "a service of the other test, which starts it"]
fn service() {
    let name = env::var(NAME).expect("a scenario: the other test starts this one");
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).unwrap();
    Runtime::new().unwrap().block_on(async {
        // The scenario goes on until the process is killed.
        let _ = timeout(LONGEST, serve(scenario)).await;
    });
}

async fn serve(scenario: &Scenario) {
    // A test that fails shows what each service has said.
    tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).with_writer(stderr).init();
    let recorder = PrometheusBuilder::new().set_buckets(telemetry::DURATION_BUCKETS).unwrap();
    let metrics = recorder.install_recorder().unwrap();
    telemetry::describe();
    let (scraped, receiver) = watch::channel(0);
    let handle = metrics.clone();
    let scrape = async move || {
        scraped.send_modify(|scrapes| *scrapes += 1);
        telemetry::publish();
        handle.render()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/metrics", get(scrape));
    tokio::spawn(async move { axum::serve(listener, app).await });
    stdout().write_all(format!("\nhttp://{address}\n").as_bytes()).unwrap();

    let variable = |name| env::var(name).unwrap();
    let stage = Stage {
        folder: variable(FOLDER).into(),
        shared_redis: variable(SHARED_REDIS),
        own_server: variable(OWN_SERVER),
        metrics,
        scrapes: receiver,
    };
    (scenario.run)(stage).await;
    sleep(LONGEST).await;
}
