//! A file as a document: values, how they are written, and the comments that belong to them.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::attach::attach;
use crate::constitution::comments::{
    Comment, after_anchor, line_starts, outside, scalar_end, scalar_start,
};
use crate::constitution::form::{FILE, Kind};

/// A line that stands before an item, or at the end of a list or mapping.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Line {
    Blank,
    Comment(Comment),
}

/// An entry of a mapping or an item of a list.
#[derive(Debug)]
pub(super) struct Item {
    /// The key; `None` in a list.
    pub key: Option<String>,
    pub value: Value,
    pub leading: Vec<Line>,
    /// The comment behind it.
    pub trailing: Option<Comment>,
    pub at: Extent,
}

#[derive(Debug)]
pub(super) struct Value {
    pub anchor: Option<String>,
    pub body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    Scalar { text: String, style: ScalarStyle },
    Alias(String),
    Group(Group),
}

/// A list or a mapping.
#[derive(Debug)]
pub(super) struct Group {
    pub is_map: bool,
    /// Whether it is written in brackets.
    pub flow: bool,
    pub items: Vec<Item>,
    /// Comments after the last item.
    pub tail: Vec<Line>,
    /// The column of its items, from 0.
    pub column: usize,
    /// Where its first and after its last character is.
    pub start: usize,
    pub end: usize,
}

/// Where an item stands in the source: characters from 0, lines from 1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    pub start: usize,
    pub end: usize,
    pub first_line: usize,
    pub last_line: usize,
}

#[derive(Debug)]
pub(super) struct Document {
    pub root: Group,
    /// Comments before everything else.
    pub header: Vec<Line>,
    /// Where each line of the source begins, in characters from 0.
    pub starts: Vec<usize>,
    has_anchors: bool,
}

/// Reads a text that is a constitution. `None` when something in it is not understood.
pub(super) fn read(text: &str) -> Option<Document> {
    let source: Vec<char> = text.chars().collect();
    let mut reader = Reader {
        source: &source,
        starts: line_starts(&source),
        stack: Vec::new(),
        root: None,
        names: HashMap::new(),
        after: 0,
        scalars: Vec::new(),
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.ok()?;
        reader.take(event, span)?;
    }
    let Reader {
        starts,
        root,
        scalars,
        names,
        ..
    } = reader;
    let Body::Group(mut root) = root?.body else {
        return None;
    };
    if !root.is_map {
        return None;
    }
    root.flow = false;
    let header = attach(&mut root, outside(text, &scalars), source.len());
    Some(Document {
        root,
        header,
        starts,
        has_anchors: !names.is_empty(),
    })
}

impl Document {
    /// Puts keys into the order of the format. Where there are anchors the order stays, since an alias
    /// must come after what it repeats.
    pub fn sort(&mut self) {
        if !self.has_anchors {
            sort(&mut self.root, &FILE);
        }
    }
}

fn sort(group: &mut Group, kind: &Kind) {
    match kind {
        Kind::Map(_, keys) => {
            let rank = |item: &Item| {
                let key = item.key.as_deref().unwrap_or_default();
                keys.iter().position(|known| known.name == key)
            };
            group
                .items
                .sort_by_key(|item| rank(item).unwrap_or(keys.len()));
            for item in &mut group.items {
                if let (Some(rank), Body::Group(inner)) = (rank(item), &mut item.value.body) {
                    sort(inner, &keys[rank].kind);
                }
            }
        }
        Kind::List(inner) | Kind::OneOrMore(inner) => {
            for item in &mut group.items {
                if let Body::Group(group) = &mut item.value.body {
                    sort(group, inner);
                }
            }
        }
        _ => {}
    }
}

/// A list or mapping whose end has not come yet.
struct Open {
    group: Group,
    anchor: Option<String>,
    key: Option<(String, Extent)>,
    line: usize,
}

struct Reader<'a> {
    source: &'a [char],
    /// Where its lines begin.
    starts: Vec<usize>,
    stack: Vec<Open>,
    root: Option<Value>,
    /// The names of anchors, by the parser's numbers.
    names: HashMap<usize, String>,
    /// Where the last token ended.
    after: usize,
    /// Where scalars stand.
    scalars: Vec<(usize, usize)>,
}

impl Reader<'_> {
    fn take(&mut self, event: Event<'_>, span: saphyr_parser::Span) -> Option<()> {
        let (mut start, end) = (span.start.index(), span.end.index());
        let mut line = span.start.line();
        match event {
            Event::Scalar(text, style, number, None) => {
                let anchor = self.anchor(number, start)?;
                let text_start = scalar_start(self.source, style, start, number > 0);
                line += breaks(self.between(start, text_start));
                start = text_start;
                let end = scalar_end(self.source, style, start, end);
                // What is left out has its place where the next token is.
                let empty = text.is_empty() && !is_quoted(style);
                let extent = if empty {
                    self.nothing()
                } else {
                    self.scalars.push((start, end));
                    self.extent(start, end, line)
                };
                let body = Body::Scalar {
                    text: text.into_owned(),
                    style,
                };
                self.place(Value { anchor, body }, extent)
            }
            Event::Alias(number) => {
                let name = self.names.get(&number)?.clone();
                let value = Value {
                    anchor: None,
                    body: Body::Alias(name),
                };
                let extent = self.extent(start, end, line);
                self.place(value, extent)
            }
            Event::SequenceStart(anchor, None) => self.begin(anchor, span, false),
            Event::MappingStart(anchor, None) => self.begin(anchor, span, true),
            // A comment behind a bracket is counted to it.
            Event::SequenceEnd | Event::MappingEnd => self.end(start + 1),
            Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) => None,
            _ => Some(()),
        }
    }

    fn begin(&mut self, anchor: usize, span: saphyr_parser::Span, is_map: bool) -> Option<()> {
        let mut start = span.start.index();
        let number = anchor;
        let anchor = self.anchor(number, start)?;
        let mut line = span.start.line();
        if number > 0 {
            let after = after_anchor(self.source, start);
            line += breaks(self.between(start, after));
            start = after;
        }
        let flow = matches!(self.source.get(start), Some('{' | '['));
        let column = if is_map || flow {
            self.column(start)
        } else {
            self.dash(start)?
        };
        let group = Group {
            is_map,
            flow,
            items: Vec::new(),
            tail: Vec::new(),
            column,
            start,
            end: start,
        };
        if flow {
            self.after = start + 1;
        }
        self.stack.push(Open {
            group,
            anchor,
            key: None,
            line,
        });
        Some(())
    }

    /// The column of the dash of a list that begins here or before.
    fn dash(&self, start: usize) -> Option<usize> {
        let is_dash = |at: usize| {
            let blank = |c: Option<&char>| c.is_none_or(|c| c.is_whitespace());
            self.source.get(at) == Some(&'-')
                && blank(self.source.get(at + 1))
                && (at == 0 || blank(self.source.get(at - 1)))
        };
        let at = (self.after..=start).rev().find(|at| is_dash(*at))?;
        Some(self.column(at))
    }

    /// The column of a character, from 0.
    fn column(&self, at: usize) -> usize {
        // The first line begins with the first character, so there is always one.
        at - self.starts[self.line(at) - 1]
    }

    /// The line of a character, from 1.
    fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    /// A stretch of the source, as far as there is one.
    fn between(&self, start: usize, end: usize) -> &[char] {
        let end = end.min(self.source.len());
        self.source.get(start..end).unwrap_or_default()
    }

    fn end(&mut self, end: usize) -> Option<()> {
        let mut open = self.stack.pop()?;
        let last = open.group.items.last().map(|item| item.at);
        let mut extent = self.extent(open.group.start, open.group.start + 1, open.line);
        if open.group.flow {
            extent.last_line += breaks(self.between(open.group.start, end));
            extent.end = end;
            self.after = end;
        } else if let Some(last) = last {
            extent.last_line = last.last_line;
            extent.end = last.end;
        }
        open.group.end = extent.end;
        let value = Value {
            anchor: open.anchor,
            body: Body::Group(open.group),
        };
        self.place(value, extent)
    }

    fn nothing(&self) -> Extent {
        let line = self.line(self.after);
        Extent {
            start: self.after,
            end: self.after,
            first_line: line,
            last_line: line,
        }
    }

    /// Where a token stands, white space at its end left out.
    fn extent(&self, start: usize, end: usize, line: usize) -> Extent {
        let token = self.between(start, end);
        let length = token
            .iter()
            .rposition(|c| !c.is_whitespace())
            .map_or(0, |at| at + 1);
        Extent {
            start,
            end: start + length,
            first_line: line,
            last_line: line + breaks(&token[..length]),
        }
    }

    /// The name of the anchor of a value that begins here; `Some(None)` when it has none.
    fn anchor(&mut self, number: usize, start: usize) -> Option<Option<String>> {
        if number == 0 {
            return Some(None);
        }
        let name = self.source.get(start..)?.strip_prefix(&['&'])?;
        let name: String = name.iter().take_while(|c| !c.is_whitespace()).collect();
        self.names.insert(number, name.clone());
        (!name.is_empty()).then_some(Some(name))
    }

    fn place(&mut self, value: Value, at: Extent) -> Option<()> {
        self.after = self.after.max(at.end);
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(value);
            return Some(());
        };
        let mut item = Item {
            key: None,
            value,
            leading: Vec::new(),
            trailing: None,
            at,
        };
        if open.group.is_map {
            let Some((key, key_at)) = open.key.take() else {
                let Body::Scalar { text, .. } = item.value.body else {
                    return None;
                };
                // An anchor on a key has no use here.
                open.key = item.value.anchor.is_none().then_some((text, at));
                return open.key.is_some().then_some(());
            };
            item.key = Some(key);
            item.at.start = key_at.start;
            item.at.first_line = key_at.first_line;
        }
        open.group.items.push(item);
        Some(())
    }
}

fn is_quoted(style: ScalarStyle) -> bool {
    matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted)
}

/// How many lines end in a text; a carriage return with a line feed is one end.
fn breaks(text: &[char]) -> usize {
    let feeds = text.iter().filter(|c| **c == '\n').count();
    let returns = text
        .iter()
        .enumerate()
        .filter(|(at, c)| **c == '\r' && text.get(at + 1) != Some(&'\n'));
    feeds + returns.count()
}
