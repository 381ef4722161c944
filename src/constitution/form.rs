//! The form of a constitution file, as a table: which keys there are, and what their values must be.

/// What a value must be.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Text; a number without quotes is a mistake.
    Text,
    /// Text; a number without quotes is taken as it is written.
    Words,
    /// Text that is rendered with the variables of a principle.
    Template,
    /// Text that is not empty; a number without quotes is a mistake.
    Needle,
    /// A kebab-case id.
    Id,
    /// A regular expression.
    Pattern,
    /// An ISO 639-1 code that can be told from text.
    Language,
    /// The version of the format.
    Schema,
    /// A finite number within these bounds.
    Number(f64, f64),
    /// A whole number within these bounds.
    Whole(i64, i64),
    /// `true` or `false`.
    Bool,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of values.
    List(&'static Kind),
    /// A list of at least one value, or the value alone.
    OneOrMore(&'static Kind),
    /// A mapping with these keys.
    Map(&'static str, &'static [Key]),
}

/// A key of a mapping.
pub(super) struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    /// What it is, in one sentence.
    pub about: &'static str,
}

const fn must(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key {
        name,
        kind,
        required: true,
        about,
    }
}

const fn may(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key {
        name,
        kind,
        required: false,
        about,
    }
}

/// The whole file.
pub(super) const FILE: Kind = Kind::Map(
    "a constitution",
    &[
        may("schema", Kind::Schema, "The version of the format."),
        must("name", Kind::Words, "The name of the constitution."),
        may("version", Kind::Words, "Its version; 0.0.0 when left out."),
        may("description", Kind::Text, "What it is for."),
        may(
            "license",
            Kind::Text,
            "The licence of its text, as an SPDX identifier.",
        ),
        may(
            "extends",
            Kind::OneOrMore(&Kind::Needle),
            "Files that this one builds on, relative to it, or shipped names; `path#b3:…` pins a digest.",
        ),
        may(
            "defaults",
            Kind::Map("`defaults`", DEFAULTS),
            "What a run does unless its command line says otherwise.",
        ),
        may(
            "principles",
            Kind::List(&Kind::Map("a principle", PRINCIPLE)),
            "The principles, in file order.",
        ),
    ],
);

const DEFAULTS: &[Key] = &[
    may(
        "rounds",
        Kind::Whole(1, 1000),
        "Rounds of critique and revision.",
    ),
    may(
        "select",
        Kind::Text,
        "Which principles a round takes: `sample`, `all`, or ids with commas between them.",
    ),
    may(
        "revise",
        Kind::OneOf(&["when-violated", "always", "never"]),
        "When a critique is followed by a revision.",
    ),
];

/// A principle.
pub(super) const PRINCIPLE: &[Key] = &[
    must(
        "id",
        Kind::Id,
        "Kebab-case and unique; the id of a principle of an extended file changes that principle.",
    ),
    may("title", Kind::Words, "A short name for people."),
    may(
        "critique",
        Kind::Template,
        "What to look for in a response; may use prompt, response, draft and round.",
    ),
    may(
        "revision",
        Kind::Template,
        "How to mend a response; may use prompt, response, draft and round.",
    ),
    may(
        "weight",
        Kind::Number(0.0, 1e6),
        "Its share when principles are drawn at random; 1 when left out.",
    ),
    may(
        "precedence",
        Kind::Whole(i64::MIN, i64::MAX),
        "Lower goes first, and wins a conflict; 100 when left out.",
    ),
    may(
        "severity",
        Kind::OneOf(&["minor", "major", "critical"]),
        "How bad a violation is; major when left out.",
    ),
    may("tags", Kind::List(&Kind::Words), "Free labels."),
    may(
        "status",
        Kind::OneOf(&["active", "draft", "retired"]),
        "Whether it takes part in runs; active when left out.",
    ),
    may("rationale", Kind::Text, "Why it exists."),
    may(
        "check",
        Kind::Map("`check`", CHECK),
        "Rules that a program decides in place of the model; all of them must hold.",
    ),
    may(
        "examples",
        Kind::List(&Kind::Map("an example", EXAMPLE)),
        "Few-shot material.",
    ),
    may(
        "tests",
        Kind::List(&Kind::Map("a test", TEST)),
        "Responses and the verdicts to expect on them.",
    ),
];

const CHECK: &[Key] = &[
    may(
        "starts_with_any",
        Kind::OneOrMore(&Kind::Needle),
        "The response starts with one of these.",
    ),
    may(
        "ends_with_any",
        Kind::OneOrMore(&Kind::Needle),
        "The response ends with one of these.",
    ),
    may(
        "contains",
        Kind::OneOrMore(&Kind::Needle),
        "The response contains every one of these.",
    ),
    may(
        "not_contains",
        Kind::OneOrMore(&Kind::Needle),
        "The response contains none of these.",
    ),
    may(
        "regex",
        Kind::OneOrMore(&Kind::Pattern),
        "Every one of these patterns matches.",
    ),
    may(
        "not_regex",
        Kind::OneOrMore(&Kind::Pattern),
        "None of these patterns matches.",
    ),
    may(
        "min_words",
        Kind::Whole(0, u32::MAX as i64),
        "The fewest words.",
    ),
    may(
        "max_words",
        Kind::Whole(0, u32::MAX as i64),
        "The most words.",
    ),
    may(
        "max_chars",
        Kind::Whole(0, u32::MAX as i64),
        "The most characters as a reader counts them.",
    ),
    may(
        "max_sentences",
        Kind::Whole(0, u32::MAX as i64),
        "The most sentences.",
    ),
    may("json", Kind::Bool, "The whole response is one JSON value."),
    may(
        "language",
        Kind::Language,
        "The language of the response, as an ISO 639-1 code.",
    ),
];

const EXAMPLE: &[Key] = &[
    must("prompt", Kind::Words, "What was asked."),
    must("response", Kind::Words, "What was answered."),
    must(
        "critique",
        Kind::Words,
        "What is wrong with the answer, or that nothing is.",
    ),
    must("revision", Kind::Words, "The mended answer."),
];

const TEST: &[Key] = &[
    must("prompt", Kind::Words, "What was asked."),
    must("response", Kind::Words, "What was answered."),
    must(
        "expect",
        Kind::OneOf(&["violation", "ok"]),
        "The verdict to expect.",
    ),
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::constitution::language::LANGUAGES;
    use crate::constitution::wire;

    /// The keys that serde knows, from the message that it gives for one it does not.
    fn serde_keys<T: serde::de::DeserializeOwned + std::fmt::Debug>() -> Vec<String> {
        let error = serde_yaml::from_str::<T>("no-such-key: 1").unwrap_err();
        let message = error.to_string();
        let names = message.split("expected one of").nth(1).unwrap();
        names
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    }

    fn table_keys(kind: &Kind) -> Vec<String> {
        match kind {
            Kind::Map(_, keys) => keys.iter().map(|key| key.name.to_owned()).collect(),
            _ => panic!("not a mapping"),
        }
    }

    #[test]
    fn the_table_and_the_types_have_the_same_keys() {
        use crate::constitution::{Check, Defaults, Example, PrincipleTest};
        let pairs = [
            (table_keys(&FILE), serde_keys::<wire::File>()),
            (
                table_keys(&Kind::Map("", PRINCIPLE)),
                serde_keys::<wire::Principle>(),
            ),
            (
                table_keys(&Kind::Map("", DEFAULTS)),
                serde_keys::<Defaults>(),
            ),
            (table_keys(&Kind::Map("", CHECK)), serde_keys::<Check>()),
            (table_keys(&Kind::Map("", EXAMPLE)), serde_keys::<Example>()),
            (
                table_keys(&Kind::Map("", TEST)),
                serde_keys::<PrincipleTest>(),
            ),
        ];
        for (mut table, mut types) in pairs {
            table.sort();
            types.sort();
            assert_eq!(table, types);
        }
    }

    /// Values of a kind: the least and the most, and every word.
    fn samples(kind: &Kind) -> Vec<Value> {
        match kind {
            Kind::Text | Kind::Words | Kind::Template | Kind::Needle | Kind::Pattern => {
                vec![json!("a")]
            }
            Kind::Id => vec![json!("a-1")],
            Kind::Language => LANGUAGES.iter().map(|(code, _)| json!(code)).collect(),
            Kind::Schema => vec![json!(1)],
            Kind::Number(least, most) => vec![json!(least), json!(most)],
            Kind::Whole(least, most) => vec![json!(least), json!(most)],
            Kind::Bool => vec![json!(true), json!(false)],
            Kind::OneOf(words) => words.iter().map(|word| json!(word)).collect(),
            Kind::List(inner) => vec![json!([]), Value::Array(samples(inner))],
            Kind::OneOrMore(inner) => {
                let mut found = samples(inner);
                found.push(Value::Array(samples(inner)));
                found
            }
            Kind::Map(_, keys) => vec![filled(keys, true), filled(keys, false)],
        }
    }

    /// A mapping with a value for every key, or for those that must be there.
    fn filled(keys: &[Key], all: bool) -> Value {
        let keys = keys.iter().filter(|key| all || key.required);
        let fields = keys.map(|key| (key.name.to_owned(), samples(&key.kind).remove(0)));
        Value::Object(fields.collect())
    }

    /// Holds that a type takes what the table says, misses what must be there, and knows no other words.
    fn hold<T: serde::de::DeserializeOwned>(keys: &[Key]) {
        let read = |key: &Key, value: Option<Value>| {
            let mut whole = filled(keys, false);
            let fields = whole.as_object_mut().unwrap();
            match value {
                Some(value) => fields.insert(key.name.to_owned(), value),
                None => fields.remove(key.name),
            };
            let read = serde_json::from_value::<T>(whole);
            read.map(drop).map_err(|error| error.to_string())
        };
        for key in keys {
            for value in samples(&key.kind) {
                assert_eq!(read(key, Some(value)), Ok(()), "{}", key.name);
            }
            assert_eq!(read(key, None).is_err(), key.required, "{}", key.name);
            let other = match key.kind {
                Kind::Map(..) => json!("a"),
                _ => json!({"no": 1}),
            };
            assert!(read(key, Some(other)).is_err(), "{}", key.name);
            if let Kind::OneOf(words) = key.kind {
                let error = read(key, Some(json!("no-such-word"))).unwrap_err();
                let known = error.split("expected").nth(1).unwrap();
                let known: Vec<_> = known.split('`').skip(1).step_by(2).collect();
                assert_eq!(known, words, "{}", key.name);
            }
        }
    }

    #[test]
    fn the_types_take_what_the_table_says_and_know_no_other_words() {
        use crate::constitution::{Check, Defaults, Example, PrincipleTest};
        let Kind::Map(_, file) = FILE else {
            panic!("not a mapping");
        };
        hold::<wire::File>(file);
        hold::<wire::Principle>(PRINCIPLE);
        hold::<Defaults>(DEFAULTS);
        hold::<Check>(CHECK);
        hold::<Example>(EXAMPLE);
        hold::<PrincipleTest>(TEST);
    }
}
