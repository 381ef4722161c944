//! Template variables in the text of a principle: checked and tried out here, rendered elsewhere.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, context};

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

/// What one rendered text may cost: instructions, and about 64 bytes each.
const FUEL: u64 = 4_000_000;

/// The same where a text is only tried out: the values are short, and a file may have many texts.
const TRIAL_FUEL: u64 = 100_000;

/// Statements that ask for another template; a principle has none.
const OTHERS: [&str; 4] = ["include", "import", "from", "extends"];

/// Made once: with all its filters it takes longer to make than a text takes to check.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = strict_environment();
    environment.set_fuel(Some(TRIAL_FUEL));
    environment
});

/// An environment for the texts of principles and packs: nothing is undefined silently, nothing is
/// escaped, nothing runs forever.
pub fn strict_environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = minijinja::syntax::SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    if let Ok(syntax) = syntax {
        environment.set_syntax(syntax);
    }
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.remove_global("debug");
    environment
}

/// Appends what is wrong with a text that is going to be rendered. `lines` are those of the file.
pub(super) fn check(
    file: &Path,
    lines: &[&str],
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
    if let Some(statement) = other_template(text) {
        let message = format!("{name} has `{{% {statement} %}}`, and there is no other template");
        let span = find(lines, node.span, statement).unwrap_or(node.span);
        return say(Code::Template, message, "write the words out", span);
    }
    let (mut unknown, mut fields) = (BTreeSet::new(), BTreeSet::new());
    for path in template.undeclared_variables(true) {
        let variable = path.split('.').next().unwrap_or_default();
        if !VARIABLES.contains(&variable) {
            unknown.insert(variable.to_owned());
        } else if variable.len() < path.len() {
            fields.insert(path);
        }
    }
    for variable in &unknown {
        let guess = did_you_mean(variable, VARIABLES.into_iter());
        let message = format!(
            "{name} uses the unknown variable `{}`{guess}",
            excerpt(variable)
        );
        let remedy = format!("a principle may use {}", VARIABLES.join(", "));
        let span = find(lines, node.span, variable).unwrap_or(node.span);
        say(Code::UnknownVariable, message, &remedy, span);
    }
    for path in &fields {
        let variable = path.split('.').next().unwrap_or_default();
        let message = format!(
            "{name} uses `{}`, and `{variable}` is a plain value",
            excerpt(path)
        );
        let remedy = format!("write `{variable}` alone, or with a filter such as `|trim`");
        let span = find(lines, node.span, path).unwrap_or(node.span);
        say(Code::UnknownVariable, message, &remedy, span);
    }
    if !unknown.is_empty() || !fields.is_empty() {
        return;
    }
    // Rendered with made-up values, so that a filter that there is not, or one that refuses its value, is
    // found here and not in the middle of a run. A later round may have words of its own.
    let rounds = if text.contains("round") { 1..=2 } else { 1..=1 };
    for round in rounds {
        let values = context! {
            prompt => "text",
            draft => "text",
            response => "text",
            round => round,
        };
        if let Err(error) = template.render(values) {
            let detail = error.detail().unwrap_or("it fails");
            let message = format!("{name} can never be rendered: {}: {detail}", error.kind());
            let remedy = "use filters and tests that minijinja has, on values that they take";
            // The detail is such as `filter x is unknown`.
            let named = match error.kind() {
                ErrorKind::UnknownFilter | ErrorKind::UnknownTest => {
                    detail.split_whitespace().nth(1)
                }
                _ => None,
            };
            let span = named.and_then(|word| find(lines, node.span, word));
            return say(Code::Template, message, remedy, span.unwrap_or(node.span));
        }
    }
}

/// The first statement of a template that asks for another one, wherever it stands.
fn other_template(text: &str) -> Option<&'static str> {
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        rest = &rest[at + 1..];
        let end = match rest.as_bytes().first() {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            Some(b'#') => "#}",
            _ => continue,
        };
        let inside = &rest[1..];
        if end == "%}" {
            let words = inside.trim_start_matches(['-', '+']).trim_start();
            let word = words
                .split(|c: char| !c.is_ascii_alphabetic())
                .next()
                .unwrap_or_default();
            if let Some(statement) = OTHERS.iter().find(|it| **it == word) {
                return Some(*statement);
            }
            if word == "raw" {
                rest = &inside[inside.find("endraw").unwrap_or(inside.len())..];
                continue;
            }
        }
        rest = &inside[closing(inside, end)..];
    }
    None
}

/// Where what stands in braces is over; braces in quotes do not count, except in a comment.
fn closing(inside: &str, end: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if inside[at..].starts_with(end) => return at + end.len(),
            None if end != "#}" && matches!(c, '"' | '\'') => quote = Some(c),
            None => {}
        }
    }
    inside.len()
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
fn find(lines: &[&str], within: Span, variable: &str) -> Option<Span> {
    let lines = lines.iter().enumerate().skip(within.line - 1);
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
