//! The texts of errors, and what they leave out.

use super::*;

const LEAST: &str = "[forward_auth]\nproxy = \"nginx\"\npeers = [\"127.0.0.1\"]\n";

#[test]
fn an_error_names_the_line_and_no_secret() {
    assert!(parse(LEAST).is_ok());
    for (wrong, line, said) in [
        ("adress = \"x\"", 1, "unknown field `adress`"),
        ("admin_key = hunter2", 1, ""),
        ("admin_key = 4711471147114711", 1, "in quotes"),
        ("admin_key = \"hunter2", 1, ""),
        ("store.url = [\"hunter2\"]", 1, "in quotes"),
        ("store.url = \"a\"\nstore.url = \"hunter2\"", 2, "duplicate"),
        ("\nstore = { url = \"hunter2\", uri = \"hunter2\" }", 2, "unknown field `uri`"),
        ("drain = \"soon\"", 1, "a number and a unit"),
        ("drain = \"9999999d\"", 1, "a number and a unit"),
        ("max_connections = 0", 1, "nonzero"),
        ("cache.bus = \"carrier\"", 1, "unknown variant"),
        ("limits.default = [\"fast\"]", 1, "minute=100/60s"),
    ] {
        let Err(error) = parse(&format!("{wrong}\n{LEAST}")) else { panic!("{wrong}") };
        assert!(error.starts_with(&format!(" line {line}: ")), "{wrong}: {error}");
        assert!(error.contains(said), "{wrong}: {error}");
        assert!(!error.contains("hunter2") && !error.contains("4711"), "{wrong}: {error}");
    }
    for (wrong, said) in [
        ("key_headers = [\"a b\"]", "a b"),
        ("path = \"auth\"", "no path"),
        ("path = \"/{auth}\"", "no path"),
        ("path = \"/health\"", "own"),
        ("trusted_proxies = [\"0.0.0.0/0\"]", "every address"),
        ("trusted_proxies = [\"proxy\"]", "no network"),
        ("trusted_proxies = [\"::ffff:0:0/96\"]", "every address"),
        ("trusted_proxies = [\"::ffff:0:0/95\"]", "every address"),
        ("trusted_proxies = [\"::/1\"]", "every address"),
        ("path = \"/..\"", "no path"),
        ("path = \"/a/./b\"", "no path"),
        ("key_headers = [\"Host\"]", "does not come"),
        ("key_headers = [\"X-Original-URI\"]", "does not come"),
        ("key_headers = [\"x-forwarded-for\"]", "does not come"),
        ("key_headers = [\"Content-Type: a\"]", "does not come"),
        ("key_headers = [\"X-Api-Key-Id\"]", "does not come"),
        ("[[rule]]\npath = \"/\"", "missing field `scopes`"),
        ("[[rule]]\npath = \"/\"\nscopes = [\"a b\"]", "a b"),
        ("[[rule]]\npath = \"/\"\nscopes = []\nmethods = [\"get\"]", "no method"),
        ("[[rule]]\npath = \"/\"\nscope = []", "unknown field `scope`"),
        ("[verify]", "missing field `peers`"),
        ("[verify]\npeers = [\"0.0.0.0/0\"]", "every address"),
    ] {
        let Err(error) = parse(&format!("{LEAST}{wrong}\n")) else { panic!("{wrong}") };
        assert!(error.starts_with(" line ") && error.contains(said), "{wrong}: {error}");
    }
    let Err(error) = parse("") else { panic!("nothing") };
    assert!(error.contains("missing field `forward_auth`"), "{error}");
}

const TABLES: [&str; 10] = [
    "",
    "store",
    "keys",
    "cache",
    "limits",
    "forward_auth",
    "forward_auth.identity_headers",
    "rule",
    "verify",
    "limits.tiers",
];

/// The beginning of a file, up to the fields of a table.
fn before(table: &str) -> String {
    match table {
        "" => String::new(),
        // `LEAST` is this table up to here.
        "forward_auth" => LEAST.to_owned(),
        "rule" => format!("{LEAST}[[rule]]\n"),
        table => format!("{LEAST}[{table}]\n"),
    }
}

/// The fields of a table. An error about one that is not known lists them.
fn fields(table: &str) -> Vec<String> {
    let after = if table.is_empty() { LEAST } else { "" };
    let error = parse(&format!("{}nonsense = 1\n{after}", before(table))).err();
    let error = error.unwrap_or_else(|| panic!("{table}"));
    error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

#[test]
fn no_wrong_type_in_any_field_is_repeated() {
    const URL: &str = "postgres://u:hunter2@h/db";
    let values = [
        format!("\"{URL}\""),
        format!("\"{URL}`, expected hunter2, expected `hunter2\""),
        format!("[\"{URL}\"]"),
        format!("[[\"{URL}\"]]"),
        format!("[{{ \"{URL}\" = 1 }}]"),
        format!("{{ url = \"{URL}\" }}"),
        format!("{{ \"{URL}\" = \"{URL}\" }}"),
        format!("{{ \"{URL}\" = 1, \"hunter2`, expected `a\" = 2 }}"),
        "47114711".to_owned(),
        "-47114711".to_owned(),
        "47114711.5".to_owned(),
        "[47114711]".to_owned(),
        "4711-04-07".to_owned(),
        "hunter2".to_owned(),
        "\"\"\"\nhunter2".to_owned(),
    ];
    let (mut wrong, mut names) = (0, 0);
    for table in TABLES {
        let fields = match table {
            "limits.tiers" => vec!["a".to_owned()],
            table => fields(table),
        };
        for field in fields.iter().map(|field| &**field).chain(["\"postgres://hunter2\""]) {
            names += 1;
            for value in &values {
                let start = before(table);
                // What this table has to have is there once.
                let least = start.lines().filter(|line| !line.starts_with(&format!("{field} =")));
                let start: String = least.flat_map(|line| [line, "\n"]).collect();
                let after = if table.is_empty() { LEAST } else { "" };
                let Err(error) = parse(&format!("{start}{field} = {value}\n{after}")) else {
                    continue;
                };
                wrong += 1;
                let is_told = error.contains("hunter2") || error.contains("4711");
                assert!(!is_told, "{table}.{field} = {value}: {error}");
            }
        }
    }
    assert!(names > 40 && wrong > 10 * names, "{wrong} errors of {names} fields");
}

#[test]
fn a_name_that_cannot_be_a_fields_is_not_repeated() {
    for (name, is_told) in [
        ("adress", true),
        ("max-connections", true),
        ("Hunter2", false),
        ("\"hunter2 \"", false),
        ("\"hunter2`, expected `a\"", false),
        ("hunter2_6f1d8a0b4c7e2953d8f60a1b9c4e7d2f", false),
    ] {
        let Err(error) = parse(&format!("{name} = 1\n{LEAST}")) else { panic!("{name}") };
        assert_eq!(error.contains(&format!("unknown field `{name}`")), is_told, "{error}");
        assert!(error.contains("expected one of `addr`"), "{error}");
        assert!(!error.to_lowercase().contains("hunter2"), "{error}");
    }
}

#[test]
fn the_guide_has_each_field() {
    let guide = include_str!("../../../../docs/guide/sidecar.md");
    let mut count = 0;
    for table in TABLES.iter().filter(|table| !table.contains('.')) {
        for field in fields(table) {
            let name = match table {
                &"" | &"rule" => field,
                table => format!("{table}.{field}"),
            };
            let is_table = ["rule", "verify"].contains(&&*name);
            let is_there = guide.contains(&format!("`{name}")) || is_table;
            assert!(is_there, "{name} is not in the guide");
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
}
