//! The kinds of things that can be wrong: stable numbers and names for programs.

use serde::{Serialize, Serializer};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The file cannot be used.
    Error,
    /// The file can be used, and probably does not do what its author means.
    Warning,
}

impl Level {
    /// The word as it is written in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
        }
    }
}

/// The kind of a [`Problem`](super::Problem). Errors are C001 to C049, warnings C050 to C099. A number that
/// was given out is never used for anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// The file is missing, a directory, or cannot be read.
    Unreadable,
    /// The file, or something in it, is larger than what is read.
    TooLarge,
    /// The file is not UTF-8.
    NotUtf8,
    /// The file is not YAML.
    Syntax,
    /// The file holds nothing, or only comments.
    Empty,
    /// A YAML feature that constitutions do not use: several documents, tags, merge keys, keys that are not
    /// text.
    Unsupported,
    /// Values nested too deeply.
    TooDeep,
    /// Aliases that expand to too much, or into themselves.
    Aliases,
    /// One mapping holds a key twice.
    DuplicateKey,
    /// A key that the format does not have.
    UnknownKey,
    /// A key that must be there and is not.
    MissingKey,
    /// A value of the wrong type.
    WrongType,
    /// A value of the right type that is out of range or not one of the words allowed.
    BadValue,
    /// A version of the format that this program does not read.
    UnknownSchema,
    /// A principle's id is not kebab-case.
    BadId,
    /// Two principles have one id.
    DuplicateId,
    /// `defaults.select` names a principle that is not there.
    UnknownId,
    /// A text that must say something is empty.
    EmptyText,
    /// A text with broken template syntax.
    Template,
    /// A text that uses a template variable that principles do not have.
    UnknownVariable,
    /// A pattern that is not a regular expression.
    Pattern,
    /// A file that `extends` names is missing.
    ExtendsMissing,
    /// Files that extend each other in a circle, or too many levels of them.
    ExtendsCycle,
    /// The digest of an extended file is not the one that was written down.
    ExtendsDigest,
    /// No principle takes part in runs.
    NoPrinciples,
    /// A principle without a test.
    NoTests,
    /// A critique that says almost what another principle's says.
    NearDuplicate,
    /// Critique and revision have no content word in common.
    Unrelated,
    /// A critique that asks for two things at once.
    TwoInOne,
    /// A text so long that it takes a large part of the model's context.
    Long,
    /// A principle that says what not to do.
    NegativeFraming,
    /// A weight of 0: the principle is never drawn.
    ZeroWeight,
    /// A retired principle is changed by a file that extends it.
    RetiredExtended,
    /// An `allow` comment that allows nothing.
    UselessAllow,
}

/// Code, number, name, what it means.
const TABLE: [(Code, &str, &str, &str); 34] = [
    (
        Code::Unreadable,
        "C001",
        "unreadable",
        "The file is missing, a directory, or cannot be read.",
    ),
    (
        Code::TooLarge,
        "C002",
        "too-large",
        "The file, or something in it, is larger than what is read.",
    ),
    (Code::NotUtf8, "C003", "not-utf8", "The file is not UTF-8."),
    (Code::Syntax, "C004", "syntax", "The file is not YAML."),
    (
        Code::Empty,
        "C005",
        "empty",
        "The file holds nothing, or only comments.",
    ),
    (
        Code::Unsupported,
        "C006",
        "unsupported",
        "A YAML feature that constitutions do not use: several documents, tags, merge keys, keys that are not text.",
    ),
    (
        Code::TooDeep,
        "C007",
        "too-deep",
        "Values nested too deeply.",
    ),
    (
        Code::Aliases,
        "C008",
        "aliases",
        "Aliases that expand to too much, or into themselves.",
    ),
    (
        Code::DuplicateKey,
        "C009",
        "duplicate-key",
        "One mapping holds a key twice.",
    ),
    (
        Code::UnknownKey,
        "C010",
        "unknown-key",
        "A key that the format does not have.",
    ),
    (
        Code::MissingKey,
        "C011",
        "missing-key",
        "A key that must be there and is not.",
    ),
    (
        Code::WrongType,
        "C012",
        "wrong-type",
        "A value of the wrong type.",
    ),
    (
        Code::BadValue,
        "C013",
        "bad-value",
        "A value of the right type that is out of range or not one of the words allowed.",
    ),
    (
        Code::UnknownSchema,
        "C014",
        "unknown-schema",
        "A version of the format that this program does not read.",
    ),
    (
        Code::BadId,
        "C015",
        "bad-id",
        "A principle's id is not kebab-case.",
    ),
    (
        Code::DuplicateId,
        "C016",
        "duplicate-id",
        "Two principles have one id.",
    ),
    (
        Code::UnknownId,
        "C017",
        "unknown-id",
        "`defaults.select` names a principle that is not there.",
    ),
    (
        Code::EmptyText,
        "C018",
        "empty-text",
        "A text that must say something is empty.",
    ),
    (
        Code::Template,
        "C019",
        "template",
        "A text with broken template syntax.",
    ),
    (
        Code::UnknownVariable,
        "C020",
        "unknown-variable",
        "A text that uses a template variable that principles do not have.",
    ),
    (
        Code::Pattern,
        "C021",
        "pattern",
        "A pattern that is not a regular expression.",
    ),
    (
        Code::ExtendsMissing,
        "C022",
        "extends-missing",
        "A file that `extends` names is missing.",
    ),
    (
        Code::ExtendsCycle,
        "C023",
        "extends-cycle",
        "Files that extend each other in a circle, or too many levels of them.",
    ),
    (
        Code::ExtendsDigest,
        "C024",
        "extends-digest",
        "The digest of an extended file is not the one that was written down.",
    ),
    (
        Code::NoPrinciples,
        "C025",
        "no-principles",
        "No principle takes part in runs.",
    ),
    (
        Code::NoTests,
        "C050",
        "no-tests",
        "A principle without a test.",
    ),
    (
        Code::NearDuplicate,
        "C051",
        "near-duplicate",
        "A critique that says almost what another principle's says.",
    ),
    (
        Code::Unrelated,
        "C052",
        "unrelated",
        "Critique and revision have no content word in common.",
    ),
    (
        Code::TwoInOne,
        "C053",
        "two-in-one",
        "A critique that asks for two things at once.",
    ),
    (
        Code::Long,
        "C054",
        "long",
        "A text so long that it takes a large part of the model's context.",
    ),
    (
        Code::NegativeFraming,
        "C055",
        "negative-framing",
        "A principle that says what not to do.",
    ),
    (
        Code::ZeroWeight,
        "C056",
        "zero-weight",
        "A weight of 0: the principle is never drawn.",
    ),
    (
        Code::RetiredExtended,
        "C057",
        "retired-extended",
        "A retired principle is changed by a file that extends it.",
    ),
    (
        Code::UselessAllow,
        "C058",
        "useless-allow",
        "An `allow` comment that allows nothing.",
    ),
];

impl Code {
    /// All of them, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Code> {
        TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> &'static (Code, &'static str, &'static str, &'static str) {
        // The table has the order of the variants; a test holds it.
        &TABLE[self as usize]
    }

    /// The number, such as `C010`.
    pub fn number(self) -> &'static str {
        self.row().1
    }

    /// The name, such as `unknown-key`.
    pub fn as_str(self) -> &'static str {
        self.row().2
    }

    /// What it means, as a sentence.
    pub fn summary(self) -> &'static str {
        self.row().3
    }

    /// Whether it is an error or a warning.
    pub fn level(self) -> Level {
        if self < Code::NoTests {
            Level::Error
        } else {
            Level::Warning
        }
    }

    /// The code with this number or name, in capitals or not.
    pub fn parse(text: &str) -> Option<Code> {
        let text = text.trim();
        let named = |row: &&(Code, &str, &str, &str)| {
            row.1.eq_ignore_ascii_case(text) || row.2.eq_ignore_ascii_case(text)
        };
        TABLE.iter().find(named).map(|row| row.0)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_step_with_the_codes() {
        let mut last = "";
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, index);
            assert!(row.1 > last, "{}", row.1);
            assert_eq!(Code::parse(row.1), Some(row.0));
            assert_eq!(Code::parse(&row.2.to_uppercase()), Some(row.0));
            let error = row.1 < "C050";
            assert_eq!(row.0.level() == Level::Error, error, "{}", row.1);
            last = row.1;
        }
        assert_eq!(Code::parse("C000"), None);
    }
}
