//! Configurations of nginx, which runs in a folder of a test.
#![allow(dead_code, reason = "every test binary uses its own part of this")]

use std::{fs, net::SocketAddr, path::Path};

use crate::web_server::{self, WebServer};

/// Writes a configuration with these directives of `http`, and returns the arguments that name it.
pub(crate) fn configure(folder: &Path, http: &str) -> Vec<String> {
    let root = folder.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {root}/{name};"))
        .join("\n");
    let text = format!(
        "daemon off;\nmaster_process off;\npid {root}/pid;\nerror_log {root}/log;\n\
         events {{}}\nhttp {{\naccess_log off;\n{temporary}{http}\n}}\n"
    );
    let path = |name: &str| folder.join(name).display().to_string();
    fs::write(path("configuration"), text).unwrap();
    ["-e", &path("log"), "-c", &path("configuration")].map(str::to_owned).into()
}

/// One with a cache in front of this service, which says in `X-Cache-Status` whether an answer is from there.
/// It keeps answers as nginx does by itself: for all clients, by method, host and target, and as the headers
/// of the answer say. What says nothing is kept for a minute, denials as well.
pub(crate) fn start_cache(service: SocketAddr, folder: &Path) -> WebServer {
    web_server::start("nginx", folder, |address| {
        let http = format!(
            "
            proxy_cache_path {root}/cache keys_zone=answers:1m;
            server {{
                listen {address};
                location / {{
                    proxy_pass http://{service};
                    proxy_cache answers;
                    proxy_cache_valid any 1m;
                    add_header X-Cache-Status $upstream_cache_status always;
                }}
            }}",
            root = folder.display(),
        );
        configure(folder, &http)
    })
}
