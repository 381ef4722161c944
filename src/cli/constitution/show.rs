//! `amend constitution show`.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use anyhow::anyhow;
use serde_json::{Value, json};

use super::{print, print_data};
use crate::cli::Exit;
use crate::cli::exit::usage;
use crate::cli::text::sanitize;
use crate::constitution::{self, Expect, Loaded, Place, Principle, Resolved};

const HEADING: Style = AnsiColor::Yellow.on_default();
const DIM: Style = Style::new().dimmed();

/// What stands for a text that there is not.
const NOT_SET: &str = "not set";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend constitution show hhh
  amend constitution show house-style.yaml --principle plain-words
  amend constitution show house-style.yaml --format json

Beside every field stands where it was written; what nobody wrote has its default.")]
pub struct Args {
    /// A file, or the name of a shipped constitution
    #[arg(value_name = "FILE")]
    file: String,
    /// Show this principle only
    #[arg(long, value_name = "ID")]
    principle: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One object.
    Json,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let loaded = constitution::load(&args.file).map_err(usage)?;
    let constitution = &loaded.resolved.constitution;
    if let Some(id) = &args.principle
        && constitution.principle(id).is_none()
    {
        let ids: Vec<_> = constitution.principles.iter().map(|p| &*p.id).collect();
        let (file, ids) = (&args.file, ids.join(", "));
        return Err(usage(anyhow!(
            "{file}: no principle `{id}`; there are {ids}"
        )));
    }
    let wanted = |id: &str| args.principle.as_deref().is_none_or(|wanted| wanted == id);
    match args.format {
        Format::Text => print(&page(&loaded, args.principle.is_none(), &wanted))?,
        Format::Json => print_data(&(serde_json::to_string(&object(&loaded, &wanted))? + "\n"))?,
    }
    Ok(Exit::Done)
}

fn place(place: &Place) -> Value {
    json!({
        "file": place.file.display().to_string(),
        "line": place.span.line,
        "column": place.span.column,
    })
}

/// The resolved form with its digest and the origins of its fields. With one principle wanted, the others
/// are left out.
fn object(loaded: &Loaded, wanted: &dyn Fn(&str) -> bool) -> Value {
    let resolved = &loaded.resolved;
    let mut constitution = resolved.constitution.clone();
    constitution.principles.retain(|p| wanted(&p.id));
    let fields = |fields: &std::collections::BTreeMap<String, Place>| -> Value {
        let fields = fields.iter().map(|(name, at)| (name.clone(), place(at)));
        Value::Object(fields.collect())
    };
    let origins = constitution.principles.iter().filter_map(|principle| {
        let origin = resolved.origins.get(&principle.id)?;
        let value = json!({
            "principle": place(&origin.principle),
            "fields": fields(&origin.fields),
        });
        Some((principle.id.clone(), value))
    });
    let origins = Value::Object(origins.collect());
    let files: Vec<_> = resolved
        .files
        .iter()
        .map(|f| f.display().to_string())
        .collect();
    json!({
        "digest": resolved.digest,
        "source": loaded.source.to_string(),
        "files": files,
        "constitution": constitution,
        "file_origins": fields(&resolved.fields),
        "defaults_origins": fields(&resolved.defaults),
        "origins": origins,
    })
}

/// A constitution as a page of text. Colour is stripped by the stream where it cannot be shown.
fn page(loaded: &Loaded, whole: bool, wanted: &dyn Fn(&str) -> bool) -> String {
    let resolved = &loaded.resolved;
    let constitution = &resolved.constitution;
    let mut page = Page(String::new());
    if whole {
        page.head(loaded);
    }
    for principle in constitution.principles.iter().filter(|p| wanted(&p.id)) {
        if !page.0.is_empty() {
            page.0.push('\n');
        }
        let origin = resolved.origins.get(&principle.id);
        let (id, title) = (&principle.id, sanitize(&principle.title));
        let at = origin.map_or(String::new(), |origin| origin.principle.to_string());
        let _ = writeln!(
            page.0,
            "{HEADING}principle {id}{HEADING:#} ({title})  {DIM}{at}{DIM:#}"
        );
        let from = |field: &str| origin.and_then(|origin| origin.fields.get(field));
        page.principle(principle, &from);
    }
    page.0
}

/// Text under construction. Writing to a string cannot fail.
struct Page(String);

impl Page {
    fn head(&mut self, loaded: &Loaded) {
        let resolved = &loaded.resolved;
        let constitution = &resolved.constitution;
        let title = format!(
            "constitution {} {}",
            constitution.name, constitution.version
        );
        let _ = writeln!(self.0, "{HEADING}{}{HEADING:#}", sanitize(&title));
        let _ = writeln!(self.0, "Digest:    {}", resolved.digest);
        let _ = writeln!(
            self.0,
            "Source:    {}",
            sanitize(&loaded.source.to_string())
        );
        if resolved.files.len() > 1 {
            let files: Vec<_> = resolved
                .files
                .iter()
                .map(|f| f.display().to_string())
                .collect();
            let _ = writeln!(self.0, "Files:     {}", sanitize(&files.join(", ")));
        }
        let active = constitution.active().len();
        let all = constitution.principles.len();
        let _ = writeln!(
            self.0,
            "Contents:  {all} principles, {active} of them active"
        );
        self.fields(&loaded.resolved);
    }

    /// The fields of the file itself, and the defaults.
    fn fields(&mut self, resolved: &Resolved) {
        let constitution = &resolved.constitution;
        let from = |field: &str| resolved.fields.get(field);
        self.short("schema", &constitution.schema.to_string(), from("schema"));
        self.short("name", &constitution.name, from("name"));
        self.short("version", &constitution.version, from("version"));
        if constitution.description.is_empty() {
            self.short("description", NOT_SET, from("description"));
        } else {
            self.short("description", "", from("description"));
            self.prose(&constitution.description);
        }
        let license = match constitution.license.as_str() {
            "" => NOT_SET,
            license => license,
        };
        self.short("license", license, from("license"));
        let defaults = &constitution.defaults;
        for (name, value) in [
            ("rounds", defaults.rounds.map(|n| n.to_string())),
            ("select", defaults.select.clone()),
            ("revise", defaults.revise.map(|r| word(&r))),
        ] {
            let value = value.as_deref().unwrap_or(NOT_SET);
            let from = resolved.defaults.get(name);
            self.short(&format!("default {name}"), value, from);
        }
    }

    fn principle<'p>(&mut self, principle: &Principle, from: &dyn Fn(&str) -> Option<&'p Place>) {
        self.short("title", &principle.title, from("title"));
        for (name, text) in [
            ("critique", &principle.critique),
            ("revision", &principle.revision),
            ("rationale", &principle.rationale),
        ] {
            if !text.is_empty() {
                self.short(name, "", from(name));
                self.prose(text);
            }
        }
        if let Some(check) = &principle.check {
            self.short("check", &word(check), from("check"));
        }
        self.short("weight", &principle.weight.to_string(), from("weight"));
        self.short(
            "precedence",
            &principle.precedence.to_string(),
            from("precedence"),
        );
        self.short("severity", principle.severity.as_str(), from("severity"));
        self.short("status", &word(&principle.status), from("status"));
        if !principle.tags.is_empty() {
            self.short("tags", &principle.tags.join(", "), from("tags"));
        }
        if !principle.examples.is_empty() {
            self.short(
                "examples",
                &principle.examples.len().to_string(),
                from("examples"),
            );
        }
        for example in &principle.examples {
            self.item(&[
                ("prompt", example.prompt.as_str()),
                ("response", example.response.as_str()),
                ("critique", example.critique.as_str()),
                ("revision", example.revision.as_str()),
            ]);
        }
        let violating = principle
            .tests
            .iter()
            .filter(|t| t.expect == Expect::Violation);
        let violating = violating.count();
        let tests = match principle.tests.len() {
            0 => "none".to_owned(),
            all => format!("{all} ({violating} violation, {} ok)", all - violating),
        };
        self.short("tests", &tests, from("tests"));
        for test in &principle.tests {
            self.item(&[
                ("expect", word(&test.expect).as_str()),
                ("prompt", test.prompt.as_str()),
                ("response", test.response.as_str()),
            ]);
        }
    }

    /// A test or an example: its texts, each behind its name.
    fn item(&mut self, texts: &[(&str, &str)]) {
        for (index, (name, text)) in texts.iter().enumerate() {
            let mark = if index == 0 { '-' } else { ' ' };
            // Further lines stand below the first one, and deeper.
            let text = text.trim_end().replace('\n', "\n    ");
            self.prose(&format!("{mark} {name}: {text}"));
        }
    }

    /// A field on one line, with where it was written.
    fn short(&mut self, name: &str, value: &str, from: Option<&Place>) {
        let name = format!("{name}:");
        // What is not there has no default either.
        if value == NOT_SET && from.is_none() {
            let _ = writeln!(self.0, "  {name:<16} {value}");
            return;
        }
        let from = from.map_or("default".to_owned(), ToString::to_string);
        let value = sanitize(value);
        let space = if value.is_empty() { "" } else { "  " };
        let _ = writeln!(
            self.0,
            "  {name:<16} {value}{space}{DIM}{}{DIM:#}",
            sanitize(&from)
        );
    }

    fn prose(&mut self, text: &str) {
        for line in sanitize(text).lines() {
            let _ = writeln!(self.0, "{}", format!("      {line}").trim_end());
        }
    }
}

/// A value as it is written in a file, as far as JSON goes.
fn word<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}
