//! The suites of an evaluation: which files, what they are for, which prompts they hold.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};

use crate::cli::args::{PromptArgs, parse_limit};
use crate::cli::exit::{say, usage};
use crate::cli::tasks::{NextPrompt, Prompts};
use crate::dataset::{self, ReadOptions};
use crate::evaluation::effect::SuiteKind;
use crate::generation::Message;

/// A suite whose file was read.
pub struct Suite {
    /// Its name in reports: the file's, without extension.
    pub name: String,
    /// What it is for.
    pub kind: SuiteKind,
    /// The file.
    pub path: PathBuf,
    /// Usable prompts.
    pub prompts: u64,
    /// The kind of each prompt, where it differs from that of the suite.
    kinds: HashMap<String, SuiteKind>,
    conversations: HashMap<String, Vec<Message>>,
}

impl Suite {
    /// Reads what `--suite` names: a file, with its kind and `=` before it where that is to be told.
    fn read(named: &str, reading: &PromptArgs) -> anyhow::Result<Self> {
        let (told, file) = match named.split_once('=') {
            // A file may have such a name; a kind comes first only where it is one.
            Some((kind, file)) if SuiteKind::find(kind).is_some() => (SuiteKind::find(kind), file),
            _ => (None, named),
        };
        let path = PathBuf::from(file);
        let options = ReadOptions {
            prompt_field: reading.prompt_field.clone(),
            strict: reading.strict,
            keep_duplicates: reading.keep_duplicates,
            ..ReadOptions::default()
        };
        let reader = dataset::open(&path, &options).map_err(usage)?;
        let range = reading.limit.as_deref().and_then(|l| parse_limit(l).ok());
        let (mut kind, mut prompts, mut kinds) = (told, 0, HashMap::new());
        let mut conversations = HashMap::new();
        for next in Prompts::new(reader, range.unwrap_or(0..u64::MAX)) {
            let prompt = match next? {
                NextPrompt::Prompt(_, prompt) => prompt,
                NextPrompt::Skipped(row) => {
                    say(&format!("skipped: {row}"));
                    continue;
                }
            };
            let of_suite = *kind.get_or_insert_with(|| SuiteKind::guess(&path, &prompt));
            let own = of_suite.of_prompt(&prompt);
            if own != of_suite {
                kinds.insert(prompt.id.0.clone(), own);
            }
            prompts += 1;
            conversations.insert(prompt.id.0, prompt.messages);
        }
        let Some(kind) = kind.filter(|_| prompts > 0) else {
            bail!(usage(anyhow!(
                "{}: --limit leaves no prompt: the file has fewer usable rows",
                path.display()
            )));
        };
        Ok(Self {
            name: name_of(&path),
            kind,
            path,
            prompts,
            kinds,
            conversations,
        })
    }

    /// What a prompt says.
    pub fn conversation(&self, prompt_id: &str) -> &[Message] {
        self.conversations.get(prompt_id).map_or(&[], Vec::as_slice)
    }

    /// The kind of a prompt.
    pub fn kind_of(&self, prompt_id: &str) -> SuiteKind {
        self.kinds.get(prompt_id).copied().unwrap_or(self.kind)
    }

    /// The kinds of prompts that there are, and under which name each is reported.
    pub fn parts(&self) -> Vec<(SuiteKind, String)> {
        let mut kinds: BTreeSet<SuiteKind> = self.kinds.values().copied().collect();
        if (self.kinds.len() as u64) < self.prompts {
            kinds.insert(self.kind);
        }
        let named = |kind: SuiteKind| match kinds.len() {
            1 => self.name.clone(),
            _ => format!("{}-{}", self.name, kind.as_str()),
        };
        kinds.iter().map(|&kind| (kind, named(kind))).collect()
    }

    /// How many prompts of a kind there are.
    pub fn count(&self, kind: SuiteKind) -> u64 {
        let others = self.kinds.values().filter(|of| **of == kind).count() as u64;
        match kind == self.kind {
            // What is listed is of other kinds.
            true => self.prompts.saturating_sub(self.kinds.len() as u64),
            false => others,
        }
    }

    /// Everything that it or a part of it is called.
    fn names(&self) -> BTreeSet<String> {
        let parts = self.parts().into_iter().map(|(_, name)| name);
        parts.chain([self.name.clone()]).collect()
    }

    /// Whether it is answered, and not only read.
    pub fn is_answered(&self) -> bool {
        self.kind != SuiteKind::General
    }
}

fn name_of(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy());
    stem.map_or_else(String::new, |stem| {
        stem.split_whitespace().collect::<Vec<_>>().join("-")
    })
}

/// Reads all suites. Two of one name, or with parts of one name, could not be told apart.
pub fn read(named: &[String], reading: &PromptArgs) -> anyhow::Result<Vec<Suite>> {
    let mut suites: Vec<Suite> = Vec::new();
    for named in named {
        let suite = Suite::read(named, reading)?;
        let names = suite.names();
        for other in &suites {
            if let Some(name) = other.names().intersection(&names).next() {
                bail!(usage(anyhow!(
                    "{} and {} would both be called `{name}` in figures; rename one, or leave it out",
                    other.path.display(),
                    suite.path.display(),
                )));
            }
        }
        suites.push(suite);
    }
    Ok(suites)
}
