//! Which replica is asked, and for how long the task goes on. Without a server: SQLite has no heartbeat, and
//! nothing is ever connected to.

use std::sync::Weak;

use sqlx::{Sqlite, SqlitePool};
use tokio::time::{advance, sleep};

use super::{super::statements::DEFAULT_TABLE, *};

const SECOND: Duration = Duration::from_secs(1);
const LAG_BOUND: Duration = Duration::from_mins(1);

fn replicas(count: usize) -> Replicas<Sqlite> {
    let pool = || SqlitePool::connect_lazy("sqlite::memory:").expect("a URL");
    let statements = Arc::new(Sqlite::statements(DEFAULT_TABLE));
    Replicas::new(pool(), statements, (0..count).map(|_| pool()).collect(), LAG_BOUND)
}

/// The numbers of the replicas that are asked one after the other.
fn turns(replicas: &Replicas<Sqlite>, count: usize) -> Vec<Option<usize>> {
    let next = || replicas.shared.next_fresh().map(|replica| replica.number);
    (0..count).map(|_| next()).collect()
}

fn prove(replicas: &Replicas<Sqlite>, number: usize) {
    *replicas.shared.replicas[number - 1].fresh_as_of.lock() = Some(Instant::now());
}

#[tokio::test(start_paused = true)]
async fn those_that_are_fresh_take_turns() {
    let replicas = replicas(3);
    assert_eq!(turns(&replicas, 3), [None; 3]);
    prove(&replicas, 2);
    assert_eq!(turns(&replicas, 3), [Some(2); 3]);
    advance(SECOND).await;
    prove(&replicas, 1);
    prove(&replicas, 3);
    assert_eq!(turns(&replicas, 6), [1, 2, 3, 1, 2, 3].map(Some));
    advance(LAG_BOUND).await;
    let mut asked = turns(&replicas, 6);
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked, [Some(1), Some(3)], "the second is too far behind");
    replicas.shared.replicas[0].fails(&StoreError::timeout());
    assert_eq!(turns(&replicas, 3), [Some(3); 3]);
    advance(SECOND).await;
    assert_eq!(turns(&replicas, 3), [None; 3]);
}

#[tokio::test(start_paused = true)]
async fn the_task_rests_while_no_lookup_comes() {
    let replicas = replicas(1);
    replicas.start();
    for _ in 0..3 {
        sleep(SECOND * 240).await;
        assert!(replicas.task.is_running());
        assert!(replicas.find_many(&[KeyDigest::from_bytes([7; 32])]).await.is_none());
    }
    prove(&replicas, 1);
    sleep(SECOND * 310).await;
    assert!(!replicas.task.is_running());
    assert_eq!(turns(&replicas, 1), [None], "it was given up with the task");
    assert!(replicas.find_many(&[]).await.is_none());
    assert!(replicas.task.is_running());
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_its_owner() {
    let replicas = replicas(2);
    replicas.start();
    sleep(SECOND * 3).await;
    let shared: Weak<_> = Arc::downgrade(&replicas.shared);
    drop(replicas);
    sleep(SECOND).await;
    assert_eq!(shared.strong_count(), 0);
    // Closed, it does not begin again.
    let replicas = self::replicas(2);
    replicas.start();
    sleep(SECOND * 3).await;
    replicas.close().await;
    sleep(SECOND).await;
    assert!(!replicas.task.is_running());
    assert!(replicas.find_many(&[KeyDigest::from_bytes([7; 32])]).await.is_none());
    assert!(!replicas.task.is_running());
}
