use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::{settings::a_quarter_of, *};
use crate::{
    clock::{Clock, SettableClock},
    nonzero,
};

const START: Timestamp = Timestamp::from_unix_millis(1_795_392_000_000);

const KEY: &[u8] = b"key_deadDEADdeadDEADdeadDEADdeadDEADdeadDEADdead";
const OTHER: &[u8] = b"key_goodGOODgoodGOODgoodGOODgoodGOODgoodGOODgood";

/// Eight failures at once from an address, two of a start, and one more every 7.5 or 30 seconds.
const QUOTA: Quota = Quota::per_minute(nonzero!(8));

fn setup() -> (FailureThrottle, SettableClock) {
    let clock = SettableClock::new(START);
    (FailureThrottle::builder(QUOTA).with_clock(clock.clone()).build(), clock)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Keys that begin differently.
fn keys() -> impl Iterator<Item = Vec<u8>> {
    (0..).map(|number| format!("key_{number:08}{}", "x".repeat(41)).into_bytes())
}

#[test]
fn debts_of_addresses_and_of_starts_are_counted() {
    let (throttle, _) = setup();
    assert_eq!(throttle.debts(), 0);
    throttle.failed(address("192.0.2.1"), KEY);
    assert_eq!(throttle.debts(), 2);
}

#[test]
fn whoever_failed_as_often_as_admitted_waits_for_one_more() {
    let (throttle, clock) = setup();
    let client = address("192.0.2.1");
    let mut keys = keys();
    for key in keys.by_ref().take(8) {
        assert_eq!(throttle.must_wait(client, &key), None);
        throttle.failed(client, &key);
    }
    for _ in 0..3 {
        // Also with a key that is good. Asking costs nothing.
        assert_eq!(throttle.must_wait(client, OTHER), Some(Duration::from_millis(7_500)));
        assert_eq!(throttle.must_wait(address("192.0.2.2"), OTHER), None);
    }
    clock.advance(Duration::from_millis(7_400));
    assert_eq!(throttle.must_wait(client, OTHER), Some(Duration::from_millis(100)));
    clock.advance(Duration::from_millis(100));
    assert_eq!(throttle.must_wait(client, OTHER), None);
    throttle.failed(client, &keys.next().unwrap());
    assert_eq!(throttle.must_wait(client, OTHER), Some(Duration::from_millis(7_500)));
    // After a whole window everything is there again.
    clock.advance(Duration::from_mins(1));
    for key in keys.take(8) {
        assert_eq!(throttle.must_wait(client, OTHER), None);
        throttle.failed(client, &key);
    }
    assert!(throttle.must_wait(client, OTHER).is_some());
}

#[test]
fn a_dead_key_slows_whoever_sends_it_and_not_the_neighbours() {
    let (throttle, clock) = setup();
    let client = address("192.0.2.1");
    let mut refused = 0;
    // For an hour, a request a second.
    for _ in 0..3_600 {
        match throttle.must_wait(client, KEY) {
            Some(_) => refused += 1,
            None => throttle.failed(client, KEY),
        }
        assert_eq!(throttle.must_wait(client, OTHER), None);
        assert_eq!(throttle.must_wait(address("192.0.2.2"), KEY), None);
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(3_600 - refused, QUARTER.most_within(Duration::from_secs(3_599)));
}

const QUARTER: Quota = Quota::per_minute(nonzero!(2));

#[test]
fn a_quarter_is_at_least_one() {
    assert_eq!(a_quarter_of(QUOTA), QUARTER);
    let one = Quota::per_hour(nonzero!(1));
    assert_eq!(a_quarter_of(one), one);
    let burst = Quota::per_hour(nonzero!(3)).with_burst(nonzero!(12));
    assert_eq!(a_quarter_of(burst), one.with_burst(nonzero!(3)));
}

#[test]
fn keys_are_told_apart_by_their_start() {
    let (throttle, _) = setup();
    let client = address("192.0.2.1");
    let like = |start: &str, rest: char| {
        format!("{start}{}", rest.to_string().repeat(75 - start.len())).into_bytes()
    };
    let prefix = "a_prefix_of_24_bytes_xyz_";
    let dead = like(&format!("{prefix}dead"), 'x');
    throttle.failed(client, &dead);
    throttle.failed(client, &dead);
    // A client that guesses the rest of a key is the same guesser.
    assert!(throttle.must_wait(client, &like(&format!("{prefix}dead"), 'y')).is_some());
    assert_eq!(throttle.must_wait(client, &like(&format!("{prefix}good"), 'x')), None);
    assert_eq!(throttle.must_wait(client, b""), None);
    assert_eq!(throttle.must_wait(client, b"x"), None);
}

#[test]
fn networks_of_ipv6_are_one_client() {
    let (throttle, _) = setup();
    for (number, key) in (1..=8).zip(keys()) {
        throttle.failed(address(&format!("2001:db8:0:1::{number}")), &key);
    }
    assert!(throttle.must_wait(address("2001:db8:0:1:ffff::"), OTHER).is_some());
    assert_eq!(throttle.must_wait(address("2001:db8:0:2::1"), OTHER), None);
    for key in keys().take(8) {
        throttle.failed(address("::ffff:192.0.2.1"), &key);
    }
    assert!(throttle.must_wait(address("192.0.2.1"), OTHER).is_some());
    assert_eq!(throttle.must_wait(address("::ffff:192.0.2.2"), OTHER), None);
}

/// A client that has more networks than one has no quota for each of them.
#[test]
fn wider_networks_of_ipv6_have_quotas_of_their_own() {
    let (throttle, clock) = setup();
    // In each /64 of a /56 two failures, so that none of them is used up.
    let mut keys = keys();
    let mut fail = |network: u128, host: u16| {
        let client = Ipv6Addr::from_bits(network << 64 | u128::from(host)).into();
        let told = throttle.must_wait(client, OTHER);
        if told.is_none() {
            throttle.failed(client, &keys.next().unwrap());
        }
        told.is_none()
    };
    let site = 0x2001_0db8_0007_0000;
    let failed: usize = (0..0x100).map(|subnet| usize::from(fail(site + subnet, 1))).sum();
    assert_eq!(failed, 4 * 8, "of a /56");
    let failed: usize = (1..0x1_0000).map(|subnet| usize::from(fail(site + subnet, 2))).sum();
    assert_eq!(failed, (16 - 4) * 8, "of the rest of the /48");
    assert!(fail(site + 0x1_0000, 1), "another /48");
    // Each comes back at its own rate.
    clock.advance(Duration::from_mins(1) / (16 * 8));
    assert!(!fail(site + 0xff, 3), "the /56 waits for longer");
    assert!(fail(site + 0xff00, 3) && !fail(site + 0xfe00, 3));
}

#[test]
fn quotas_of_wider_networks_can_be_set() {
    let one = Quota::per_minute(nonzero!(1));
    for (quotas, expected) in [((one, QUOTA), 1), ((QUOTA, one), 1), ((QUOTA, QUOTA), 8)] {
        let throttle = FailureThrottle::builder(QUOTA)
            .with_per_ipv6_56(quotas.0)
            .with_per_ipv6_48(quotas.1)
            .with_clock(SettableClock::new(START))
            .build();
        let mut failed = 0;
        for (subnet, key) in (0..20_u16).zip(keys()) {
            let client = address(&format!("2001:db8:7:{subnet:x}::1"));
            if throttle.must_wait(client, OTHER).is_none() {
                throttle.failed(client, &key);
                failed += 1;
            }
        }
        assert_eq!(failed, expected);
        // IPv4 has no such networks.
        for (host, key) in (1..=8).zip(keys()) {
            let client = address(&format!("192.0.2.{host}"));
            assert_eq!(throttle.must_wait(client, OTHER), None);
            throttle.failed(client, &key);
        }
    }
}

#[test]
fn guesses_at_the_same_time_all_count_up_to_an_hour() {
    let (throttle, clock) = setup();
    let client = address("192.0.2.1");
    // All of them were let in before one had failed.
    for key in keys().take(8 + 100) {
        throttle.failed(client, &key);
    }
    assert_eq!(throttle.must_wait(client, OTHER), Some(101 * QUOTA.interval()));
    for key in keys().take(10_000) {
        throttle.failed(client, &key);
    }
    let most = Duration::from_hours(1) + QUOTA.interval();
    assert_eq!(throttle.must_wait(client, OTHER), Some(most));
    // A clock that is set back makes no client wait longer.
    clock.set(Timestamp::UNIX_EPOCH);
    assert_eq!(throttle.must_wait(client, OTHER), Some(most));
    clock.set(START.saturating_add(most));
    assert_eq!(throttle.must_wait(client, OTHER), None);
}

#[test]
fn where_nobody_waits_nothing_is_looked_up() {
    let (throttle, clock) = setup();
    let client = address("192.0.2.1");
    let until = || throttle.0.until.load(Ordering::Relaxed);
    throttle.failed(client, KEY);
    assert_eq!(until(), 0);
    throttle.failed(client, KEY);
    assert!(until() > 0);
    assert!(throttle.must_wait(client, KEY).is_some());
    clock.advance(Duration::from_secs(30));
    assert_eq!(throttle.must_wait(address("192.0.2.2"), KEY), None);
    assert_eq!(until(), 0);
    assert_eq!(throttle.must_wait(client, KEY), None);
}

#[test]
fn a_million_addresses_take_up_bounded_memory_and_hide_nobody() {
    let clock = SettableClock::new(START);
    let throttle = FailureThrottle::builder(QUOTA).with_capacity(10_000).with_clock(clock).build();
    let guesser = address("198.51.100.1");
    for key in keys().take(8) {
        throttle.failed(guesser, &key);
    }
    let network = Ipv4Addr::new(10, 0, 0, 0).to_bits();
    for number in 0..1_000_000 {
        throttle.failed(Ipv4Addr::from_bits(network + number).into(), KEY);
    }
    let debts = throttle.debts();
    println!("{debts} debts of 1,000,000 addresses");
    assert!(debts <= 20_000, "{debts}");
    assert!(throttle.must_wait(guesser, OTHER).is_some());
    // So does a flood from networks of IPv6, whatever the rest of their addresses.
    for number in 0..100_000_u128 {
        let network = (0x2001_0db8_0000_0000 + number) << 64;
        throttle.failed(Ipv6Addr::from_bits(network + number).into(), KEY);
    }
    assert!(throttle.debts() <= 20_000);
    assert!(throttle.must_wait(guesser, OTHER).is_some());
    let text = format!("{throttle:?}");
    assert!(!text.contains("key_") && !text.contains("198.51"), "{text}");
}

#[test]
fn failures_are_those_that_a_guesser_has() {
    let failures = RejectionKind::all().filter(|kind| FailureThrottle::is_failure(*kind));
    let codes: Vec<_> = failures.map(RejectionKind::code).collect();
    let expected = [
        "malformed_key",
        "unknown_key",
        "revoked_key",
        "disabled_key",
        "not_yet_valid_key",
        "expired_key",
        "address_not_allowed",
    ];
    assert_eq!(codes, expected);
}

proptest! {
    /// However a client spreads its guesses, in no stretch of time does it get more than the
    /// quota admits; and a client that waits as told gets one.
    #[test]
    fn no_way_of_guessing_gets_more_than_the_quota(
        waits in prop::collection::vec(prop::option::of(0_u64..20_000), 1..200),
    ) {
        let (throttle, clock) = setup();
        let client = address("192.0.2.1");
        let mut guesses = Vec::new();
        for (wait, key) in waits.into_iter().zip(keys()) {
            let told = throttle.must_wait(client, &key);
            clock.advance(match (wait, told) {
                (Some(millis), _) => Duration::from_millis(millis),
                (None, told) => told.unwrap_or_default(),
            });
            let now = throttle.must_wait(client, &key);
            prop_assert!(wait.is_some() || now.is_none(), "{now:?} after waiting for {told:?}");
            if now.is_none() {
                throttle.failed(client, &key);
                guesses.push(clock.now());
            }
        }
        for (first, from) in guesses.iter().enumerate() {
            for (last, to) in guesses.iter().enumerate().skip(first) {
                let within = to.saturating_since(*from) + TICK;
                prop_assert!((last - first + 1) as u64 <= QUOTA.most_within(within));
            }
        }
    }
}
