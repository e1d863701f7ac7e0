//! Servers that forget, go away and come back.

use std::{future::poll_fn, task::Poll, time::Duration};

use tokio::time::timeout;
use tower_api_key::{
    limit::{LimitCheck, LimitSubject, RateLimiter, RedisLimiter},
    store::{BackEnd, StoreError, StoreErrorKind},
};

use super::{
    Prefix, allowed, ask, hourly, limits, lineage, remaining, run, scripts,
    server::{OwnServer, free_port},
};
use crate::proxy::Proxy;

/// Far longer than a caller may wait; a test that hangs ends all the same.
const FAR_TOO_LONG: Duration = Duration::from_mins(1);

fn assert_outage(error: &StoreError) {
    let is_outage = matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::Timeout);
    assert!(is_outage, "{error:?}");
    assert_eq!(error.back_end(), BackEnd::RateLimiter);
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_is_told_them_again() {
    let Some(server) = OwnServer::start(&[]) else { return };
    let limiter = RedisLimiter::connect(&server.url()).await.unwrap();
    let (limits, lineage) = (limits([("hour", hourly(9))]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    for left in (6..9).rev() {
        assert_eq!(allowed(ask(&limiter, &check).await).remaining, left);
    }
    // The probe and the first check brought their text along; the others did not.
    assert_eq!(scripts(&server.url()), 4 + 2);
    let _: () = run(&mut server.connect(), &["SCRIPT", "FLUSH"]);
    assert_eq!(allowed(ask(&limiter, &check).await).remaining, 5);
    assert_eq!(allowed(ask(&limiter, &check).await).remaining, 4);
    assert_eq!(scripts(&server.url()), 6 + 3);
}

#[tokio::test]
async fn a_server_that_was_restarted_is_used_again() {
    let Some(mut server) = OwnServer::start(&[]) else { return };
    let limiter = RedisLimiter::connect(&server.url()).await.unwrap();
    let (limits, lineage) = (limits([("hour", hourly(9))]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    assert_eq!(allowed(ask(&limiter, &check).await).remaining, 8);
    server.kill();
    assert_outage(&limiter.check(&check).await.unwrap_err());
    server.start_again();
    assert_eq!(allowed(ask(&limiter, &check).await).remaining, 7, "it kept its data");
}

#[tokio::test]
async fn a_cut_connection_is_an_error_until_it_is_mended() {
    let Some(prefix) = Prefix::new() else { return };
    let mut proxy = Proxy::before(&prefix.url);
    let limiter = RedisLimiter::builder(proxy.url()).with_prefix(&prefix.name).build().unwrap();
    let (limits, lineage) = (limits([("hour", hourly(99))]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    assert_eq!(allowed(ask(&limiter, &check).await).remaining, 98);
    proxy.cut().await;
    assert_outage(&limiter.check(&check).await.unwrap_err());
    proxy.pass();
    assert_eq!(allowed(ask(&limiter, &check).await).remaining, 97);
    proxy.freeze();
    let error = timeout(FAR_TOO_LONG, limiter.check(&check)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Timeout);
    proxy.pass();
    allowed(ask(&limiter, &check).await);
}

#[tokio::test]
async fn nobody_there_is_an_error() {
    let url = format!("redis://127.0.0.1:{}", free_port());
    assert_outage(&RedisLimiter::connect(&url).await.unwrap_err());
    let (limits, lineage) = (limits([("hour", hourly(9))]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    assert_outage(&RedisLimiter::new(&url).unwrap().check(&check).await.unwrap_err());
}

/// It may cost them a request each, and never somebody else one.
#[tokio::test]
async fn callers_who_go_away_get_no_more_than_their_share() {
    let Some(prefix) = Prefix::new() else { return };
    let (limiter, limits, lineage) = (prefix.node(), limits([("hour", hourly(100))]), lineage());
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    allowed(ask(&limiter, &check).await);
    for _ in 0..40 {
        let mut asked = limiter.check(&check);
        poll_fn(|context| {
            let _ = asked.as_mut().poll(context);
            Poll::Ready(())
        })
        .await;
        drop(asked);
    }
    let left = remaining(&limiter, check.subject, &limits).await;
    assert!((59..=99).contains(&left), "{left}");
}
