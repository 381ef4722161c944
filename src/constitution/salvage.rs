//! What can be used of a file in which something is wrong.
//!
//! A file with a problem is refused, but the rest of it is looked at all the same, so that everything
//! that is wrong is said at once. Values with a problem inside are left out; where leaving one out would
//! look like another mistake, something harmless stands in for it.

use std::rc::Rc;

use serde::de::DeserializeOwned;
use serde_yaml::Value;

use super::check::Check;
use super::error::{Code, Problem, Span, excerpt};
use super::shape::{MERGE, is_kebab};
use super::tree::{Data, Node};
use super::wire::{File, Principle};
use super::{Defaults, Example, PrincipleTest};

/// Stands in for a text that has a problem of its own.
const STAND_IN: &str = "?";

/// The sound parts of a file.
pub(super) struct Salvaged {
    pub file: File,
    /// The nodes of its principles, in step.
    pub nodes: Vec<Rc<Node>>,
    /// Whether a principle had to be left out.
    pub lossy: bool,
}

/// Takes the sound parts of a file. `problems` are those of this file.
pub(super) fn salvage(root: &Node, problems: &[Problem]) -> Salvaged {
    let mut starts: Vec<_> = problems.iter().filter_map(|p| p.span).map(start).collect();
    starts.sort_unstable();
    let sound = Sound { starts };
    let listed = root.get("principles").map_or(&[][..], |node| node.items());
    let mut nodes = Vec::new();
    let mut principles = Vec::new();
    for node in listed {
        if let Some(principle) = sound.principle(node) {
            principles.push(principle);
            nodes.push(Rc::clone(node));
        }
    }
    let lossy = nodes.len() < listed.len()
        || match root.get("principles") {
            Some(node) => !matches!(node.data, Data::List(_)),
            // They may be there under a misspelt key, or in what was to be merged.
            None => {
                let misspelt = problems.iter().any(|p| p.code == Code::UnknownKey);
                misspelt || root.get(MERGE).is_some() || !is_map(root)
            }
        };
    let defaults = root.get("defaults");
    let default = |key| sound.field(defaults?, key);
    let file = File {
        schema: 1,
        name: sound
            .text(root, "name")
            .unwrap_or_else(|| STAND_IN.to_owned()),
        version: sound.text(root, "version"),
        description: sound.text(root, "description"),
        license: sound.text(root, "license"),
        _extends: Vec::new(),
        defaults: Defaults {
            rounds: default("rounds").and_then(typed),
            select: default("select").and_then(|node| node.text().map(str::to_owned)),
            revise: default("revise").and_then(typed),
        },
        principles,
    };
    Salvaged { file, nodes, lossy }
}

fn is_map(node: &Node) -> bool {
    matches!(node.data, Data::Map(_))
}

fn start(span: Span) -> (usize, usize) {
    (span.line, span.column)
}

/// A value by the rules of the deserialiser.
fn typed<T: DeserializeOwned>(node: &Rc<Node>) -> Option<T> {
    serde_yaml::from_value(value(node)).ok()
}

fn value(node: &Node) -> Value {
    match &node.data {
        Data::Scalar { text, plain: true } => {
            serde_yaml::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
        }
        Data::Scalar { text, .. } => Value::String(text.clone()),
        Data::List(items) => Value::Sequence(items.iter().map(|item| value(item)).collect()),
        Data::Map(entries) => {
            let pair = |entry: &super::tree::Entry| {
                (Value::String(entry.key.clone()), value(&entry.value))
            };
            Value::Mapping(entries.iter().map(pair).collect())
        }
    }
}

struct Sound {
    /// Where problems begin, in order.
    starts: Vec<(usize, usize)>,
}

impl Sound {
    /// Whether no problem begins in a value.
    fn is(&self, node: &Node) -> bool {
        let Span {
            end_line,
            end_column,
            ..
        } = node.span;
        let first = self.starts.partition_point(|at| *at < start(node.span));
        let Some(at) = self.starts.get(first) else {
            return true;
        };
        *at != start(node.span) && *at >= (end_line, end_column)
    }

    /// The value of a key, where there is nothing wrong with it.
    fn field<'n>(&self, node: &'n Node, key: &str) -> Option<&'n Rc<Node>> {
        node.get(key).filter(|node| self.is(node))
    }

    fn text(&self, node: &Node, key: &str) -> Option<String> {
        self.field(node, key)?.text().map(str::to_owned)
    }

    fn principle(&self, node: &Node) -> Option<Principle> {
        // An id with a problem still tells principles apart.
        let id = node.get("id")?;
        let id = id.text().filter(|_| !id.is_null())?;
        let id = if is_kebab(id) {
            id.to_owned()
        } else {
            // It stands in messages.
            excerpt(id)
        };
        let merges = node.get(MERGE).is_some();
        let prose = |key| {
            let Some(written) = node.get(key) else {
                return merges.then(|| STAND_IN.to_owned());
            };
            let sound = self.is(written).then(|| written.text()).flatten();
            Some(sound.unwrap_or(STAND_IN).to_owned())
        };
        let check = node.get("check").map(|written| {
            let sound = self.is(written).then(|| typed(written)).flatten();
            sound.unwrap_or_else(|| Check {
                json: true,
                ..Check::default()
            })
        });
        let texts = |node: &Rc<Node>| {
            let texts = node.items().iter().filter_map(|item| item.text());
            texts.map(str::to_owned).collect()
        };
        Some(Principle {
            id,
            title: self.text(node, "title"),
            critique: prose("critique"),
            revision: prose("revision"),
            weight: self.field(node, "weight").and_then(typed),
            precedence: self.field(node, "precedence").and_then(typed),
            severity: self.field(node, "severity").and_then(typed),
            tags: self.field(node, "tags").map(texts),
            status: self.field(node, "status").and_then(typed),
            rationale: self.text(node, "rationale"),
            check,
            examples: node.get("examples").map(|list| self.each(list, example)),
            tests: node.get("tests").map(|list| self.each(list, test)),
        })
    }

    fn each<T>(&self, list: &Node, read: fn(&Node) -> Option<T>) -> Vec<T> {
        let items = list.items().iter().filter(|item| self.is(item));
        items.filter_map(|item| read(item)).collect()
    }
}

fn text_of(node: &Node, key: &str) -> Option<String> {
    node.get(key)?.text().map(str::to_owned)
}

fn example(node: &Node) -> Option<Example> {
    Some(Example {
        prompt: text_of(node, "prompt")?,
        response: text_of(node, "response")?,
        critique: text_of(node, "critique")?,
        revision: text_of(node, "revision")?,
    })
}

fn test(node: &Node) -> Option<PrincipleTest> {
    Some(PrincipleTest {
        prompt: text_of(node, "prompt")?,
        response: text_of(node, "response")?,
        expect: typed(node.get("expect")?)?,
    })
}
