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
}

const fn must(name: &'static str, kind: Kind) -> Key {
    let required = true;
    Key {
        name,
        kind,
        required,
    }
}

const fn may(name: &'static str, kind: Kind) -> Key {
    let required = false;
    Key {
        name,
        kind,
        required,
    }
}

/// The whole file.
pub(super) const FILE: Kind = Kind::Map(
    "a constitution",
    &[
        may("schema", Kind::Schema),
        must("name", Kind::Words),
        may("version", Kind::Words),
        may("description", Kind::Text),
        may("license", Kind::Text),
        may("extends", Kind::OneOrMore(&Kind::Needle)),
        may("defaults", Kind::Map("`defaults`", DEFAULTS)),
        may(
            "principles",
            Kind::List(&Kind::Map("a principle", PRINCIPLE)),
        ),
    ],
);

const DEFAULTS: &[Key] = &[
    may("rounds", Kind::Whole(1, 1000)),
    may("select", Kind::Text),
    may("revise", Kind::OneOf(&["when-violated", "always"])),
];

const PRINCIPLE: &[Key] = &[
    must("id", Kind::Id),
    may("title", Kind::Words),
    may("critique", Kind::Template),
    may("revision", Kind::Template),
    may("weight", Kind::Number(0.0, 1e6)),
    may("precedence", Kind::Whole(i64::MIN, i64::MAX)),
    may("severity", Kind::OneOf(&["minor", "major", "critical"])),
    may("tags", Kind::List(&Kind::Words)),
    may("status", Kind::OneOf(&["active", "draft", "retired"])),
    may("rationale", Kind::Text),
    may("check", Kind::Map("`check`", CHECK)),
    may("examples", Kind::List(&Kind::Map("an example", EXAMPLE))),
    may("tests", Kind::List(&Kind::Map("a test", TEST))),
];

const CHECK: &[Key] = &[
    may("starts_with_any", Kind::OneOrMore(&Kind::Needle)),
    may("ends_with_any", Kind::OneOrMore(&Kind::Needle)),
    may("contains", Kind::OneOrMore(&Kind::Needle)),
    may("not_contains", Kind::OneOrMore(&Kind::Needle)),
    may("regex", Kind::OneOrMore(&Kind::Pattern)),
    may("not_regex", Kind::OneOrMore(&Kind::Pattern)),
    may("min_words", Kind::Whole(0, u32::MAX as i64)),
    may("max_words", Kind::Whole(0, u32::MAX as i64)),
    may("max_chars", Kind::Whole(0, u32::MAX as i64)),
    may("max_sentences", Kind::Whole(0, u32::MAX as i64)),
    may("json", Kind::Bool),
    may("language", Kind::Language),
];

const EXAMPLE: &[Key] = &[
    must("prompt", Kind::Words),
    must("response", Kind::Words),
    must("critique", Kind::Words),
    must("revision", Kind::Words),
];

const TEST: &[Key] = &[
    must("prompt", Kind::Words),
    must("response", Kind::Words),
    must("expect", Kind::OneOf(&["violation", "ok"])),
];

#[cfg(test)]
mod tests {
    use super::*;
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
}
