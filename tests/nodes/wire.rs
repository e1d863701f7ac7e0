//! What every bus must do whose messages go over a network.

use std::sync::Arc;

use tower_api_key::{
    ConfigError,
    store::{Invalidations, PostgresInvalidations, RedisInvalidations, StoreErrorKind},
};

use crate::{
    contract::{digest, next, next_message},
    place::{Place, chain},
    proxy::Proxy,
};

on_servers!(
    a_killed_connection_ends_the_subscription,
    garbage,
    messages_of_other_versions,
    channels,
    a_server_that_refuses,
    what_it_shows_of_itself,
);

async fn a_killed_connection_ends_the_subscription(place: &Place) {
    let bus = place.bus().await;
    let mut subscription = bus.subscribe().await.unwrap();
    bus.publish(&[digest(1)].into()).await.unwrap();
    assert_eq!(next(&mut subscription).await.unwrap(), [digest(1)]);

    place.kill_connections().await;
    let error = next(&mut subscription).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    // The connection to publish over was killed, too, and this is the first to notice.
    bus.publish(&[digest(2)].into()).await.unwrap();
    assert!(next(&mut subscription).await.is_err(), "it came back, and had missed something");

    let mut subscription = bus.subscribe().await.unwrap();
    bus.publish(&[digest(3)].into()).await.unwrap();
    assert_eq!(next(&mut subscription).await.unwrap(), [digest(3)]);
}

/// Messages of other programs, or of a version to come. They may say that something is to be
/// forgotten, and end no subscription.
async fn garbage(place: &Place) {
    let bus = place.bus().await;
    let mut subscription = bus.subscribe().await.unwrap();
    let (one, two) = (digest(1).to_hex(), digest(2).to_hex());
    let both = format!("{one} {two}");
    for garbage in ["", ",", "hello", "{\"forget\":[]}", &one[..32], &both, &"é".repeat(3_000)] {
        place.say(garbage).await;
        let message = next_message(&mut subscription).await.unwrap();
        assert!(!message.is_readable() && message.keys().is_empty(), "{garbage}");
    }
}

/// As all versions write them.
async fn messages_of_other_versions(place: &Place) {
    let mut subscription = place.bus().await.subscribe().await.unwrap();
    let (one, two) = (digest(1).to_hex(), digest(2).to_hex());
    let store = "07".repeat(16);
    for text in [
        format!("{one},{two}"),
        format!("{store};{one},{two}"),
        format!("{store}:new;{one}:9:moved,{two}:10;more"),
    ] {
        place.say(&text).await;
        assert_eq!(next(&mut subscription).await.unwrap(), [digest(1), digest(2)], "{text}");
    }
}

async fn channels(place: &Place) {
    let (one, apart): (_, Arc<dyn Invalidations>) = match place {
        Place::Local(..) => panic!("there are no channels"),
        Place::Postgres(_) => {
            let pool = sqlx::PgPool::connect(place.url()).await.unwrap();
            let bus = PostgresInvalidations::from_pool(pool);
            (place.bus().await, Arc::new(bus.with_channel("apart").unwrap()))
        }
        Place::Redis(user) => {
            let bus = RedisInvalidations::connect(user.url()).await.unwrap();
            let apart = format!("{}:apart", user.name());
            (place.bus().await, Arc::new(bus.with_channel(&apart).unwrap()))
        }
    };
    let mut subscription = one.subscribe().await.unwrap();
    let mut subscription_apart = apart.subscribe().await.unwrap();
    apart.publish(&[digest(1)].into()).await.unwrap();
    one.publish(&[digest(2)].into()).await.unwrap();
    assert_eq!(next(&mut subscription).await.unwrap(), [digest(2)]);
    assert_eq!(next(&mut subscription_apart).await.unwrap(), [digest(1)]);
}

#[tokio::test]
async fn names_of_channels_are_checked() {
    let bus = || RedisInvalidations::new("redis://127.0.0.1:1").unwrap();
    assert!(bus().with_channel("shop:keys-2").is_ok());
    for bad in ["", "two words", "a\"b", &"c".repeat(64)] {
        assert_eq!(bus().with_channel(bad).unwrap_err(), ConfigError::ChannelName);
    }
}

async fn a_server_that_refuses(place: &Place) {
    let mut proxy = Proxy::before(place.url());
    let bus = place.bus_at(proxy.url()).await;
    let mut subscription = bus.subscribe().await.unwrap();
    proxy.cut().await;
    let mut errors = vec![
        next(&mut subscription).await.unwrap_err(),
        bus.subscribe().await.err().unwrap(),
        bus.publish(&[digest(1)].into()).await.unwrap_err(),
    ];
    errors.extend(match place {
        Place::Local(..) => None,
        Place::Postgres(_) => PostgresInvalidations::connect(proxy.url()).await.err(),
        Place::Redis(_) => RedisInvalidations::connect(proxy.url()).await.err(),
    });
    assert_eq!(errors.len(), 4);
    let password = place.password();
    for error in errors {
        let kinds = [StoreErrorKind::Unavailable, StoreErrorKind::Timeout];
        assert!(kinds.contains(&error.kind()), "{error:?}");
        let text = format!("{} {error:?}", chain(&error));
        assert!(!text.contains(password), "{text}");
    }
}

async fn what_it_shows_of_itself(place: &Place) {
    let text = match place {
        Place::Local(..) => panic!("there is nothing to hide"),
        Place::Postgres(_) => {
            format!("{:?}", PostgresInvalidations::connect(place.url()).await.unwrap())
        }
        Place::Redis(_) => format!("{:?}", RedisInvalidations::new(place.url()).unwrap()),
    };
    assert!(text.contains("tower_api_key"), "{text}");
    assert!(!text.contains(place.password()), "{text}");
}
