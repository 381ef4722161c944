use std::io;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::constitution::{Constitution, SHIPPED, load, resolve};

const ANTHROPIC: &str = r#"{
  "harmful0": {
    "prompt": ["\n\nCritiqueRequest: Say where the response is harmful.\n\nCritique:"],
    "edit_request": "\n\nRevisionRequest: Take the harm out of it.\n\nRevision:"
  },
  "Two Words": {
    "prompt": ["\n\nCritiqueRequest: Uses {{braces}} and {% these %}.\n\nCritique:"],
    "edit_request": "\n\nRevisionRequest: Mend {# it #}.\n\nRevision:"
  }
}
"#;

const HF: &str = r#"{
  "constitutions": [
    {"critic": "Say where the response is unkind.", "revision": "Make it kind."},
    {"critic": "Say where it is false.", "revision": "Make it true."}
  ],
  "system_chat": [
    [
      {"role": "user", "content": "Hello?"},
      {"role": "assistant", "content": "Go away."},
      {"role": "user", "content": "Say where the response is unkind."},
      {"role": "assistant", "content": "It sends the person away."},
      {"role": "user", "content": "Make it kind."},
      {"role": "assistant", "content": "Hello! What can I do for you?"}
    ]
  ]
}
"#;

const LANGCHAIN: &str = r#"[
  {"name": "harmful1", "critique_request": "Where is it harmful?", "revision_request": "Remove what is harmful."},
  {"name": "A title", "critique_request": "Where is it rude?", "revision_request": "Remove what is rude."}
]
"#;

fn resolved(yaml: &str) -> Constitution {
    let none = &mut |_: &Path| Err(io::ErrorKind::NotFound.into());
    let resolved = resolve(Path::new("c.yaml"), yaml, none);
    resolved
        .unwrap_or_else(|e| panic!("{e}\n{yaml}"))
        .constitution
}

fn there_and_back(shape: Shape, json: &str) -> (serde_json::Value, Vec<String>, Vec<String>) {
    let imported = import(shape, json, "n").unwrap_or_else(|e| panic!("{e}"));
    let exported = export(shape, &resolved(&imported.yaml));
    let back = serde_json::from_str(&exported.json).unwrap();
    (back, imported.notes, exported.notes)
}

#[test]
fn published_shapes_come_back_as_they_were() {
    for (shape, json) in [
        (Shape::Anthropic2022, ANTHROPIC),
        (Shape::HfCai, HF),
        (Shape::Langchain, LANGCHAIN),
    ] {
        let (back, notes, lost) = there_and_back(shape, json);
        let given: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(back, given);
        assert_eq!(notes, Vec::<String>::new());
        let only = format!("{} does not hold the file's name, version", shape.as_str());
        assert_eq!(lost, [only]);
    }
}

#[test]
fn braces_stand_for_themselves() {
    let yaml = import(Shape::Anthropic2022, ANTHROPIC, "n").unwrap().yaml;
    let constitution = resolved(&yaml);
    assert_eq!(constitution.principles[1].id, "two-words");
    assert_eq!(constitution.principles[1].title, "Two Words");
    let environment = minijinja::Environment::new();
    let rendered = environment.render_str(&constitution.principles[1].critique, ());
    assert_eq!(rendered.unwrap(), "Uses {{braces}} and {% these %}.");
}

#[test]
fn a_map_of_langchain_has_ids_and_titles() {
    let json = r#"{"k": {"name": "N n", "critique_request": "c", "revision_request": "r"}}"#;
    let imported = import(Shape::Langchain, json, "n").unwrap();
    let principle = &resolved(&imported.yaml).principles[0];
    assert_eq!(
        (principle.id.as_str(), principle.title.as_str()),
        ("k", "N n")
    );
    assert_eq!(imported.notes, Vec::<String>::new());
    // A key that is no id is not kept, since the title is the name.
    let imported = import(Shape::Langchain, &json.replace("\"k\"", "\"A k\""), "n").unwrap();
    let principle = &resolved(&imported.yaml).principles[0];
    assert_eq!((&*principle.id, &*principle.title), ("a-k", "N n"));
    assert_eq!(
        imported.notes,
        [
            "entry `A k` becomes `a-k`: the key is no id, or another one's, and its name is the title"
        ]
    );
}

#[test]
fn an_edit_request_may_stand_in_a_list_of_one() {
    let json =
        r#"{"a": {"prompt": ["c"], "edit_request": ["\n\nRevisionRequest: r\n\nRevision:"]}}"#;
    let imported = import(Shape::Anthropic2022, json, "n").unwrap();
    assert_eq!(resolved(&imported.yaml).principles[0].revision, "r");
    let two = json.replace("[\"\\n", "[\"s\", \"\\n");
    assert_ne!(two, json);
    let error = import(Shape::Anthropic2022, &two, "n").unwrap_err();
    assert!(error.to_string().contains("must be a text, and is a list"));
}

#[test]
fn long_names_stay_ids_and_make_room_where_they_clash() {
    let name = "a".repeat(100);
    let entry =
        format!(r#"{{"name": "{name}", "critique_request": "c", "revision_request": "r"}}"#);
    let imported = import(Shape::Langchain, &format!("[{entry}, {entry}]"), "n").unwrap();
    let principles = resolved(&imported.yaml).principles;
    let ids: Vec<_> = principles.iter().map(|p| p.id.as_str()).collect();
    let second = format!("{}-2", &name[..98]);
    assert_eq!(ids, [name.as_str(), second.as_str()]);
}

#[test]
fn nothing_is_dropped_without_a_word() {
    let json = r#"{
      "a": {"prompt": ["one", "two"], "edit_request": "r", "author": "x"},
      "a": {"prompt": "three", "edit_request": "r", "edit_request": "s"}
    }"#;
    let imported = import(Shape::Anthropic2022, json, "n").unwrap();
    assert_eq!(
        imported.notes,
        [
            "entry `a`: `author` has no place in a constitution",
            "entry `a` has 2 prompts; each becomes a principle",
            "entry `a` is there more than once; other programs read the last one only, here each becomes a principle",
            "entry `a`: `edit_request` is there twice; the last one counts"
        ]
    );
    let principles = resolved(&imported.yaml).principles;
    let ids: Vec<_> = principles.iter().map(|p| p.id.as_str()).collect();
    assert_eq!(ids, ["a", "a-2", "a-3"]);

    let json = r#"{"k": {"name": "n", "critique_request": "c", "revision_request": "r", "tags": []},
                   "k": {"critique_request": "d", "revision_request": "s", "name": "a", "name": "b"}}"#;
    let imported = import(Shape::Langchain, json, "n").unwrap();
    assert_eq!(
        imported.notes,
        [
            "entry `k`: `tags` has no place in a constitution",
            "entry `k` is there more than once; other programs read the last one only, here each becomes a principle",
            "entry `k`: `name` is there twice; the last one counts",
            "entry `k` becomes `k-2`: the key is no id, or another one's, and its name is the title"
        ]
    );
}

#[test]
fn everything_in_a_file_of_the_recipe_that_is_left_out_is_named_with_its_reason() {
    let notes = |json: &str| import(Shape::HfCai, json, "n").unwrap().notes;
    let left_out = |old: &str, new: &str| {
        assert!(HF.contains(old));
        let notes = notes(&HF.replacen(old, new, 1));
        let start = "system_chat, conversation 1 is left out: ";
        assert_eq!(notes.len(), 1, "{notes:?}");
        notes[0].strip_prefix(start).unwrap().to_owned()
    };
    let more = "Go away.\"}, {\"role\": \"user\", \"content\": \"x";
    assert_eq!(
        left_out("Go away.", more),
        "a critique and a revision take 6 messages, and it has 7"
    );
    assert_eq!(
        left_out(
            "{\"role\": \"user\", \"content\": \"Hello?\"}",
            "{\"role\": \"system\", \"content\": \"Be kind.\"}"
        ),
        "its message 1 must be by `user`, and is by `system`"
    );
    assert_eq!(
        left_out("\"It sends the person away.\"", "7"),
        "its message 4 has no `role` and `content` that are texts"
    );
    assert_eq!(
        left_out(
            "\"content\": \"Make it kind.\"",
            "\"content\": \"Make it kinder.\""
        ),
        "no principle of the file has both its critique `Say where the response is unkind.` and its revision \
         `Make it kinder.`"
    );
    let entries =
        r#""constitutions": [{"critic": "c", "revision": "r", "weight": 2}], "license": "MIT""#;
    assert_eq!(
        notes(&format!("{{{entries}, \"system_chat\": [7, []]}}")),
        [
            "the file: `license` has no place in a constitution",
            "entry 1: `weight` has no place in a constitution",
            "system_chat, conversation 1 is left out: it must be a list of messages, and is a number, a boolean \
             or null",
            "system_chat, conversation 2 is left out: a critique and a revision take 6 messages, and it has 0"
        ]
    );
    assert_eq!(
        notes(&format!("{{{entries}, \"system_chat\": \"none\"}}"))[2],
        "`system_chat` is left out: it must be a list of conversations, and is a text"
    );
}

#[test]
fn conversations_in_one_list_are_told_apart_and_their_other_fields_named() {
    let mut json: serde_json::Value = serde_json::from_str(HF).unwrap();
    let chat = json["system_chat"][0].take();
    let mut flat = chat.as_array().unwrap().clone();
    flat.extend(flat.clone());
    flat[0]["author"] = "x".into();
    flat.push(serde_json::json!({"role": "user", "content": "and now?"}));
    json["system_chat"] = flat.into();
    let imported = import(Shape::HfCai, &json.to_string(), "n").unwrap();
    assert_eq!(
        imported.notes,
        [
            "system_chat, conversation 1: `author` has no place in a constitution",
            "system_chat, conversation 3 is left out: a critique and a revision take 6 messages, and it has 1"
        ]
    );
    assert_eq!(resolved(&imported.yaml).principles[0].examples.len(), 2);
}

#[test]
fn what_a_shape_cannot_hold_is_named() {
    for shape in [Shape::Anthropic2022, Shape::HfCai, Shape::Langchain] {
        for shipped in SHIPPED {
            let constitution = load(shipped.name).unwrap().resolved.constitution;
            let exported = export(shape, &constitution);
            let notes = exported.notes.join("\n");
            for principle in &constitution.principles {
                // Every shipped principle has tests, which no shape holds.
                assert!(notes.contains(&principle.id), "{}: {notes}", principle.id);
            }
            // What is left is a file of that shape.
            let back = import(shape, &exported.json, "n").unwrap();
            let back = resolved(&back.yaml);
            let held = constitution.principles.iter().filter(|p| {
                notes.lines().all(|line| {
                    line != format!("the principle `{}` is left out, since it is a draft", p.id)
                })
            });
            let held: Vec<_> = held.collect();
            assert_eq!(back.principles.len(), held.len());
            for (principle, original) in back.principles.iter().zip(held) {
                assert_eq!(principle.critique, original.critique);
                assert_eq!(principle.revision, original.revision);
                if shape == Shape::HfCai {
                    assert_eq!(principle.examples, original.examples);
                } else {
                    assert_eq!(principle.id, original.id);
                }
            }
        }
    }
}

#[test]
fn files_of_another_shape_are_refused_with_a_hint() {
    let refused = |shape, json: &str| import(shape, json, "n").unwrap_err().to_string();
    assert!(refused(Shape::HfCai, LANGCHAIN).ends_with("looks like `--from langchain`"));
    assert!(refused(Shape::Anthropic2022, HF).ends_with("looks like `--from hf-cai`"));
    assert!(refused(Shape::Langchain, ANTHROPIC).ends_with("looks like `--from anthropic-2022`"));
    assert!(refused(Shape::Langchain, "[\n{]").starts_with("2:2: this is not JSON"));
    assert!(refused(Shape::Langchain, "[]").contains("no principle"));
    assert!(refused(Shape::Langchain, "\u{feff} \n").contains("the file is empty"));
    assert!(refused(Shape::Langchain, "7").contains("a list or an object"));
    let empty = LANGCHAIN.replace("Where is it rude?", " ");
    assert!(refused(Shape::Langchain, &empty).contains("entry 2: `critique_request` is empty"));
    let long = LANGCHAIN.replace("Where is it rude?", &"x".repeat(5_000));
    let message = refused(Shape::Langchain, &long);
    assert!(message.contains("`critique_request` is longer than 4000 bytes"));
    assert!(message.ends_with("; correct that in the file, or name another shape with --from"));
    let deep = "[".repeat(10_000);
    let message = refused(Shape::Langchain, &deep);
    assert!(message.contains("not JSON") && message.contains("; mend it there"));
}

proptest! {
    #[test]
    fn texts_survive_the_round_trip(texts in prop::collection::vec("[\\PC\\n\\t{}%#'\"\\\\:]{1,40}", 2..8)) {
        let entries: Vec<_> = texts
            .windows(2)
            .filter(|pair| pair.iter().all(|text| {
                // A text that is only markers, or has them at its ends, loses them.
                let text = text.trim().to_lowercase();
                !text.is_empty() && !text.contains("critique") && !text.contains("revision")
            }))
            .map(|pair| serde_json::json!({"critic": pair[0].trim(), "revision": pair[1].trim()}))
            .collect();
        prop_assume!(!entries.is_empty());
        let given = serde_json::json!({"constitutions": entries, "system_chat": []});
        let (back, notes, _) = there_and_back(Shape::HfCai, &given.to_string());
        prop_assert_eq!(back, given);
        prop_assert!(notes.is_empty());
    }

    #[test]
    fn escaping_is_undone(text in "[{}%#' a]{0,30}") {
        prop_assert_eq!(unescaped(&escaped(&text)), (text, false));
    }

    #[test]
    fn any_text_is_refused_or_imported(text in "[\\[\\]{}\",: a-z]{0,60}") {
        for shape in [Shape::Anthropic2022, Shape::HfCai, Shape::Langchain] {
            let _ = import(shape, &text, "n");
        }
    }
}
