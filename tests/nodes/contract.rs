//! What every bus must do.

use tokio::time::timeout;
use tower_api_key::{
    key::KeyDigest,
    store::{
        Announcement, Invalidations, LocalInvalidations, StoreError, StoreErrorKind, StoreId,
        Subscription,
    },
};

use crate::{place::Place, watched::TIMEOUT};

everywhere!(
    what_is_published_is_heard_by_everybody,
    a_message_of_many_digests,
    nothing_is_no_message,
    a_message_says_whose_keys_it_is_about,
    a_subscription_hears_nothing_from_before,
    dropped_where_there_is_no_runtime,
);

pub(crate) fn digest(number: usize) -> KeyDigest {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    KeyDigest::from_bytes(bytes)
}

/// The next message. It is there, or on its way.
pub(crate) async fn next_message(
    subscription: &mut Box<dyn Subscription>,
) -> Result<Announcement, StoreError> {
    timeout(TIMEOUT, subscription.next()).await.expect("a message, or that there is none")
}

/// The digests of the next message, which can be read.
pub(crate) async fn next(
    subscription: &mut Box<dyn Subscription>,
) -> Result<Vec<KeyDigest>, StoreError> {
    let message = next_message(subscription).await?;
    assert!(message.is_readable());
    Ok(message.digests().collect())
}

async fn what_is_published_is_heard_by_everybody(place: &Place) {
    let (here, there) = (place.bus().await, place.bus().await);
    let mut subscriptions = Vec::new();
    for bus in [&here, &here, &there] {
        subscriptions.push(bus.subscribe().await.unwrap());
    }
    // Before anybody has asked for them: messages wait.
    here.publish(&[digest(1)].into()).await.unwrap();
    there.publish(&[digest(2), digest(3)].into()).await.unwrap();
    for subscription in &mut subscriptions {
        let mut heard = next(subscription).await.unwrap();
        heard.extend(next(subscription).await.unwrap());
        assert_eq!(heard, [digest(1), digest(2), digest(3)]);
    }
}

/// Whether in one message or several is the bus' choice.
async fn a_message_of_many_digests(place: &Place) {
    let bus = place.bus().await;
    let mut subscription = bus.subscribe().await.unwrap();
    let many: Vec<_> = (0..1_000).map(digest).collect();
    bus.publish(&many.iter().copied().collect()).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < many.len() {
        heard.extend(next(&mut subscription).await.unwrap());
    }
    assert_eq!(heard, many);
}

async fn a_message_says_whose_keys_it_is_about(place: &Place) {
    let bus = place.bus().await;
    let mut subscription = bus.subscribe().await.unwrap();
    let store = StoreId::from_bytes([7; 16]);
    let message = Announcement::from([digest(1), digest(2)]).of_store(store);
    bus.publish(&message).await.unwrap();
    assert_eq!(next_message(&mut subscription).await.unwrap(), message);
}

async fn nothing_is_no_message(place: &Place) {
    let bus = place.bus().await;
    let mut subscription = bus.subscribe().await.unwrap();
    bus.publish(&Announcement::default()).await.unwrap();
    bus.publish(&[digest(1)].into()).await.unwrap();
    assert_eq!(next(&mut subscription).await.unwrap(), [digest(1)]);
}

async fn a_subscription_hears_nothing_from_before(place: &Place) {
    let bus = place.bus().await;
    bus.publish(&[digest(1)].into()).await.unwrap();
    let mut subscription = bus.subscribe().await.unwrap();
    bus.publish(&[digest(2)].into()).await.unwrap();
    assert_eq!(next(&mut subscription).await.unwrap(), [digest(2)]);
}

async fn dropped_where_there_is_no_runtime(place: &Place) {
    let subscription = place.bus().await.subscribe().await.unwrap();
    std::thread::spawn(move || drop(subscription)).join().unwrap();
}

/// A listener that is too slow has missed something, and is told.
#[tokio::test]
async fn a_slow_listener_on_the_local_bus() {
    let bus = LocalInvalidations::new();
    let mut subscription = bus.subscribe().await.unwrap();
    for number in 0..10_000 {
        bus.publish(&[digest(number)].into()).await.unwrap();
    }
    assert_eq!(next(&mut subscription).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
}
