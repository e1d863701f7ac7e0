//! Keys in a Redis cluster, or a cluster that carries changes.

use std::time::Duration;

use tower_api_key::store::{Invalidations, RedisInvalidations};

use crate::{own_redis::OwnRedis, process, session::Shell};

#[tokio::test]
async fn services_hear_of_changes() {
    let Some(node) = OwnRedis::start_cluster() else { return };
    let cluster = node.url().replace("redis://", "redis+cluster://");
    for variable in ["DATABASE_URL", "REDIS_URL"] {
        let bus = RedisInvalidations::connect(&node.url()).await.unwrap();
        let mut heard = bus.subscribe().await.unwrap();
        let shell = Shell::on_sqlite();
        let mut command = shell.command("tower-api-key");
        let done = process::run(command.args(["create", "--name", "x"]).env(variable, &cluster));
        assert!(done.status.success(), "{variable}: {done:?}");
        let announced = tokio::time::timeout(Duration::from_mins(1), heard.next()).await;
        assert_eq!(announced.unwrap().unwrap().keys().len(), 1, "{variable}");

        let mut command = shell.command("tower-api-key");
        let done = process::run(command.args(["announce", "--reset"]).env(variable, &cluster));
        assert!(done.status.success(), "{variable}: {done:?}");
        let announced = tokio::time::timeout(Duration::from_mins(1), heard.next()).await;
        let announced = announced.unwrap().unwrap();
        assert!(announced.is_reset() && announced.store().is_some(), "{variable}: {announced:?}");
    }
}
