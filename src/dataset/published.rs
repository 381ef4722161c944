//! Published suites by their column names, so that the files are taken as they are.
//!
//! | suite | columns | prompt | id |
//! |---|---|---|---|
//! | HarmBench (Mazeika et al. 2024) | `Behavior`, `FunctionalCategory`, `SemanticCategory`, `Tags`, `ContextString`, `BehaviorID` | the context, where there is one, a line of dashes, the behaviour | `BehaviorID` |
//! | Do-Not-Answer (Wang et al. 2023) | `id`, `risk_area`, `types_of_harm`, `specific_harms`, `question` | the question | `id` |
//!
//! XSTest (Röttger et al. 2023) calls its columns `id`, `prompt`, `type`, `label`, `focus`, `note` and needs no help.

use serde_json::{Map, Value};

/// A suite that is known by its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    HarmBench,
    DoNotAnswer,
}

/// The suite with columns of these names.
pub(super) fn recognise<'a>(names: impl Fn(&str) -> bool + 'a) -> Option<Published> {
    let all = |wanted: &[&str]| wanted.iter().all(|name| names(name));
    if all(&["Behavior", "SemanticCategory"]) {
        return Some(Published::HarmBench);
    }
    all(&["question", "risk_area", "types_of_harm"]).then_some(Published::DoNotAnswer)
}

impl Published {
    /// Gives a row the fields `prompt` and `id`; the other fields stay as they are called.
    pub(super) fn rename(self, fields: &mut Map<String, Value>) {
        let (prompt, id) = match self {
            Published::HarmBench => (fields.shift_remove("Behavior"), "BehaviorID"),
            Published::DoNotAnswer => (fields.shift_remove("question"), "id"),
        };
        let context = match (self, fields.get("ContextString")) {
            (Published::HarmBench, Some(Value::String(context))) => context.trim(),
            _ => "",
        };
        let prompt = match prompt {
            Some(Value::String(behavior)) if !context.is_empty() => {
                Value::String(format!("{context}\n\n---\n\n{behavior}"))
            }
            prompt => prompt.unwrap_or(Value::Null),
        };
        if let Some(id) = fields.shift_remove(id) {
            fields.insert("id".to_owned(), id);
        }
        fields.insert("prompt".to_owned(), prompt);
    }
}
