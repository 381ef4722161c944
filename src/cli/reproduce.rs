//! The command that makes a run, or one of its chains, again: from the options that the store keeps.

use std::ffi::OsStr;
use std::path::Path;

use clap::{ArgAction, CommandFactory, Parser};
use serde_json::Value;

use super::job::JobArgs;
use super::tasks::is_control;
use crate::engine::config::RunConfig;
use crate::store::{ChainRow, RunDetail, Store, StoreError};

/// `amend run`, as far as it describes a run.
#[derive(Parser)]
struct Described {
    #[command(flatten)]
    job: JobArgs,
}

/// Options that name files.
const FILES: [&str; 9] = [
    "prompts",
    "controls",
    "constitution",
    "pack",
    "script",
    "chat_template_file",
    "lora",
    "lora_scaled",
    "roles",
];

/// The command that makes a chain again, in a store of its own; quoted for a shell. Empty where there is none: a
/// stress test writes its own prompts.
///
/// Seeds derive from the run's seed, the prompt and the sample, so a run over the one prompt writes the
/// same chain. Where the draft was that of another run, there are two commands, and the first one makes the draft.
pub fn chain(store: &Store, run: &RunDetail, chain: &ChainRow) -> String {
    commands(store, run, chain, |run| run.execution.clone())
}

/// The same for readers elsewhere: files by their names, without the folders that they are in on this machine.
pub fn chain_by_file_names(store: &Store, run: &RunDetail, chain: &ChainRow) -> String {
    commands(store, run, chain, |run| {
        let mut execution = run.execution.clone();
        for option in FILES {
            shorten(&mut execution[option]);
        }
        shorten(&mut execution["model"]);
        // Where a server stands says nothing to readers elsewhere.
        if !execution["endpoint"].is_null() {
            execution["endpoint"] = "URL".into();
        }
        execution
    })
}

/// Leaves the folders out of absolute paths, also behind the step of a role.
fn shorten(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::String(text) => {
            let path = match text.split_once('=') {
                Some((_, path)) if !text.starts_with('/') => path,
                _ => text.as_str(),
            };
            let name = Path::new(path).file_name().and_then(OsStr::to_str);
            if let Some(name) = name.filter(|_| Path::new(path).is_absolute()) {
                let before = &text[..text.len() - path.len()];
                // Without a folder it could be taken for an option.
                let here = match before.is_empty() && name.starts_with('-') {
                    true => "./",
                    false => "",
                };
                *text = format!("{before}{here}{name}");
            }
        }
        _ => {}
    }
}

/// The commands, one a line. `options_of` gives the options of a run.
fn commands(
    store: &Store,
    run: &RunDetail,
    chain: &ChainRow,
    options_of: impl Fn(&RunDetail) -> Value,
) -> String {
    let line = |execution: &Value| {
        let mut words = vec!["amend".to_owned(), "run".to_owned()];
        words.extend(options(execution));
        words.push("--db".to_owned());
        words.push(format!("chain-{}.db", chain.chain_id));
        let quoted: Vec<_> = words.iter().map(|word| quote(word)).collect();
        quoted.join(" ")
    };
    let Ok(drafted) = behind_drafts(store, run) else {
        return String::new();
    };
    let first = drafted.as_ref().unwrap_or(run);
    let mut execution = options_of(first);
    if !execution["prompts"].is_string() {
        return String::new();
    }
    let samples = first.config["samples"].as_u64().unwrap_or(1).max(1);
    let number = chain.position / samples + 1;
    let limit = format!("{number}-{number}");
    // Control prompts come behind all others and cannot be counted off, so one of them needs them all.
    let controls = is_control(&chain.prompt_id);
    execution["limit"] = limit.clone().into();
    if !controls {
        execution["controls"] = Value::Null;
    }
    let made = line(&execution);
    if drafted.is_none() {
        return made;
    }
    let Some(id) = id_over(first, limit, controls) else {
        return String::new();
    };
    let mut execution = options_of(run);
    execution["drafts_from"] = id.into();
    format!("{made}\n{}", line(&execution))
}

/// The run that wrote the drafts that a run took, if it took any; drafts of drafts are the same ones.
fn behind_drafts(store: &Store, run: &RunDetail) -> Result<Option<RunDetail>, StoreError> {
    let mut found: Option<RunDetail> = None;
    while let Some(id) = found.as_ref().unwrap_or(run).execution["drafts_from"].as_str() {
        found = Some(store.run(id)?);
    }
    Ok(found)
}

/// The id of the run that a run is when it takes one prompt only.
fn id_over(run: &RunDetail, limit: String, controls: bool) -> Option<String> {
    let mut config: RunConfig = serde_json::from_value(run.config.clone()).ok()?;
    config.limit = Some(limit);
    if !controls {
        config.controls = None;
    }
    Some(config.run_id())
}

/// The options that were given, as far as they are not what they are anyway.
fn options(execution: &Value) -> Vec<String> {
    let mut words = Vec::new();
    let command = Described::command();
    for arg in command.get_arguments() {
        let value = &execution[arg.get_id().as_str()];
        let texts: Vec<String> = match value {
            Value::Array(items) => items.iter().filter_map(text).collect(),
            value => text(value).into_iter().collect(),
        };
        let defaults = arg.get_default_values();
        let is_default = texts.len() == defaults.len()
            && texts
                .iter()
                .zip(defaults)
                .all(|(text, default)| default.to_str().is_some_and(|default| same(text, default)));
        if texts.is_empty() || is_default {
            continue;
        }
        match (arg.get_long(), arg.get_action()) {
            (None, _) => words.extend(texts),
            (Some(_), ArgAction::SetTrue) if texts == ["false"] => {}
            (Some(long), ArgAction::SetTrue) => words.push(format!("--{long}")),
            (Some(long), _) => {
                let together = arg.get_num_args().map_or(1, |count| count.min_values());
                for values in texts.chunks(together.max(1)) {
                    words.extend(with_values(long, values));
                }
            }
        }
    }
    words
}

/// An option with the values that stand behind it.
fn with_values(long: &str, values: &[String]) -> Vec<String> {
    match values {
        // It would be taken for an option of its own.
        [value] if value.starts_with('-') => vec![format!("--{long}={value}")],
        values => {
            let mut words = vec![format!("--{long}")];
            words.extend_from_slice(values);
            words
        }
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Whether two spellings mean the same: 1 and 1.0 do.
fn same(a: &str, b: &str) -> bool {
    a == b || matches!((a.parse::<f64>(), b.parse::<f64>()), (Ok(a), Ok(b)) if a == b)
}

/// A word as a shell takes it.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use clap::ValueHint;

    use super::*;

    /// What a shell makes of the quoted words.
    fn unquoted(line: &str) -> Vec<String> {
        let script = format!("for w in {line}; do printf '%s\\0' \"$w\"; done");
        let out = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let mut words: Vec<_> = text.split('\0').map(str::to_owned).collect();
        words.pop();
        words
    }

    #[test]
    fn a_shell_reads_the_words_back() {
        let words = [
            "plain",
            "a b",
            "",
            "it's",
            "$HOME `id` \"x\"",
            "--x=1",
            "é\nnew line",
            "*",
        ];
        let line: Vec<_> = words.iter().map(|word| quote(word)).collect();
        assert_eq!(unquoted(&line.join(" ")), words);
    }

    #[test]
    fn folders_of_this_machine_are_left_out() {
        let mut execution = serde_json::json!({
            "prompts": "/data/my prompts.jsonl",
            "constitution": "hhh",
            "roles": ["draft=/a/b.gguf:0.5", "recheck=c.gguf"],
            "lora_scaled": ["/a/x=y.gguf", "2"],
            "controls": "/data/-benign.jsonl",
            "limit": null,
        });
        let fields = execution.as_object_mut().unwrap();
        fields.values_mut().for_each(shorten);
        let expected = serde_json::json!({
            "prompts": "my prompts.jsonl",
            "constitution": "hhh",
            "roles": ["draft=b.gguf:0.5", "recheck=c.gguf"],
            "lora_scaled": ["x=y.gguf", "2"],
            "controls": "./-benign.jsonl",
            "limit": null,
        });
        assert_eq!(execution, expected);
        // Every option that takes a file is known.
        let command = Described::command();
        let ids: Vec<_> = command
            .get_arguments()
            .map(|arg| arg.get_id().as_str())
            .collect();
        assert!(FILES.iter().all(|file| ids.contains(file)), "{ids:?}");
        let named = command.get_arguments().filter(|arg| {
            let hint = arg.get_value_hint();
            let files = [ValueHint::FilePath, ValueHint::AnyPath];
            files.contains(&hint)
        });
        for arg in named {
            assert!(FILES.contains(&arg.get_id().as_str()), "{}", arg.get_id());
        }
    }

    #[test]
    fn the_options_are_read_back_as_they_were() {
        let given = [
            "amend",
            "/data/my prompts.jsonl",
            "-c",
            "/x/it's.yaml",
            "--samples",
            "2",
            "--seed",
            "7",
            "--recheck",
            "--threshold",
            "0.35",
            "--model",
            "/m/a.gguf",
            "--max-tokens",
            "64",
            "--select",
            "all",
            "--strict",
        ];
        let job = Described::try_parse_from(given).unwrap().job;
        let execution = serde_json::to_value(&job).unwrap();
        let mut again = vec!["amend".to_owned()];
        again.extend(options(&execution));
        let job = Described::try_parse_from(&again).unwrap().job;
        assert_eq!(serde_json::to_value(&job).unwrap(), execution, "{again:?}");
        // Nothing that was not said.
        assert!(
            !again
                .iter()
                .any(|word| word == "--batch-size" || word == "--rounds"),
            "{again:?}"
        );
    }

    #[test]
    fn options_of_two_values_and_values_with_a_dash_are_read_back() {
        let given = [
            "amend",
            "/data/p.jsonl",
            "--lora-scaled",
            "/m/style.gguf",
            "0.5",
            "--prompt-field=-question",
            "--role",
            "draft=/m/a.gguf",
            "--role",
            "critique=/m/b.gguf",
        ];
        let job = Described::try_parse_from(given).unwrap().job;
        let execution = serde_json::to_value(&job).unwrap();
        let mut again = vec!["amend".to_owned()];
        again.extend(options(&execution));
        let read = Described::try_parse_from(&again);
        let job = read
            .unwrap_or_else(|error| panic!("{again:?}: {error}"))
            .job;
        assert_eq!(serde_json::to_value(&job).unwrap(), execution, "{again:?}");
    }
}
