//! The entries of a step: from what is written to templates that are known to compile.

use std::sync::LazyLock;

use minijinja::Environment;
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::file::invalid;
use super::judge::{JudgeStep, Part};
use super::{PackError, variables};
use crate::chain::StepKind;
use crate::generation::Role;

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
    /// The messages that asked for reasons, and the reasons.
    Reasoning,
    /// Messages for each example of the principle.
    Examples(Vec<Entry>),
}

/// An entry as it is written: one of three forms, told apart after reading so that errors have a place.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEntry {
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

/// Compiles the entries of one file.
pub(super) struct Compiler<'a> {
    step: Part,
    label: &'a str,
    environment: &'a mut Environment<'static>,
    /// Where the contents of the file begin, in their order.
    places: Vec<Place>,
    contents: usize,
    /// Where the entries of the file begin, and which of them is being compiled.
    starts: Vec<usize>,
    current: usize,
}

impl<'a> Compiler<'a> {
    /// A compiler for the file of a step.
    pub(super) fn new(
        step: Part,
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
            starts: starts(text),
            current: 0,
        }
    }

    /// Compiles entries; `in_example` inside `each`.
    pub(super) fn compile(
        &mut self,
        raw: &[RawEntry],
        in_example: bool,
    ) -> Result<Vec<Entry>, PackError> {
        if !in_example && self.starts.len() != raw.len() {
            // Laid out in another way than one entry under the other.
            self.starts.clear();
        }
        raw.iter()
            .enumerate()
            .map(|(index, entry)| {
                if !in_example {
                    self.current = index;
                }
                self.entry(entry, in_example)
            })
            .collect()
    }

    /// Where each content begins, by its name in the environment.
    pub(super) fn placed(&self) -> Vec<(String, Place)> {
        let names = (0..self.contents).map(|index| self.name(index));
        names.zip(self.places.iter().copied()).collect()
    }

    /// The name of a content in the environment.
    fn name(&self, index: usize) -> String {
        format!("{}, message {}", self.step.file_name(), index + 1)
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
                "critique" if self.step == StepKind::Revision.into() && !in_example => {
                    Ok(Entry::Critique)
                }
                "critique" => Err(self.wrong("only a revision can include the critique")),
                "reasoning" if self.step == JudgeStep::Conclude.into() && !in_example => {
                    Ok(Entry::Reasoning)
                }
                "reasoning" => Err(self.wrong("only conclude.yaml can include the reasoning")),
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
                if in_example || self.step == StepKind::Draft.into() {
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
        let name = self.name(index);
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
        let line = self.starts.get(self.current).copied();
        invalid(self.label, line, message.to_owned())
    }
}

/// The lines on which entries begin, where one stands under the other. It serves error messages only.
fn starts(text: &str) -> Vec<usize> {
    let dash = |line: &str| {
        let entry = line.trim_start();
        (entry == "-" || entry.starts_with("- ")).then(|| line.len() - entry.len())
    };
    let first = text.lines().find_map(dash);
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| dash(line).is_some_and(|indent| Some(indent) == first))
        .map(|(index, _)| index + 1)
        .collect()
}

/// Where a content begins in its file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    line: usize,
    /// Whether the lines of the content are lines of the file.
    literal: bool,
}

impl Place {
    /// The line of the file, for a line of the content.
    pub(super) fn line(self, within: usize) -> usize {
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
