//! The stream of a subscription, which takes the place of that of a session since protocol version
//! 2026-07-28, ends with its key as well.

use serde_json::json;

use crate::contract::{
    client::Protocol,
    streams::{assert_ends_with_its_key, client, read},
};

#[tokio::test]
async fn the_stream_of_a_subscription_ends_with_its_key() {
    let (client, id) = client(Protocol::Stateless).await;
    let params = json!({ "notifications": { "toolsListChanged": true } });
    let stream = client.request("subscriptions/listen", params).await;
    assert_ends_with_its_key(&client, &id, read(stream)).await;
}
