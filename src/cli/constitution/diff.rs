//! `amend constitution diff`.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::{print, print_data};
use crate::cli::Exit;
use crate::cli::diff::{self, painted, words};
use crate::cli::exit::usage;
use crate::cli::text::sanitize;
use crate::constitution::{
    self, Change, Comparison, FieldChange, Loaded, PrincipleChange, compare,
};

const HEADING: Style = AnsiColor::Yellow.on_default();
const BOLD: Style = Style::new().bold();
const BAD: Style = AnsiColor::Red.on_default();
const GOOD: Style = AnsiColor::Green.on_default();

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend constitution diff house-style.yaml house-style-2.yaml
  amend constitution diff hhh mine.yaml --json

The resolved forms are compared, principle by principle. Texts are shown as word diffs: in colour on a
terminal, with [-removed-] and {+added+} elsewhere.")]
pub struct Args {
    /// The old constitution: a file, or the name of a shipped one
    #[arg(value_name = "A")]
    old: String,
    /// The new constitution
    #[arg(value_name = "B")]
    new: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let old = constitution::load(&args.old).map_err(usage)?;
    let new = constitution::load(&args.new).map_err(usage)?;
    let comparison = compare(&old.resolved.constitution, &new.resolved.constitution);
    if args.json {
        let object = object(&old, &new, &comparison);
        print_data(&(serde_json::to_string(&object)? + "\n"))?;
    } else {
        let stdout = std::io::stdout();
        let colour = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
        print(&page(&old, &new, &comparison, colour))?;
    }
    Ok(Exit::Done)
}

fn side(loaded: &Loaded) -> Value {
    let constitution = &loaded.resolved.constitution;
    json!({
        "source": loaded.source.to_string(),
        "name": constitution.name,
        "version": constitution.version,
        "digest": loaded.resolved.digest,
        "principles": constitution.principles.len(),
    })
}

fn object(old: &Loaded, new: &Loaded, comparison: &Comparison) -> Value {
    let field = |change: &FieldChange| {
        let mut value = json!({"field": change.field, "old": change.old, "new": change.new});
        if let (Some(old), Some(new)) = (change.old.as_str(), change.new.as_str()) {
            let words = words(old, new).into_iter().map(|piece| {
                let op = match piece.change {
                    diff::Change::Same => "same",
                    diff::Change::Removed => "removed",
                    diff::Change::Added => "added",
                };
                json!({"op": op, "text": piece.text})
            });
            value["words"] = words.collect();
        }
        value
    };
    let fields = |changes: &[FieldChange]| -> Value { changes.iter().map(field).collect() };
    let principles = comparison.principles.iter().map(|change| {
        json!({"id": change.id, "change": change.change, "fields": fields(&change.fields)})
    });
    json!({
        "old": side(old),
        "new": side(new),
        "equal": comparison.is_equal(),
        "fields": fields(&comparison.fields),
        "principles": principles.collect::<Vec<_>>(),
        "unchanged": comparison.unchanged,
        "reordered": comparison.reordered,
    })
}

fn page(old: &Loaded, new: &Loaded, comparison: &Comparison, colour: bool) -> String {
    let mut page = Page {
        out: String::new(),
        colour,
    };
    for (mark, loaded, style) in [("---", old, BAD), ("+++", new, GOOD)] {
        let constitution = &loaded.resolved.constitution;
        let line = format!(
            "{mark} {} {}  {}  {}",
            constitution.name, constitution.version, loaded.source, loaded.resolved.digest
        );
        page.line(style, &sanitize(&line));
    }
    if comparison.is_equal() {
        page.line(Style::new(), "the same");
        return page.out;
    }
    for change in &comparison.fields {
        page.field(change, 0);
    }
    for change in &comparison.principles {
        page.principle(change);
    }
    page.out.push('\n');
    page.line(Style::new(), &summary(comparison));
    page.out
}

fn summary(comparison: &Comparison) -> String {
    let count = |change: Change| {
        let all = comparison.principles.iter();
        all.filter(|principle| principle.change == change).count()
    };
    let mut line = format!(
        "principles: {} added, {} removed, {} changed, {} unchanged",
        count(Change::Added),
        count(Change::Removed),
        count(Change::Changed),
        comparison.unchanged
    );
    if comparison.reordered {
        line.push_str("; in another order");
    }
    line
}

struct Page {
    out: String,
    colour: bool,
}

impl Page {
    /// A line in a style. The stream strips colour where it cannot be shown.
    fn line(&mut self, style: Style, text: &str) {
        // Writing to a string cannot fail.
        let _ = match text {
            "" => writeln!(self.out),
            text => writeln!(self.out, "{style}{text}{style:#}"),
        };
    }

    fn principle(&mut self, principle: &PrincipleChange) {
        self.out.push('\n');
        let (word, style) = match principle.change {
            Change::Added => ("added", GOOD),
            Change::Removed => ("removed", BAD),
            Change::Changed => ("changed", HEADING),
        };
        self.line(style, &format!("principle {}  {word}", principle.id));
        for change in &principle.fields {
            self.field(change, 2);
        }
    }

    fn field(&mut self, change: &FieldChange, indent: usize) {
        let FieldChange { field, old, new } = change;
        match (old, new) {
            (Value::Array(old), Value::Array(new)) => self.list(field, old, new, indent),
            (Value::Array(old), Value::Null) => self.list(field, old, &[], indent),
            (Value::Null, Value::Array(new)) => self.list(field, &[], new, indent),
            _ => {
                let [old, new] = [old, new].map(text);
                let body = painted(&words(&old, &new), self.colour);
                let name = format!("{:indent$}{BOLD}{field}:{BOLD:#}", "");
                let lines: Vec<_> = body.trim_end().split('\n').collect();
                if let [line] = lines[..] {
                    self.line(Style::new(), &format!("{name} {line}"));
                } else {
                    self.line(Style::new(), &name);
                    for line in lines {
                        self.line(Style::new(), &format!("{:indent$}    {line}", ""));
                    }
                }
            }
        }
    }

    /// The items that only one of two lists has.
    fn list(&mut self, field: &str, old: &[Value], new: &[Value], indent: usize) {
        self.line(
            Style::new(),
            &format!("{:indent$}{BOLD}{field}:{BOLD:#}", ""),
        );
        let only = |a: &[Value], b: &[Value]| -> Vec<String> {
            let mut left = b.to_vec();
            let missing = a.iter().filter(|item| {
                let found = left.iter().position(|other| other == *item);
                found.map(|at| left.remove(at)).is_none()
            });
            missing.map(text).collect()
        };
        let (removed, added) = (only(old, new), only(new, old));
        if removed.is_empty() && added.is_empty() {
            self.line(Style::new(), &format!("{:indent$}    in another order", ""));
        }
        for (mark, items, style) in [("-", removed, BAD), ("+", added, GOOD)] {
            for item in items {
                let item = item.replace('\n', "⏎");
                let line = format!("{:indent$}    {mark} {}", "", sanitize(&item));
                self.line(style, &line);
            }
        }
    }
}

/// A value as people write it. An example or test is its values, one after the other.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("{name}: {}", text(value)));
            fields.collect::<Vec<_>>().join(" | ")
        }
        other => other.to_string(),
    }
}
