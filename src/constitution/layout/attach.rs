//! Finding out what comments belong to.
//!
//! A comment on a line of its own belongs to what comes next, unless it is indented like what came before;
//! a comment behind something belongs to the innermost item that ends or begins on its line.

use std::collections::VecDeque;

use super::document::{Body, Group, Item, Line};
use crate::constitution::comments::Comment;

/// Gives every comment to an item, and gives back those before the first one.
pub(super) fn attach(root: &mut Group, comments: Vec<Comment>, end: usize) -> Vec<Line> {
    let mut walk = Walk {
        comments: comments.into(),
        last_line: 0,
    };
    let mut header = Vec::new();
    let first = root.items.first().map_or(end, |item| item.at.start);
    walk.lines_before(first, &mut header);
    if let Some(item) = root.items.first()
        && !header.is_empty()
        && item.at.first_line > walk.last_line + 1
    {
        header.push(Line::Blank);
    }
    if let Some(item) = root.items.first() {
        walk.last_line = item.at.first_line.saturating_sub(1);
    }
    walk.group(root, end, None);
    // What is left stands at the end, whatever its indentation.
    walk.lines_before(usize::MAX, &mut root.tail);
    header
}

struct Walk {
    comments: VecDeque<Comment>,
    /// The line of what was last seen.
    last_line: usize,
}

impl Walk {
    /// Gives the items of a group their comments. `limit` is where the next thing after the group begins,
    /// `around` the column of the group around it.
    fn group(&mut self, group: &mut Group, limit: usize, around: Option<usize>) {
        let limit = if group.flow { group.end } else { limit };
        let starts: Vec<usize> = group.items.iter().map(|item| item.at.start).collect();
        for (index, item) in group.items.iter_mut().enumerate() {
            let next = starts.get(index + 1).copied().unwrap_or(limit);
            self.lines_before(item.at.start, &mut item.leading);
            // A list's item begins where its value does, which may be on the line below dash and anchor.
            let anchored = item.key.is_none() && item.value.anchor.is_some();
            let gap = item.at.first_line > self.last_line + 1 + usize::from(anchored);
            if gap && (index > 0 || !item.leading.is_empty()) {
                item.leading.push(Line::Blank);
            }
            self.item(item, next, group.column);
        }
        while let Some(comment) = self.comments.front() {
            // A list need not be indented, and then a comment in its column is not in it.
            let least = group.column + usize::from(around == Some(group.column));
            let inside = group.flow || comment.column > least;
            if comment.index >= limit || !inside {
                break;
            }
            self.next_line(&mut group.tail);
        }
    }

    fn item(&mut self, item: &mut Item, next: usize, column: usize) {
        self.last_line = item.at.first_line;
        if let Body::Group(group) = &mut item.value.body {
            let first = group.items.first().map_or(group.end, |item| item.at.start);
            // A comment behind the key, or behind the bracket.
            while let Some(comment) = self.front(first) {
                if comment.own_line || comment.line > item.at.first_line.max(self.last_line) {
                    break;
                }
                self.behind(&mut item.trailing, &mut item.leading);
            }
            self.group(group, next, Some(column));
        } else {
            // Comments between the key and the value, as in `key: >-  # comment`.
            while self.front(item.at.end).is_some() {
                self.behind(&mut item.trailing, &mut item.leading);
            }
        }
        self.last_line = self.last_line.max(item.at.last_line);
        while let Some(comment) = self.front(next) {
            if comment.own_line || comment.line != item.at.last_line {
                break;
            }
            self.behind(&mut item.trailing, &mut item.leading);
        }
    }

    /// The next comment, when it stands before a place.
    fn front(&self, before: usize) -> Option<&Comment> {
        self.comments
            .front()
            .filter(|comment| comment.index < before)
    }

    /// Takes a comment that stands behind an item. An item has one; more become lines before it.
    fn behind(&mut self, trailing: &mut Option<Comment>, leading: &mut Vec<Line>) {
        let Some(comment) = self.comments.pop_front() else {
            return;
        };
        self.last_line = self.last_line.max(comment.line);
        if trailing.is_some() || comment.own_line {
            leading.push(Line::Comment(comment));
        } else {
            *trailing = Some(comment);
        }
    }

    fn lines_before(&mut self, place: usize, lines: &mut Vec<Line>) {
        while self.front(place).is_some() {
            self.next_line(lines);
        }
    }

    fn next_line(&mut self, lines: &mut Vec<Line>) {
        let Some(comment) = self.comments.pop_front() else {
            return;
        };
        if comment.line > self.last_line + 1 && self.last_line > 0 {
            lines.push(Line::Blank);
        }
        self.last_line = comment.line;
        lines.push(Line::Comment(comment));
    }
}
