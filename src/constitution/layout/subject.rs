//! What comments are about, by the structure of a file.
//!
//! Laying a file out moves comments and keys. What a comment is about stays the same, since it is told from
//! the document in the order in which that is printed, and not from lines.

use super::document::{Body, Extent, Group, Line, read};
use crate::constitution::comments::{Comment, comments, lines};
use crate::constitution::error::Span;

/// A comment and what it is about.
#[derive(Debug)]
pub(in crate::constitution) struct Subject {
    pub comment: Comment,
    /// What it is about; `None` behind the last entry of a list or mapping.
    pub about: Option<Span>,
    /// What it stands at or in.
    pub within: Span,
}

/// The whole file.
const FILE: Span = Span {
    line: 1,
    column: 1,
    end_line: usize::MAX,
    end_column: usize::MAX,
};

/// The comments of a text, in order, with what they are about.
pub(in crate::constitution) fn subjects(text: &str) -> Vec<Subject> {
    // A file that is not understood is not laid out either.
    let Some(mut document) = read(text) else {
        return by_lines(text);
    };
    document.sort();
    let mut walk = Walk {
        starts: &document.starts,
        found: Vec::new(),
    };
    walk.lines(&document.header, Some(FILE), FILE);
    walk.group(&document.root, FILE, First::File);
    walk.found.sort_by_key(|subject| subject.comment.index);
    walk.found
}

/// Of what an entry is the first one, as printed.
#[derive(Clone, Copy)]
enum First {
    /// Of the file: what stands before it stands before everything.
    File,
    /// Of a mapping in a list: it is printed beside the dash, and what stands before it before the dash.
    Item,
    /// Of another list or mapping.
    Value,
}

struct Walk<'a> {
    /// Where each line begins, in characters from 0.
    starts: &'a [usize],
    found: Vec<Subject>,
}

impl Walk<'_> {
    /// Takes the comments of a list or mapping; `around` is the place of the entry whose value it is.
    fn group(&mut self, group: &Group, around: Span, first: First) {
        for (index, item) in group.items.iter().enumerate() {
            let own = self.span(item.at);
            let (before, behind) = match first {
                First::File if index == 0 => (around, own),
                First::Item if index == 0 => (around, around),
                _ => (own, own),
            };
            self.lines(&item.leading, Some(before), before);
            if let Some(comment) = &item.trailing {
                self.take(comment, Some(behind), behind);
            }
            let Body::Group(inner) = &item.value.body else {
                continue;
            };
            if inner.items.is_empty() {
                // What stands in empty brackets is printed before them.
                self.lines(&inner.tail, Some(before), before);
                continue;
            }
            let first = match item.key.is_none() && inner.is_map {
                true => First::Item,
                false => First::Value,
            };
            self.group(inner, own, first);
        }
        self.lines(&group.tail, None, around);
    }

    fn lines(&mut self, lines: &[Line], about: Option<Span>, within: Span) {
        for line in lines {
            if let Line::Comment(comment) = line {
                self.take(comment, about, within);
            }
        }
    }

    fn take(&mut self, comment: &Comment, about: Option<Span>, within: Span) {
        self.found.push(Subject {
            comment: comment.clone(),
            about,
            within,
        });
    }

    fn span(&self, at: Extent) -> Span {
        let ((line, column), (end_line, end_column)) = (self.place(at.start), self.place(at.end));
        Span {
            line,
            column,
            end_line,
            end_column,
        }
    }

    /// The line and the column of a character.
    fn place(&self, index: usize) -> (usize, usize) {
        // The first line begins with the first character, so there is always one.
        let line = self.starts.partition_point(|start| *start <= index);
        (line, index - self.starts[line - 1] + 1)
    }
}

/// The same where the structure is not understood: a comment is about its own line, or about the next one,
/// or, before everything else, about the file.
fn by_lines(text: &str) -> Vec<Subject> {
    fn says(line: &str) -> bool {
        !line.trim().is_empty() && !line.trim_start().starts_with('#')
    }
    let lines = lines(text);
    let of = |comment: Comment| {
        let before = lines.iter().take(comment.line - 1).any(|line| says(line));
        let mut after = (comment.line + 1..).zip(lines.iter().skip(comment.line));
        let line = match comment.own_line {
            true => after.find(|(_, line)| says(line)).map(|(line, _)| line),
            false => Some(comment.line),
        };
        let about = match (comment.own_line && !before, line) {
            (true, _) => Some(FILE),
            (false, line) => line.map(|line| Span {
                line,
                column: 1,
                end_line: line,
                end_column: usize::MAX,
            }),
        };
        let within = about.unwrap_or(Span::point(comment.line, comment.column));
        Subject {
            comment,
            about,
            within,
        }
    };
    comments(text).into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and the last line that each comment is about.
    fn about(text: &str) -> Vec<(String, Option<(usize, usize)>)> {
        let lines = |span: Span| (span.line, span.end_line);
        let found = subjects(text).into_iter();
        found
            .map(|subject| (subject.comment.text, subject.about.map(lines)))
            .collect()
    }

    #[test]
    fn a_comment_is_about_what_it_stands_at() {
        let text = "\
--- # file
name: n # name
# all principles
principles: # all again
# first
- critique: c # critique
  # first, by its id
  id: a # first, again
  revision: >- # revision
    r
  # nothing
# second
- {id: b, # second, again
   critique: c, revision: r # revision of the second
  } # second, at last
# file, since this key is printed first
schema: 1
# nothing, at the end
";
        let file: Option<(usize, usize)> = Some((1, usize::MAX));
        let expected = [
            ("# file", file),
            ("# name", Some((2, 2))),
            ("# all principles", Some((4, 15))),
            ("# all again", Some((4, 15))),
            ("# first", Some((6, 10))),
            ("# critique", Some((6, 6))),
            ("# first, by its id", Some((6, 10))),
            ("# first, again", Some((6, 10))),
            ("# revision", Some((9, 10))),
            ("# nothing", None),
            ("# second", Some((13, 15))),
            ("# second, again", Some((13, 15))),
            ("# revision of the second", Some((14, 14))),
            ("# second, at last", Some((13, 15))),
            ("# file, since this key is printed first", file),
            ("# nothing, at the end", None),
        ];
        let expected = expected.map(|(text, lines)| (text.to_owned(), lines));
        assert_eq!(about(text), expected);
        assert_eq!(about(&text.replace('\n', "\r\n")), expected);
    }

    #[test]
    fn where_the_structure_is_not_understood_lines_count() {
        // A key with an anchor is not laid out.
        let text = "# file\n&a name: n # name\n\n# principles\n\nprinciples: []\n# nothing\n";
        assert!(read(text).is_none());
        let file: Option<(usize, usize)> = Some((1, usize::MAX));
        let expected = [
            ("# file", file),
            ("# name", Some((2, 2))),
            ("# principles", Some((6, 6))),
            ("# nothing", None),
        ];
        let expected = expected.map(|(text, lines)| (text.to_owned(), lines));
        assert_eq!(about(text), expected);
    }
}
