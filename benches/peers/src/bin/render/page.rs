//! The page: tables of figures, and the text around them.

use std::fmt::Write;

use peers::stack::{Outcome, Stack};
use serde_json::Value;

/// The reports of the programs.
pub struct Figures {
    pub machine: Value,
    pub in_process: Value,
    pub allocations: Value,
    pub over_http: Value,
    pub database: Value,
}

/// The servers by their names, in order.
pub fn names(report: &Value) -> Vec<&str> {
    let mut names = Vec::new();
    for server in report["servers"].as_array().into_iter().flatten() {
        let name = server["name"].as_str().unwrap_or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The kind of a server: bare, a peer in Rust, ours, a service in another language.
pub fn kind(name: &str) -> usize {
    match name {
        "bare" | "bare-hyper" => 0,
        "static-bearer" | "async-auth" | "from-fn" | "moka-sqlite" => 1,
        name if OURS.iter().any(|ours| name.starts_with(ours)) => 2,
        _ => 3,
    }
}

const OURS: [&str; 3] = ["defaults", "cached", "everything"];

/// A peer, its settings, and what it leaves to the application.
const PEERS: [(&str, &str, &str); 13] = [
    (
        "tower-http, static bearer token",
        "as documented; deprecated there as too basic",
        "one token for all callers, compared with `==`; no owner, no scopes, no expiry; to revoke is to restart",
    ),
    (
        "tower-http, `AsyncRequireAuthorization` and a map",
        "a function of the application",
        "revocation, storage, formats, limits and reasons for denials are the application's; the header is not marked as sensitive, shared caches are not told",
    ),
    ("axum, `from_fn` and a map", "a function of the application", "the same; bound to axum"),
    (
        "axum, `from_fn`, moka and SQLite",
        "100,000 keys for 30 s, one query for concurrent misses, WAL, eight connections",
        "the same; unknown keys ask the database each time, a revoked key lives for 30 s, an outage is answered as an unknown key",
    ),
    (
        "FastAPI, one key in the environment",
        "uvicorn with uvloop and httptools, two workers",
        "one key; no expiry; to revoke is to restart",
    ),
    (
        "FastAPI, a table of hashes",
        "the same; SQLAlchemy with aiosqlite, WAL",
        "no cache, no limits; a query for each request",
    ),
    ("FastAPI, the same, each use written", "the same", "no limits; a write for each request"),
    (
        "FastAPI, the same without `async`",
        "the same, in a pool of threads",
        "no limits; a write for each request",
    ),
    (
        "FastAPI, keys proved by bcrypt",
        "the same, bcrypt's default cost; eight connections",
        "keys lie in the table as they are; the event loop waits for bcrypt",
    ),
    (
        "Keyshield, cached",
        "as its guide has it: Argon2, SQLAlchemy, its cache; eight connections",
        "no rate limits, no credits; a random delay of 0.1 to 0.3 s for each answer, within which SQLite is locked; a write for each request",
    ),
    ("Keyshield, cached, without its delay", "the same, delay 0", "the same without the delay"),
    (
        "djangorestframework-api-key",
        "gunicorn, five workers of four threads, SQLite in WAL mode",
        "no scopes, no limits, no cache; a query for each request",
    ),
    (
        "better-auth, API key plugin",
        "Node's HTTP server, a process for each core, better-sqlite3; its limit of ten requests a day is off",
        "no cache here; a query and a write for each request",
    ),
];

/// The whole page.
pub fn text(figures: &Figures) -> String {
    let mut page = String::new();
    introduction(&mut page, &figures.machine);
    over_http(&mut page, &figures.over_http);
    in_process(&mut page, &figures.in_process, &figures.allocations);
    denials(&mut page, &figures.in_process, &figures.allocations);
    parsing(&mut page, &figures.in_process);
    threads(&mut page, &figures.in_process);
    sizes(&mut page, &figures.in_process);
    database(&mut page, &figures.database);
    peers(&mut page);
    page
}

macro_rules! line {
    ($page:expr) => { let _ = writeln!($page); };
    ($page:expr, $($text:tt)*) => { let _ = writeln!($page, $($text)*); };
}

fn string<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or("?")
}

fn introduction(page: &mut String, machine: &Value) {
    line!(
        page,
        "<!-- Written by scripts/bench-http. Change benches/peers/src/bin/render instead. -->"
    );
    line!(page, "# Performance\n");
    line!(
        page,
        "The layer beside the same work by hand, beside other layers, and beside services in other\n\
         languages. `scripts/bench-http` measures all of it and writes this page. Measured on {}:\n\
         {}, {} cores, {}, {}; one-minute load at the start {}.\n",
        string(machine, "date"),
        string(machine, "cpu"),
        machine["cores"],
        string(machine, "kernel"),
        string(machine, "rustc"),
        string(machine, "load"),
    );
    line!(
        page,
        "Candidates take turns within each round, and a figure is the median of all rounds. Compare\n\
         lines of one table only: ratios hold on other machines, times do not. The figures are in\n\
         [performance](performance) as JSON. `scripts/instructions` counts instructions, which vary\n\
         less than time; [figures](design/figures.md) has those and all others.\n"
    );
}

fn over_http(page: &mut String, report: &Value) {
    line!(page, "## Over HTTP\n");
    line!(
        page,
        "One route behind each stack, {} connections that are kept, {} rounds of {} s for each outcome. The\n\
         load generator runs on the same processors, so a server has what that leaves. Processor time is\n\
         the server's alone. 1,000 keys and 1,000 unknown keys take turns; unknown keys come again, so a\n\
         cache that keeps them as unknown answers from memory.\n",
        report["connections"],
        report["rounds"],
        report["seconds"],
    );
    line!(page, "![Requests a second](performance/throughput.svg)\n");
    line!(page, "![Processor time](performance/cpu.svg)\n");
    line!(
        page,
        "| | valid: requests/s | of bare | CPU, µs | unknown: requests/s | of bare | CPU, µs |"
    );
    line!(page, "|---|--:|--:|--:|--:|--:|--:|");
    let servers = report["servers"].as_array();
    for name in names(report) {
        let of = |outcome: &str| {
            let mut servers = servers.into_iter().flatten();
            servers.find(|server| server["name"] == name && server["outcome"] == outcome)
        };
        let cells = |server: Option<&Value>| {
            server.map_or_else(
                || "| | |".to_owned(),
                |server| {
                    let number = |name: &str| server[name].as_f64().unwrap_or(0.0);
                    let percent = number("ratio") * 100.0;
                    let digits = usize::from(percent < 9.95);
                    format!(
                        "{} | {percent:.digits$} % | {:.1}",
                        thousands(number("rate")),
                        number("cpu")
                    )
                },
            )
        };
        let title = of("valid").map_or(name, |server| string(server, "title"));
        line!(page, "| {title} | {} | {} |", cells(of("valid")), cells(of("unknown")));
    }
    line!(
        page,
        "\nInside `Router::layer`, axum puts each layer in a box. Around the whole router there is none:\n\
         `bare axum, served by hyper` is what the lines around the router compare with.\n"
    );
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A cell of the report of `in_process`.
fn cell<'v>(
    report: &'v Value,
    kind: &str,
    stack: Stack,
    keys: u64,
    pattern: &str,
    outcome: Option<&str>,
) -> Option<&'v Value> {
    report[kind].as_array()?.iter().find(|cell| {
        cell["stack"] == stack.name()
            && cell["keys"] == keys
            && cell["pattern"] == pattern
            && outcome.is_none_or(|outcome| cell["outcome"] == outcome)
    })
}

/// The nanoseconds of a request that are not the bare service's.
fn over(report: &Value, stack: Stack, keys: u64, pattern: &str, outcome: Outcome) -> String {
    let pattern = if pattern == "hot" && stack.hides() { "hot, set again" } else { pattern };
    let cell = cell(report, "cells", stack, keys, pattern, Some(outcome.name()));
    cell.and_then(|cell| cell["over_bare"].as_f64())
        .map_or_else(String::new, |over| format!("{over:.0}"))
}

/// Allocations that are not the bare service's.
fn allocations(counts: &Value, stack: Stack, outcome: Outcome) -> String {
    let count = |stack: Stack, outcome: Outcome| {
        counts[format!("{}/{}", stack.name(), outcome.name())].as_f64()
    };
    let bare = if outcome == Outcome::Valid { count(stack.base(), outcome) } else { Some(0.0) };
    let over = count(stack, outcome).zip(bare).map(|(count, bare)| count - bare);
    over.map_or_else(String::new, |over| format!("{over:.0}"))
}

fn is_bare(stack: Stack) -> bool {
    stack.base() == stack
}

fn in_process(page: &mut String, report: &Value, counts: &Value) {
    line!(page, "## In the process\n");
    line!(
        page,
        "A request with 13 headers and a valid key through each stack, without a server: nanoseconds and\n\
         allocations beyond those of the service behind it, whose response has a header of its own. Hot: the\n\
         same key each time, among 1,000. Many: another of 1,000, or of 100,000, each time.\n"
    );
    line!(page, "| | hot | many of 1,000 | many of 100,000 | allocations |");
    line!(page, "|---|--:|--:|--:|--:|");
    for stack in Stack::all().filter(|stack| !is_bare(*stack)) {
        let hot = over(report, stack, 1_000, "hot", Outcome::Valid);
        if hot.is_empty() {
            continue;
        }
        line!(
            page,
            "| {} | {hot} | {} | {} | {} |",
            stack.title(),
            over(report, stack, 1_000, "many", Outcome::Valid),
            over(report, stack, 100_000, "many", Outcome::Valid),
            allocations(counts, stack, Outcome::Valid),
        );
    }
    line!(
        page,
        "\nThe floor looks for one header and has no formats, no second source, no reasons and no cache\n\
         headers. \"The layer's whole work by hand\" has all of them.\n"
    );
}

fn denials(page: &mut String, report: &Value, counts: &Value) {
    line!(page, "## Denials\n");
    line!(
        page,
        "The same, where each request is a new one that is freed with its answer. Below 0 is what the bare\n\
         service spends on its own response. Allocations are those of the whole answer.\n"
    );
    line!(
        page,
        "| | valid | missing | malformed or forged | unknown, again | unknown, new | allocations of a denial |"
    );
    line!(page, "|---|--:|--:|--:|--:|--:|--:|");
    for stack in Stack::all().filter(|stack| !is_bare(*stack)) {
        let valid = over(report, stack, 1_000, "freed", Outcome::Valid);
        if valid.is_empty() {
            continue;
        }
        let cell = |outcome| over(report, stack, 1_000, "freed", outcome);
        let malformed = format!("{}{}", cell(Outcome::Malformed), cell(Outcome::Forged));
        let denial = if stack.has(Outcome::Unknown) { Outcome::Unknown } else { Outcome::Forged };
        line!(
            page,
            "| {} | {valid} | {} | {malformed} | {} | {} | {} |",
            stack.title(),
            cell(Outcome::Missing),
            cell(Outcome::Unknown),
            cell(Outcome::NewUnknown),
            allocations(counts, stack, denial),
        );
    }
    line!(page);
}

fn parsing(page: &mut String, report: &Value) {
    line!(page, "To tell the shape of a key, in nanoseconds:\n");
    line!(page, "| | |");
    line!(page, "|---|--:|");
    for case in report["parsed"].as_array().into_iter().flatten() {
        line!(page, "| {} | {:.0} |", string(case, "case"), case["ns"].as_f64().unwrap_or(0.0));
    }
    line!(page);
}

fn threads(page: &mut String, report: &Value) {
    line!(page, "## Two threads\n");
    line!(
        page,
        "The throughput of two threads that share a layer, as a server's do, over that of one, divided by the\n\
         bare service's own factor. 1 is perfect. A turn in which a thread waited for a core is taken again;\n\
         on a busy machine that may not help, and the factors come out too close to each other.\n"
    );
    line!(page, "| | hot | many of 1,000 | many of 100,000 |");
    line!(page, "|---|--:|--:|--:|");
    for stack in Stack::all() {
        let factor = |keys: u64, pattern: &str| {
            let pattern =
                if pattern == "hot" && stack.hides() { "hot, set again" } else { pattern };
            let cell = cell(report, "threads", stack, keys, pattern, None)?;
            let (factor, of_bare) = (cell["factor"].as_f64()?, cell["of_bare"].as_f64()?);
            Some(if is_bare(stack) { format!("({factor:.2})") } else { format!("{of_bare:.2}") })
        };
        let Some(hot) = factor(1_000, "hot") else { continue };
        line!(
            page,
            "| {} | {hot} | {} | {} |",
            stack.title(),
            factor(1_000, "many").unwrap_or_default(),
            factor(100_000, "many").unwrap_or_default(),
        );
    }
    line!(page, "\nIn brackets: the bare service's factor itself.");
    let bare = cell(report, "threads", Stack::Bare, 1_000, "hot", None);
    let bare = bare.and_then(|cell| cell["factor"].as_f64()).unwrap_or(0.0);
    if bare < 1.9 {
        line!(
            page,
            "**The machine was busy in this run**: two threads of the bare service should reach nearly 2. The\n\
             figures of this table say little."
        );
    }
    line!(page);
}

fn sizes(page: &mut String, report: &Value) {
    let mut sizes: Vec<u64> = report["cells"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|cell| cell["keys"].as_u64())
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    let Some(large) = sizes.iter().copied().filter(|size| *size > 100_000).max() else { return };
    line!(page, "## {} keys\n", thousands(large as f64));
    line!(page, "Another key each time; nanoseconds beyond the bare service.\n");
    line!(page, "| | many |");
    line!(page, "|---|--:|");
    for stack in Stack::all().filter(|stack| !is_bare(*stack)) {
        let many = over(report, stack, large, "many", Outcome::Valid);
        if !many.is_empty() {
            line!(page, "| {} | {many} |", stack.title());
        }
    }
    line!(page);
}

fn database(page: &mut String, report: &Value) {
    line!(page, "## Lookups in a database\n");
    line!(
        page,
        "The layer without a cache, and one query written by hand with the columns that decide, over the same\n\
         table of 10,000 keys and with the same pool of four connections; {} requests at a time, in one\n\
         process.\n",
        report["tasks"],
    );
    line!(page, "| | by hand, requests/s | the layer | ratio |");
    line!(page, "|---|--:|--:|--:|");
    let all = report["databases"].as_array().into_iter().flatten();
    for row in all.filter_map(Value::as_array).flatten() {
        let number = |name: &str| row[name].as_f64().unwrap_or(0.0);
        line!(
            page,
            "| {}, {} key | {} | {} | {:.0} % |",
            string(row, "database"),
            string(row, "outcome"),
            thousands(number("by_hand")),
            thousands(number("ours")),
            number("ratio") * 100.0,
        );
    }
    line!(page);
}

fn peers(page: &mut String) {
    line!(page, "## The peers\n");
    line!(
        page,
        "With the settings that each recommends. The layer does all that the last column says they leave\n\
         out: several keys with owners, scopes, expiry and revocation, reasons for denials, limits, credits and\n\
         uses. The FastAPI services are written anew after five documents that describe such a service; the\n\
         versions are in `benches/peers/services`.\n"
    );
    line!(page, "| | settings | left to the application |");
    line!(page, "|---|---|---|");
    for (title, settings, lacks) in PEERS {
        line!(page, "| {title} | {settings} | {lacks} |");
    }
    line!(
        page,
        "\n## Run it\n\n\
         ```sh\n\
         scripts/bench-http           # about ten minutes; installs the services into the user's cache\n\
         scripts/bench-http --large   # with ten million keys, which takes 20 GB\n\
         scripts/bench-http --short   # every stack and server answers as it should, in seconds\n\
         ```\n\n\
         One program alone, such as the stacks in the process:\n\n\
         ```sh\n\
         cargo run --release --manifest-path benches/peers/Cargo.toml --target-dir target \\\n    \
             --bin in_process -- --stacks floor,defaults,cached\n\
         ```"
    );
}
