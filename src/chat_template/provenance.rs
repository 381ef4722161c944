//! Which parts of a rendered conversation a template wrote and which a message said.
//!
//! A template is a program, so the answer is found by running it twice. In the second run every
//! character of every message is replaced by a shadow: a code point that has no properties and occurs
//! nowhere else. Where the second output, its shadows turned back, equals the first byte for byte, each
//! shadow marks a character that a message said. White space at the ends of a message is left as it is,
//! because templates trim it.
//!
//! Some templates look into messages (for `</think>`, say) and behave differently when they see shadows.
//! Then characters are left unshadowed, as few as possible: first the template's own string literals
//! where a message contains them, then whole classes such as letters, for templates that change case.
//! Such *holes* come out as plain text. They are attributed by what stands around them, every shadow
//! now telling which character of which message it stands for. A doubtful hole is a message's: calling
//! template text untrusted costs the model a special token, calling message text trusted would let a
//! message forge one.
//!
//! When the output cannot be reproduced at all, messages of plain words are let through, and
//! anything that might hold a special token is refused.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::{Span, python};
use crate::generation::Message;

/// Code points without properties: two planes for private use, then ten that are unassigned.
const POOL: [Range<u32>; 3] = [0xf0000..0xffffe, 0x100000..0x10fffe, 0x40000..0xdfffe];

/// The most literals that are tried one by one.
const MAX_LITERALS: usize = 48;

/// The most messages whose holes are tried one by one.
const MAX_MESSAGES: usize = 48;

/// The template, as far as it is looked at from outside.
pub(super) struct Source<'a> {
    /// Renders; `None` when the template fails.
    pub(super) render: &'a dyn Fn(&[Message]) -> Option<String>,
    /// What the template may write by itself.
    pub(super) own_text: &'a str,
    /// What it may look for in messages.
    pub(super) literals: &'a [String],
}

/// Splits `reference`, the rendering of `messages`, into spans; `None` when what a message said cannot
/// be found and might hold special tokens.
pub(super) fn trace(
    source: &Source<'_>,
    messages: &[Message],
    reference: &str,
) -> Option<Vec<Span>> {
    let tracer = Tracer::new(source, messages, reference);
    let none = vec![Holes::default(); messages.len()];
    if let Some(output) = tracer.attempt(&none, Alphabet::PerCharacter) {
        return Some(spans(
            output.into_iter().map(|(c, from)| (c, from.is_none())),
        ));
    }
    if let Some(holes) = tracer.fewest_holes()
        && let Some(output) = tracer.attempt(&holes, Alphabet::PerPosition)
        && let Some(marked) = tracer.attribute(&holes, output)
    {
        return Some(spans(marked.into_iter()));
    }
    let plain = messages.iter().all(|message| is_plain(&message.content));
    plain.then(|| spans(reference.chars().map(|c| (c, true))))
}

/// Whether a text cannot hold a special token: words and everyday punctuation only.
fn is_plain(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_alphanumeric() || python::is_space(c) || ".,;:!?'\"()-".contains(c))
}

fn spans(marked: impl Iterator<Item = (char, bool)>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (c, trusted) in marked {
        match spans.last_mut() {
            Some(span) if span.trusted == trusted => span.text.push(c),
            _ => spans.push(Span {
                text: c.into(),
                trusted,
            }),
        }
    }
    spans
}

/// What is left unshadowed in a message.
#[derive(Clone, Debug, Default, PartialEq)]
struct Holes {
    /// Wherever these occur.
    literals: Vec<String>,
    /// All characters of these classes.
    classes: Vec<Class>,
}

/// Characters that a template may treat alike.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Class {
    /// What `split` and `title` look for.
    Space,
    /// What JSON escapes.
    Json,
    /// What HTML escapes.
    Html,
    /// What has case and can be counted.
    Alphanumeric,
}

impl Class {
    const ALL: [Class; 4] = [Class::Space, Class::Json, Class::Html, Class::Alphanumeric];

    fn contains(self, c: char) -> bool {
        match self {
            Class::Space => python::is_space(c),
            Class::Json => matches!(c, '"' | '\\') || c < ' ',
            Class::Html => matches!(c, '&' | '<' | '>' | '"' | '\''),
            Class::Alphanumeric => c.is_alphanumeric(),
        }
    }
}

/// What a character of a message is replaced by.
#[derive(Clone, Copy, PartialEq)]
enum Alphabet {
    /// Equal characters have equal shadows, so that comparisons between messages hold.
    PerCharacter,
    /// Every character has its own, which tells where it stood.
    PerPosition,
}

/// Why a character of a message has no shadow.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Shadowed,
    Edge,
    Literal,
    Class,
}

/// A place in a message.
type Place = (usize, usize);

/// An output character, and where it was said when a message said it.
type Output = Vec<(char, Option<Place>)>;

struct Tracer<'a> {
    source: &'a Source<'a>,
    messages: &'a [Message],
    reference: &'a str,
    texts: Vec<Vec<char>>,
    used: HashSet<char>,
}

impl<'a> Tracer<'a> {
    fn new(source: &'a Source<'a>, messages: &'a [Message], reference: &'a str) -> Self {
        let texts: Vec<Vec<char>> = messages
            .iter()
            .map(|message| message.content.chars().collect())
            .collect();
        let used = texts
            .iter()
            .flatten()
            .copied()
            .chain(source.own_text.chars())
            .chain(reference.chars())
            .filter(|c| u32::from(*c) >= POOL[2].start)
            .collect();
        Self {
            source,
            messages,
            reference,
            texts,
            used,
        }
    }

    /// Renders shadows; `None` unless they turn back into the reference.
    fn attempt(&self, holes: &[Holes], alphabet: Alphabet) -> Option<Output> {
        let mut pool = POOL
            .into_iter()
            .flatten()
            .filter_map(char::from_u32)
            .filter(|c| !self.used.contains(c));
        let mut shadows: HashMap<char, char> = HashMap::new();
        let mut back: HashMap<char, (char, Place)> = HashMap::new();
        let mut shadowed = Vec::with_capacity(self.messages.len());
        for (m, (message, text)) in self.messages.iter().zip(&self.texts).enumerate() {
            let mut content = String::with_capacity(text.len() * 4);
            for (i, (c, kind)) in text.iter().zip(kinds(text, &holes[m])).enumerate() {
                if kind != Kind::Shadowed {
                    content.push(*c);
                    continue;
                }
                let shadow = match (alphabet, shadows.get(c)) {
                    (Alphabet::PerCharacter, Some(shadow)) => *shadow,
                    _ => {
                        let shadow = pool.next()?;
                        shadows.insert(*c, shadow);
                        back.insert(shadow, (*c, (m, i)));
                        shadow
                    }
                };
                content.push(shadow);
            }
            shadowed.push(Message::new(message.role, content));
        }
        let output: Output = (self.source.render)(&shadowed)?
            .chars()
            .map(|c| match back.get(&c) {
                Some((original, place)) => (*original, Some(*place)),
                None => (c, None),
            })
            .collect();
        let same = output.iter().map(|(c, _)| *c).eq(self.reference.chars());
        same.then_some(output)
    }

    fn works(&self, holes: &[Holes]) -> bool {
        self.attempt(holes, Alphabet::PerCharacter).is_some()
    }

    /// The smallest set of holes, found greedily, with which the reference is reproduced.
    fn fewest_holes(&self) -> Option<Vec<Holes>> {
        let mut literals: Vec<String> = self
            .source
            .literals
            .iter()
            .filter(|literal| self.messages.iter().any(|m| m.content.contains(*literal)))
            .cloned()
            .collect();
        // The longest first: they are the likeliest special tokens, and the first to be shadowed again.
        literals.sort_by_key(|literal| std::cmp::Reverse(literal.len()));
        let mut holes = Holes {
            literals,
            classes: Vec::new(),
        };
        let everywhere = |holes: &Holes| vec![holes.clone(); self.messages.len()];
        let mut classes = Class::ALL.into_iter();
        while !self.works(&everywhere(&holes)) {
            holes.classes.push(classes.next()?);
        }
        for class in holes.classes.clone() {
            let mut fewer = holes.clone();
            fewer.classes.retain(|other| *other != class);
            if self.works(&everywhere(&fewer)) {
                holes = fewer;
            }
        }
        // What is escaped and changes case, too, could come out as anything.
        if holes.classes.contains(&Class::Html) && holes.classes.contains(&Class::Alphanumeric) {
            return None;
        }
        for literal in holes.literals.clone().iter().take(MAX_LITERALS) {
            let mut fewer = holes.clone();
            fewer.literals.retain(|other| other != literal);
            if self.works(&everywhere(&fewer)) {
                holes = fewer;
            }
        }
        let mut each = everywhere(&holes);
        for m in 0..each.len().min(MAX_MESSAGES) {
            let mut fewer = each.clone();
            fewer[m] = Holes::default();
            if self.works(&fewer) {
                each = fewer;
            }
        }
        Some(each)
    }

    /// Decides for every output character without a shadow whether a hole of a message is what it came
    /// from. `None` when a message consists of holes alone, so that nothing tells where it went.
    fn attribute(&self, holes: &[Holes], output: Output) -> Option<Vec<(char, bool)>> {
        let kinds: Vec<Vec<Kind>> = self
            .texts
            .iter()
            .zip(holes)
            .map(|(text, holes)| kinds(text, holes))
            .collect();
        let mut marked: Vec<(char, bool)> = output
            .iter()
            .map(|(c, from)| (*c, from.is_none()))
            .collect();
        let mut at = 0;
        while at < output.len() {
            if output[at].1.is_some() {
                at += 1;
                continue;
            }
            let end = output[at..]
                .iter()
                .position(|(_, from)| from.is_some())
                .map_or(output.len(), |length| at + length);
            let before = at.checked_sub(1).and_then(|i| output[i].1);
            let after = output.get(end).and_then(|(_, from)| *from);
            let gap: Vec<char> = output[at..end].iter().map(|(c, _)| *c).collect();
            let (head, tail) = self.said(&kinds, before, after, &gap);
            marked[at..at + head].iter_mut().for_each(|m| m.1 = false);
            marked[end - tail..end].iter_mut().for_each(|m| m.1 = false);
            at = end;
        }
        self.unanchored_are_gone(&kinds, &marked).then_some(marked)
    }

    /// How many characters at the head and at the tail of a gap between two shadows a message said.
    fn said(
        &self,
        kinds: &[Vec<Kind>],
        before: Option<Place>,
        after: Option<Place>,
        gap: &[char],
    ) -> (usize, usize) {
        let is_hole = |kind: &Kind| matches!(kind, Kind::Literal | Kind::Class);
        if let (Some((m, i)), Some((n, j))) = (before, after)
            && m == n
            && i < j
            && kinds[m][i + 1..j].contains(&Kind::Class)
            && kinds[m][i + 1..j].iter().all(is_hole)
        {
            return (gap.len(), 0);
        }
        let head = before.map_or(0, |(m, i)| {
            gap.iter()
                .zip(&self.texts[m][i + 1..])
                .zip(&kinds[m][i + 1..])
                .take_while(|((a, b), kind)| a == b && is_hole(kind))
                .count()
        });
        let tail = after.map_or(0, |(m, j)| {
            gap.iter()
                .rev()
                .zip(self.texts[m][..j].iter().rev())
                .zip(kinds[m][..j].iter().rev())
                .take_while(|((a, b), kind)| a == b && is_hole(kind))
                .count()
        });
        if head.max(tail) == gap.len() {
            return (head, tail);
        }
        // White space next to template text is as good as the template's, as at the ends of a message.
        let space = |c: &&char| python::is_space(**c);
        let head = head - gap[..head].iter().rev().take_while(space).count();
        let tail = tail - gap[gap.len() - tail..].iter().take_while(space).count();
        (head, tail)
    }

    /// Whether no message without a single shadow may have been written into the trusted text.
    fn unanchored_are_gone(&self, kinds: &[Vec<Kind>], marked: &[(char, bool)]) -> bool {
        let trusted: String = marked
            .iter()
            .map(|(c, ok)| if *ok { *c } else { '\n' })
            .collect();
        self.messages.iter().zip(kinds).all(|(message, kinds)| {
            let anchored = kinds.contains(&Kind::Shadowed);
            let said = message.content.trim_matches(python::is_space);
            let rewritten = kinds.contains(&Kind::Class);
            anchored || is_plain(said) || !(rewritten || trusted.contains(said))
        })
    }
}

/// What becomes of each character of a message.
fn kinds(text: &[char], holes: &Holes) -> Vec<Kind> {
    let mut kinds = vec![Kind::Shadowed; text.len()];
    for (kind, c) in kinds.iter_mut().zip(text) {
        if holes.classes.iter().any(|class| class.contains(*c)) {
            *kind = Kind::Class;
        }
    }
    for literal in &holes.literals {
        let literal: Vec<char> = literal.chars().collect();
        for at in 0..text.len() {
            if text[at..].starts_with(&literal) {
                kinds[at..at + literal.len()].fill(Kind::Literal);
            }
        }
    }
    let lead = text.iter().take_while(|c| python::is_space(**c)).count();
    let tail = text
        .iter()
        .rev()
        .take_while(|c| python::is_space(**c))
        .count();
    kinds[..lead].fill(Kind::Edge);
    let tail_from = text.len() - tail;
    kinds[tail_from..].fill(Kind::Edge);
    kinds
}
