//! Every lookup has an answer that is no older than itself.

#![cfg(feature = "cache")]

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use async_trait::async_trait;
use futures_util::FutureExt;
use proptest::prelude::*;
use tokio::{
    runtime::Builder,
    task::{JoinHandle, yield_now},
    time::sleep,
};

use super::*;
use crate::{clock::Timestamp, key::KeyId, store::StoreErrorKind};

const STATEMENTS: usize = 2;

const SIZE: usize = 4;
const TIMEOUT: Duration = Duration::from_secs(5);

/// A store that answers as it was when it was asked, when it is told to.
#[derive(Default)]
struct Store {
    /// The revisions of the keys that there are.
    keys: Mutex<HashMap<u8, u64>>,
    /// The statements so far, and what lets each of them go.
    statements: Mutex<Vec<(Vec<u8>, Release)>>,
    most_at_once: AtomicUsize,
    at_once: AtomicUsize,
}

/// A statement, until it ends or is dropped.
struct UnderWay<'s>(&'s AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

type Release = Option<oneshot::Sender<How>>;

#[derive(Debug)]
enum How {
    Answer,
    OneShort,
    Panic,
}

fn digest(number: u8) -> KeyDigest {
    KeyDigest::from_bytes([number; 32])
}

#[async_trait]
impl KeyStore for Store {
    async fn find(&self, _: &KeyDigest) -> Answer {
        unreachable!("it is asked for many")
    }

    async fn find_many(&self, digests: &[KeyDigest]) -> Vec<Answer> {
        let numbers: Vec<u8> = digests.iter().map(|digest| digest.as_bytes()[0]).collect();
        let answer = |number: &u8| {
            let revision = self.keys.lock().get(number).copied();
            let record = revision.map(|revision| {
                let (id, digest) = (KeyId::from_bytes([*number; 16]), digest(*number));
                let mut record = KeyRecord::new(id, digest, "key", Timestamp::UNIX_EPOCH);
                record.revision = revision;
                Arc::new(record)
            });
            if *number == u8::MAX { Err(StoreError::corrupt("no key")) } else { Ok(record) }
        };
        let mut answers: Vec<Answer> = numbers.iter().map(answer).collect();
        let (release, released) = oneshot::channel();
        self.statements.lock().push((numbers, Some(release)));
        let now = self.at_once.fetch_add(1, SeqCst) + 1;
        self.most_at_once.fetch_max(now, SeqCst);
        let _under_way = UnderWay(&self.at_once);
        match released.await {
            Ok(How::Answer) => {}
            Ok(How::OneShort) => drop(answers.pop()),
            Ok(How::Panic) | Err(_) => panic!("a bug in a store"),
        }
        answers
    }

    fn max_batch(&self) -> usize {
        SIZE
    }
}

impl Store {
    fn statements(&self) -> Vec<Vec<u8>> {
        self.statements.lock().iter().map(|(digests, _)| digests.clone()).collect()
    }

    /// Lets a statement go, and the tasks that wait for it.
    async fn release(&self, statement: usize, how: How) {
        let release = self.statements.lock()[statement].1.take();
        // An error says that its only lookup has gone away.
        let _ = release.unwrap().send(how);
        settle().await;
    }
}

async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

struct Fixture {
    store: Arc<Store>,
    batcher: Arc<Batcher>,
}

impl Fixture {
    fn new() -> Self {
        let store = Arc::new(Store::default());
        Self { batcher: Batcher::new(STATEMENTS, Some(TIMEOUT)), store }
    }

    async fn find(&self, number: u8, is_listed: bool) -> JoinHandle<Answer> {
        let (batcher, store) = (self.batcher.clone(), self.store.clone());
        let find = async move { batcher.find_together(&store, digest(number), is_listed).await };
        let finding = tokio::spawn(find);
        settle().await;
        finding
    }

    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    async fn find_now(&self, number: u8) -> JoinHandle<Answer> {
        let (batcher, store) = (self.batcher.clone(), self.store.clone());
        let finding = tokio::spawn(async move { batcher.find(&store, digest(number)).await });
        settle().await;
        finding
    }

    /// The statements that are under way, so that others have to wait.
    async fn occupied() -> (Self, Vec<JoinHandle<Answer>>) {
        let this = Self::new();
        let mut findings = Vec::new();
        for number in 0..u8::try_from(STATEMENTS).unwrap() {
            findings.push(this.find(number, false).await);
        }
        (this, findings)
    }
}

fn revision(answer: &Answer) -> Option<u64> {
    answer.as_ref().unwrap().as_ref().map(|record| record.revision)
}

#[tokio::test]
async fn the_first_is_asked_at_once_and_what_comes_meanwhile_together() {
    let (fixture, _first) = Fixture::occupied().await;
    fixture.store.keys.lock().insert(11, 7);
    let (mut found, mut unknown) = (fixture.find(11, false).await, fixture.find(12, false).await);
    let mut unreadable = fixture.find(u8::MAX, false).await;
    assert_eq!(fixture.store.statements(), [vec![0], vec![1]]);
    fixture.store.release(1, How::Answer).await;
    assert_eq!(fixture.store.statements()[2], [11, 12, u8::MAX]);
    fixture.store.release(2, How::Answer).await;
    assert_eq!(revision(&(&mut found).await.unwrap()), Some(7));
    assert_eq!(revision(&(&mut unknown).await.unwrap()), None);
    // A key that cannot be read fails its own digest only.
    let error = (&mut unreadable).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
}

/// The same digest is asked for again: the statement under way may have read it before a change.
#[tokio::test]
async fn no_lookup_joins_a_statement_that_has_begun() {
    let (fixture, first) = Fixture::occupied().await;
    fixture.store.keys.lock().insert(0, 2);
    let after = fixture.find(0, false).await;
    fixture.store.release(0, How::Answer).await;
    fixture.store.release(2, How::Answer).await;
    let before = first.into_iter().next().unwrap().await.unwrap();
    assert_eq!((revision(&before), revision(&after.await.unwrap())), (None, Some(2)));
}

#[tokio::test]
async fn listed_digests_go_first_and_the_rest_follows() {
    let (fixture, _first) = Fixture::occupied().await;
    let mut waiting = Vec::new();
    for (number, is_listed) in [(10, false), (11, false), (12, true), (13, true), (14, false)] {
        waiting.push(fixture.find(number, is_listed).await);
    }
    fixture.store.release(0, How::Answer).await;
    fixture.store.release(1, How::Answer).await;
    assert_eq!(fixture.store.statements()[2..], [vec![12, 13, 10, 11], vec![14]]);
}

#[tokio::test]
async fn a_lookup_that_nobody_waits_for_is_left_out() {
    let (fixture, _first) = Fixture::occupied().await;
    let (gone, _stays) = (fixture.find(10, false).await, fixture.find(11, false).await);
    gone.abort();
    settle().await;
    fixture.store.release(0, How::Answer).await;
    assert_eq!(fixture.store.statements()[2], [11]);
    // One that goes away later takes no other answer along.
    let (gone, stays) = (fixture.find(20, false).await, fixture.find(21, false).await);
    fixture.store.release(1, How::Answer).await;
    gone.abort();
    settle().await;
    fixture.store.release(3, How::Answer).await;
    assert_eq!(revision(&stays.await.unwrap()), None);
}

#[tokio::test(start_paused = true)]
async fn silent_statements_block_the_others_for_a_moment_alone() {
    let (fixture, first) = Fixture::occupied().await;
    let waiting = fixture.find(10, false).await;
    sleep(SLOW.mul_f64(0.9)).await;
    assert_eq!(fixture.store.statements().len(), STATEMENTS);
    sleep(SLOW.mul_f64(0.2)).await;
    fixture.store.release(STATEMENTS, How::Answer).await;
    assert_eq!(revision(&waiting.await.unwrap()), None);
    // They are waited for as long as a lookup may take.
    sleep(TIMEOUT.mul_f64(0.8)).await;
    assert!(first.iter().all(|finding| !finding.is_finished()));
    sleep(TIMEOUT.mul_f64(0.2)).await;
    for finding in first {
        let error = finding.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Timeout);
    }
}

#[tokio::test(start_paused = true)]
async fn silent_statements_are_bounded() {
    let fixture = Fixture::new();
    let mut findings = Vec::new();
    for number in 0..100 {
        findings.push(fixture.find(number, false).await);
        sleep(SLOW / 10).await;
    }
    assert_eq!(fixture.store.statements().len(), MAX_SLOW + STATEMENTS);
    fixture.store.release(0, How::Answer).await;
    sleep(SLOW).await;
    assert_eq!(fixture.store.statements().len(), MAX_SLOW + STATEMENTS + 1);
}

/// A statement runs where its lookup does, not on a runtime that another lookup came from.
#[test]
fn a_runtime_that_is_busy_holds_up_no_other() {
    let fixture = Fixture::new();
    let runtime = || Builder::new_current_thread().enable_time().build().unwrap();
    let (busy, other) = (runtime(), runtime());
    // So far that it waits, and no further.
    let mut waits = Box::pin(fixture.batcher.find_together(&fixture.store, digest(1), false));
    busy.block_on(async { assert!((&mut waits).now_or_never().is_none()) });
    other.block_on(async {
        let finding = fixture.find(2, false).await;
        assert_eq!(fixture.store.statements(), [vec![1, 2]]);
        fixture.store.release(0, How::Answer).await;
        assert_eq!(revision(&finding.await.unwrap()), None);
    });
    assert_eq!(revision(&busy.block_on(waits)), None);
}

#[tokio::test]
async fn a_store_with_a_bug_leaves_nobody_waiting() {
    let (fixture, mut first) = Fixture::occupied().await;
    let waiting = [fixture.find(10, false).await, fixture.find(11, false).await];
    fixture.store.release(0, How::Panic).await;
    // It was asked for one alone, by that one.
    assert!(first.remove(0).await.unwrap_err().is_panic());
    // The next statement has begun all the same.
    fixture.store.release(2, How::Panic).await;
    for waiting in waiting {
        let error = waiting.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    }
    let waiting = fixture.find(12, false).await;
    fixture.store.release(3, How::OneShort).await;
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
}

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
#[tokio::test]
async fn a_lookup_that_waits_for_no_other_is_asked_at_once_and_takes_no_task() {
    let fixture = Fixture::new();
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let find = |number| Box::pin(fixture.batcher.find(&fixture.store, digest(number)));
    let mut finding: Vec<_> = (0..5).map(find).collect();
    for finding in &mut finding {
        assert!(finding.now_or_never().is_none());
    }
    // The others wait for room, and are then asked for together.
    assert_eq!(fixture.store.statements(), [vec![0], vec![1]]);
    assert_eq!(tasks(), before);
    fixture.store.release(0, How::Answer).await;
    let mut finding = finding.into_iter();
    assert_eq!(revision(&finding.next().unwrap().await), None);
    settle().await;
    assert_eq!(fixture.store.statements()[2..], [vec![2, 3, 4]]);
    assert_eq!(tasks(), before + 1);
    fixture.store.release(2, How::Answer).await;
    for finding in finding.skip(1) {
        assert_eq!(revision(&finding.await), None);
    }
    assert_eq!(tasks(), before);
}

/// It takes its own statement along and no other.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
#[tokio::test]
async fn a_lookup_that_goes_away_makes_room() {
    let fixture = Fixture::new();
    let find = |number| Box::pin(fixture.batcher.find(&fixture.store, digest(number)));
    let mut finding: Vec<_> = (0..4).map(find).collect();
    for finding in &mut finding {
        assert!(finding.now_or_never().is_none());
    }
    drop(finding.remove(0));
    settle().await;
    assert_eq!(fixture.store.statements()[2..], [vec![2, 3]]);
    drop(finding.remove(1));
    fixture.store.release(2, How::Answer).await;
    assert_eq!(revision(&finding.remove(1).await), None);
}

#[test]
fn a_runtime_that_ends_leaves_the_next_one_its_statements() {
    let fixture = Fixture::new();
    for _ in 0..2 {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut waiting = Vec::new();
            for number in 0..10 {
                waiting.push(fixture.find(number, false).await);
            }
        });
    }
    assert_eq!(fixture.store.statements().len(), 2 * STATEMENTS);
    assert!(fixture.batcher.state.lock().under_way.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Find(u8, bool),
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    FindNow(u8),
    Change(u8),
    Release(usize),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // The macro would take its line also without the feature.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    let now = (0_u8..8).prop_map(Step::FindNow);
    #[cfg(not(any(feature = "mysql", feature = "postgres", feature = "sqlite")))]
    let now = (0_u8..8, any::<bool>()).prop_map(|(number, listed)| Step::Find(number, listed));
    let step = prop_oneof![
        4 => (0_u8..8, any::<bool>()).prop_map(|(number, listed)| Step::Find(number, listed)),
        4 => now,
        1 => (0_u8..8).prop_map(Step::Change),
        2 => (0..STATEMENTS).prop_map(Step::Release),
        1 => any::<usize>().prop_map(Step::Leave),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the order: each lookup has the answer of a statement that began after it, no
    /// statement has too many digests, no more of them are under way than may be, and none
    /// is missing while a lookup waits.
    #[test]
    fn every_lookup_has_an_answer_that_is_no_older_than_itself(steps in steps()) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let fixture = Fixture::new();
            let mut findings = Vec::new();
            let release = async |index: usize| {
                let under_way: Vec<usize> = {
                    let statements = fixture.store.statements.lock();
                    let open = statements.iter().enumerate().filter(|(_, s)| s.1.is_some());
                    open.map(|(index, _)| index).collect()
                };
                if let Some(statement) = under_way.get(index) {
                    fixture.store.release(*statement, How::Answer).await;
                }
                !under_way.is_empty()
            };
            for step in steps {
                match step {
                    Step::Find(number, listed) => {
                        let least = fixture.store.keys.lock().get(&number).copied();
                        findings.push((number, least, fixture.find(number, listed).await));
                    }
                    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
                    Step::FindNow(number) => {
                        let least = fixture.store.keys.lock().get(&number).copied();
                        findings.push((number, least, fixture.find_now(number).await));
                    }
                    Step::Change(number) => {
                        *fixture.store.keys.lock().entry(number).or_default() += 1;
                    }
                    Step::Release(index) => drop(release(index).await),
                    Step::Leave(index) if !findings.is_empty() => {
                        let (.., finding) = findings.swap_remove(index % findings.len());
                        finding.abort();
                        settle().await;
                    }
                    Step::Leave(_) => {}
                }
                let state = fixture.batcher.state.lock();
                let waits = state.listed.len() + state.others.len() > 0;
                assert!(!waits || state.under_way.len() == STATEMENTS);
            }
            while release(0).await {}
            for (number, least, finding) in findings {
                let answer = finding.await.unwrap();
                let record = answer.as_ref().unwrap().as_ref();
                assert!(record.is_none_or(|record| record.digest == digest(number)));
                assert!(revision(&answer) >= least, "{number}: {answer:?}, {least:?}");
            }
            assert!(fixture.store.statements().iter().all(|s| (1..=SIZE).contains(&s.len())));
            assert!(fixture.store.most_at_once.load(SeqCst) <= STATEMENTS);
        });
    }
}
