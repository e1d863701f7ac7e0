//! `/openapi.json`, and the page at `/docs`.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{Ask, shared};

fn document() -> Value {
    let reply = shared().ask("GET", "/openapi.json", &[]);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/json"), "{reply:?}");
    reply.json()
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, item)| {
        let operations = item.as_object().unwrap().iter();
        operations.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

#[test]
fn the_document_is_of_openapi_3_1_and_names_what_the_server_accepts() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut schemes = document["components"]["securitySchemes"].clone();
    for (name, scheme) in schemes.as_object_mut().unwrap() {
        // What it is for, and what does not work on the page.
        let description = scheme.as_object_mut().unwrap().remove("description");
        let description = description.unwrap_or_default().to_string();
        assert!(description.contains("key"), "{name}: {description}");
        let is_of_no_use = description.contains("Cannot be tried from this page");
        assert_eq!(is_of_no_use, name.starts_with("cookie."), "{name}: {description}");
    }
    assert_eq!(
        schemes,
        json!({
            "authorization.bearer": { "type": "http", "scheme": "bearer" },
            "cookie.api_key": { "type": "apiKey", "in": "cookie", "name": "api_key" },
            "header.x-admin-key": { "type": "apiKey", "in": "header", "name": "x-admin-key" },
            "header.x-api-key": { "type": "apiKey", "in": "header", "name": "x-api-key" },
            "query.api_key": { "type": "apiKey", "in": "query", "name": "api_key" },
        })
    );
}

/// The page shows headings in the order of the document's tags.
#[test]
fn business_stands_first_and_everything_under_a_heading() {
    let document = document();
    let tags = document["tags"].as_array().unwrap();
    let headings: Vec<&str> = tags.iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    assert_eq!(headings, ["Business", "Own key", "API keys", "Server"]);
    for (path, method, operation) in operations(&document) {
        let expected = match path {
            "/health" | "/metrics" => "Server",
            _ if path.starts_with("/admin/") => "API keys",
            _ if path.starts_with("/me/") => "Own key",
            _ => "Business",
        };
        assert_eq!(operation["tags"], json!([expected]), "{method} {path}");
    }
}

/// Of each answer to a mistake, an example for each `code`.
#[test]
fn examples_are_of_their_status_and_code() {
    let document = document();
    for (path, method, operation) in operations(&document) {
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let shown = format!("{method} {path}: {status}");
            let examples = &answer["content"]["application/problem+json"]["examples"];
            let examples = examples.as_object().cloned().unwrap_or_default();
            assert_eq!(examples.is_empty(), status.starts_with('2'), "{shown}");
            for (code, example) in examples {
                let description = answer["description"].as_str().unwrap();
                assert!(description.contains(&format!("- `{code}`")), "{shown}: {code}");
                assert_eq!(example["value"]["code"], code, "{shown}");
                assert_eq!(example["value"]["status"].to_string(), *status, "{shown}");
            }
        }
    }
}

/// What needs no key on an address of this machine alone, and passes over queries.
const OPEN: [&str; 2] = ["/health", "/metrics"];

/// What needs a key says so, and what says so needs one.
#[test]
fn every_operation_needs_the_key_that_it_says() {
    let document = document();
    for (path, method, operation) in operations(&document) {
        let path = path.replace("{id}", "01890000-0000-7000-8000-000000000000");
        let reply = shared().ask(&method.to_uppercase(), &path, &[]);
        let security = operation["security"].as_array().unwrap();
        if OPEN.contains(&&*path) {
            assert_eq!((security, reply.status), (&vec![json!({})], 200));
            continue;
        }
        assert_eq!(reply.status, 401, "{method} {path}: {reply:?}");
        let is_admins = security.iter().all(|one| one.get("header.x-admin-key").is_some());
        assert_eq!(is_admins, path.starts_with("/admin/"), "{method} {path}");
        let challenge = reply.header("www-authenticate").unwrap();
        assert_eq!(challenge.contains("x-admin-key"), is_admins, "{method} {path}");
    }
    let inventory = &document["paths"]["/webhook/inventory"]["post"]["security"][0];
    assert_eq!(inventory["header.x-api-key"], json!(["inventory:write"]));
}

/// What every route with a key answers to `?page=2`.
#[test]
fn answers_to_unknown_parameters_are_described() {
    let document = document();
    let mut business = 0;
    for (path, method, operation) in operations(&document) {
        if OPEN.contains(&path) {
            continue;
        }
        let described = &operation["responses"]["400"];
        assert!(described.is_object(), "{method} {path}");
        if path.starts_with("/admin/") {
            continue;
        }
        business += 1;
        let description = described["description"].as_str().unwrap();
        assert!(description.contains("`invalid_parameter`"), "{method} {path}: {description}");
        let schema = &described["content"]["application/problem+json"]["schema"]["$ref"];
        assert_eq!(schema, "#/components/schemas/ApiKeyProblem", "{method} {path}");
    }
    assert_eq!(business, 7);
}

/// Routes are added together with what the document says of them, but for the document itself.
#[test]
fn no_route_is_added_without_being_described() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/server")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let (below, here): (Vec<_>, Vec<_>) = paths.partition(|path| path.is_dir());
        folders.extend(below);
        files.extend(here);
    }
    let mut described = 0;
    for path in files {
        let source = fs::read_to_string(&path).unwrap();
        described += source.matches("routes!(").count();
        let plain = source.matches(".route(").count();
        // The document, and what leads to the page.
        let of_page = if path.ends_with("docs.rs") { 2 } else { 0 };
        assert_eq!(plain, of_page, "{}", path.display());
    }
    // The others are the library's, which tests them.
    assert_eq!(operations(&document()).count(), described + 16);
}

/// The addresses in these attributes.
fn links(html: &str) -> Vec<&str> {
    let after = |attribute| html.split(attribute).skip(1);
    let values = after("href=\"").chain(after("src=\""));
    values.filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn the_page_comes_from_this_server_alone() {
    let server = shared();
    // With the slash, the page's links are below it.
    let without_slash = server.ask("GET", "/docs", &[]);
    assert_eq!(without_slash.status, 303, "{without_slash:?}");
    assert_eq!(without_slash.header("location"), Some("/docs/"), "{without_slash:?}");
    let page = server.ask("GET", "/docs/", &[]);
    assert_eq!(page.status, 200, "{page:?}");
    assert_eq!(page.header("content-type"), Some("text/html"), "{page:?}");
    // So the browser keeps it to that, whatever is in the scripts.
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'self'") && !policy.contains("//"), "{policy}");

    let links = links(&page.body);
    assert!(links.len() >= 5, "{links:?}");
    for link in links {
        assert!(!link.contains("//"), "{link}");
        let asset = server.ask("GET", &format!("/docs/{link}"), &[]);
        assert_eq!(asset.status, 200, "{link}");
        if Path::new(link).extension().is_some_and(|extension| extension == "css") {
            assert!(!asset.body.contains("url(http") && !asset.body.contains("@import"), "{link}");
        }
    }
    let settings = server.ask("GET", "/docs/swagger-initializer.js", &[]).body;
    assert!(settings.contains("/openapi.json"), "{settings}");
    // Otherwise it asks a host on the internet for a badge.
    assert!(settings.contains(r#""validatorUrl": "none""#), "{settings}");
    assert!(!settings.contains("http"), "{settings}");
}
