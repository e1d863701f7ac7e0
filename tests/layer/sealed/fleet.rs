//! Nodes whose secrets are changed one after another: what one issues, the other accepts.

use tower_api_key::{
    ApiKeyLayer, IssuerSecrets, KeyFormat, KeyManager, NewKey, manage::RotationGrace,
    store::MemoryStore,
};

use super::{OTHER, SECRET, outcome, plain, sealed};

/// Two nodes on one store.
struct Fleet {
    store: MemoryStore,
    nodes: [KeyManager; 2],
    issued: Vec<String>,
}

impl Fleet {
    fn new(format: &KeyFormat) -> Self {
        let store = MemoryStore::new();
        let node = || KeyManager::new(store.clone()).with_format(format.clone());
        Self { nodes: [node(), node()], store, issued: Vec::new() }
    }

    /// Gives a node its new configuration. Then each issues a key, and each accepts all keys that
    /// were ever issued.
    async fn deploy(&mut self, node: usize, secrets: &IssuerSecrets) {
        let format = sealed(secrets.clone());
        self.nodes[node] = KeyManager::new(self.store.clone()).with_format(format);
        for node in &self.nodes {
            let issued = node.create(NewKey::named("key")).await.unwrap();
            self.issued.push(issued.secret.expose().to_owned());
        }
        for node in &self.nodes {
            for key in &self.issued {
                assert_eq!(outcome(&node.layer(), key), "admitted");
            }
        }
    }

    async fn deploy_to_all(&mut self, secrets: IssuerSecrets) {
        for node in 0..2 {
            self.deploy(node, &secrets).await;
        }
    }
}

fn new(secret: &[u8]) -> IssuerSecrets {
    IssuerSecrets::new(secret).unwrap()
}

/// Forward, back from the second step, and forward again.
#[tokio::test]
async fn a_fleet_can_change_its_issuer_secret() {
    let mut fleet = Fleet::new(&sealed(new(SECRET)));
    let with_next = new(SECRET).with_next(OTHER).unwrap();
    let promoted = new(OTHER).with_retired(SECRET).unwrap();
    fleet.deploy_to_all(with_next.clone()).await;
    fleet.deploy(0, &promoted).await;
    fleet.deploy(0, &with_next).await;
    fleet.deploy_to_all(promoted).await;
    // None of the keys was issued under the next secret before it was promoted.
    let by_old = ApiKeyLayer::new(fleet.store.clone()).with_formats([sealed(new(SECRET))]);
    let accepted: Vec<_> =
        fleet.issued.iter().map(|key| outcome(&by_old, key) == "admitted").collect();
    //                 next on both            promoted, one  and back      promoted on one, on both
    assert_eq!(
        accepted,
        [true, true, true, true, false, true, true, true, false, true, false, false]
    );

    // Without the retired secret, its keys are malformed.
    let by_new = ApiKeyLayer::new(fleet.store).with_formats([sealed(new(OTHER))]);
    for (key, is_old) in fleet.issued.iter().zip(accepted) {
        let expected = if is_old { "malformed_key" } else { "admitted" };
        assert_eq!(outcome(&by_new, key), expected);
    }
}

/// From the checksum to the seal, and back from the second step.
#[tokio::test]
async fn a_fleet_can_introduce_seals() {
    let mut fleet = Fleet::new(&plain());
    let next = IssuerSecrets::unsealed_with_next(SECRET).unwrap();
    fleet.deploy_to_all(next.clone()).await;
    fleet.deploy(1, &new(SECRET)).await;
    fleet.deploy(1, &next).await;
    fleet.deploy_to_all(new(SECRET)).await;
    let lengths: Vec<_> = fleet.issued.iter().map(String::len).collect();
    assert_eq!(lengths, [54, 54, 54, 54, 54, 60, 54, 54, 60, 54, 60, 60]);

    let [node, _] = fleet.nodes;
    let strict = sealed(new(SECRET)).sealed_only().unwrap();
    let strict = node.with_format(strict).layer();
    for key in &fleet.issued {
        let expected = if key.len() == 60 { "admitted" } else { "malformed_key" };
        assert_eq!(outcome(&strict, key), expected);
    }
}

/// A rotation gives a key under the current secret, whatever the old key was sealed under.
#[tokio::test]
async fn a_rotation_seals_under_the_current_secret() {
    let store = MemoryStore::new();
    let node = |secrets| KeyManager::new(store.clone()).with_format(sealed(secrets));
    let old = node(new(SECRET)).create(NewKey::named("old")).await.unwrap();
    let promoted = node(new(OTHER).with_retired(SECRET).unwrap());
    assert_eq!(outcome(&promoted.layer(), old.secret.expose()), "admitted");
    let rotated = promoted.rotate(old.record.id, RotationGrace::NONE).await.unwrap();
    let alone = node(new(OTHER)).layer();
    assert_eq!(outcome(&alone, rotated.secret.expose()), "admitted");
    assert_eq!(outcome(&alone, old.secret.expose()), "malformed_key");
}
