//! The list of tools, and calls.

use std::collections::BTreeSet;

use mcp_guard::MAX_REPORTS;
use serde_json::json;

use super::client::{PROTOCOLS, Protocol, Service, answer};

const READ: [&str; 2] = ["stock_level", "watch_stock"];

#[tokio::test]
async fn the_list_has_the_tools_that_the_key_may_use() {
    for protocol in PROTOCOLS {
        let service = Service::new();
        let all: BTreeSet<String> = service.guard().tools().names().map(str::to_owned).collect();
        let cases: [(&[&str], BTreeSet<String>); 5] = [
            (&[], BTreeSet::new()),
            (&["other:read"], BTreeSet::new()),
            (&["stock:read"], READ.map(str::to_owned).into()),
            (&["stock:write"], ["adjust_stock".to_owned()].into()),
            (&["stock:read", "stock:write"], all.clone()),
        ];
        for (scopes, expected) in cases {
            let client = service.client(protocol, scopes).await;
            let shown: BTreeSet<String> = client.tools().await.into_iter().collect();
            assert_eq!(shown, expected, "{protocol:?} {scopes:?}");
            for tool in &all {
                let arguments = json!({ "product": "apples", "by": 0, "reports": 0 });
                let status = client.call(tool, arguments).await.status().as_u16();
                let expected = if shown.contains(tool) { 200 } else { 403 };
                assert_eq!(status, expected, "{protocol:?} {scopes:?} {tool}");
            }
        }
    }
}

/// As if there were no such tool. The layer outside only gives the denial its form.
#[tokio::test]
async fn the_server_decides_by_itself_what_a_key_may_call() {
    for protocol in PROTOCOLS {
        let service = Service::without_layer_for_scopes();
        let reader = service.client(protocol, &["stock:read"]).await;
        let arguments = json!({ "product": "apples", "by": 5 });
        let refused = answer(reader.call("adjust_stock", arguments.clone()).await).await;
        assert_eq!(refused["error"]["code"], -32602, "{protocol:?}: {refused}");
        let clerk = service.client(protocol, &["stock:read", "stock:write"]).await;
        assert_eq!(clerk.called("adjust_stock", arguments).await, "5");
    }
}

/// Between the keys of one gateway, for example.
#[tokio::test]
async fn no_cache_may_share_the_list() {
    let client = Service::new().client(Protocol::Stateless, &["stock:read"]).await;
    let list = answer(client.request("tools/list", json!({})).await).await;
    assert_eq!(list["result"]["cacheScope"], "private", "{list}");
}

#[tokio::test]
async fn a_tool_that_there_is_not_is_an_error_of_the_protocol() {
    for protocol in PROTOCOLS {
        let client = Service::new().client(protocol, &["stock:read"]).await;
        let response = client.call("no_such_tool", json!({})).await;
        assert_eq!(response.status(), 200);
        assert_eq!(answer(response).await["error"]["code"], -32602);
    }
}

#[tokio::test]
async fn tools_do_what_they_say() {
    for protocol in PROTOCOLS {
        let client = Service::new().client(protocol, &["stock:read", "stock:write"]).await;
        let adjust =
            |by: i32| client.called("adjust_stock", json!({ "product": "pears", "by": by }));
        assert_eq!(adjust(7).await, "7");
        assert_eq!(adjust(-2).await, "5");
        assert_eq!(client.called("stock_level", json!({ "product": "pears" })).await, "5");
        let none = client.called("stock_level", json!({ "product": "plums" })).await;
        assert_eq!(none, "there is no such product");
        let watched = json!({ "product": "pears", "reports": 2 });
        assert_eq!(client.called("watch_stock", watched).await, "reported 2 times");
        for reports in [MAX_REPORTS + 1, u32::MAX] {
            let watched = json!({ "product": "pears", "reports": reports });
            assert_eq!(client.called("watch_stock", watched).await, "too many reports");
        }
    }
}
