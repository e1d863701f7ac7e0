//! One panel as a plot in SVG.

use std::fmt::Write;

use crate::dashboard::{Line, Panel};

/// Where a plot stands, and how long the run was.
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) seconds: f64,
}

impl Frame {
    fn whole_seconds(&self) -> impl Iterator<Item = u16> {
        let seconds = self.seconds;
        (0..=u16::MAX).take_while(move |second| f64::from(*second) <= seconds)
    }
}

/// Distinct on white, also for most who are colour-blind.
const COLOURS: [&str; 10] = [
    "#4477aa", "#d9661f", "#2e8b57", "#8e6bb0", "#b5333a", "#8a8f98", "#11a0b5", "#b8860b",
    "#d065a5", "#5b5b2e",
];

/// Of letters at the size of legends, on average and rounded up.
const LETTER: f64 = 6.1;
const LEGEND_LINE: f64 = 15.0;

/// A frame with the title, axes, lines and a legend below.
pub(crate) fn plot(panel: &Panel, frame: &Frame) -> String {
    let Frame { left, top, width, height, .. } = *frame;
    let (legend, legend_lines) = legend(panel, frame);
    let plane = Plane::new(panel, frame, legend_lines);
    let title = escaped(&panel.title);
    let mut svg = format!(
        r##"<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="3" fill="#ffffff" stroke="#d8dbe0"/>
<text x="{:.1}" y="{:.1}" font-size="13" font-weight="bold" fill="#222222">{title}</text>
"##,
        left + 10.0,
        top + 19.0,
    );
    plane.axes(&mut svg, &panel.unit);
    let colours = COLOURS.iter().cycle();
    if panel.is_stacked {
        let mut below = vec![0.0; frame.whole_seconds().count()];
        let has_begun = |second: &u16| {
            let second = f64::from(*second) + 0.5;
            panel.lines.iter().any(|line| line.points.iter().any(|(at, _)| *at < second))
        };
        let first = frame.whole_seconds().take_while(|second| !has_begun(second)).count();
        for (line, colour) in panel.lines.iter().zip(colours) {
            // One of nothing would only hide the edge of that below.
            if line.points.iter().any(|(_, value)| *value > 0.0) {
                plane.area(&mut svg, (line, colour), &mut below, first);
            }
        }
    } else {
        panel.lines.iter().zip(colours).for_each(|(line, colour)| {
            plane.line(&mut svg, line, colour);
        });
    }
    svg + &legend
}

/// The names of the lines with their colours, in as few rows as they fit in, and how many those are.
fn legend(panel: &Panel, frame: &Frame) -> (String, u8) {
    let (mut svg, mut rows) = (String::new(), vec![Vec::new()]);
    let mut used = 0.0;
    for (line, colour) in panel.lines.iter().zip(COLOURS.iter().cycle()) {
        let letters = u16::try_from(line.legend.chars().count()).unwrap();
        let width = f64::from(letters) * LETTER + 28.0;
        if used + width > frame.width - 20.0 && used > 0.0 {
            rows.push(Vec::new());
            used = 0.0;
        }
        rows.last_mut().unwrap().push((used, line, colour));
        used += width;
    }
    let lines = u8::try_from(rows.len()).unwrap();
    let first = frame.top + frame.height - f64::from(lines) * LEGEND_LINE;
    for (number, row) in (0_u8..).zip(rows) {
        let y = first + f64::from(number) * LEGEND_LINE + 6.0;
        for (x, line, colour) in row {
            let x = frame.left + 10.0 + x;
            let _ = writeln!(
                svg,
                r#"<rect x="{x:.0}" y="{:.1}" width="12" height="3" fill="{colour}"/><text x="{:.0}" y="{y:.1}">{}</text>"#,
                y - 5.0,
                x + 16.0,
                escaped(&line.legend),
            );
        }
    }
    (svg, lines)
}

/// The inner part of a plot, and the value at its top.
struct Plane {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    seconds: f64,
    step: f64,
    steps: u8,
}

impl Plane {
    fn new(panel: &Panel, frame: &Frame, legend_lines: u8) -> Self {
        let highest = if panel.is_stacked { highest_sum(panel) } else { highest(panel) };
        let step = step(highest / 4.0, &panel.unit);
        let fitting = (1..10).find(|steps| f64::from(*steps) * step >= highest);
        Self {
            left: frame.left + 62.0,
            right: frame.left + frame.width - 14.0,
            top: frame.top + 32.0,
            bottom: frame.top + frame.height - f64::from(legend_lines) * LEGEND_LINE - 22.0,
            seconds: frame.seconds,
            step,
            steps: fitting.unwrap_or(10),
        }
    }

    fn x(&self, second: f64) -> f64 {
        self.left + second / self.seconds * (self.right - self.left)
    }

    fn y(&self, value: f64) -> f64 {
        let most = f64::from(self.steps) * self.step;
        self.bottom - value / most * (self.bottom - self.top)
    }

    fn axes(&self, svg: &mut String, unit: &str) {
        for mark in 0..=self.steps {
            let value = f64::from(mark) * self.step;
            let y = self.y(value);
            let _ = writeln!(
                svg,
                r##"<path d="M{:.0} {y:.1}H{:.0}" stroke="#e6e8eb"/><text x="{:.0}" y="{:.1}" text-anchor="end">{}</text>"##,
                self.left,
                self.right,
                self.left - 6.0,
                y + 4.0,
                labelled(value, self.step, unit),
            );
        }
        for second in
            (0..=u16::MAX).step_by(15).take_while(|second| f64::from(*second) < self.seconds)
        {
            let (x, y) = (self.x(f64::from(second)), self.bottom + 14.0);
            let _ = writeln!(
                svg,
                r#"<text x="{x:.0}" y="{y:.1}" text-anchor="middle" font-size="10">{second}</text>"#
            );
        }
    }

    /// Interrupted where there is no number.
    fn line(&self, svg: &mut String, line: &Line, colour: &str) {
        let (mut path, mut is_drawing) = (String::new(), false);
        for (second, value) in &line.points {
            if value.is_nan() {
                is_drawing = false;
                continue;
            }
            let letter = if is_drawing { 'L' } else { 'M' };
            let _ = write!(path, "{letter}{:.0} {:.1}", self.x(*second), self.y(*value));
            is_drawing = true;
        }
        let _ = writeln!(
            svg,
            r#"<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-linejoin="round"/>"#
        );
    }

    /// On top of what is drawn already, from this second on. No number counts as none.
    fn area(
        &self,
        svg: &mut String,
        (line, colour): (&Line, &str),
        below: &mut [f64],
        first: usize,
    ) {
        let lower = below.to_owned();
        for (slot, sum) in (0_u32..).zip(below.iter_mut()) {
            *sum += at(line, f64::from(slot));
        }
        let corner = |(slot, value): (u32, &f64)| {
            format!("{:.0} {:.1}", self.x(f64::from(slot)), self.y(*value))
        };
        let edge: Vec<_> = (0..).zip(below.iter()).skip(first).map(corner).collect();
        let mut back: Vec<_> = (0..).zip(lower.iter()).skip(first).map(corner).collect();
        back.reverse();
        let (edge, back) = (edge.join("L"), back.join("L"));
        let _ = writeln!(
            svg,
            r#"<path d="M{edge}L{back}Z" fill="{colour}" fill-opacity="0.25"/><path d="M{edge}" fill="none" stroke="{colour}" stroke-width="1.4"/>"#
        );
    }
}

/// The value of a line in a second, which begins some fraction before.
fn at(line: &Line, second: f64) -> f64 {
    let near = line.points.iter().find(|(at, _)| (at - second).abs() < 0.5);
    near.map_or(0.0, |(_, value)| if value.is_nan() { 0.0 } else { *value })
}

fn highest(panel: &Panel) -> f64 {
    let points = panel.lines.iter().flat_map(|line| &line.points);
    points.map(|(_, value)| *value).fold(0.0, f64::max)
}

fn highest_sum(panel: &Panel) -> f64 {
    let of = |second: &f64| panel.lines.iter().map(|line| at(line, *second)).sum();
    let seconds = panel.lines.iter().flat_map(|line| line.points.iter().map(|(second, _)| *second));
    seconds.map(|second| of(&second)).fold(0.0, f64::max)
}

/// A round step that is no smaller. Things that are counted come in whole numbers.
fn step(at_least: f64, unit: &str) -> f64 {
    let at_least = if unit == "short" { at_least.max(1.0) } else { at_least };
    let magnitude = 10_f64.powf(at_least.max(1e-4).log10().floor());
    let round = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|factor| factor * magnitude);
    let mut fitting = round.filter(|step| *step >= at_least * 0.999);
    fitting.next().unwrap_or(10.0 * magnitude)
}

/// A value with the unit that Grafana would give it. All of an axis have the same.
fn labelled(value: f64, step: f64, unit: &str) -> String {
    match unit {
        "reqps" => format!("{}/s", rounded(value)),
        "percentunit" => format!("{} %", rounded(value * 100.0)),
        "s" if step < 1.0 => format!("{} ms", rounded(value * 1_000.0)),
        "s" => format!("{} s", rounded(value)),
        _ if step >= 1_000.0 => format!("{} K", rounded(value / 1_000.0)),
        _ => rounded(value),
    }
}

/// Without the noise of the last bits.
fn rounded(value: f64) -> String {
    ((value * 1_000.0).round() / 1_000.0).to_string()
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
