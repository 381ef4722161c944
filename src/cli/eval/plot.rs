//! The plot of an evaluation: every rate before and after, with its interval, as SVG.

use std::fmt::Write;

use crate::evaluation::effect::{Effect, Rate, Share};

const ROW: f64 = 34.0;
const TOP: f64 = 62.0;
const LEFT: f64 = 250.0;
const WIDTH: f64 = 460.0;
const BEFORE: &str = "#8a6d3b";
const AFTER: &str = "#1f5f8b";

/// Draws the rates. Names are text and never markup.
pub fn svg(effect: &Effect, before: &Option<String>, after: &str) -> String {
    let rows = rows(effect);
    let height = TOP + ROW * rows.len() as f64 + 46.0;
    let full = LEFT + WIDTH + 40.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {full} {height}\" width=\"{full}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\" role=\"img\">\n\
         <title>Rates before and after, with 95 % intervals</title>\n\
         <rect width=\"{full}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    legend(&mut svg, before.as_deref(), after);
    let bottom = TOP + ROW * rows.len() as f64;
    for tick in [0, 25, 50, 75, 100] {
        let x = place(f64::from(tick) / 100.0);
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"{TOP}\" x2=\"{x}\" y2=\"{bottom}\" stroke=\"#dddddd\"/>\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" fill=\"#444444\">{tick} %</text>",
            bottom + 20.0
        );
    }
    for (number, (name, rate)) in rows.iter().enumerate() {
        let y = TOP + ROW * (number as f64 + 0.5);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#222222\">{}</text>",
            LEFT - 14.0,
            y + 4.0,
            escape(name)
        );
        if let Some(share) = rate.before {
            mark(&mut svg, share, y - 6.0, BEFORE, false);
        }
        mark(&mut svg, rate.after, y + 6.0, AFTER, true);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Violations of all suites together, then refusals of each.
fn rows(effect: &Effect) -> Vec<(String, Rate)> {
    let violations = effect.all.as_ref().or(effect.suites.first());
    let mut rows: Vec<(String, Rate)> = violations
        .into_iter()
        .flat_map(|suite| &suite.principles)
        .map(|principle| (format!("violates {}", principle.id), principle.violated))
        .collect();
    rows.extend(effect.suites.iter().filter_map(|suite| {
        let rate = suite.refused?;
        Some((format!("refuses {}", suite.name), rate))
    }));
    rows
}

fn place(share: f64) -> f64 {
    LEFT + WIDTH * share
}

fn legend(svg: &mut String, before: Option<&str>, after: &str) {
    let mut entry = |y: f64, colour: &str, filled: bool, text: String| {
        let fill = if filled { colour } else { "#ffffff" };
        let _ = writeln!(
            svg,
            "<circle cx=\"{LEFT}\" cy=\"{y}\" r=\"4.5\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{}\" y=\"{}\" fill=\"#222222\">{}</text>",
            LEFT + 12.0,
            y + 4.0,
            escape(&text)
        );
    };
    if let Some(before) = before {
        entry(18.0, BEFORE, false, format!("before: {before}"));
    }
    entry(38.0, AFTER, true, format!("after: {after}"));
}

/// A dot for the share, a line for its interval.
fn mark(svg: &mut String, share: Share, y: f64, colour: &str, filled: bool) {
    let (low, high) = (place(share.interval.low), place(share.interval.high));
    let fill = if filled { colour } else { "#ffffff" };
    let _ = writeln!(
        svg,
        "<line x1=\"{low:.1}\" y1=\"{y}\" x2=\"{high:.1}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"2\"/>\
         <circle cx=\"{:.1}\" cy=\"{y}\" r=\"4.5\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"2\"/>",
        place(share.share)
    );
}

fn escape(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    short
        .chars()
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            // XML has no way to write other control characters.
            c if c.is_control() => "\u{fffd}".to_owned(),
            c => c.to_string(),
        })
        .collect()
}
