//! Plots with a bar for each server.

use std::fmt::Write;

use serde_json::Value;

const LEFT: f64 = 300.0;
const WIDTH: f64 = 460.0;
const ROW: f64 = 34.0;
const TOP: f64 = 64.0;

/// The colours of the kinds of servers: bare, peers in Rust, ours, services in other languages.
const COLOURS: [&str; 4] = ["#8a8f98", "#4477aa", "#d9661f", "#8e6bb0"];
const PALE: [&str; 4] = ["#c9ccd1", "#a9c1da", "#f0b893", "#cbb8dc"];

/// Requests a second in percent of bare axum.
pub fn throughput(report: &Value) -> String {
    let scale = |value: f64| value / 110.0 * WIDTH;
    let marks: Vec<_> = (0..=5).map(|mark| f64::from(mark * 20)).collect();
    let label = |value: f64| {
        if value < 9.95 { format!("{value:.1} %") } else { format!("{value:.0} %") }
    };
    plot(
        "Requests a second, in percent of bare axum in the same run",
        report,
        |server| server["ratio"].as_f64().unwrap_or(0.0) * 100.0,
        scale,
        &marks,
        label,
    )
}

/// The processor time of a request.
pub fn cpu(report: &Value) -> String {
    let scale = |value: f64| ((value / 2.0).log10() / 5.3 * WIDTH).clamp(1.0, WIDTH);
    plot(
        "Processor time of the server for a request, in µs (logarithmic)",
        report,
        |server| server["cpu"].as_f64().unwrap_or(0.0),
        scale,
        &[10.0, 100.0, 1_000.0, 10_000.0, 100_000.0],
        |value| if value < 99.5 { format!("{value:.1}") } else { format!("{value:.0}") },
    )
}

fn plot(
    title: &str,
    report: &Value,
    value: impl Fn(&Value) -> f64,
    scale: impl Fn(f64) -> f64,
    marks: &[f64],
    label: impl Fn(f64) -> String,
) -> String {
    let servers: Vec<_> = report["servers"].as_array().into_iter().flatten().collect();
    let names = super::page::names(report);
    let height = TOP + names.len() as f64 * ROW + 30.0;
    let width = LEFT + WIDTH + 70.0;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">
<rect width="{width}" height="{height}" fill="#ffffff"/>
<text x="16" y="26" font-size="16" font-weight="bold" fill="#222222">{title}</text>
<text x="16" y="46" fill="#555555">dark: a valid key · pale: an unknown key</text>
"##
    );
    let bottom = height - 26.0;
    for mark in marks {
        let x = LEFT + scale(*mark);
        let _ = writeln!(
            svg,
            r##"<line x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}" stroke="#dddddd"/><text x="{x:.1}" y="{:.1}" text-anchor="middle" fill="#777777">{mark}</text>"##,
            bottom + 16.0,
        );
    }
    for (row, name) in names.iter().enumerate() {
        let y = TOP + row as f64 * ROW + 4.0;
        let kind = super::page::kind(name);
        let of = |outcome: &str| {
            servers.iter().find(|server| server["name"] == **name && server["outcome"] == outcome)
        };
        let title = of("valid").and_then(|server| server["title"].as_str()).unwrap_or(name);
        let title = title.replace('`', "").replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            svg,
            r##"<text x="{:.1}" y="{:.1}" text-anchor="end" fill="#222222">{title}</text>"##,
            LEFT - 8.0,
            y + 16.0,
        );
        for (outcome, colour, offset) in
            [("valid", COLOURS[kind], 0.0), ("unknown", PALE[kind], 13.0)]
        {
            let Some(server) = of(outcome) else { continue };
            let value = value(server);
            let length = scale(value).max(1.0);
            let _ = writeln!(
                svg,
                r##"<rect x="{LEFT}" y="{:.1}" width="{length:.1}" height="12" fill="{colour}"/><text x="{:.1}" y="{:.1}" font-size="11" fill="#444444">{}</text>"##,
                y + offset,
                LEFT + length + 5.0,
                y + offset + 10.0,
                label(value),
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}
