//! From a constitution to the shapes of other programs.

use serde_json::{Map, Value, json};

use super::{CRITIQUE, REVISION, Shape, unescaped};
use crate::constitution::shape::kebab;
use crate::constitution::{Constitution, Principle, Severity, Status};

/// A constitution in another program's shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// The JSON text.
    pub json: String,
    /// What of the constitution the shape cannot hold.
    pub notes: Vec<String>,
    /// How many principles there are in it.
    pub principles: usize,
}

/// Writes a constitution in one of the shapes: its active principles that have a critique, in file order.
pub fn export(shape: Shape, constitution: &Constitution) -> Exported {
    let mut notes = Vec::new();
    let mut held = Vec::new();
    for principle in &constitution.principles {
        let id = &principle.id;
        if principle.status != Status::Active {
            let status = if principle.status == Status::Draft {
                "a draft"
            } else {
                "retired"
            };
            notes.push(format!(
                "the principle `{id}` is left out, since it is {status}"
            ));
        } else if principle.critique.is_empty() {
            notes.push(format!(
                "the principle `{id}` is left out, since its check decides and it has no critique"
            ));
        } else {
            held.push(principle);
        }
    }
    lost(shape, constitution, &held, &mut notes);
    let value = match shape {
        Shape::Anthropic2022 => anthropic(&held),
        Shape::HfCai => hugging_face(&held),
        Shape::Langchain => langchain(&held),
    };
    // A value made of texts can always be written.
    let json = serde_json::to_string_pretty(&value).unwrap_or_default() + "\n";
    Exported {
        json,
        notes,
        principles: held.len(),
    }
}

/// Whether a principle loses a field, and what the field is called.
type Loss = (&'static str, fn(Shape, usize, &Principle) -> bool);

const LOSSES: [Loss; 10] = [
    ("the id", |shape, index, p| {
        shape == Shape::HfCai && p.id != format!("principle-{}", index + 1)
    }),
    ("the title", |shape, _, p| {
        p.title != p.id && (shape == Shape::HfCai || name(p) != p.title)
    }),
    ("the weight", |_, _, p| p.weight != 1.0),
    ("the precedence", |_, _, p| p.precedence != 100),
    ("the severity", |_, _, p| p.severity != Severity::Major),
    ("the tags", |_, _, p| !p.tags.is_empty()),
    ("the rationale", |_, _, p| !p.rationale.is_empty()),
    ("the check", |_, _, p| p.check.is_some()),
    ("the examples", |shape, _, p| {
        shape != Shape::HfCai && !p.examples.is_empty()
    }),
    ("the tests", |_, _, p| !p.tests.is_empty()),
];

/// Names everything that the shape cannot hold.
fn lost(shape: Shape, constitution: &Constitution, held: &[&Principle], notes: &mut Vec<String>) {
    let mut file = vec!["name", "version"];
    if !constitution.description.is_empty() {
        file.push("description");
    }
    if !constitution.license.is_empty() {
        file.push("license");
    }
    if constitution.defaults != Default::default() {
        file.push("defaults");
    }
    let shape_name = shape.as_str();
    notes.push(format!(
        "{shape_name} does not hold the file's {}",
        file.join(", ")
    ));
    for (what, loses) in LOSSES {
        let losing = held
            .iter()
            .enumerate()
            .filter(|(index, p)| loses(shape, *index, p));
        let ids: Vec<&str> = losing.map(|(_, p)| p.id.as_str()).collect();
        if !ids.is_empty() {
            notes.push(format!(
                "{shape_name} does not hold {what} of {}",
                ids.join(", ")
            ));
        }
    }
    let syntax = |p: &&&Principle| unescaped(&p.critique).1 || unescaped(&p.revision).1;
    let ids: Vec<&str> = held.iter().filter(syntax).map(|p| p.id.as_str()).collect();
    if !ids.is_empty() {
        notes.push(format!(
            "{shape_name} does not hold template variables; they are written as they stand in {}",
            ids.join(", ")
        ));
    }
}

/// What a principle is called where a name can be any text: its title, where the id can be made of it.
fn name(principle: &Principle) -> &str {
    match kebab(&principle.title) {
        Some(id) if id == principle.id => &principle.title,
        _ => &principle.id,
    }
}

fn requests(principle: &Principle) -> [String; 2] {
    [&principle.critique, &principle.revision].map(|text| unescaped(text).0)
}

fn marked(text: &str, markers: [&str; 2]) -> String {
    format!("\n\n{} {text}\n\n{}", markers[0], markers[1])
}

fn anthropic(principles: &[&Principle]) -> Value {
    let entries = principles.iter().map(|principle| {
        let [critique, revision] = requests(principle);
        let entry = json!({
            "prompt": [marked(&critique, CRITIQUE)],
            "edit_request": marked(&revision, REVISION),
        });
        (name(principle).to_owned(), entry)
    });
    Value::Object(entries.collect::<Map<_, _>>())
}

fn langchain(principles: &[&Principle]) -> Value {
    let entries = principles.iter().map(|principle| {
        let [critique, revision] = requests(principle);
        json!({
            "name": name(principle),
            "critique_request": critique,
            "revision_request": revision,
        })
    });
    entries.collect()
}

fn hugging_face(principles: &[&Principle]) -> Value {
    let entries = principles.iter().map(|principle| {
        let [critique, revision] = requests(principle);
        json!({"critic": critique, "revision": revision})
    });
    let chats = principles.iter().flat_map(|principle| {
        let [critique, revision] = requests(principle);
        principle.examples.iter().map(move |example| {
            json!([
                {"role": "user", "content": example.prompt},
                {"role": "assistant", "content": example.response},
                {"role": "user", "content": critique},
                {"role": "assistant", "content": example.critique},
                {"role": "user", "content": revision},
                {"role": "assistant", "content": example.revision},
            ])
        })
    });
    json!({
        "constitutions": entries.collect::<Vec<_>>(),
        "system_chat": chats.collect::<Vec<_>>(),
    })
}
