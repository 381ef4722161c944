//! The files of a pack: read, checked and compiled, with errors that name file and line.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::LazyLock;

use minijinja::Environment;
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::{CritiqueStyle, Pack, PackDefaults, PackError, Vars, strict_environment, variables};
use crate::chain::StepKind;
use crate::constitution::{Example, Principle, Severity, Status};
use crate::digest::Digest;
use crate::generation::{Message, Role};

/// The most bytes of a pack, all files together.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// The file that says what a pack is.
const HEADER: &str = "pack.yaml";

/// Begins a file in the text of a pack.
const SEPARATOR: &str = "=== ";

/// Steps that have files, in the order in which they are written.
const STEPS: [StepKind; 4] = [
    StepKind::Draft,
    StepKind::Critique,
    StepKind::Revision,
    StepKind::Recheck,
];

/// One file: its name in the pack, the name for people, its text.
pub(super) type File = (String, String, String);

/// One entry of a compiled step.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// A message of the pack's own.
    Message {
        /// Who speaks.
        role: Role,
        /// The name of its content in the environment.
        template: String,
    },
    /// The prompt's own messages.
    Conversation,
    /// The messages of the critique that a revision answers.
    Critique,
    /// Messages for each example of the principle.
    Examples(Vec<Entry>),
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Header {
    name: String,
    version: String,
    #[serde(default)]
    description: String,
    critique: CritiqueStyle,
    #[serde(default)]
    defaults: PackDefaults,
}

/// An entry as it is written: one of three forms, told apart after reading so that errors have a place.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    include: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    each: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<RawEntry>>,
}

/// Reads the files of a folder.
pub(super) fn read_folder(path: &str) -> Result<Vec<File>, PackError> {
    let folder = Path::new(path);
    if !folder.is_dir() {
        let names: Vec<_> = Pack::builtin_names().collect();
        let what = if folder.exists() {
            "is not a folder"
        } else {
            "is neither the name of a pack nor a folder"
        };
        return Err(PackError::Unreadable(format!(
            "`{path}` {what}; name {} or a folder with {HEADER} in it",
            names.join(", ")
        )));
    }
    let unreadable = |error: std::io::Error| PackError::Unreadable(format!("{path}: {error}"));
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        if let Some(name) = name.to_str()
            && (name.ends_with(".yaml") || name.ends_with(".yml"))
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    let mut left = MAX_BYTES;
    let mut files = Vec::new();
    for name in names {
        let label = folder.join(&name).display().to_string();
        let text = read_text(&folder.join(&name), &label, left)?;
        left -= text.len() as u64;
        files.push((name, label, text));
    }
    Ok(files)
}

fn read_text(path: &Path, label: &str, limit: u64) -> Result<String, PackError> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| PackError::Unreadable(format!("{label}: {error}")))?;
    if bytes.len() as u64 > limit {
        return Err(PackError::Unreadable(format!(
            "{label}: the pack is larger than {} MB",
            MAX_BYTES / 1024 / 1024
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        invalid(
            label,
            Some(1 + before.iter().filter(|byte| **byte == b'\n').count()),
            "not valid UTF-8".to_owned(),
        )
    })
}

/// Takes the text of a pack apart into its files.
pub(super) fn split(text: &str) -> Result<Vec<File>, PackError> {
    if text.len() as u64 > MAX_BYTES {
        return Err(PackError::Unreadable(
            "the text of the pack is larger than 1 MB".to_owned(),
        ));
    }
    let mut files: Vec<File> = Vec::new();
    for line in text.split_inclusive('\n') {
        if let Some(name) = line.strip_prefix(SEPARATOR) {
            let name = name.trim_end().to_owned();
            files.push((name.clone(), name, String::new()));
        } else if let Some((_, _, text)) = files.last_mut() {
            text.push_str(line);
        } else {
            return Err(PackError::Unreadable(format!(
                "the text of a pack begins with `{SEPARATOR}` and a file name"
            )));
        }
    }
    Ok(files)
}

/// Makes a pack of its files.
pub(super) fn build(files: Vec<File>) -> Result<Pack, PackError> {
    let mut texts = BTreeMap::new();
    for (name, label, text) in files {
        let known = name == HEADER || STEPS.iter().any(|step| file_name(*step) == name);
        if !known {
            let steps: Vec<_> = STEPS.iter().map(|step| file_name(*step)).collect();
            let message = format!(
                "not a file of a pack; these are {HEADER}, {}",
                steps.join(", ")
            );
            return Err(invalid(&label, None, message));
        }
        let text = normalised(&label, &text)?;
        if texts.insert(name, (label.clone(), text)).is_some() {
            return Err(invalid(&label, None, "this file is there twice".to_owned()));
        }
    }
    let place = texts
        .values()
        .next()
        .map_or("the pack", |(label, _)| label.as_str());
    let place = place
        .rsplit_once('/')
        .map_or(place, |(folder, _)| folder)
        .to_owned();
    let missing = |name: &str| PackError::Unreadable(format!("{place}: {name} is missing"));

    let (label, text) = texts.get(HEADER).ok_or_else(|| missing(HEADER))?;
    let header: Header = parse(label, text)?;
    if header.name.trim().is_empty() {
        return Err(invalid(label, None, "the name is empty".to_owned()));
    }
    let mut environment = strict_environment();
    let mut steps = BTreeMap::new();
    let mut raw = BTreeMap::new();
    let mut whole = format!("{SEPARATOR}{HEADER}\n{text}");
    for step in STEPS {
        let name = file_name(step);
        let Some((label, text)) = texts.get(&name) else {
            if step == StepKind::Recheck {
                continue;
            }
            return Err(missing(&name));
        };
        let entries: Vec<RawEntry> = parse(label, text)?;
        let mut compiler = Compiler::new(step, label, text, &mut environment);
        steps.insert(step.as_str(), compiler.compile(&entries, false)?);
        raw.insert(step.as_str(), entries);
        whole.push_str(&format!("{SEPARATOR}{name}\n{text}"));
    }
    let digest = Digest::of(&(
        "pack",
        &header.name,
        &header.version,
        header.critique,
        &header.defaults,
        &raw,
    ));
    let pack = Pack {
        name: header.name,
        version: header.version,
        description: header.description,
        critique: header.critique,
        defaults: header.defaults,
        text: whole,
        digest,
        steps,
        environment,
    };
    for step in STEPS {
        let label = texts
            .get(&file_name(step))
            .map_or(place.as_str(), |(label, _)| label);
        try_out(&pack, step).map_err(|error| invalid(label, None, error.to_string()))?;
    }
    Ok(pack)
}

fn file_name(step: StepKind) -> String {
    format!("{}.yaml", step.as_str())
}

/// Line ends as `\n`, one at the end, no byte order mark.
fn normalised(label: &str, text: &str) -> Result<String, PackError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut text = text.replace("\r\n", "\n");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    match text.lines().position(|line| line.starts_with(SEPARATOR)) {
        None => Ok(text),
        Some(index) => Err(invalid(
            label,
            Some(index + 1),
            format!("a line of a pack may not begin with `{SEPARATOR}`; indent it"),
        )),
    }
}

fn parse<T: for<'de> Deserialize<'de>>(label: &str, text: &str) -> Result<T, PackError> {
    serde_yaml::from_str(text).map_err(|error| {
        let line = error.location().map(|location| location.line());
        let message = error.to_string();
        // The place is said already.
        let message = message
            .rsplit_once(" at line ")
            .map_or(message.as_str(), |(message, _)| message);
        invalid(label, line, message.to_owned())
    })
}

fn invalid(label: &str, line: Option<usize>, message: String) -> PackError {
    PackError::Invalid {
        file: label.to_owned(),
        line,
        message,
    }
}

/// Compiles the entries of one file.
struct Compiler<'a> {
    step: StepKind,
    label: &'a str,
    environment: &'a mut Environment<'static>,
    /// Where the contents of the file begin, in their order.
    places: Vec<Place>,
    contents: usize,
}

impl<'a> Compiler<'a> {
    fn new(
        step: StepKind,
        label: &'a str,
        text: &str,
        environment: &'a mut Environment<'static>,
    ) -> Self {
        Self {
            step,
            label,
            environment,
            places: places(text),
            contents: 0,
        }
    }

    fn compile(&mut self, raw: &[RawEntry], in_example: bool) -> Result<Vec<Entry>, PackError> {
        raw.iter()
            .map(|entry| self.entry(entry, in_example))
            .collect()
    }

    fn entry(&mut self, raw: &RawEntry, in_example: bool) -> Result<Entry, PackError> {
        match raw {
            RawEntry {
                role: Some(role),
                content: Some(content),
                include: None,
                each: None,
                messages: None,
            } => Ok(Entry::Message {
                role: *role,
                template: self.content(content, in_example)?,
            }),
            RawEntry {
                role: None,
                content: None,
                include: Some(include),
                each: None,
                messages: None,
            } => match include.as_str() {
                "conversation" => Ok(Entry::Conversation),
                "critique" if self.step == StepKind::Revision && !in_example => Ok(Entry::Critique),
                "critique" => Err(self.wrong("only a revision can include the critique")),
                other => Err(self.wrong(&format!(
                    "cannot include `{other}`; there are conversation and, in a revision, critique"
                ))),
            },
            RawEntry {
                role: None,
                content: None,
                include: None,
                each: Some(each),
                messages: Some(messages),
            } => {
                if each != "examples" {
                    return Err(self.wrong(&format!(
                        "`each: {each}` is not known; write `each: examples`"
                    )));
                }
                if in_example || self.step == StepKind::Draft {
                    return Err(self.wrong("`each: examples` cannot stand here"));
                }
                self.compile(messages, true).map(Entry::Examples)
            }
            _ => Err(self.wrong(
                "an entry is either `role` and `content`, or `include`, or `each` and `messages`",
            )),
        }
    }

    /// Compiles a content and gives its name.
    fn content(&mut self, content: &str, in_example: bool) -> Result<String, PackError> {
        let index = self.contents;
        self.contents += 1;
        let name = format!("{}, message {}", file_name(self.step), index + 1);
        let place = self.places.get(index).copied();
        let line = |within: usize| place.map(|place| place.line(within));
        self.environment
            .add_template_owned(name.clone(), content.to_owned())
            .map_err(|error| {
                let within = error.line().unwrap_or(1);
                invalid(self.label, line(within), variables::describe(&error))
            })?;
        let known = variables::names(self.step, in_example);
        if let Some((path, why)) = variables::first_unknown(self.environment, &name, &known) {
            let within = 1 + content.lines().position(|l| l.contains(&path)).unwrap_or(0);
            return Err(invalid(self.label, line(within), why));
        }
        Ok(name)
    }

    fn wrong(&self, message: &str) -> PackError {
        invalid(self.label, None, message.to_owned())
    }
}

/// Where a content begins in its file.
#[derive(Clone, Copy, Debug)]
struct Place {
    line: usize,
    /// Whether the lines of the content are lines of the file.
    literal: bool,
}

impl Place {
    fn line(self, within: usize) -> usize {
        if self.literal {
            self.line + within - 1
        } else {
            self.line
        }
    }
}

/// Finds the contents of a step file. The YAML reader does not tell; what is found serves error
/// messages only.
fn places(text: &str) -> Vec<Place> {
    static KEY: LazyLock<Regex> = LazyLock::new(|| {
        // A constant pattern; every load of a pack compiles it.
        Regex::new(r#"(?:^|[\s{,])["']?(content)["']?\s*:(\s*[|>])?"#).expect("valid pattern")
    });
    let mut places = Vec::new();
    let mut block: Option<usize> = None;
    for (index, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        if block.is_some_and(|column| line.trim().is_empty() || indent > column) {
            continue;
        }
        block = None;
        for found in KEY.captures_iter(line) {
            let column = found.get(1).map_or(0, |key| key.start());
            let mark = found.get(2).map(|mark| mark.as_str().trim());
            if mark.is_some() {
                block = Some(column);
            }
            places.push(Place {
                line: index + 1 + usize::from(mark.is_some()),
                literal: mark == Some("|"),
            });
        }
    }
    places
}

/// Renders a step with made-up values, so that an unknown filter or a misused value is found when the
/// pack is loaded and not in the middle of a run.
fn try_out(pack: &Pack, step: StepKind) -> Result<(), PackError> {
    let text = "text".to_owned();
    let principle = Principle {
        id: text.clone(),
        title: text.clone(),
        critique: text.clone(),
        revision: text.clone(),
        weight: 1.0,
        precedence: 0,
        severity: Severity::Major,
        tags: vec![text.clone()],
        status: Status::Active,
        rationale: text.clone(),
        check: None,
        examples: vec![Example {
            prompt: text.clone(),
            response: text.clone(),
            critique: text.clone(),
            revision: text.clone(),
        }],
        tests: Vec::new(),
    };
    let short = [Message::user("text")];
    let long = [
        Message::user("a"),
        Message::assistant("b"),
        Message::user("c"),
    ];
    for conversation in [&short[..], &long[..]] {
        for value in [None, Some("text")] {
            pack.render(
                step,
                &Vars {
                    conversation,
                    prompt: "text",
                    draft: value,
                    response: value,
                    critique: value,
                    quote: value,
                    principle: Some(&principle),
                    constitution_name: "text",
                    round: u32::from(step != StepKind::Draft),
                },
            )?;
        }
    }
    Ok(())
}
