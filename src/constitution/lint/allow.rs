//! Comments that silence warnings: `# amend: allow C050`.
//!
//! A comment is about the key, the item or the principle before or behind which it stands, with all that is
//! in it, and before everything else about the whole file. That goes by the structure of the file, so laying
//! it out changes nothing. What follows the codes is a reason, for readers.

use std::path::Path;

use crate::constitution::comments::Comment;
use crate::constitution::error::{Code, Level, Problem, Span, did_you_mean, excerpt};
use crate::constitution::layout::{Subject, subjects};

/// A comment that silences warnings of one kind.
struct Allow {
    code: Code,
    /// What it is about, if anything.
    about: Option<Span>,
    /// What the comment stands at or in.
    within: Span,
    /// Where the comment stands.
    span: Span,
    used: bool,
}

impl Allow {
    fn is_about(&self, place: Span) -> bool {
        let start = |span: Span| (span.line, span.column);
        let end = |span: Span| (span.end_line, span.end_column);
        self.about
            .is_some_and(|about| start(about) <= start(place) && end(place) <= end(about))
    }
}

/// A comment, or a code in it, that allows nothing.
struct Useless {
    /// Where the comment stands.
    span: Span,
    /// What it stands at or in.
    within: Span,
    message: String,
    remedy: String,
    /// Which of the comments it is that silence warnings, where it is one of them.
    allow: Option<usize>,
}

/// Takes out the warnings that the text allows, and adds one for each comment that allows nothing.
pub(super) fn apply(file: &Path, text: &str, has_errors: bool, warnings: &mut Vec<Problem>) {
    const MARK: &str = "amend:";
    if !text.contains(MARK) {
        return;
    }
    let mut allows = Vec::new();
    let mut useless = Vec::new();
    for subject in subjects(text) {
        let words = subject.comment.text.trim_start_matches('#').trim_start();
        if let Some(words) = words.strip_prefix(MARK) {
            read(words, &subject, &mut allows, |message, remedy| {
                useless.push(Useless {
                    span: span(&subject.comment),
                    within: subject.within,
                    message,
                    remedy,
                    allow: None,
                });
            });
        }
    }
    warnings.retain(|warning| {
        let at = warning.span.map_or(Span::point(1, 1), |span| {
            Span::point(span.line, span.column)
        });
        let mut kept = true;
        for allow in &mut allows {
            if allow.code == warning.code && allow.is_about(at) {
                allow.used = true;
                kept = false;
            }
        }
        kept
    });
    // A file with errors is not looked at in full, so what is unused may have its use.
    let unused = allows.iter().enumerate();
    for (index, allow) in unused.filter(|(_, allow)| !allow.used && !has_errors) {
        let number = allow.code.number();
        useless.push(Useless {
            span: allow.span,
            within: allow.within,
            message: format!("nothing here is {number} ({})", allow.code.as_str()),
            remedy: "remove it, or move it to what it is about".to_owned(),
            allow: Some(index),
        });
    }
    for useless in unsilenced(useless, &allows) {
        let (span, message, remedy) = (Some(useless.span), useless.message, useless.remedy);
        let code = Code::UselessAllow;
        warnings.push(Problem::new(code, file, span, message, remedy));
    }
}

/// What is left where useless comments are allowed, too. A comment that allows them counts for others, not
/// for itself: it would always have its use.
fn unsilenced(useless: Vec<Useless>, allows: &[Allow]) -> Vec<Useless> {
    let of_useless =
        |(_, allow): &(usize, &Allow)| allow.code == Code::UselessAllow && allow.about.is_some();
    let silencing = allows.iter().enumerate().filter(of_useless);
    let silencing: Vec<usize> = silencing.map(|(index, _)| index).collect();
    if silencing.is_empty() {
        return useless;
    }
    let silences = |index: usize, useless: &Useless| {
        useless.allow != Some(index) && allows[index].is_about(useless.within)
    };
    let is_kept = |candidate: &Useless| {
        let is_silenced = silencing.iter().any(|index| silences(*index, candidate));
        let has_use = candidate.allow.is_some_and(|index| {
            silencing.contains(&index) && useless.iter().any(|other| silences(index, other))
        });
        !is_silenced && !has_use
    };
    let kept: Vec<bool> = useless.iter().map(is_kept).collect();
    let kept = useless.into_iter().zip(kept).filter(|(_, kept)| *kept);
    kept.map(|(useless, _)| useless).collect()
}

fn span(comment: &Comment) -> Span {
    Span {
        line: comment.line,
        column: comment.column,
        end_line: comment.line,
        end_column: comment.column + comment.text.chars().count(),
    }
}

/// Reads what stands after the mark.
fn read(
    words: &str,
    subject: &Subject,
    allows: &mut Vec<Allow>,
    mut useless: impl FnMut(String, String),
) {
    let known = "write `# amend: allow CODE`, with the code of a warning such as C050";
    let Some(codes) = words.trim_start().strip_prefix("allow") else {
        let word = words.split_whitespace().next().unwrap_or_default();
        let message = format!("`{}` is not known here", excerpt(word));
        return useless(message, known.to_owned());
    };
    let separator = |c: char| c.is_whitespace() || c == ',';
    let mut found = 0;
    for word in codes.split(separator).filter(|word| !word.is_empty()) {
        match Code::parse(word.trim_end_matches([':', '.', ';', ')'])) {
            Some(code) if code.level() == Level::Error => {
                let message = format!("{} is an error, and cannot be allowed", code.number());
                useless(message, "mend it".to_owned());
            }
            Some(code) => allows.push(Allow {
                code,
                about: subject.about,
                within: subject.within,
                span: span(&subject.comment),
                used: false,
            }),
            None if found == 0 || looks_like_code(word) => {
                let names = Code::all().flat_map(|code| [code.as_str(), code.number()]);
                let guess = did_you_mean(word, names);
                let message = format!("there is no code `{}`{guess}", excerpt(word));
                useless(message, known.to_owned());
            }
            // The reason begins.
            None => break,
        }
        found += 1;
    }
    if found == 0 {
        useless("no code is named".to_owned(), known.to_owned());
    }
}

fn looks_like_code(word: &str) -> bool {
    let digits = word.strip_prefix(['C', 'c']).unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}
