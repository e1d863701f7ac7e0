//! The picture of the dashboard: its panels where they stand in Grafana, in one SVG.

use std::{fmt::Write, fs};

use crate::{
    dashboard::Panel,
    plot::{Frame, escaped, plot},
    prometheus::root,
};

const PICTURE: &str = "docs/grafana/dashboard.svg";

/// Of the 24 columns of Grafana, and of its rows: a plot has eight of each.
const COLUMN: f64 = 60.0;
const ROW: f64 = 29.0;

const MARGIN: f64 = 10.0;
const HEAD: f64 = 52.0;

/// Between two plots.
const GAP: f64 = 8.0;

/// Draws what each panel shows of a run that took so many seconds.
pub(crate) fn draw(panels: &[Panel], seconds: f64) {
    let bottom = panels.iter().map(|panel| panel.place[1] + panel.place[3]).fold(0.0, f64::max);
    let (width, height) = (24.0 * COLUMN + 2.0 * MARGIN, bottom * ROW + HEAD + MARGIN);
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11" fill="#444444">
<rect width="{width}" height="{height}" fill="#f4f5f7"/>
<text x="{MARGIN}" y="24" font-size="18" font-weight="bold" fill="#222222">API keys</text>
<text x="{MARGIN}" y="42" font-size="12">Twelve services in a run of scripts/alerts. Eleven have a trouble of their own, which begins after some 15 seconds. Below each plot: seconds since the start.</text>
"##
    );
    for panel in panels {
        let [x, y, w, h] = panel.place;
        let (left, top) = (x * COLUMN + MARGIN, y * ROW + HEAD);
        if panel.is_row {
            let (baseline, title) = (top + 20.0, escaped(&panel.title));
            let _ = writeln!(
                svg,
                r##"<text x="{left}" y="{baseline}" font-size="14" font-weight="bold" fill="#222222">{title}</text>"##
            );
            continue;
        }
        let (width, height) = (w * COLUMN - GAP, h * ROW - GAP);
        svg.push_str(&plot(panel, &Frame { left, top, width, height, seconds }));
    }
    svg.push_str("</svg>\n");
    fs::write(root().join(PICTURE), svg).unwrap();
}
