//! Redirections, as tower-http follows them: inside of such a layer and outside of it.

use std::sync::{Arc, OnceLock};

use http::{Response, header::AUTHORIZATION};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_api_key::client::AttachApiKeyLayer;
use tower_http::follow_redirect::FollowRedirectLayer;

use crate::support::{Answers, KEY, Seen, X_API_KEY, get_empty, http_client, layer, serve};

/// Two servers on two ports. Each path of the first is the list of hops that are left: `a` is a
/// redirection to the first, `b` one to the second, which leads on in the same way.
struct Two {
    first: Answers,
    second: Answers,
    origin: String,
}

impl Two {
    async fn new() -> Self {
        let origins: Arc<OnceLock<[String; 2]>> = Arc::default();
        let known = origins.clone();
        let answers = move |seen: &Seen| {
            let path = seen.target.trim_start_matches('/');
            let mut response = Response::new(String::new());
            if let Some(hop) = path.chars().next() {
                let to = &known.get().unwrap()[usize::from(hop == 'b')];
                *response.status_mut() = http::StatusCode::TEMPORARY_REDIRECT;
                let location = format!("{to}/{}", &path[1..]);
                response.headers_mut().insert("location", location.parse().unwrap());
            }
            response
        };
        let (first, second) = (Answers::new(answers.clone()), Answers::new(answers));
        let both = [serve(first.clone()).await, serve(second.clone()).await];
        let origin = both[0].clone();
        origins.set(both).unwrap();
        Self { first, second, origin }
    }

    fn layers(&self) -> [AttachApiKeyLayer; 2] {
        [layer(&[&self.origin]), layer(&[&self.origin]).with_bearer()]
    }

    /// How many credentials the first server got, and the second one, request by request.
    fn seen(&self) -> (Vec<usize>, Vec<usize>) {
        let count = |seen: Seen| {
            let values = [seen.all(&X_API_KEY), seen.all(&AUTHORIZATION)].concat();
            assert!(values.iter().all(|value| value.ends_with(KEY)), "{values:?}");
            values.len()
        };
        let of = |answers: &Answers| answers.seen().into_iter().map(count).collect();
        (of(&self.first), of(&self.second))
    }
}

#[tokio::test]
async fn inside_each_hop_is_judged() {
    let two = Two::new().await;
    for layer in two.layers() {
        let client = ServiceBuilder::new()
            .layer(FollowRedirectLayer::new())
            .layer(layer)
            .service(http_client());
        for (hops, first, second) in [
            ("", &[1][..], &[][..]),
            ("aa", &[1, 1, 1], &[]),
            ("b", &[1], &[0]),
            ("bb", &[1], &[0, 0]),
            ("ba", &[1, 1], &[0]),
            ("abab", &[1, 1, 1], &[0, 0]),
        ] {
            let uri = format!("{}/{hops}", two.origin);
            let response = client.clone().oneshot(get_empty(&uri)).await.unwrap();
            assert_eq!(response.status(), 200, "{hops}");
            assert_eq!(two.seen(), (first.to_vec(), second.to_vec()), "{hops}");
        }
    }
}

/// A layer on both sides, or one outside of a client that has another.
#[tokio::test]
async fn inside_a_key_that_was_put_there_outside_is_taken_out() {
    let two = Two::new().await;
    for layer in two.layers() {
        let client = ServiceBuilder::new()
            .layer(layer.clone())
            .layer(FollowRedirectLayer::new())
            .layer(layer)
            .service(http_client());
        let uri = format!("{}/ba", two.origin);
        assert_eq!(client.oneshot(get_empty(&uri)).await.unwrap().status(), 200);
        assert_eq!(two.seen(), (vec![1, 1], vec![0]));
    }
}

/// As the layer's documentation says: it cannot see the hops there.
#[tokio::test]
async fn outside_only_the_layer_that_follows_can_remove_the_key() {
    let two = Two::new().await;
    let uri = format!("{}/b", two.origin);
    for (layer, second) in two.layers().into_iter().zip([1, 0]) {
        let follows = FollowRedirectLayer::new().layer(http_client());
        let client = layer.layer(follows);
        assert_eq!(client.oneshot(get_empty(&uri)).await.unwrap().status(), 200);
        assert_eq!(two.seen(), (vec![1], vec![second]));
    }
}
