//! Printing a document.

use super::WIDTH;
use super::document::{Body, Document, Group, Item, Line, Value};
use super::scalar::{Scalar, flow_scalar, scalar};
use crate::constitution::comments::Comment;

/// The text of a document.
pub(super) fn print(document: &Document) -> String {
    let mut printer = Printer { out: String::new() };
    printer.lines(&document.header, 0);
    printer.items(&document.root, 0, 0, false);
    printer.out
}

struct Printer {
    out: String,
}

impl Printer {
    fn line(&mut self, indent: usize, text: &str) {
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn blank(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    fn lines(&mut self, lines: &[Line], indent: usize) {
        for line in lines {
            match line {
                Line::Blank => self.blank(),
                Line::Comment(comment) => self.line(indent, &comment.text),
            }
        }
    }

    /// The items of a list or mapping, each on lines of its own. `depth` counts lists and mappings around;
    /// `beside` tells that the first one begins behind a dash, before which its comments stand.
    fn items(&mut self, group: &Group, indent: usize, depth: usize, beside: bool) {
        for (index, item) in group.items.iter().enumerate() {
            let mut leading = hoisted(item, indent);
            if index == 0 && beside {
                leading.clear();
            } else if index == 0 {
                // Nothing opens a list or mapping with a blank line.
                let first = leading.iter().position(|line| *line != Line::Blank);
                leading.drain(..first.unwrap_or(leading.len()));
            }
            // Principles stand apart.
            let apart = depth == 1 && !group.is_map && index > 0 && spread(&item.value, indent + 2);
            if apart && leading.first() != Some(&Line::Blank) {
                self.blank();
            }
            self.lines(&leading, indent);
            self.item(item, indent, depth);
        }
        self.lines(&group.tail, indent);
    }

    /// A key or dash with its value.
    fn item(&mut self, item: &Item, indent: usize, depth: usize) {
        let head = head(item);
        match &item.value.body {
            Body::Alias(name) => {
                self.ended(indent, &format!("{head} *{name}"), item.trailing.as_ref())
            }
            Body::Scalar { text, style } => {
                let room = WIDTH.saturating_sub(indent + head.chars().count() + 1);
                match scalar(text, *style, room, indent + 2) {
                    Scalar::Inline(value) => {
                        self.ended(indent, &format!("{head} {value}"), item.trailing.as_ref());
                    }
                    Scalar::Block(header, lines) => {
                        self.ended(indent, &format!("{head} {header}"), item.trailing.as_ref());
                        for line in lines {
                            let indent = if line.is_empty() { 0 } else { indent + 2 };
                            self.line(indent, &line);
                        }
                    }
                }
            }
            Body::Group(group) if !spread(&item.value, indent + head.chars().count() + 1) => {
                let value = flow(group);
                self.ended(indent, &format!("{head} {value}"), item.trailing.as_ref());
            }
            Body::Group(group) => self.group(&head, item, group, indent, depth),
        }
    }

    fn group(&mut self, head: &str, item: &Item, group: &Group, indent: usize, depth: usize) {
        if item.key.is_some() || !group.is_map {
            self.ended(indent, head, item.trailing.as_ref());
            return self.items(group, indent + 2, depth + 1, false);
        }
        // The comments of the mapping and of its first entry were put before the dash.
        if head != "-" {
            self.line(indent, head);
            return self.items(group, indent + 2, depth + 1, true);
        }
        // `- id: a` puts the first entry beside the dash.
        let start = self.out.len();
        self.items(group, indent + 2, depth + 1, true);
        self.out
            .replace_range(start + indent..start + indent + 1, "-");
    }

    /// The first line of an item, with the comment behind it.
    fn ended(&mut self, indent: usize, text: &str, trailing: Option<&Comment>) {
        let Some(trailing) = trailing else {
            return self.line(indent, text);
        };
        let used = indent + text.chars().count();
        // Where it stood before, if there is room.
        let space = (trailing.column - 1).saturating_sub(used).max(2);
        let text = format!("{text}{:space$}{}", "", trailing.text);
        self.line(indent, &text);
    }
}

/// A key or dash, with the anchor of the value.
fn head(item: &Item) -> String {
    let lead = match &item.key {
        Some(key) => format!("{key}:"),
        None => "-".to_owned(),
    };
    match &item.value.anchor {
        Some(name) => format!("{lead} &{name}"),
        None => lead,
    }
}

/// The lines before an item. Those inside empty brackets stand before the brackets. A mapping in a list
/// begins with its first entry, so what is said behind its dash or about that entry stands before the dash.
fn hoisted(item: &Item, indent: usize) -> Vec<Line> {
    let mut lines = item.leading.clone();
    let Body::Group(group) = &item.value.body else {
        return lines;
    };
    if group.items.is_empty() {
        lines.extend(
            group
                .tail
                .iter()
                .filter(|line| **line != Line::Blank)
                .cloned(),
        );
    }
    if item.key.is_none()
        && group.is_map
        && let Some(first) = group.items.first()
        && spread(&item.value, indent + head(item).chars().count() + 1)
    {
        let behind = item.trailing.iter();
        lines.extend(behind.map(|comment| Line::Comment(comment.clone())));
        lines.extend(
            hoisted(first, indent + 2)
                .into_iter()
                .filter(|line| *line != Line::Blank),
        );
    }
    lines
}

/// Whether a value takes lines of its own when it begins at a column.
fn spread(value: &Value, column: usize) -> bool {
    match &value.body {
        Body::Group(group) => {
            let fits = || column + flow(group).chars().count() <= WIDTH;
            !(group.items.is_empty() || group.flow && !has_comments(group) && fits())
        }
        _ => false,
    }
}

fn has_comments(group: &Group) -> bool {
    let item = |item: &Item| {
        let comments = item.leading.iter().any(|line| *line != Line::Blank);
        let inner = match &item.value.body {
            Body::Group(group) => !group.flow || has_comments(group),
            _ => false,
        };
        comments || item.trailing.is_some() || inner
    };
    !group.tail.is_empty() || group.items.iter().any(item)
}

/// A list or mapping in brackets, on one line.
fn flow(group: &Group) -> String {
    let items = group.items.iter().map(|item| {
        let anchor = item.value.anchor.as_ref();
        let anchor = anchor.map_or(String::new(), |name| format!("&{name} "));
        let value = match &item.value.body {
            Body::Alias(name) => format!("*{name}"),
            Body::Scalar { text, style } => flow_scalar(text, *style),
            Body::Group(group) => flow(group),
        };
        match &item.key {
            Some(key) => format!("{key}: {anchor}{value}"),
            None => format!("{anchor}{value}"),
        }
    });
    let items = items.collect::<Vec<_>>().join(", ");
    if group.is_map {
        format!("{{{items}}}")
    } else {
        format!("[{items}]")
    }
}
