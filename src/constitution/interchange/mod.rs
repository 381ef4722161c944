//! Constitutions in the JSON shapes of other programs, read and written.
//!
//! What a shape cannot hold, and what of a file has no place in a constitution, is named in notes; nothing
//! is lost without a word. Texts of other programs are no templates, so braces in them are escaped on the
//! way in and unescaped on the way out.

mod chats;
mod json;
mod markers;
mod read;
mod write;

pub use read::{ImportError, Imported, import};
pub use write::{Exported, export};

/// A published JSON shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// The 2022 method's own: `{id: {"prompt": ["\n\nCritiqueRequest: …\n\nCritique:"], "edit_request": "…"}}`.
    #[value(name = "anthropic-2022")]
    Anthropic2022,
    /// Hugging Face's recipe: `{"constitutions": [{"critic": …, "revision": …}], "system_chat": […]}`.
    #[value(name = "hf-cai")]
    HfCai,
    /// LangChain's: a list or map of `{"name", "critique_request", "revision_request"}`.
    #[value(name = "langchain")]
    Langchain,
}

impl Shape {
    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Shape::Anthropic2022 => "anthropic-2022",
            Shape::HfCai => "hf-cai",
            Shape::Langchain => "langchain",
        }
    }
}

/// What stands before and behind a critique request and a revision request in the 2022 shape.
const CRITIQUE: [&str; 2] = ["CritiqueRequest:", "Critique:"];
const REVISION: [&str; 2] = ["RevisionRequest:", "Revision:"];

/// What begins template syntax, and how it is written in a template to stand for itself.
const ESCAPES: [(&str, &str); 3] = [
    ("{{", "{{ '{{' }}"),
    ("{%", "{{ '{%' }}"),
    ("{#", "{{ '{#' }}"),
];

/// A plain text as a template.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let escape = ESCAPES.iter().find(|(syntax, _)| rest.starts_with(syntax));
        let (syntax, written) = escape.unwrap_or(&("{", "{"));
        out.push_str(written);
        rest = &rest[syntax.len()..];
    }
    out + rest
}

/// A template as plain text, and whether it has template syntax that plain text cannot stand for.
fn unescaped(template: &str) -> (String, bool) {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    let mut has_syntax = false;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let escape = ESCAPES
            .iter()
            .find(|(_, written)| rest.starts_with(written));
        if let Some((syntax, written)) = escape {
            out.push_str(syntax);
            rest = &rest[written.len()..];
        } else {
            has_syntax |= ESCAPES.iter().any(|(syntax, _)| rest.starts_with(syntax));
            out.push('{');
            rest = &rest[1..];
        }
    }
    (out + rest, has_syntax)
}

#[cfg(test)]
mod tests;
