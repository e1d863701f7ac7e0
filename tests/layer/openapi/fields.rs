//! What is sent and answered has the fields that the document says.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tower_api_key::{KeyManager, NewKey, manage::KeyView, store::MemoryStore};

use super::{json_of, managed, operations, send};

#[tokio::test]
async fn answers_have_the_documented_fields() {
    fn names<'v>(value: &'v Value, documented: &'v Value) -> [BTreeSet<&'v str>; 3] {
        let keys = |value: &'v Value| -> BTreeSet<&'v str> {
            value.as_object().unwrap().keys().map(String::as_str).collect()
        };
        let required = documented["required"].as_array().unwrap();
        let required = required.iter().map(|name| name.as_str().unwrap());
        [keys(value), keys(&documented["properties"]), required.collect()]
    }
    let (app, document) = managed().into_iter().next().unwrap();
    let schemas = &document["components"]["schemas"];

    let keys = KeyManager::new(MemoryStore::new());
    let issued = keys.create(NewKey::named("any")).await.unwrap();
    let view =
        serde_json::to_value(KeyView::new(&issued.record, issued.record.created_at)).unwrap();
    let [sent, documented, required] = names(&view, &schemas["ApiKey"]);
    assert_eq!(sent, documented);
    assert_eq!(sent, required);

    let refill = json!({ "amount": 5, "interval": "month" });
    let limit = json!({ "name": "a", "requests": 1, "window_seconds": 0.5, "burst": 1 });
    let full = json!({ "name": "any", "limits": [limit], "credits": { "refill": refill } });
    let created = json_of(&send(&app, "post", "/keys", Some(&full)).await);
    let [sent, documented, _] = names(&created["limits"][0], &schemas["ApiKeyLimit"]);
    assert_eq!(sent, documented);
    let [sent, documented, required] = names(&created["credits"], &schemas["ApiKeyCredits"]);
    assert_eq!(sent, documented);
    assert_eq!(sent, required);
    let [sent, documented, _] =
        names(&created["credits"]["refill"], &schemas["ApiKeyRefill"]["oneOf"][1]);
    assert_eq!(sent, documented);

    let page = json_of(&send(&app, "get", "/keys/events", None).await);
    let [sent, documented, _] = names(&page, &schemas["ApiKeyEvents"]);
    assert_eq!(sent, documented);
    let [sent, documented, required] = names(&page["items"][0], &schemas["ApiKeyEvent"]);
    assert_eq!(sent, documented);
    assert_eq!(sent, required);
}

/// A field that nobody knows is refused, and the answer lists those that there are.
#[tokio::test]
async fn bodies_have_the_documented_fields() {
    for (app, document) in managed() {
        for (path, method, operation) in operations(&document) {
            let reference = &operation["requestBody"]["content"]["application/json"]["schema"];
            let Some(reference) = reference["$ref"].as_str() else { continue };
            let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
            // A body that is one of several has the fields of all of them.
            let schemas = schema["oneOf"].as_array().cloned().unwrap_or(vec![schema.clone()]);
            let fields = |schema: &Value| schema["properties"].as_object().unwrap().clone();
            let properties: BTreeSet<String> =
                schemas.iter().flat_map(fields).map(|(name, _)| name).collect();

            let is_admin = document["components"]["schemas"]["NewApiKey"].is_object();
            let new = if is_admin {
                json!({ "name": "any", "credits": 1 })
            } else {
                json!({ "name": "any" })
            };
            let created = send(&app, "post", "/keys", Some(&new)).await;
            let path = path.replace("{id}", json_of(&created)["id"].as_str().unwrap());
            let refused = send(&app, method, &path, Some(&json!({ "nobody's": 1 }))).await;
            let refused = json_of(&refused);
            let detail = refused["detail"].as_str().unwrap();
            let listed: BTreeSet<&str> = detail.split('`').skip(3).step_by(2).collect();
            assert_eq!(listed, properties.iter().map(String::as_str).collect(), "{refused}");

            // The example works, and has an answer that is documented.
            for example in schemas.iter().flat_map(|schema| schema["examples"].as_array().unwrap())
            {
                let answer = send(&app, method, &path, Some(example)).await;
                assert!(answer.status().is_success(), "{method} {path} {example}: {answer:?}");
                let documented = &operation["responses"][answer.status().as_str()];
                assert!(documented.is_object(), "{method} {path}: {}", answer.status());
            }
        }
    }
}

/// The same of what is within bodies, as far as their schemas are objects.
#[tokio::test]
async fn nested_fields_are_the_documented_ones() {
    let (app, document) = managed().into_iter().next().unwrap();
    let schemas = &document["components"]["schemas"];
    let limit = json!({ "name": "a", "requests": 1, "window_seconds": 1 });
    let seconds = json!({ "amount": 1, "interval_seconds": 1 });
    let credits = json!({ "remaining": 1 });
    for (schema, good, place) in [
        (&schemas["ApiKeyLimit"], limit, "/limits/0"),
        (&schemas["NewApiKeyCredits"]["oneOf"][1], credits, "/credits"),
        (&schemas["ApiKeyRefill"]["oneOf"][0], seconds, "/credits/refill"),
    ] {
        let mut body =
            json!({ "name": "any", "limits": [{}], "credits": { "remaining": 1, "refill": {} } });
        for unused in
            ["limits", "credits"].into_iter().filter(|field| !place[1..].starts_with(field))
        {
            body.as_object_mut().unwrap().remove(unused);
        }
        *body.pointer_mut(place).unwrap() = good.clone();
        let created = send(&app, "post", "/keys", Some(&body)).await;
        assert_eq!(created.status(), 201, "{body} {created:?}");

        body.pointer_mut(place).unwrap()["nobody's"] = json!(1);
        let refused = json_of(&send(&app, "post", "/keys", Some(&body)).await);
        let detail = refused["detail"].as_str().unwrap();
        let listed: BTreeSet<&str> = detail.split('`').skip(3).step_by(2).collect();
        let documented = schema["properties"].as_object().unwrap().keys().map(String::as_str);
        let documented: BTreeSet<&str> = documented.collect();
        // A refill's two intervals are two schemas.
        assert!(listed.is_superset(&documented), "{refused}");
        assert_eq!(
            listed.len() - documented.len(),
            usize::from(place.ends_with("refill")),
            "{refused}"
        );
    }
}

/// An example of what each parameter asks for is taken, and something else is refused by name.
#[tokio::test]
async fn the_parameters_of_usage_are_the_documented_ones() {
    for (app, document) in managed() {
        for path in ["/keys/usage", "/keys/usage/top"] {
            let parameters = document["paths"][path]["get"]["parameters"].as_array().unwrap();
            let names = parameters.iter().map(|parameter| parameter["name"].as_str().unwrap());
            let names: BTreeSet<&str> = names.collect();
            let own = if path.ends_with("top") { "limit" } else { "by" };
            assert_eq!(names, BTreeSet::from([own, "owner", "since", "until"]));
            for name in names.into_iter().filter(|name| *name != "owner") {
                let refused = send(&app, "get", &format!("{path}?{name}=x"), None).await;
                assert_eq!(json_of(&refused)["field"], name, "{refused:?}");
            }
            let answer = json_of(&send(&app, "get", path, None).await);
            let schema = if path.ends_with("top") { "BusiestApiKeys" } else { "ApiKeyUsage" };
            let documented = &document["components"]["schemas"][schema]["properties"];
            let names = |value: &Value| -> BTreeSet<String> {
                value.as_object().unwrap().keys().cloned().collect()
            };
            assert_eq!(names(&answer), names(documented));
        }
    }
}
