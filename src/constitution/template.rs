//! Template variables in the text of a principle: checked here, rendered elsewhere.

use std::path::Path;
use std::sync::LazyLock;

use minijinja::Environment;

use super::error::{Code, Problem, Span, did_you_mean, excerpt};
use super::tree::Node;

/// The variables that a principle's `critique` and `revision` may use.
pub const VARIABLES: [&str; 4] = ["prompt", "response", "draft", "round"];

/// How long a text with variables may be, in bytes: it goes into every prompt, and the template engine
/// nests as deep as an expression is long.
pub(super) const MAX_LENGTH: usize = 4_000;

/// How many hyphens may follow each other, white space aside. The template engine takes them for signs
/// and nests without a limit, until the stack is full.
const MAX_HYPHENS: usize = 200;

/// Made once: with all its filters it takes longer to make than a text takes to check.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(Environment::new);

/// Appends what is wrong with a text that is going to be rendered. `source` is the whole file.
pub(super) fn check(
    file: &Path,
    source: &str,
    name: &str,
    node: &Node,
    problems: &mut Vec<Problem>,
) {
    let Some(text) = node.text() else { return };
    let mut say = |code, message, remedy: &str, span| {
        problems.push(Problem::new(code, file, Some(span), message, remedy));
    };
    if text.len() > MAX_LENGTH {
        let message = format!("{name} is longer than {MAX_LENGTH} bytes");
        let remedy = "shorten it, or split the principle";
        return say(Code::TooLarge, message, remedy, node.span);
    }
    if !text.contains('{') {
        return;
    }
    if most_hyphens(text) > MAX_HYPHENS {
        let message = format!("{name} has more than {MAX_HYPHENS} hyphens in a row");
        return say(Code::Template, message, "remove some", node.span);
    }
    let template = match ENVIRONMENT.template_from_str(text) {
        Ok(template) => template,
        Err(error) => {
            let detail = error.detail().unwrap_or("unexpected syntax");
            let message = format!("{name} has a broken template: {detail}");
            let remedy =
                "close every `{{` and `{%`, or write `{{ '{{' }}` for the braces themselves";
            return say(Code::Template, message, remedy, node.span);
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
        say(Code::UnknownVariable, message, &remedy, span);
    }
}

/// The most hyphens that follow each other with nothing but white space between them.
fn most_hyphens(text: &str) -> usize {
    let (mut most, mut run) = (0, 0);
    for c in text.chars().filter(|c| !c.is_whitespace()) {
        run = if c == '-' { run + 1 } else { 0 };
        most = most.max(run);
    }
    most
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
