//! Template variables in the text of a principle: checked here, rendered elsewhere.

use std::path::Path;

use minijinja::Environment;

use super::error::{Code, Problem, Span, did_you_mean, excerpt};
use super::tree::Node;

/// The variables that a principle's `critique` and `revision` may use.
pub const VARIABLES: [&str; 4] = ["prompt", "response", "draft", "round"];

/// Appends what is wrong with a text that is going to be rendered. `source` is the whole file.
pub(super) fn check(
    file: &Path,
    source: &str,
    name: &str,
    node: &Node,
    problems: &mut Vec<Problem>,
) {
    let Some(text) = node.text() else { return };
    if !text.contains('{') {
        return;
    }
    let environment = Environment::new();
    let template = match environment.template_from_str(text) {
        Ok(template) => template,
        Err(error) => {
            let detail = error.detail().unwrap_or("unexpected syntax");
            let message = format!("{name} has a broken template: {detail}");
            let remedy =
                "close every `{{` and `{%`, or write `{{ '{{' }}` for the braces themselves";
            let problem = Problem::new(Code::Template, file, Some(node.span), message, remedy);
            problems.push(problem);
            return;
        }
    };
    let mut unknown: Vec<String> = template
        .undeclared_variables(false)
        .into_iter()
        .filter(|variable| !VARIABLES.contains(&variable.as_str()))
        .collect();
    unknown.sort();
    for variable in unknown {
        let guess = did_you_mean(&variable, VARIABLES.into_iter());
        let message = format!(
            "{name} uses the unknown variable `{}`{guess}",
            excerpt(&variable)
        );
        let remedy = format!("a principle may use {}", VARIABLES.join(", "));
        let span = find(source, node.span, &variable).unwrap_or(node.span);
        problems.push(Problem::new(
            Code::UnknownVariable,
            file,
            Some(span),
            message,
            remedy,
        ));
    }
}

/// Where a variable first stands between template braces within a stretch of the file.
fn find(source: &str, within: Span, variable: &str) -> Option<Span> {
    let lines = source.lines().enumerate().skip(within.line - 1);
    let mut inside = false;
    for (index, line) in lines.take((within.end_line + 1).saturating_sub(within.line)) {
        let line_number = index + 1;
        let first = if line_number == within.line {
            byte_of_column(line, within.column)
        } else {
            0
        };
        let last = if line_number == within.end_line {
            byte_of_column(line, within.end_column)
        } else {
            line.len()
        };
        let mut at = first;
        while at < last {
            let rest = &line[at..last];
            if rest.starts_with("{{") || rest.starts_with("{%") {
                inside = true;
                at += 2;
            } else if rest.starts_with("}}") || rest.starts_with("%}") {
                inside = false;
                at += 2;
            } else if inside && rest.starts_with(variable) && stands_alone(line, at, variable) {
                let column = line[..at].chars().count() + 1;
                return Some(Span {
                    line: line_number,
                    column,
                    end_line: line_number,
                    end_column: column + variable.chars().count(),
                });
            } else {
                at += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
    }
    None
}

fn stands_alone(line: &str, at: usize, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    !line[..at].ends_with(|c: char| part(c) || c == '.')
        && !line[at + word.len()..].starts_with(part)
}

fn byte_of_column(line: &str, column: usize) -> usize {
    line.char_indices()
        .nth(column - 1)
        .map_or(line.len(), |(byte, _)| byte)
}
