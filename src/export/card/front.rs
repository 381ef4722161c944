//! The front matter of a card, which the Hub and the `datasets` library read.

use std::fmt::Write as _;

use super::{Facts, licenses, title};
use crate::export::columns;
use crate::export::format::Format;
use crate::export::lesson::Draws;
use crate::export::table::Kind;

/// The front matter.
pub(super) fn write(out: &mut String, facts: &Facts<'_>) {
    let (manifest, options) = (facts.manifest, facts.options);
    out.push_str("---\n");
    license(out, options.card.license.as_deref().unwrap_or("unknown"));
    let languages = facts.languages.names();
    if !languages.is_empty() {
        out.push_str("language:\n");
        // Quoted, since Norwegian is `no` and that is a boolean.
        languages
            .iter()
            .for_each(|name| out.push_str(&format!("- \"{name}\"\n")));
    }
    let _ = writeln!(out, "pretty_name: {}", quoted(&title(facts)));
    out.push_str("task_categories:\n- text-generation\ntags:\n- constitutional-ai\n- synthetic\n");
    tags(options.format)
        .iter()
        .for_each(|tag| out.push_str(&format!("- {tag}\n")));
    let _ = writeln!(out, "size_categories:\n- {}", size_category(manifest.rows));
    out.push_str("configs:\n- config_name: default\n  data_files:\n");
    for split in &manifest.splits {
        let _ = writeln!(out, "  - split: {}\n    path:", scalar(&split.name));
        split
            .files
            .iter()
            .for_each(|file| out.push_str(&format!("    - {file}\n")));
    }
    let flat;
    let columns = match options.kind {
        // An empty cell is null, and no word is.
        Kind::Csv => {
            out.push_str("  keep_default_na: false\n  na_values:\n  - \"\"\n");
            flat = columns::flat(facts.columns);
            &flat
        }
        Kind::Jsonl | Kind::Parquet => facts.columns,
    };
    out.push_str("dataset_info:\n  features:\n");
    out.push_str(&columns::features(columns, 2));
    out.push_str("  splits:\n");
    for split in &manifest.splits {
        let _ = writeln!(
            out,
            "  - name: {}\n    num_bytes: {}\n    num_examples: {}",
            scalar(&split.name),
            split.num_bytes,
            split.rows
        );
    }
    let file_bytes = |name: &String| {
        let mut files = manifest.files.iter();
        files
            .find(|file| file.name == *name)
            .map_or(0, |file| file.bytes)
    };
    let download: u64 = manifest
        .splits
        .iter()
        .flat_map(|split| &split.files)
        .map(file_bytes)
        .sum();
    let size: u64 = manifest.splits.iter().map(|split| split.num_bytes).sum();
    let _ = writeln!(
        out,
        "  download_size: {download}\n  dataset_size: {size}\n---\n"
    );
}

/// The licence. One that the Hub does not list is `other` there, and has its name beside that.
fn license(out: &mut String, name: &str) {
    let _ = match licenses::is_listed(name) {
        true => writeln!(out, "license: {name}"),
        false => writeln!(out, "license: other\nlicense_name: {}", scalar(name)),
    };
}

/// A text in quotation marks. JSON leaves characters as they are that YAML does not take, or ends a line at.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    for c in serde_json::json!(text).to_string().chars() {
        match c {
            '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// A name in quotation marks where YAML would read something else than a text, such as `no` or `1e3`.
fn scalar(name: &str) -> String {
    let words = [
        "y", "yes", "on", "true", "n", "no", "off", "false", "null", "nan", "inf",
    ];
    let other = words.contains(&name.to_ascii_lowercase().as_str())
        || name.starts_with(|c: char| !c.is_ascii_alphabetic());
    match other {
        true => format!("\"{name}\""),
        false => name.to_owned(),
    }
}

fn tags(format: Format) -> Vec<&'static str> {
    let mut tags = match format.draws() {
        Draws::Answers => vec!["sft"],
        Draws::Pairs => vec!["preference", "dpo"],
        Draws::Unpaired => vec!["preference", "kto"],
        Draws::Prompts => vec!["prompts"],
        Draws::Steps => vec!["process-supervision"],
        Draws::Revisions => vec!["sft", "preference"],
        Draws::Critiques => vec!["critique"],
    };
    let name = format.as_str();
    let trainers = ["trl", "axolotl", "llamafactory", "openai", "mlx"];
    tags.extend(
        trainers
            .iter()
            .filter(|trainer| name.starts_with(**trainer)),
    );
    tags
}

/// The Hub's names for sizes.
fn size_category(rows: u64) -> &'static str {
    match rows {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        1_000_000..10_000_000 => "1M<n<10M",
        10_000_000..100_000_000 => "10M<n<100M",
        100_000_000..1_000_000_000 => "100M<n<1B",
        1_000_000_000..10_000_000_000 => "1B<n<10B",
        10_000_000_000..100_000_000_000 => "10B<n<100B",
        _ => "100B<n<1T",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_that_the_hub_does_not_list_is_another_one() {
        let written = |name| {
            let mut out = String::new();
            license(&mut out, name);
            serde_yaml::from_str::<serde_json::Value>(&out).unwrap()
        };
        for listed in ["cc-by-4.0", "openrail++", "other", "unknown"] {
            assert_eq!(written(listed), serde_json::json!({"license": listed}));
        }
        for unlisted in ["mit-0", "house-terms-2", "no", "1.0"] {
            let expected = serde_json::json!({"license": "other", "license_name": unlisted});
            assert_eq!(written(unlisted), expected);
        }
    }

    #[test]
    fn a_title_stays_what_it_is() {
        for title in [
            "plain: revised responses",
            "a \"b\" \\ # - [c]\n\t---\n🏔",
            "\u{7f}\u{85}\u{90}\u{9f}\u{a0} \u{2028}\u{2029}\u{feff}\u{fffe}\u{ffff}\u{1}",
        ] {
            let read: serde_json::Value = serde_yaml::from_str(&quoted(title)).unwrap();
            assert_eq!(read, title);
        }
    }

    #[test]
    fn a_size_has_its_own_name_up_to_its_border() {
        assert_eq!((size_category(0), size_category(999)), ("n<1K", "n<1K"));
        assert_eq!(size_category(1_000), "1K<n<10K");
        assert_eq!(size_category(999_999_999), "100M<n<1B");
        assert_eq!(size_category(1_000_000_000), "1B<n<10B");
    }

    #[test]
    fn names_of_splits_stay_texts() {
        for name in [
            "train", "held_out", "no", "On", "NULL", "1e3", "0x1f", "_1", "007",
        ] {
            let read: serde_json::Value = serde_yaml::from_str(&scalar(name)).unwrap();
            assert_eq!(read, name);
        }
        assert_eq!(scalar("train"), "train");
        assert_eq!(scalar("no"), "\"no\"");
    }
}
