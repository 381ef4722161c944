//! Coverage as one HTML file: no script, nothing fetched, every text escaped.

use std::fmt::Write;

use super::About;
use crate::evaluation::{Coverage, Findings};

const STYLE: &str = "\
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border: 1px solid var(--line); padding: .25rem .5rem; text-align: right; white-space: nowrap; }
th:first-child { text-align: left; }
thead th { vertical-align: bottom; }
thead th.turned { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; }
td.heat { background: color-mix(in srgb, #d33 calc(var(--share) * 70%), transparent); }
td.none { color: #8888; }
p.note { max-width: 45rem; }
";

/// The whole document.
pub fn render(coverage: &Coverage, about: &About) -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Coverage of principles</title>\n<style>\n",
    );
    page.push_str(STYLE);
    page.push_str("</style>\n</head>\n<body>\n<h1>Coverage of principles</h1>\n");
    // Writing to a string cannot fail.
    let _ = writeln!(page, "<p>{} chains.</p>", coverage.chains);
    runs(&mut page, about);
    principles(&mut page, coverage, about);
    matrix(&mut page, coverage, about);
    findings(&mut page, about);
    page.push_str("</body>\n</html>\n");
    page
}

fn runs(page: &mut String, about: &About) {
    page.push_str("<ul>\n");
    for run in &about.runs {
        let _ = writeln!(
            page,
            "<li>run {}: {} {}, {}</li>",
            escape(&run.run_id),
            escape(&run.constitution),
            escape(&run.constitution_version),
            escape(&run.model)
        );
    }
    page.push_str("</ul>\n");
}

fn principles(page: &mut String, coverage: &Coverage, about: &About) {
    page.push_str(
        "<h2>Principles</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>principle</th><th>asked</th>\
         <th>fired</th><th>revised</th><th>rechecked</th><th>still fired</th><th>retriggered</th>\
         <th>mean P</th><th>quotes verified</th></tr></thead>\n<tbody>\n",
    );
    for (id, p) in about
        .order
        .iter()
        .filter_map(|id| Some((id, coverage.principles.get(id)?)))
    {
        let _ = write!(
            page,
            "<tr><th scope=\"row\">{}</th><td>{}</td>",
            escape(id),
            p.asked
        );
        heat(page, p.fired, p.asked);
        let _ = write!(page, "<td>{}</td><td>{}</td>", p.revised, p.rechecked);
        heat(page, p.still_fired, p.rechecked);
        let mean = p
            .mean_probability
            .map_or_else(|| "–".to_owned(), |mean| format!("{mean:.2}"));
        let _ = writeln!(
            page,
            "<td>{}</td><td>{mean}</td><td>{} of {}</td></tr>",
            p.retriggered, p.quotes_verified, p.quotes
        );
    }
    page.push_str("</tbody>\n</table></div>\n");
}

fn matrix(page: &mut String, coverage: &Coverage, about: &About) {
    let ids = about.in_matrix(coverage);
    page.push_str("<h2>Which revision makes which principle fire</h2>\n");
    if ids.is_empty() {
        page.push_str(
            "<p class=\"note\">No chain asked about a settled principle after a revision for another one.</p>\n",
        );
        return;
    }
    page.push_str(
        "<p class=\"note\">A row is the principle that was mended, a column the one that was asked about after \
         it, having been clean or mended before: how often it fired, of how many times.</p>\n\
         <div class=\"scroll\"><table>\n<thead><tr><th></th>",
    );
    for id in &ids {
        let _ = write!(
            page,
            "<th scope=\"col\" class=\"turned\">{}</th>",
            escape(id)
        );
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for mended in &ids {
        let _ = write!(page, "<tr><th scope=\"row\">{}</th>", escape(mended));
        for asked in &ids {
            let cell = coverage.retrigger(mended, asked);
            heat(page, cell.fired, cell.asked);
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table></div>\n");
}

/// A cell that is the redder, the larger the share.
fn heat(page: &mut String, part: u64, whole: u64) {
    let _ = match whole {
        0 => write!(page, "<td class=\"none\">·</td>"),
        _ => write!(
            page,
            "<td class=\"heat\" style=\"--share: {:.3}\">{part} of {whole}</td>",
            part as f64 / whole as f64
        ),
    };
}

fn findings(page: &mut String, about: &About) {
    let found = &about.findings;
    page.push_str("<h2>What stands out</h2>\n<ul>\n");
    let mut item = |name: &str, ids: &[String]| {
        if !ids.is_empty() {
            let _ = writeln!(page, "<li>{name}: {}</li>", escape(&ids.join(", ")));
        }
    };
    item("never asked about", &found.never_asked);
    item("never fired", &found.never_fired);
    item("fired whenever asked about", &found.always_fired);
    let pairs = found.always_together.iter();
    let pairs: Vec<_> = pairs.map(|(a, b)| format!("{a} with {b}")).collect();
    item("fired in the same chains", &pairs);
    if *found == Findings::default() {
        let _ = writeln!(page, "<li>{}</li>", about.nothing_stands_out());
    }
    page.push_str("</ul>\n");
}

/// Text as HTML takes it, in attributes too.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn no_text_becomes_markup() {
        assert_eq!(
            escape("</style><img src=x onerror='a()'>&\""),
            "&lt;/style&gt;&lt;img src=x onerror=&#39;a()&#39;&gt;&amp;&quot;"
        );
    }
}
