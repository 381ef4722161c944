//! A report as JUnit XML: a suite for each principle, a case for each test.

use std::fmt::Write;

use super::Shown;
use crate::constitution::Expect;
use crate::evaluation::{Figures, PrincipleReport, TestResult};
use crate::verdict::Verdict;

/// The whole document.
pub fn render(shown: &Shown<'_>) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let name = &shown.plan.constitution.name;
    // Writing to a string cannot fail.
    let _ = writeln!(
        xml,
        "<testsuites name=\"{}\" {}>",
        escape(name),
        counts(&shown.report.overall.figures)
    );
    for principle in &shown.report.principles {
        suite(&mut xml, name, principle);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn suite(xml: &mut String, constitution: &str, principle: &PrincipleReport) {
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{}\" {}>",
        escape(&principle.id),
        counts(&principle.figures)
    );
    let class = escape(&format!("{constitution}.{}", principle.id));
    for result in &principle.results {
        case(xml, &class, result);
    }
    xml.push_str("  </testsuite>\n");
}

fn case(xml: &mut String, class: &str, result: &TestResult) {
    let case = &result.case;
    let expected = match case.expect {
        Expect::Violation => "violation",
        Expect::Ok => "ok",
    };
    let repeat = match case.repeat {
        0 => String::new(),
        n => format!(", repetition {}", n + 1),
    };
    let name = format!(
        "test {} expects {expected}{repeat}: {}",
        case.test + 1,
        case.prompt
    );
    let _ = write!(
        xml,
        "    <testcase classname=\"{class}\" name=\"{}\"",
        escape(&name)
    );
    let verdict = result.verdict.as_ref();
    if let Some(verdict) = verdict.filter(|_| result.correct()) {
        let found = [Some(decided(verdict)), quote(verdict)];
        let found: Vec<_> = found.into_iter().flatten().collect();
        let _ = writeln!(
            xml,
            ">\n      <system-out>{}</system-out>\n    </testcase>",
            escape(&found.join("\n"))
        );
        return;
    }
    let (tag, message) = match (&result.error, verdict) {
        (Some(error), _) => ("error", error.clone()),
        (None, None) => ("failure", "the reply holds no verdict".to_owned()),
        (None, Some(verdict)) => (
            "failure",
            format!("expected {expected}, {}", decided(verdict)),
        ),
    };
    let critique = verdict.map_or("", |v| v.critique.as_str());
    let lines = [
        Some(format!("prompt: {}", case.prompt)),
        Some(format!("response: {}", case.response)),
        verdict.and_then(quote),
        Some(format!("critique: {critique}")),
    ];
    let lines: Vec<_> = lines.into_iter().flatten().collect();
    let _ = writeln!(
        xml,
        ">\n      <{tag} message=\"{}\">{}</{tag}>\n    </testcase>",
        escape(&message),
        escape(lines.join("\n").trim_end())
    );
}

/// The verdict, with P(violated) where it is known.
fn decided(verdict: &Verdict) -> String {
    let word = if verdict.violated { "violated" } else { "ok" };
    let p = verdict
        .probability
        .map_or_else(String::new, |p| format!(", P {p:.3}"));
    format!("the verdict is {word}{p}")
}

/// The words that a violation quotes, and whether they are the response's.
fn quote(verdict: &Verdict) -> Option<String> {
    let found = match verdict.quote_verified {
        true => "",
        false => " (not in the response)",
    };
    let quote = verdict.quote.as_ref().filter(|_| verdict.violated)?;
    Some(format!("quote: {quote}{found}"))
}

fn counts(figures: &Figures) -> String {
    let failures = figures.tests - figures.correct - figures.errors;
    format!(
        "tests=\"{}\" failures=\"{failures}\" errors=\"{}\"",
        figures.tests, figures.errors
    )
}

/// Text as XML takes it, in attributes too; characters that XML cannot hold are replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' | '\r' => {
                let _ = write!(escaped, "&#{};", u32::from(c));
            }
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn no_text_leaves_its_place() {
        assert_eq!(
            escape("\"><failure a='1'>]]>&\n\u{1b}[2J"),
            "&quot;&gt;&lt;failure a='1'&gt;]]&gt;&amp;&#10;\u{fffd}[2J"
        );
    }
}
