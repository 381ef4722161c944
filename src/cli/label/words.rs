//! The words of the command line: chains, an action, and what follows it.

use anyhow::{Result, anyhow, bail};

use crate::cli::exit::usage;

/// What the words ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Verb {
    Accept,
    Reject,
    Edit,
    Note,
    Agree,
    Disagree,
    Undo,
    History,
}

const VERBS: [(&str, Verb); 8] = [
    ("accept", Verb::Accept),
    ("reject", Verb::Reject),
    ("edit", Verb::Edit),
    ("note", Verb::Note),
    ("agree", Verb::Agree),
    ("disagree", Verb::Disagree),
    ("undo", Verb::Undo),
    ("history", Verb::History),
];

impl Verb {
    fn find(word: &str) -> Option<Self> {
        VERBS
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, verb)| *verb)
    }

    /// How it is written.
    pub fn name(self) -> &'static str {
        VERBS
            .iter()
            .find(|(_, verb)| *verb == self)
            .map_or("", |(name, _)| name)
    }
}

/// The words, taken apart: chains, action, and what follows it.
#[derive(Debug, PartialEq, Eq)]
pub struct Words<'a> {
    pub chains: &'a [String],
    pub verb: Verb,
    rest: &'a [String],
}

impl<'a> Words<'a> {
    /// `many` when a filter names the chains. Otherwise the first word is a chain, also where it reads
    /// like an action.
    pub fn read(words: &'a [String], many: bool) -> Result<Self> {
        let skip = usize::from(!many);
        let verbs = words.iter().skip(skip).map(|word| Verb::find(word));
        let found = (skip..).zip(verbs).find_map(|(at, verb)| Some((at, verb?)));
        let Some((at, verb)) = found else {
            return Err(usage(anyhow!(missing(words, many))));
        };
        let (chains, rest) = (&words[..at], &words[at + 1..]);
        if many && !chains.is_empty() {
            bail!(usage(anyhow!(
                "name chains by their ids, or with --where and --run, not both"
            )));
        }
        Ok(Self { chains, verb, rest })
    }

    /// One text after the action, and nothing else.
    pub fn text(&self) -> Result<Option<&'a str>> {
        match self.rest {
            [] => Ok(None),
            [text] => Ok(Some(text)),
            _ => Err(usage(anyhow!(
                "`{}` takes one text; quote it: {} \"{}\"",
                self.verb.name(),
                self.verb.name(),
                self.rest.join(" ")
            ))),
        }
    }
}

fn missing(words: &[String], many: bool) -> String {
    let names: Vec<_> = VERBS.iter().map(|(name, _)| *name).collect();
    let names = names.join(", ");
    match words {
        [only] if !many && Verb::find(only).is_some() => {
            format!("no chain is named: write amend label CHAIN {only}, or say which with --where")
        }
        _ => format!("no action is named; write one of {names} after the chains"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn chains_come_before_the_action_and_texts_after() {
        let line = words("7k2m 9q note accept");
        let read = Words::read(&line, false).unwrap();
        assert_eq!(read.chains, ["7k2m", "9q"]);
        assert_eq!(
            (read.verb, read.text().unwrap()),
            (Verb::Note, Some("accept"))
        );
        // The first word is a chain, whatever it says.
        let line = words("note undo");
        let read = Words::read(&line, false).unwrap();
        assert_eq!((read.chains, read.verb), (&line[..1], Verb::Undo));
        let line = words("accept");
        assert_eq!(Words::read(&line, true).unwrap().verb, Verb::Accept);
    }

    #[test]
    fn what_is_missing_is_said() {
        for (line, many, expected) in [
            ("accept", false, "no chain is named"),
            ("7k2m", false, "no action is named"),
            ("7k2m 9q", true, "no action is named"),
            ("7k2m accept", true, "not both"),
        ] {
            let error = Words::read(&words(line), many).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let line = words("7k2m note two words");
        let error = Words::read(&line, false).unwrap().text().unwrap_err();
        assert!(error.to_string().contains("quote it"), "{error}");
    }
}
