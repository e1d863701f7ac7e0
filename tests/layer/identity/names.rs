//! Other names for the headers of an identity.

use tower_api_key::ConfigError;

use super::*;

#[tokio::test]
async fn other_names_are_set_and_guarded_in_place_of_the_default_ones() {
    let (store, id) = store().await;
    let names = IdentityHeaders::new()
        .with_id_name("X-Caller")
        .and_then(|names| names.with_owner_name("X-Tenant-Name"))
        .and_then(|names| names.with_scopes_name("X-May"))
        .unwrap();
    let sent = request(&[
        ("x-api-key", KEY),
        ("X-CALLER", "forged"),
        ("x_tenant_name", "forged"),
        ("X-Tenant_Name", "forged"),
        ("x-may", "forged"),
        ("x-api-key-id", "the application's own"),
    ]);
    let layer = IdentityLayer::with_headers(names);
    let (seen, _) = seen(Some(ApiKeyLayer::new(store)), layer, sent).await;
    let seen = seen.unwrap();
    let found = values(&seen, ["x-caller", "x-tenant-name", "x-may"]);
    assert_eq!(found, [id, "Zo%C3%AB%20%26%20co".into(), "a%2Cb orders:read".into()]);
    assert!(!format!("{seen:?}").contains("forged"));
    assert_eq!(seen["x-api-key-id"], "the application's own");
}

#[test]
fn a_name_is_one_that_all_servers_pass_on_and_none_understands() {
    for name in [
        "",
        "x",
        "x-",
        "host",
        "connection",
        "authorization",
        "x_user",
        "x-user_id",
        "x-user.id",
        "x user",
        "x-é",
        "x-forwarded-uri",
        "X-Forwarded-For",
        "X-API-Key",
        "x-api-key-status",
        "x-api-key-problem",
        "X-Original-URL",
        "content-length",
        "referer",
    ] {
        let error = IdentityHeaders::new().with_owner_name(name).unwrap_err();
        assert_eq!(error, ConfigError::SourceName { family: "identity header" }, "{name:?}");
    }
    for set in [
        IdentityHeaders::with_id_name,
        IdentityHeaders::with_owner_name,
        IdentityHeaders::with_scopes_name,
    ] {
        let taken = IdentityHeaders::new()
            .names()
            .into_iter()
            .filter(|name| set(IdentityHeaders::new(), name.as_str()).is_err())
            .count();
        assert_eq!(taken, 2, "all but its own");
    }
}
