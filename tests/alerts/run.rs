//! [`Run`]: all scenarios at once, and a Prometheus that watches them.

use std::{
    collections::BTreeSet,
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use tempfile::TempDir;

use crate::{
    dashboard,
    own::OwnServer,
    picture,
    process::Server as Service,
    prometheus::{ALERTS, Prometheus, Target, root},
    scenarios::SCENARIOS,
    servers::Server,
    service::{CALM, command},
    wait::{wait_for, wait_until},
    web_server::is_left_out,
};

/// With this, the dashboard is drawn into the repository.
const DRAW: &str = "DRAW_DASHBOARD";

/// What fires, by job.
type Fired = BTreeSet<(String, String)>;

/// In the order in which they end: clients before servers.
struct Run {
    prometheus: Prometheus,
    #[expect(dead_code, reason = "ended with this")]
    services: Vec<Service>,
    own_servers: Vec<OwnServer>,
    #[expect(dead_code, reason = "ended with this")]
    shared_redis: OwnServer,
    began: f64,
    #[expect(dead_code, reason = "removed with this")]
    folder: TempDir,
}

impl Run {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let own = |server| {
            // Of Redis, no data is needed afterwards.
            let options: &[_] = if server == Server::Redis { &["--appendonly", "no"] } else { &[] };
            OwnServer::start_with(server, options).expect("programs to start a server")
        };
        let shared_redis = own(Server::Redis);
        let (mut own_servers, mut services, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for scenario in SCENARIOS {
            let place = folder.path().join(scenario.name);
            fs::create_dir(&place).unwrap();
            own_servers.extend(scenario.ends.map(own));
            let last = own_servers.last().filter(|_| scenario.ends.is_some());
            let url = last.map(OwnServer::url).unwrap_or_default();
            let mut command = command(scenario, place, &shared_redis.url(), &url);
            let service = Service::start(&mut command);
            targets.push(Target { job: scenario.name, address: service.address().to_string() });
            services.push(service);
        }
        let began = now();
        let prometheus = Prometheus::start(folder.path(), &targets);
        Self { prometheus, services, own_servers, shared_redis, began, folder }
    }

    /// Every service is seen without trouble, and then the servers end.
    fn cause_trouble(&mut self) {
        let all = f64::from(u32::try_from(SCENARIOS.len()).unwrap());
        // The services begin with the last of these scrapes.
        for scrapes in [CALM - 3, CALM] {
            let scraped = format!("count(count_over_time(up[10m]) >= {scrapes})");
            wait_until("all services are scraped", || {
                self.prometheus.query(&scraped).first().is_some_and(|(_, jobs)| *jobs >= all)
            });
            if scrapes < CALM {
                assert_eq!(self.prometheus.fired(), Fired::new(), "before there was a trouble");
            }
        }
        self.own_servers.iter_mut().for_each(OwnServer::kill);
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn expected() -> Fired {
    let of = |name: &str, alert: &&str| (name.to_owned(), (*alert).to_owned());
    let all = SCENARIOS.iter();
    all.flat_map(|one| one.alerts.iter().map(|alert| of(one.name, alert))).collect()
}

/// A rule without a scenario would fire in none.
#[test]
fn every_alert_has_a_scenario() {
    let rules = fs::read_to_string(root().join(ALERTS)).unwrap();
    let names = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ApiKey"));
    let names: BTreeSet<_> = names.collect();
    let expected = expected();
    let caused = expected.iter().filter_map(|(_, alert)| alert.split(' ').next());
    assert_eq!(names, caused.collect());
}

#[test]
#[ignore = "it waits for a minute: scripts/alerts runs it"]
fn every_alert_fires_where_its_cause_is_and_nowhere_else() {
    let needed = ["prometheus", "postgres", "redis"];
    if needed.iter().any(|program| is_left_out(program)) {
        return;
    }
    let mut run = Run::start();
    run.cause_trouble();
    let expected = expected();
    let fired = wait_for(|| {
        let fired = run.prometheus.fired();
        let missing: Vec<_> = expected.difference(&fired).collect();
        if missing.is_empty() { Ok(fired) } else { Err(format!("{missing:?} beside {fired:?}")) }
    });
    let wrongly: Vec<_> = fired.difference(&expected).collect();
    assert!(wrongly.is_empty(), "firing without a cause: {wrongly:?}");

    for summary in run.prometheus.summaries() {
        let is_whole = !summary.contains("<no value>") && !summary.contains("error");
        assert!(is_whole && summary.starts_with(|c: char| c.is_ascii_alphanumeric()), "{summary}");
    }
    let ended = now();
    let panels = dashboard::panels(&run.prometheus, (run.began, ended));
    if std::env::var_os(DRAW).is_some() {
        picture::draw(&panels, ended - run.began);
    }
}
