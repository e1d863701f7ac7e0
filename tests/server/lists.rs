//! `GET /admin/api-keys?owner=&cursor=&limit=`

use serde_json::{Value, json};

use crate::support::{Ask, Running, assert_problem, shared};

fn list(server: &Running, query: &str) -> Value {
    let reply = server.admin("GET", &format!("/admin/api-keys?{query}"));
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
    reply.json()
}

fn ids(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["id"].as_str().unwrap()).collect()
}

/// Ids of new keys of this owner, the youngest first as lists have them. Ids that were made in
/// the same millisecond have no order of creation, so they are sorted.
fn create(server: &Running, owner: &str, count: usize) -> Vec<String> {
    let new = json!({ "name": "listed", "owner": owner });
    let mut ids: Vec<_> = (0..count).map(|_| server.create(&new).id).collect();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    ids
}

#[test]
fn pages_go_through_all_of_an_owners_keys() {
    let server = shared();
    let mine = create(&server, "list-test-a", 5);
    create(&server, "list-test-b", 1);

    let mut seen = Vec::new();
    let mut query = "owner=list-test-a&limit=2".to_owned();
    loop {
        let page = list(&server, &query);
        seen.extend(ids(&page).into_iter().map(ToOwned::to_owned));
        match &page["next_cursor"] {
            Value::String(cursor) => {
                query = format!("owner=list-test-a&limit=2&cursor={cursor}");
            }
            end => {
                assert_eq!(*end, Value::Null);
                break;
            }
        }
    }
    assert_eq!(seen, mine);
    // As many as there are is the last page, too.
    let all = list(&server, "owner=list-test-a&limit=5");
    assert_eq!((ids(&all).len(), &all["next_cursor"]), (5, &Value::Null));
}

#[test]
fn a_page_has_20_keys_unless_told_otherwise() {
    let server = shared();
    let mine = create(&server, "list-test-default", 21);
    let page = list(&server, "owner=list-test-default");
    assert_eq!(ids(&page), mine[..20]);
    let rest = list(
        &server,
        &format!("owner=list-test-default&cursor={}", page["next_cursor"].as_str().unwrap()),
    );
    assert_eq!(ids(&rest), mine[20..]);
    let page = list(&server, "owner=list-test-default&limit=100");
    assert_eq!(ids(&page), mine);
}

#[test]
fn without_an_owner_everybodys_keys_are_listed() {
    let server = shared();
    let id = server.create(&json!({ "name": "nobody's" })).id;
    // Other tests create keys meanwhile, so it need not be the first.
    let mut query = "limit=100".to_owned();
    loop {
        let page = list(&server, &query);
        if ids(&page).contains(&&*id) {
            break;
        }
        query = format!("limit=100&cursor={}", page["next_cursor"].as_str().expect("not listed"));
    }
}

#[test]
fn who_owns_nothing_gets_an_empty_list() {
    let server = shared();
    create(&server, "list-test-c", 1);
    for owner in ["list-test-nobody", "", "list-test-", "%25", "%00"] {
        let empty = list(&server, &format!("owner={owner}"));
        assert_eq!(empty, json!({ "items": [], "next_cursor": null }), "{owner:?}");
    }
}

#[test]
fn owners_are_decoded() {
    let server = shared();
    let mine = create(&server, "list-test/ä & b", 1);
    assert_eq!(ids(&list(&server, "owner=list-test%2F%C3%A4+%26%20b")), mine);
}

#[test]
fn bad_parameters_are_400_and_named() {
    let server = shared();
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=", "cursor"),
        ("limit=1&limit=2", "limit"),
        ("owner_id=user-1", "owner_id"),
    ] {
        let reply = server.admin("GET", &format!("/admin/api-keys?{query}"));
        assert_problem(&reply, 400, "invalid_parameter");
        assert_eq!(reply.json()["field"], field, "{query}");
    }
}
