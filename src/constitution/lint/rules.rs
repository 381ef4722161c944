//! The warnings.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use super::words::{content, share, tokens};
use super::{similar, wording};
use crate::constitution::comments::lines;
use crate::constitution::error::{Code, Place, Problem, Span};
use crate::constitution::form::PRINCIPLE;
use crate::constitution::merge::{Merged, Origin};
use crate::constitution::resolve::{Examined, Layer};
use crate::constitution::shape::MERGE;
use crate::constitution::tree::Node;
use crate::constitution::{Principle, Status};

/// The context, in tokens, against which lengths are measured: what runs use unless told otherwise.
pub const CONTEXT: usize = 4096;
/// A critique or a revision may take this share of it.
const TEXT_SHARE: usize = 10;
/// The examples of a principle together may take this share of it.
const EXAMPLES_SHARE: usize = 4;

/// What probably does not do what the author of the root file means.
pub(super) fn warnings(examined: &Examined) -> Vec<Problem> {
    let root = examined.root.and_then(|root| examined.layers.get(root));
    let (Some(root), Some(merged)) = (root, &examined.merged) else {
        return Vec::new();
    };
    let text = examined.texts.get(&root.file).map_or("", String::as_str);
    let mut rules = Rules {
        root,
        merged,
        nodes: HashMap::new(),
        lines: lines(text),
        found: Vec::new(),
    };
    for node in &root.principles {
        let id = node.get("id").and_then(|id| id.text()).unwrap_or_default();
        rules.nodes.entry(id).or_insert(node);
    }
    for principle in &merged.constitution.principles {
        rules.principle(principle);
    }
    rules.near_duplicates();
    rules.found
}

struct Rules<'a> {
    root: &'a Layer,
    merged: &'a Merged,
    /// The principles as the root file has them, by id.
    nodes: HashMap<&'a str, &'a Rc<Node>>,
    lines: Vec<&'a str>,
    found: Vec<Problem>,
}

impl<'a> Rules<'a> {
    fn say(&mut self, code: Code, span: Span, message: String, remedy: impl Into<String>) {
        let file: &PathBuf = &self.root.file;
        let problem = Problem::new(code, file, Some(span), message, remedy);
        self.found.push(problem);
    }

    /// Where a field was written, when that is in the root file.
    fn own(&self, id: &str, field: &str) -> Option<Span> {
        let place = self.merged.origins.get(id)?.fields.get(field)?;
        self.here(place)
    }

    fn here(&self, place: &Place) -> Option<Span> {
        (place.file == self.root.file).then_some(place.span)
    }

    fn principle(&mut self, principle: &Principle) {
        let Some(origin) = self.merged.origins.get(&principle.id) else {
            return;
        };
        if principle.status == Status::Retired {
            return self.retired(principle, origin);
        }
        self.tests(principle, origin);
        self.weight(principle);
        self.unrelated(principle);
        for (field, text) in [
            ("critique", &principle.critique),
            ("revision", &principle.revision),
        ] {
            if let Some(span) = self.own(&principle.id, field) {
                self.long(principle, field, text, span);
                self.framing(principle, field, text, span);
            }
        }
        if let Some(span) = self.own(&principle.id, "critique") {
            self.two_in_one(principle, span);
        }
        if let Some(span) = self.own(&principle.id, "examples") {
            self.examples(principle, span);
        }
    }

    fn retired(&mut self, principle: &Principle, origin: &Origin) {
        // Why and since when may well be said later.
        const LEFT_TO_DO: [&str; 4] = ["id", "status", "rationale", "tags"];
        let id = &principle.id;
        let Some(node) = self.nodes.get(id.as_str()) else {
            return;
        };
        // The first one in the order of the format: laying the file out makes it no other one.
        let rank = |key: &str| PRINCIPLE.iter().position(|known| known.name == key);
        let entries = node.entries().iter();
        let first = entries
            .filter(|entry| !LEFT_TO_DO.contains(&entry.key.as_str()))
            .min_by_key(|entry| rank(&entry.key).unwrap_or(usize::MAX));
        let (Some(entry), None) = (first, self.here(&origin.principle)) else {
            return;
        };
        let message = format!(
            "`{id}` is retired, and its {} is changed here all the same",
            entry.key
        );
        let remedy = "write `status: active` too, or remove the change";
        self.say(Code::RetiredExtended, entry.key_span, message, remedy);
    }

    fn tests(&mut self, principle: &Principle, origin: &Origin) {
        let id = &principle.id;
        let node = self.nodes.get(id.as_str());
        let (Some(node), Some(span)) = (node, self.here(&origin.principle)) else {
            return;
        };
        // Tests may be in what was to be merged.
        if node.get(MERGE).is_some() {
            return;
        }
        let written = node.get("tests");
        if written.is_none_or(|tests| tests.items().is_empty() && tests.text().is_none()) {
            let message = format!("the principle `{id}` has no test");
            let remedy = "add `tests`: a response that violates it, and one that does not";
            self.say(Code::NoTests, span, message, remedy);
        }
    }

    fn weight(&mut self, principle: &Principle) {
        if principle.weight == 0.0
            && principle.status == Status::Active
            && let Some(span) = self.own(&principle.id, "weight")
        {
            let message = format!("`{}` has the weight 0 and is never drawn", principle.id);
            let remedy = "give it a weight, or write `status: draft` to keep it out";
            self.say(Code::ZeroWeight, span, message, remedy);
        }
    }

    fn unrelated(&mut self, principle: &Principle) {
        let (asked, wanted) = (content(&principle.critique), content(&principle.revision));
        let revision = self.own(&principle.id, "revision");
        let span = revision.or_else(|| self.own(&principle.id, "critique"));
        let (Some(span), false, false) = (span, asked.is_empty(), wanted.is_empty()) else {
            return;
        };
        if !share(&asked, &wanted) {
            let message = format!(
                "critique and revision of `{}` have no content word in common: {}; {}",
                principle.id,
                some(&asked),
                some(&wanted)
            );
            let remedy = "let the revision mend what the critique looks for, in the same words";
            self.say(Code::Unrelated, span, message, remedy);
        }
    }

    fn long(&mut self, principle: &Principle, field: &str, text: &str, span: Span) {
        let (tokens, most) = (tokens(text), CONTEXT / TEXT_SHARE);
        if tokens > most {
            let message = format!(
                "the {field} of `{}` takes about {tokens} tokens, more than a tenth of a context of {CONTEXT}",
                principle.id
            );
            let remedy = format!("shorten it to {most} tokens or fewer, or split the principle");
            self.say(Code::Long, span, message, remedy);
        }
    }

    fn examples(&mut self, principle: &Principle, span: Span) {
        let all = principle.examples.iter();
        let texts = all.flat_map(|e| [&e.prompt, &e.response, &e.critique, &e.revision]);
        let tokens: usize = texts.map(|text| tokens(text)).sum();
        if tokens > CONTEXT / EXAMPLES_SHARE {
            let message = format!(
                "the examples of `{}` take about {tokens} tokens, more than a quarter of a context of {CONTEXT}",
                principle.id
            );
            let remedy = "keep the shortest ones that show the point";
            self.say(Code::Long, span, message, remedy);
        }
    }

    fn framing(&mut self, principle: &Principle, field: &str, text: &str, span: Span) {
        let text = text.replace('’', "'");
        let Some(place) = wording::prohibition(&text, field == "critique") else {
            return;
        };
        let message = format!(
            "the {field} of `{}` says what not to do: “{}”",
            principle.id,
            &text[place.clone()]
        );
        let span = self.locate(span, &text, place);
        let remedy = "say what a good response does: such principles match human judgement better (C3AI, \
                      arXiv 2502.15861); `--explain C055` tells more";
        self.say(Code::NegativeFraming, span, message, remedy);
    }

    fn two_in_one(&mut self, principle: &Principle, span: Span) {
        let text = &principle.critique;
        let Some(place) = wording::second_request(text) else {
            return;
        };
        let words: Vec<_> = text[place.clone()].split_whitespace().collect();
        let span = self.locate(span, text, place);
        let message = format!(
            "the critique of `{}` asks for two things at once: “{}”",
            principle.id,
            crate::constitution::error::excerpt(&words.join(" "))
        );
        let remedy = "make two principles of it, so that each has a verdict of its own";
        self.say(Code::TwoInOne, span, message, remedy);
    }

    fn near_duplicates(&mut self) {
        let live = self.merged.constitution.principles.iter();
        let live: Vec<_> = live.filter(|p| p.status != Status::Retired).collect();
        let critiques: Vec<&str> = live.iter().map(|p| p.critique.as_str()).collect();
        for pair in similar::pairs(&critiques) {
            let (first, second) = (live[pair.first], live[pair.second]);
            let spans = [second, first].map(|p| self.own(&p.id, "critique"));
            let Some(span) = spans[0].or(spans[1]) else {
                continue;
            };
            let message = format!(
                "the critiques of `{}` and `{}` are nearly the same: {:.0} % of their word pairs",
                first.id,
                second.id,
                pair.similarity * 100.0
            );
            let remedy = "keep one of the two, or say in each what tells it from the other";
            self.say(Code::NearDuplicate, span, message, remedy);
        }
    }

    /// Where words of a text stand in the file; the whole text where they are written in another way.
    /// `within` is the place of the text, `words` a stretch of it in bytes.
    fn locate(&self, within: Span, text: &str, words: std::ops::Range<usize>) -> Span {
        let dense = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
        let (skip, length) = (dense(&text[..words.start]), dense(&text[words.clone()]));
        let wanted = text[words].chars().filter(|c| !c.is_whitespace());
        let wanted: Vec<char> = wanted.collect();
        let source = self.characters(within);
        // A text in quotes has one character more before it.
        let places = [skip, skip + 1].into_iter();
        let found = places
            .filter_map(|at| source.get(at..at + length))
            .find(|run| {
                run.iter()
                    .zip(&wanted)
                    .all(|((c, _, _), w)| c == w || (*c == '’' && *w == '\''))
            });
        match found {
            Some([(_, line, column), .., (_, end_line, end_column)]) => Span {
                line: *line,
                column: *column,
                end_line: *end_line,
                end_column: end_column + 1,
            },
            _ => within,
        }
    }

    /// The characters of a stretch of the file with their places, white space left out.
    fn characters(&self, within: Span) -> Vec<(char, usize, usize)> {
        let mut found = Vec::new();
        let numbered = self.lines.iter().enumerate().skip(within.line - 1);
        for (index, line) in numbered.take((within.end_line + 1).saturating_sub(within.line)) {
            let number = index + 1;
            let first = if number == within.line {
                within.column
            } else {
                1
            };
            let last = if number == within.end_line {
                within.end_column
            } else {
                usize::MAX
            };
            let columns = line
                .chars()
                .zip(1..)
                .filter(|(c, column)| (first..last).contains(column) && !c.is_whitespace());
            found.extend(columns.map(|(c, column)| (c, number, column)));
        }
        found
    }
}

/// The first few of some words.
fn some(words: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut shown = words
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if words.len() > SHOWN {
        shown.push_str(", …");
    }
    shown
}
