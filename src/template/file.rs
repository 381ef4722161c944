//! The files of a pack: read, checked and compiled, with errors that name file and line.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::compile::{Compiler, Place, RawEntry};
use super::judge::{Comparison, JudgeStep, Part};
use super::{CritiqueStyle, Pack, PackDefaults, PackError, Vars, strict_environment};
use crate::chain::StepKind;
use crate::constitution::{Example, Principle, Severity, Status};
use crate::digest::Digest;
use crate::generation::Message;

/// The most bytes of a pack, all files together.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// The file that says what a pack is.
const HEADER: &str = "pack.yaml";

/// Begins a file in the text of a pack.
const SEPARATOR: &str = "=== ";

/// Steps that have files, in the order in which they are written.
const STEPS: [Part; 7] = [
    Part::Chain(StepKind::Draft),
    Part::Chain(StepKind::Critique),
    Part::Chain(StepKind::Revision),
    Part::Chain(StepKind::Recheck),
    Part::Judge(JudgeStep::Judge),
    Part::Judge(JudgeStep::Reason),
    Part::Judge(JudgeStep::Conclude),
];

/// One file: its name in the pack, the name for people, its text.
pub(super) type File = (String, String, String);

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
    if names.is_empty() {
        return Err(missing(path, HEADER));
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

fn missing(place: &str, name: &str) -> PackError {
    PackError::Unreadable(format!(
        "{place}: {name} is missing; write it, or copy it from the pack `default`"
    ))
}

fn read_text(path: &Path, label: &str, limit: u64) -> Result<String, PackError> {
    // A pipe would be waited for, and nobody puts one into a pack on purpose.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(PackError::Unreadable(format!(
            "{label}: is not a regular file"
        )));
    }
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
        let known = name == HEADER || STEPS.iter().any(|step| step.file_name() == name);
        if !known {
            let steps: Vec<_> = STEPS.iter().map(|step| step.file_name()).collect();
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

    let (label, text) = texts.get(HEADER).ok_or_else(|| missing(&place, HEADER))?;
    let header: Header = parse(label, text)?;
    if header.name.trim().is_empty() {
        return Err(invalid(label, None, "the name is empty".to_owned()));
    }
    check_defaults(&header.defaults).map_err(|message| {
        let key = message.split('`').nth(1).unwrap_or_default();
        let line = text
            .lines()
            .position(|line| line.contains(&format!("{key}:")));
        invalid(label, line.map(|index| index + 1), message.clone())
    })?;
    let mut environment = strict_environment();
    let (mut steps, mut places) = (BTreeMap::new(), Places::new());
    // What judges are told decides nothing in a run.
    let (mut raw, mut judging) = (BTreeMap::new(), BTreeMap::new());
    let mut whole = format!("{SEPARATOR}{HEADER}\n{text}");
    for step in STEPS {
        let name = step.file_name();
        let Some((label, text)) = texts.get(&name) else {
            if step.is_optional(&|other| texts.contains_key(&other.file_name())) {
                continue;
            }
            return Err(missing(&place, &name));
        };
        let entries: Vec<RawEntry> = parse(label, text)?;
        let mut compiler = Compiler::new(step, label, text, &mut environment);
        steps.insert(step.as_str(), compiler.compile(&entries, false)?);
        for (content, place) in compiler.placed() {
            places.insert(content, (label.clone(), place));
        }
        match step {
            Part::Chain(_) => raw.insert(step.as_str(), entries),
            Part::Judge(_) => judging.insert(step.as_str(), entries),
        };
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
        judge_digest: Digest::of(&("judge", &judging)),
        steps,
        environment,
    };
    for step in STEPS {
        let label = texts
            .get(&step.file_name())
            .map_or(place.as_str(), |(label, _)| label);
        try_out(&pack, step).map_err(|error| placed(label, &places, &error))?;
    }
    Ok(pack)
}

/// Holds the defaults to the ranges of the options that they stand for; the error begins with the key.
fn check_defaults(defaults: &PackDefaults) -> Result<(), String> {
    const MOST_ROUNDS: u32 = 1000;
    let sampling = &defaults.sampling;
    if let Some(rounds) = defaults.rounds.filter(|rounds| *rounds > MOST_ROUNDS) {
        return Err(format!(
            "`rounds` is {rounds}; write a number from 0 to {MOST_ROUNDS}"
        ));
    }
    if let Some(given) = sampling.temperature.filter(|t| !t.is_finite() || *t < 0.0) {
        return Err(format!("`temperature` is {given}; write 0 or more"));
    }
    for (key, share) in [("top_p", sampling.top_p), ("min_p", sampling.min_p)] {
        if let Some(given) = share.filter(|share| !(0.0..=1.0).contains(share)) {
            return Err(format!("`{key}` is {given}; write a number from 0 to 1"));
        }
    }
    match sampling.max_tokens {
        Some(0) => Err("`max_tokens` is 0; write 1 or more".to_owned()),
        _ => Ok(()),
    }
}

/// By the name of a content: its file, and where it begins there.
type Places = BTreeMap<String, (String, Place)>;

/// An error of trying out a file, with its place where it is one of a content.
fn placed(label: &str, places: &Places, error: &PackError) -> PackError {
    if let PackError::Content {
        message,
        line,
        reason,
        ..
    } = error
        && let Some((label, place)) = places.get(message)
    {
        return invalid(label, Some(place.line(*line)), reason.clone());
    }
    invalid(label, None, error.to_string())
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
        invalid(label, line, without_index(message).to_owned())
    })
}

/// A message without the number of the entry that serde puts before it, such as `.[0]: `. The line tells
/// which entry it is.
fn without_index(message: &str) -> &str {
    let after = message
        .strip_prefix(".[")
        .and_then(|rest| rest.split_once(']'));
    after.map_or(message, |(_, rest)| {
        let rest = rest.strip_prefix(": ").unwrap_or(rest);
        rest.strip_prefix('.').unwrap_or(rest)
    })
}

pub(super) fn invalid(label: &str, line: Option<usize>, message: String) -> PackError {
    PackError::Invalid {
        file: label.to_owned(),
        line,
        message,
    }
}

/// Renders a step with made-up values, so that an unknown filter or a misused value is found when the
/// pack is loaded and not in the middle of a run.
fn try_out(pack: &Pack, step: Part) -> Result<(), PackError> {
    if !pack.has(step) {
        return Ok(());
    }
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
            let vars = Vars {
                conversation,
                prompt: "text",
                draft: value,
                response: value,
                critique: value,
                quote: value,
                principle: Some(&principle),
                constitution_name: "text",
                round: u32::from(step != StepKind::Draft.into()),
            };
            let compared = Comparison {
                conversation,
                prompt: "text",
                a: "text",
                b: "text",
                principle: &principle,
                constitution_name: "text",
                reasoning: value.unwrap_or_default(),
            };
            match step {
                Part::Chain(step) => pack.render(step, &vars)?,
                Part::Judge(step) => pack.render_judge(step, &compared)?,
            };
        }
    }
    Ok(())
}
