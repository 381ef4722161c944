//! Holding a file against the form of the format.
//!
//! Everything that can be said of one value on its own is said here, with its place and all at once:
//! unknown keys, wrong types, words out of range, broken templates and patterns. A file without a
//! problem is then handed to `serde_yaml`; what concerns several values is up to `resolve`.

use std::path::Path;

use super::check::{LANGUAGES, Pattern};
use super::comments::lines;
use super::error::{Code, Problem, Span, did_you_mean, excerpt};
use super::form::{FILE, Key, Kind};
use super::template;
use super::tree::{Data, Node};

/// How many patterns one file may have: each costs time to compile.
const MAX_PATTERNS: usize = 256;
/// How many bytes of text with template syntax one file may have: each text is compiled.
const MAX_TEMPLATES: usize = 64 * 1024;
/// How long an id may be, in bytes.
pub(super) const MAX_ID: usize = 100;

/// The key under which YAML 1.1 merged other mappings into one.
pub(super) const MERGE: &str = "<<";

/// What a mapping is called.
const MAPPING: &str = "a mapping (`key: value` lines)";

/// What a number without a fraction is called.
const WHOLE: &str = "a whole number";

/// Holds a file against its form and appends what is wrong.
pub(super) fn check(file: &Path, text: &str, root: &Node, problems: &mut Vec<Problem>) {
    let mut walk = Walk {
        file,
        lines: lines(text),
        patterns: 0,
        templates: 0,
        problems,
    };
    walk.value("the file", root, &FILE);
}

struct Walk<'a> {
    file: &'a Path,
    lines: Vec<&'a str>,
    patterns: usize,
    templates: usize,
    problems: &'a mut Vec<Problem>,
}

impl Walk<'_> {
    fn say(&mut self, code: Code, span: Span, message: String, remedy: impl Into<String>) {
        let problem = Problem::new(code, self.file, Some(span), message, remedy);
        self.problems.push(problem);
    }

    fn wrong_type(&mut self, name: &str, node: &Node, wanted: &str) {
        let is_number = wanted.contains("number");
        let odd = odd_number(node).filter(|_| is_number);
        let odd = odd.or_else(|| part_number(node).filter(|_| wanted == WHOLE));
        let found = odd.map_or_else(|| found(node), |(found, _)| found);
        let message = format!("{name} must be {wanted}, and this is {found}");
        let remedy = match (wanted, &node.data) {
            _ if odd.is_some() => odd.map_or("", |(_, remedy)| remedy),
            (_, _) if node.is_null() => "write a value, or remove the key or the item",
            ("a list", _) => "put each item behind `- ` on a line of its own, or all in brackets",
            ("`true` or `false`", _) => "write one of the two, without quotes",
            (MAPPING, _) => "write one `key: value` below the other, or all in braces",
            ("text", Data::Scalar { .. }) => "put it in quotes",
            ("text", Data::Map(_)) => "put it in quotes if a `: ` inside it is part of the text",
            (_, Data::Scalar { plain: true, .. }) if is_number => "write a plain number",
            _ if is_number => "write a plain number without quotes",
            _ => "write a text",
        };
        self.say(Code::WrongType, node.span, message, remedy);
    }

    fn value(&mut self, name: &str, node: &Node, kind: &Kind) {
        match kind {
            Kind::Map(what, keys) => self.map(name, what, keys, node),
            Kind::List(inner) => match &node.data {
                Data::List(items) => {
                    let name = match inner {
                        Kind::Map(what, _) => what,
                        _ => name,
                    };
                    items.iter().for_each(|item| self.value(name, item, inner));
                }
                _ => self.wrong_type(name, node, "a list"),
            },
            Kind::OneOrMore(inner) => match &node.data {
                Data::List(items) if items.is_empty() => {
                    let message = format!("{name} is an empty list");
                    self.say(Code::BadValue, node.span, message, "fill it or remove it");
                }
                Data::List(items) => items.iter().for_each(|item| self.value(name, item, inner)),
                _ => self.value(name, node, inner),
            },
            Kind::Schema => self.schema(name, node),
            Kind::Number(least, most) => self.number(name, node, *least, *most),
            Kind::Whole(least, most) => self.whole(name, node, *least, *most),
            Kind::Bool => match scalar(node) {
                Some(serde_yaml::Value::Bool(_)) => {}
                _ => self.wrong_type(name, node, "`true` or `false`"),
            },
            Kind::Text | Kind::Words | Kind::Template | Kind::Needle => {
                self.text(name, node, kind);
            }
            Kind::Id | Kind::Pattern | Kind::Language | Kind::OneOf(_) => {
                self.word(name, node, kind);
            }
        }
    }

    fn map(&mut self, name: &str, what: &str, keys: &[Key], node: &Node) {
        let Data::Map(entries) = &node.data else {
            return self.wrong_type(name, node, MAPPING);
        };
        for entry in entries {
            match keys.iter().find(|key| key.name == entry.key) {
                Some(key) => self.value(&format!("`{}`", key.name), &entry.value, &key.kind),
                None if entry.key == MERGE => self.merge_key(entry.key_span),
                None => {
                    let guess = did_you_mean(&entry.key, keys.iter().map(|key| key.name));
                    let written = excerpt(&entry.key);
                    let message = format!("{what} has no key `{written}`{guess}");
                    let names: Vec<_> = keys.iter().map(|key| key.name).collect();
                    let remedy = format!("its keys are {}", names.join(", "));
                    self.say(Code::UnknownKey, entry.key_span, message, remedy);
                }
            }
        }
        // What is missing may be in what was to be merged.
        let merges = node.get(MERGE).is_some();
        for key in keys.iter().filter(|key| key.required && !merges) {
            if node.get(key.name).is_none() {
                let message = format!("{what} must have `{}`", key.name);
                let remedy = format!("add `{}: …`", key.name);
                self.say(Code::MissingKey, node.span, message, remedy);
            }
        }
    }

    fn merge_key(&mut self, span: Span) {
        let message = "merge keys (`<<`) are not read here".to_owned();
        let remedy = "write the keys out, or repeat single values by alias (`critique: *name`); a file takes over \
                      the principles of another one with `extends`";
        self.say(Code::Unsupported, span, message, remedy);
    }

    fn schema(&mut self, name: &str, node: &Node) {
        match scalar(node) {
            Some(serde_yaml::Value::Number(number)) if number.as_u64() == Some(1) => {}
            Some(serde_yaml::Value::Number(number)) => {
                let message = format!("`schema` {number} is not a version that is known here");
                let remedy = "write `schema: 1`, or use a newer release of this program";
                self.say(Code::UnknownSchema, node.span, message, remedy);
            }
            _ => self.wrong_type(name, node, "the number 1"),
        }
    }

    fn number(&mut self, name: &str, node: &Node, least: f64, most: f64) {
        let value = match scalar(node) {
            Some(serde_yaml::Value::Number(number)) if !is_based(node) => number.as_f64(),
            _ => None,
        };
        match value {
            Some(value) if (least..=most).contains(&value) => {}
            Some(value) => self.out_of_range(name, node, value, least, most),
            None => self.wrong_type(name, node, "a number"),
        }
    }

    fn whole(&mut self, name: &str, node: &Node, least: i64, most: i64) {
        let number = match scalar(node) {
            Some(serde_yaml::Value::Number(number)) => number,
            _ => return self.wrong_type(name, node, WHOLE),
        };
        match number.as_i64() {
            Some(value) if (least..=most).contains(&value) => {}
            Some(value) => self.out_of_range(name, node, value, least, most),
            None if number.is_u64() => self.out_of_range(name, node, number, least, most),
            None => self.wrong_type(name, node, WHOLE),
        }
    }

    fn out_of_range<V: std::fmt::Display, B: std::fmt::Display>(
        &mut self,
        name: &str,
        node: &Node,
        value: V,
        least: B,
        most: B,
    ) {
        let message = format!("{name} is {value}");
        let remedy = format!("write a number from {least} to {most}");
        self.say(Code::BadValue, node.span, message, remedy);
    }

    fn text(&mut self, name: &str, node: &Node, kind: &Kind) {
        let Some(text) = node.text().filter(|_| !node.is_null()) else {
            return self.wrong_type(name, node, "text");
        };
        match kind {
            Kind::Text | Kind::Template | Kind::Needle if !is_text(node) => {
                self.wrong_type(name, node, "text");
            }
            Kind::Template => self.template(name, node, text),
            Kind::Needle if text.is_empty() => {
                let message = format!("{name} has an empty text");
                self.say(Code::EmptyText, node.span, message, "fill it or remove it");
            }
            _ => {}
        }
    }

    fn word(&mut self, name: &str, node: &Node, kind: &Kind) {
        let Some(text) = node.text().filter(|_| !node.is_null()) else {
            return self.wrong_type(name, node, "text");
        };
        let one_of = |words: &[&'static str]| {
            let guess = did_you_mean(text, words.iter().copied());
            let message = format!("{name} cannot be `{}`{guess}", excerpt(text));
            (message, format!("write one of {}", words.join(", ")))
        };
        match kind {
            Kind::OneOf(words) if !words.contains(&text) => {
                let (message, remedy) = one_of(words);
                self.say(Code::BadValue, node.span, message, remedy);
            }
            Kind::Language if LANGUAGES.iter().all(|(code, _)| *code != text) => {
                let codes: Vec<_> = LANGUAGES.iter().map(|(code, _)| *code).collect();
                let (message, remedy) = one_of(&codes);
                self.say(Code::BadValue, node.span, message, remedy);
            }
            Kind::Id if !is_kebab(text) => {
                let message = format!("the id `{}` is not kebab-case", excerpt(text));
                let remedy = match kebab(text) {
                    Some(kebab) => format!("write `{kebab}`"),
                    None => "use lower-case letters, digits and single hyphens".to_owned(),
                };
                self.say(Code::BadId, node.span, message, remedy);
            }
            Kind::Pattern if !is_text(node) => self.wrong_type(name, node, "text"),
            Kind::Pattern => self.pattern(name, node, text),
            _ => {}
        }
    }

    fn template(&mut self, name: &str, node: &Node, text: &str) {
        let before = self.templates;
        self.templates += if text.contains('{') { text.len() } else { 0 };
        if self.templates <= MAX_TEMPLATES {
            template::check(self.file, &self.lines, name, node, self.problems);
        } else if before <= MAX_TEMPLATES {
            let message = format!("the file has more than {MAX_TEMPLATES} bytes of templates");
            let remedy = "split the file with `extends`";
            self.say(Code::TooLarge, node.span, message, remedy);
        }
    }

    fn pattern(&mut self, name: &str, node: &Node, text: &str) {
        self.patterns += 1;
        if self.patterns == MAX_PATTERNS + 1 {
            let message = format!("the file has more than {MAX_PATTERNS} patterns");
            let remedy = "join patterns with `|`, or split the file with `extends`";
            self.say(Code::TooLarge, node.span, message, remedy);
        }
        if self.patterns > MAX_PATTERNS {
            return;
        }
        if text.is_empty() {
            let message = format!("{name} has an empty pattern");
            self.say(Code::EmptyText, node.span, message, "fill it or remove it");
        } else if let Err(error) = Pattern::new(text) {
            let message = format!("{name} has a pattern that cannot be used: {error}");
            let remedy = "write it in single quotes, in the syntax of the Rust `regex` crate";
            self.say(Code::Pattern, node.span, message, remedy);
        }
    }
}

/// What an unquoted scalar stands for, by the rules of the deserialiser.
fn scalar(node: &Node) -> Option<serde_yaml::Value> {
    const LONGEST: usize = 64;
    match &node.data {
        Data::Scalar { text, plain: true } if text.len() <= LONGEST => {
            serde_yaml::from_str(text).ok()
        }
        _ => None,
    }
}

/// Whether a scalar is text, and not a number or a boolean without quotes.
fn is_text(node: &Node) -> bool {
    use serde_yaml::Value::{Bool, Null, Number};
    !matches!(scalar(node), Some(Bool(_) | Number(_) | Null))
}

fn found(node: &Node) -> &'static str {
    match (&node.data, scalar(node)) {
        (Data::List(_), _) => "a list",
        (Data::Map(_), _) => "a mapping",
        _ if node.is_null() => "missing",
        (_, Some(serde_yaml::Value::Number(_))) => "a number",
        (_, Some(serde_yaml::Value::Bool(_))) => "a boolean",
        _ => "text",
    }
}

/// A number that is written in a way that the deserialiser takes for text, or does not take for a fraction:
/// what it is, and what to do.
fn odd_number(node: &Node) -> Option<(&'static str, &'static str)> {
    if is_based(node) {
        return Some((
            "a number in another base",
            "write it in plain decimal digits",
        ));
    }
    let digits = unsigned(node)
        .filter(|digits| digits.len() > 1 && digits.bytes().all(|digit| digit.is_ascii_digit()))?;
    if digits.starts_with('0') {
        return Some(("a number with a 0 before it", "remove the 0"));
    }
    let too_long = digits.parse::<i64>().is_err();
    too_long.then_some(("a number of too many digits", "write a smaller one"))
}

/// A number that is not written as a whole one: what it is, and what to do.
fn part_number(node: &Node) -> Option<(&'static str, &'static str)> {
    matches!(scalar(node), Some(serde_yaml::Value::Number(_))).then_some((
        "a number with a fraction or an exponent",
        "write its digits alone, such as `5`",
    ))
}

/// Whether a number has a prefix such as `0x`.
fn is_based(node: &Node) -> bool {
    unsigned(node).is_some_and(|text| {
        let prefixed = ["0x", "0o", "0b"].iter().any(|base| text.starts_with(base));
        prefixed && text.len() > 2 && text.bytes().skip(2).all(|digit| digit.is_ascii_hexdigit())
    })
}

/// A text without quotes, and without a sign before it.
fn unsigned(node: &Node) -> Option<&str> {
    match &node.data {
        Data::Scalar { text, plain: true } => Some(text.strip_prefix(['+', '-']).unwrap_or(text)),
        _ => None,
    }
}

pub(super) fn is_kebab(text: &str) -> bool {
    text.len() <= MAX_ID
        && text.split('-').all(|part| {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            !part.is_empty() && part.bytes().all(plain)
        })
}

/// The nearest kebab-case id, where there is one.
pub(super) fn kebab(text: &str) -> Option<String> {
    let mut kebab = String::new();
    for c in text.chars().take(200) {
        match c {
            'a'..='z' | '0'..='9' => kebab.push(c),
            'A'..='Z' => kebab.push(c.to_ascii_lowercase()),
            _ if kebab.ends_with('-') || kebab.is_empty() => {}
            _ => kebab.push('-'),
        }
    }
    let kebab = kebab.trim_end_matches('-');
    is_kebab(kebab).then(|| kebab.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kebab_case_and_a_near_one_is_offered() {
        for good in ["a", "no-harm", "rule-2", "2"] {
            assert!(is_kebab(good), "{good}");
        }
        for bad in [
            "",
            "No-Harm",
            "no_harm",
            "-a",
            "a-",
            "a--b",
            "é",
            "a b",
            &"a".repeat(101),
        ] {
            assert!(!is_kebab(bad), "{bad}");
        }
        assert_eq!(
            kebab("No dangerous_Help!").as_deref(),
            Some("no-dangerous-help")
        );
        assert_eq!(kebab("…"), None);
    }
}
