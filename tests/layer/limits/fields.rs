//! 12. The fields `RateLimit-Policy` and `RateLimit`, read by a parser of structured fields.

use http::{HeaderName, Request, Response};
use sfv::{BareItem, List, ListEntry, Parser};
use tower_api_key::{
    limit::{Limit, Limits, Quota},
    nonzero,
};

use super::{limited, limits, seconds};
use crate::{
    grpc::as_grpc,
    support::{Answer, KEY, header_values, problem, send, with_key},
};

/// The name and the numbers of the only member of a field.
fn member(answer: &Answer, field: &'static str) -> (String, Vec<(String, i64)>) {
    let values = header_values(&answer.response, HeaderName::from_static(field));
    let [value] = values[..] else { panic!("{field}: {values:?}") };
    let list: List = Parser::new(value).parse().unwrap();
    let [ListEntry::Item(item)] = &list[..] else { panic!("{field}: {value}") };
    let BareItem::String(name) = &item.bare_item else { panic!("{field}: {value}") };
    let number = |value: &BareItem| match value {
        BareItem::Integer(number) => i64::from(*number),
        other => panic!("{field}: {other:?}"),
    };
    let numbers = item.params.iter().map(|(name, value)| (name.to_string(), number(value)));
    (name.as_str().to_owned(), numbers.collect())
}

fn numbers(of: &[(&str, i64)]) -> Vec<(String, i64)> {
    of.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
}

#[tokio::test]
async fn they_tell_how_the_limit_stands() {
    let quota = Quota::per_minute(nonzero!(60)).with_burst(nonzero!(3));
    let (layer, _, clock) =
        limited(|rate| rate, |record| record.details.limits = limits(quota)).await;
    let policy = ("test".to_owned(), numbers(&[("q", 60), ("w", 60)]));
    for (remaining, reset) in [(2, 1), (1, 2), (0, 3), (0, 3)] {
        let answer = send(&layer, with_key(KEY));
        assert_eq!(member(&answer, "ratelimit-policy"), policy);
        let expected = ("test".to_owned(), numbers(&[("r", remaining), ("t", reset)]));
        assert_eq!(member(&answer, "ratelimit"), expected);
    }
    clock.advance(seconds(2));
    let answer = send(&layer, with_key(KEY));
    assert_eq!(member(&answer, "ratelimit").1, numbers(&[("r", 1), ("t", 2)]));
}

#[tokio::test]
async fn they_tell_of_the_limit_that_is_nearest_to_exhaustion() {
    let limit = |name, quota| Limit::new(name, quota).unwrap();
    let both = Limits::new([
        limit("second", Quota::per_second(nonzero!(10))),
        limit("day", Quota::per_day(nonzero!(20))),
    ])
    .unwrap();
    let (layer, _, clock) = limited(|rate| rate, |record| record.details.limits = both).await;
    let mut nearest = Vec::new();
    for _ in 0..22 {
        let answer = send(&layer, with_key(KEY));
        nearest.push(member(&answer, "ratelimit").0);
        clock.advance(seconds(1));
    }
    assert_eq!(nearest[..2], ["second", "second"], "a tenth, and a twentieth twice");
    assert!(nearest[2..].iter().all(|name| name == "day"), "{nearest:?}");
    let denied = send(&layer, with_key(KEY));
    assert_eq!(problem(&denied.response)["limit"], "day");
    assert_eq!(member(&denied, "ratelimit").0, "day");
    assert_eq!(header_values(&denied.response, http::header::RETRY_AFTER), ["4298"]);
}

#[tokio::test]
async fn of_limits_that_are_equally_near_they_tell_of_the_first() {
    let limit = |name| Limit::new(name, Quota::per_minute(nonzero!(4))).unwrap();
    let both = Limits::new([limit("first"), limit("second")]).unwrap();
    let (layer, ..) = limited(|rate| rate, |record| record.details.limits = both).await;
    for _ in 0..4 {
        assert_eq!(member(&send(&layer, with_key(KEY)), "ratelimit").0, "first");
    }
    assert_eq!(problem(&send(&layer, with_key(KEY)).response)["limit"], "first");
}

#[tokio::test]
async fn a_window_of_less_than_a_second_is_one() {
    let quota = Quota::new(nonzero!(5), std::time::Duration::from_millis(100)).unwrap();
    let (layer, ..) = limited(|rate| rate, |record| record.details.limits = limits(quota)).await;
    let answer = send(&layer, with_key(KEY));
    assert_eq!(member(&answer, "ratelimit-policy").1, numbers(&[("q", 5), ("w", 1)]));
}

#[tokio::test]
async fn legacy_headers_are_for_those_who_ask() {
    let names = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    for (legacy, expected) in [(false, [None; 3]), (true, [Some("4"), Some("3"), Some("900")])] {
        let (layer, ..) = limited(
            |rate| if legacy { rate.with_legacy_headers() } else { rate },
            |record| record.details.limits = limits(Quota::per_hour(nonzero!(4))),
        )
        .await;
        let answer = send(&layer, with_key(KEY));
        let headers = answer.response.headers();
        let values = names.map(|name| headers.get(name).map(|value| value.to_str().unwrap()));
        assert_eq!(values, expected);
    }
}

#[tokio::test]
async fn without_headers_only_a_denial_says_anything() {
    let (layer, ..) = limited(tower_api_key::RateLimits::without_headers, |record| {
        record.details.limits = limits(Quota::per_hour(nonzero!(1)));
    })
    .await;
    for (status, names) in [(200, vec![]), (429, vec!["retry-after"])] {
        let answer = send(&layer, with_key(KEY));
        assert_eq!(answer.response.status(), status);
        let names_there = answer.response.headers().keys().map(HeaderName::as_str);
        let about_limits: Vec<_> = names_there
            .filter(|name| name.contains("ratelimit") || *name == "retry-after")
            .collect();
        assert_eq!(about_limits, names);
    }
}

/// What the application, or a layer further in, says about a limit of its own stays.
#[tokio::test]
async fn what_the_application_says_comes_first() {
    use bytes::Bytes;
    use http_body_util::Full;
    use tower::{ServiceBuilder, service_fn};

    let (layer, ..) = limited(
        |rate| rate,
        |record| {
            record.details.limits = limits(Quota::per_hour(nonzero!(1)));
        },
    )
    .await;
    let inner = service_fn(|_: Request<()>| async {
        let response = Response::builder().header("ratelimit", "\"mine\";r=1;t=1");
        Ok::<_, std::convert::Infallible>(response.body(Full::<Bytes>::default()).unwrap())
    });
    let service = ServiceBuilder::new().layer(layer).service(inner);
    let response = crate::support::respond_now(service, with_key(KEY));
    assert_eq!(response.headers().get_all("ratelimit").iter().count(), 1);
    assert_eq!(response.headers()["ratelimit"], "\"mine\";r=1;t=1");
}

#[tokio::test]
async fn a_grpc_client_is_told_that_a_resource_is_exhausted() {
    let (layer, ..) = limited(
        |rate| rate,
        |record| {
            record.details.limits = limits(Quota::per_hour(nonzero!(1)));
        },
    )
    .await;
    let request = || as_grpc(with_key(KEY), "application/grpc");
    assert!(send(&layer, request()).seen.is_some());
    let denied = send(&layer, request()).response;
    assert_eq!(denied.status(), 200);
    assert_eq!(denied.headers()["grpc-status"], "8");
    assert_eq!(denied.headers()["retry-after"], "3600");
    assert!(denied.headers().contains_key("ratelimit"));
}
