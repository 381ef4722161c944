//! A reliability plot: how often a judge is right against how sure it is.

use std::fmt::Write;

use super::accuracy::{Accuracy, Bin};

/// Width and height of the field, and what is left around it, in pixels.
const FIELD: f64 = 320.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 44.0;
/// Height of the counts below the field.
const COUNTS: f64 = 60.0;
/// Characters of the model's name that the image is wide enough for.
const HEADING: usize = 42;

/// An SVG image. `model` may hold any text.
pub fn reliability_svg(accuracy: &Accuracy, model: &str) -> String {
    let (width, height) = (LEFT + FIELD + 24.0, TOP + FIELD + COUNTS + 64.0);
    let bottom = TOP + FIELD;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n\
         <title>{name}, comparisons: {comparisons}</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"18\" font-size=\"14\">{heading}</text>\n\
         <text x=\"{LEFT}\" y=\"35\">comparisons: {comparisons}</text>\n\
         <rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{FIELD}\" height=\"{FIELD}\" fill=\"none\" stroke=\"#888\"/>\n",
        name = escaped(model),
        heading = escaped(&shortened(model)),
        comparisons = accuracy.comparisons,
    );
    // Writing to a String cannot fail.
    let _ = write_axes(&mut svg, bottom);
    let _ = write_points(&mut svg, &accuracy.bins);
    let _ = write_counts(&mut svg, &accuracy.bins, bottom);
    svg.push_str("</svg>\n");
    svg
}

/// Confidence goes from 0.5 to 1, accuracy from 0 to 1.
fn x(confidence: f64) -> f64 {
    LEFT + (confidence - 0.5) * 2.0 * FIELD
}

fn y(accuracy: f64) -> f64 {
    TOP + (1.0 - accuracy) * FIELD
}

fn write_axes(svg: &mut String, bottom: f64) -> std::fmt::Result {
    for tenth in 5..=10 {
        let p = f64::from(tenth) / 10.0;
        let at = x(p);
        writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{p:.1}</text>",
            bottom + 16.0
        )?;
    }
    for quarter in 0..=4 {
        let p = f64::from(quarter) / 4.0;
        let at = y(p);
        writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{p:.2}</text>",
            LEFT - 6.0,
            at + 4.0
        )?;
    }
    writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#888\" stroke-dasharray=\"4 4\"/>",
        x(0.5),
        y(0.5),
        x(1.0),
        y(1.0)
    )?;
    writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">confidence</text>",
        LEFT + FIELD / 2.0,
        bottom + 32.0
    )?;
    let middle = TOP + FIELD / 2.0;
    writeln!(
        svg,
        "<text x=\"14\" y=\"{middle:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {middle:.1})\">share that is right</text>"
    )
}

fn write_points(svg: &mut String, bins: &[Bin]) -> std::fmt::Result {
    let filled = bins.iter().filter(|bin| bin.count > 0);
    let points: Vec<_> = filled
        .map(|bin| (x(bin.confidence), y(bin.accuracy), bin))
        .collect();
    let line: Vec<_> = points
        .iter()
        .map(|(x, y, _)| format!("{x:.1},{y:.1}"))
        .collect();
    writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#2563a8\" stroke-width=\"2\"/>",
        line.join(" ")
    )?;
    for (x, y, bin) in points {
        writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"#2563a8\"><title>{} comparisons, confidence {:.3}, right {:.3}</title></circle>",
            bin.count, bin.confidence, bin.accuracy
        )?;
    }
    Ok(())
}

fn write_counts(svg: &mut String, bins: &[Bin], bottom: f64) -> std::fmt::Result {
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(0).max(1);
    let base = bottom + 44.0 + COUNTS;
    let width = FIELD / bins.len().max(1) as f64;
    for bin in bins {
        let height = COUNTS * bin.count as f64 / most as f64;
        writeln!(
            svg,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"#bcd\"/>",
            x(bin.from) + 1.0,
            base - height,
            width - 2.0,
        )?;
    }
    writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">comparisons, {most} at most</text>",
        LEFT + FIELD / 2.0,
        base + 14.0
    )
}

/// As much of a name as there is room for.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(HEADING) {
        Some(_) => name.chars().take(HEADING - 1).chain(['…']).collect(),
        None => name.to_owned(),
    }
}

/// Text as XML, without characters that XML does not have.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
