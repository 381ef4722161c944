//! A YAML file as a tree in which everything knows where it stands.
//!
//! The values of a constitution come from `serde_yaml`; this tree says where they were written, and
//! refuses what must never reach a deserialiser: deep nesting, and aliases that expand without end.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::comments::{after_anchor, scalar_end, scalar_start};
use super::error::{Code, Problem, Span, excerpt};
use super::syntax::{nul, on_text, syntax};

/// How deep values may be nested. The format itself needs 6 levels.
const MAX_DEPTH: usize = 32;
/// How many values a file may hold, aliases expanded.
const MAX_NODES: usize = 100_000;

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub span: Span,
    pub data: Data,
    /// The number of values in it, itself included and aliases expanded.
    size: usize,
}

#[derive(Debug)]
pub(super) enum Data {
    /// `plain` is true for a scalar without quotes, which may stand for a number, a boolean or nothing.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Rc<Node>>),
    Map(Vec<Entry>),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Rc<Node>,
    /// Where the value is used: at the alias, where it is written somewhere else.
    pub at: Span,
}

impl Node {
    /// The value under a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Rc<Node>> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The entry of a key of a mapping.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The entries of a mapping; none for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none for anything else.
    pub fn items(&self) -> &[Rc<Node>] {
        match &self.data {
            Data::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether there is a key and no value.
    pub fn is_null(&self) -> bool {
        match &self.data {
            Data::Scalar { text, plain: true } => {
                matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }
}

/// Reads the one document of a file. Duplicate keys go to `problems` and do not stop the reading.
pub(super) fn read(
    file: &Path,
    text: &str,
    problems: &mut Vec<Problem>,
) -> Result<Rc<Node>, Problem> {
    let source: Vec<char> = text.chars().collect();
    let mut builder = Builder {
        file,
        source: &source,
        open: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        problems,
    };
    if let Some(at) = text.find('\0') {
        return Err(nul(file, &text[..at]));
    }
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| match error.info() {
            info if info.contains("recursion limit") => {
                let (line, column) = (error.marker().line(), error.marker().col() + 1);
                too_deep(file, Some(on_text(text, line, column)))
            }
            _ => syntax(file, text, &error),
        })?;
        builder.take(event, span)?;
    }
    let empty = |span| {
        let remedy = "begin with `schema: 1`, a `name` and `principles`";
        Problem::new(
            Code::Empty,
            file,
            span,
            "the file holds no constitution",
            remedy,
        )
    };
    match builder.root {
        Some(root) if root.is_null() => Err(empty(Some(root.span))),
        Some(root) => Ok(root),
        None => Err(empty(Some(Span::point(1, 1)))),
    }
}

fn between(start: Marker, end: Marker) -> Span {
    Span {
        line: start.line(),
        column: start.col() + 1,
        end_line: end.line(),
        end_column: end.col() + 1,
    }
}

/// The line and the column after a token that begins at a place.
fn after(start: Marker, token: &[char]) -> (usize, usize) {
    let (mut line, mut column) = (start.line(), start.col() + 1);
    for (at, c) in token.iter().enumerate() {
        match c {
            // A carriage return and the line feed after it are one break.
            '\r' if token.get(at + 1) == Some(&'\n') => {}
            '\n' | '\r' => (line, column) = (line + 1, 1),
            _ => column += 1,
        }
    }
    (line, column)
}

fn too_deep(file: &Path, at: Option<Span>) -> Problem {
    let message = format!("values are nested more than {MAX_DEPTH} levels deep");
    Problem::new(
        Code::TooDeep,
        file,
        at,
        message,
        "remove brackets or indentation",
    )
}

/// A list or mapping whose end has not come yet.
struct Open {
    span: Span,
    /// Whether it is written in brackets.
    flow: bool,
    /// The line and the column after what was last put into it.
    end: (usize, usize),
    anchor: usize,
    size: usize,
    content: Content,
}

enum Content {
    List(Vec<Rc<Node>>),
    Map {
        entries: Vec<Entry>,
        lines: HashMap<String, usize>,
        key: Option<(String, Span)>,
    },
}

struct Builder<'a> {
    file: &'a Path,
    source: &'a [char],
    open: Vec<Open>,
    /// Finished values by anchor.
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    problems: &'a mut Vec<Problem>,
}

impl Builder<'_> {
    fn fail(&self, code: Code, span: Span, message: &str, remedy: &str) -> Problem {
        Problem::new(code, self.file, Some(span), message, remedy)
    }

    fn take(&mut self, event: Event<'_>, at: saphyr_parser::Span) -> Result<(), Problem> {
        let span = between(at.start, at.end);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let span = self.scalar_span(&text, style, anchor > 0, at);
                self.refuse_tag(tag.is_some(), span);
                let data = Data::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                };
                self.finish(span, data, 1, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                self.begin(at, anchor, Content::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                let content = Content::Map {
                    entries: Vec::new(),
                    lines: HashMap::new(),
                    key: None,
                };
                self.begin(at, anchor, content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(at.start),
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => self.place(node, span),
                None => Err(self.fail(
                    Code::Aliases,
                    span,
                    "an alias stands inside the value that it repeats",
                    "write the value out",
                )),
            },
            Event::DocumentStart(_) if self.root.is_some() => Err(self.fail(
                Code::Unsupported,
                span,
                "a second document begins here",
                "keep one constitution per file, and remove the `---`",
            )),
            _ => Ok(()),
        }
    }

    fn refuse_tag(&mut self, tagged: bool, span: Span) {
        if tagged {
            let remedy = "remove the tag, and quote the value where it is text";
            let message = "the value has a tag (`!…`)";
            let problem = self.fail(Code::Unsupported, span, message, remedy);
            self.problems.push(problem);
        }
    }

    /// Where a scalar stands, up to its last character. The parser goes on to the next token, whose place
    /// it gives to a block without text; that one stands where its key does.
    fn scalar_span(
        &self,
        text: &str,
        style: ScalarStyle,
        has_anchor: bool,
        at: saphyr_parser::Span,
    ) -> Span {
        let span = between(at.start, at.end);
        let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        if is_block && text.trim().is_empty() {
            return self.key_span().unwrap_or(span);
        }
        if style == ScalarStyle::Plain {
            return span;
        }
        let start = scalar_start(self.source, style, at.start.index(), has_anchor);
        let end = scalar_end(self.source, style, start, at.end.index());
        let token = self.source.get(at.start.index()..end).unwrap_or_default();
        let last = token.iter().rposition(|c| !c.is_whitespace());
        let (end_line, end_column) = after(at.start, &token[..last.map_or(0, |last| last + 1)]);
        Span {
            end_line,
            end_column,
            ..span
        }
    }

    /// Where the key stands whose value comes next.
    fn key_span(&self) -> Option<Span> {
        match &self.open.last()?.content {
            Content::Map { key, .. } => key.as_ref().map(|(_, span)| *span),
            Content::List(_) => None,
        }
    }

    fn begin(
        &mut self,
        at: saphyr_parser::Span,
        anchor: usize,
        content: Content,
    ) -> Result<(), Problem> {
        let span = between(at.start, at.end);
        if let Some(Content::Map { key: None, .. }) = self.open.last().map(|open| &open.content) {
            return Err(self.bad_key(span));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(self.file, Some(span)));
        }
        let start = match anchor {
            0 => at.start.index(),
            _ => after_anchor(self.source, at.start.index()),
        };
        self.open.push(Open {
            span,
            flow: matches!(self.source.get(start), Some('{' | '[')),
            end: (span.end_line, span.end_column),
            anchor,
            size: 1,
            content,
        });
        Ok(())
    }

    fn end(&mut self, bracket: Marker) -> Result<(), Problem> {
        // The parser closes only what it opened.
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let (end_line, end_column) = match open.flow {
            true => (bracket.line(), bracket.col() + 2),
            false => open.end,
        };
        let span = Span {
            end_line,
            end_column,
            ..open.span
        };
        let data = match open.content {
            Content::List(items) => Data::List(items),
            Content::Map { entries, .. } => Data::Map(entries),
        };
        self.finish(span, data, open.size, open.anchor)
    }

    fn finish(
        &mut self,
        span: Span,
        data: Data,
        size: usize,
        anchor: usize,
    ) -> Result<(), Problem> {
        let node = Rc::new(Node { span, data, size });
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.place(node, span)
    }

    fn bad_key(&self, span: Span) -> Problem {
        let remedy =
            "write keys as plain words, and put a text that begins with `{` or `[` in quotes";
        self.fail(
            Code::Unsupported,
            span,
            "a key is a list or a mapping",
            remedy,
        )
    }

    /// Puts a finished value where it belongs; `span` is where it is used.
    fn place(&mut self, node: Rc<Node>, span: Span) -> Result<(), Problem> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.end = (span.end_line, span.end_column);
        open.size = open.size.saturating_add(node.size);
        if open.size > MAX_NODES {
            let code = if self.anchors.is_empty() {
                Code::TooLarge
            } else {
                Code::Aliases
            };
            let message = format!("the file holds more than {MAX_NODES} values, aliases expanded");
            let remedy = "remove aliases that repeat aliases, or split the file with `extends`";
            return Err(self.fail(code, span, &message, remedy));
        }
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Map {
                entries,
                lines,
                key,
            } => {
                if let Some((key, key_span)) = key.take() {
                    entries.push(Entry {
                        key,
                        key_span,
                        value: node,
                        at: span,
                    });
                    return Ok(());
                }
                let Some(text) = node.text() else {
                    return Err(self.bad_key(span));
                };
                if let Some(first) = lines.get(text) {
                    let message = format!(
                        "the key `{}` stands here and on line {first}",
                        excerpt(text)
                    );
                    let remedy = "keep one of the two";
                    let place = Some(span);
                    self.problems.push(Problem::new(
                        Code::DuplicateKey,
                        self.file,
                        place,
                        message,
                        remedy,
                    ));
                } else {
                    lines.insert(text.to_owned(), span.line);
                }
                *key = Some((text.to_owned(), span));
            }
        }
        Ok(())
    }
}
