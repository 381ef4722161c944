//! What an export says about itself.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::quality::gates::Gating;
use crate::store::RunDetail;

use super::ExportOptions;

/// The manifest's file name.
pub(super) const FILE: &str = "manifest.json";

/// What marks a manifest as one of this program.
const GENERATOR: &str = "amend";

/// Where the rows come from, how many there are, and why others are not there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always `amend`.
    pub generator: String,
    /// The version of this program.
    pub amend_version: String,
    /// The format of the rows.
    pub format: String,
    /// Whether every adopted revision gives a row.
    pub all_rounds: bool,
    /// The kind of the files that hold rows: `jsonl`, `csv` or `parquet`.
    #[serde(rename = "as", default = "jsonl")]
    pub kind: String,
    /// The filter as it was written; empty when every chain was asked for.
    pub filter: String,
    /// The run that was asked for.
    pub run: Option<String>,
    /// Every gate with its threshold; `false` for one that was left out.
    #[serde(default)]
    pub gates: Value,
    /// What the gates counted and measured over the chains that matched.
    #[serde(default)]
    pub gate_figures: Value,
    /// Chains that matched.
    pub chains: u64,
    /// Rows written.
    pub rows: u64,
    /// Whether pairs have a column with the judge's probability.
    #[serde(default)]
    pub soft_labels: bool,
    /// What the rows were divided into, in order; splits without a row are left out.
    #[serde(default)]
    pub splits: Vec<SplitEntry>,
    /// What decided which prompt is in which split; absent where there is one split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub division: Option<Division>,
    /// General data that was mixed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayEntry>,
    /// Rows not written, by reason; each is a line of `dropped.jsonl`.
    pub dropped: BTreeMap<String, u64>,
    /// Rows whose text carries a flag that does not spoil it, by flag.
    pub flags: BTreeMap<String, u64>,
    /// The files written, this one aside.
    pub files: Vec<FileEntry>,
    /// The runs that the chains belong to, in the order of the rows.
    pub runs: Vec<RunEntry>,
}

/// A split of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitEntry {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// About how many bytes the rows take in memory, as a dataset card counts them.
    pub num_bytes: u64,
    /// The files that hold them, in order.
    pub files: Vec<String>,
}

/// How prompts were divided among splits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Division {
    /// The shares that were asked for, as on the command line.
    pub splits: String,
    /// What the division derives from, beside the prompts.
    pub seed: u64,
    /// Groups of prompts that are alike; each is on one side.
    pub groups: u64,
}

/// General data that was mixed in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplayEntry {
    /// The file's name, without its folder.
    pub file: String,
    /// BLAKE3 of the file, tagged.
    pub b3: String,
    /// Rows of it for each row of the chains, as asked for.
    pub ratio: f64,
    /// Rows written.
    pub rows: u64,
    /// Rows passed over: unusable ones, and those whose prompt is in another split.
    pub skipped: u64,
}

/// A file of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// Its lines, or in Parquet its rows.
    pub lines: u64,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// BLAKE3, tagged.
    pub b3: String,
}

/// A run that chains of an export belong to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunEntry {
    /// Its name.
    pub run_id: String,
    /// Digest of what decides its results.
    pub fingerprint: String,
    /// Its seed; null where its configuration names none.
    pub seed: Value,
    /// Name of the constitution.
    pub constitution: String,
    /// Version of the constitution.
    pub constitution_version: String,
    /// Digest of the resolved constitution.
    pub constitution_digest: String,
    /// Name of the prompt pack.
    pub pack: String,
    /// Digest of the prompt pack.
    pub pack_digest: String,
    /// Name of the model.
    pub model: String,
    /// Digest of the model.
    pub model_digest: String,
    /// Digest of the prompt file.
    pub prompts_digest: String,
}

fn jsonl() -> String {
    "jsonl".to_owned()
}

impl Manifest {
    pub(super) fn new(options: &ExportOptions, gating: &Gating) -> Self {
        Self {
            generator: GENERATOR.to_owned(),
            amend_version: env!("CARGO_PKG_VERSION").to_owned(),
            format: options.format.as_str().to_owned(),
            all_rounds: options.all_rounds,
            kind: options.kind.as_str().to_owned(),
            filter: options.filter.source().to_owned(),
            run: options.run.clone(),
            gates: gating.settings.to_json(),
            // Plain data always serialises.
            gate_figures: serde_json::to_value(&gating.figures).unwrap_or_default(),
            chains: 0,
            rows: 0,
            soft_labels: options.soft_labels && options.format.holds_probability(),
            splits: Vec::new(),
            division: None,
            replay: None,
            dropped: BTreeMap::new(),
            flags: BTreeMap::new(),
            files: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// Reads a manifest of this program; `None` for anything else.
    pub fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text)
            .ok()
            .filter(|manifest: &Self| manifest.generator == GENERATOR)
    }

    /// Files that are not in the folder as they were written: their names, and what is wrong.
    pub fn faults(&self, folder: &Path) -> Vec<(String, String)> {
        let faults = super::verify::file_faults(folder, self);
        faults
            .into_iter()
            .map(|fault| (fault.file, fault.what))
            .collect()
    }

    /// Splits that were asked for and got no row.
    pub fn empty_splits(&self) -> Vec<&str> {
        let asked = self.division.iter().flat_map(|division| {
            let parts = division.splits.split(',');
            parts.filter_map(|part| part.split('=').next())
        });
        let there = |name: &&str| self.splits.iter().any(|split| split.name == *name);
        asked.filter(|name| !there(name)).collect()
    }

    pub(super) fn to_text(&self) -> String {
        // Plain data with string keys always serialises.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// The reasons in words, most frequent first; empty when nothing was dropped.
    pub fn reasons(&self) -> String {
        let mut reasons: Vec<_> = self.dropped.iter().collect();
        reasons.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let reasons: Vec<_> = reasons
            .into_iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        reasons.join(", ")
    }

    pub(super) fn why_no_rows(&self) -> String {
        if self.chains > 0 {
            let chains = match self.chains {
                1 => "the only chain gives none".to_owned(),
                chains => format!("none of {chains} chains gives one"),
            };
            return format!("{chains} ({})", self.reasons());
        }
        let what = match (&self.run, self.filter.as_str()) {
            (None, "") => "the store holds no chain; begin with `amend run`".to_owned(),
            (Some(run), "") => format!("run {run} has no chain"),
            (None, filter) => format!("no chain matches `{filter}`"),
            (Some(run), filter) => format!("no chain of run {run} matches `{filter}`"),
        };
        format!("{what}; see `amend ls`")
    }

    /// How many rows were dropped.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }
}

impl RunEntry {
    pub(super) fn of(run: &RunDetail) -> Self {
        let row = run.row.clone();
        Self {
            run_id: row.run_id,
            fingerprint: run.fingerprint.to_string(),
            seed: run.config.get("seed").cloned().unwrap_or(Value::Null),
            constitution: row.constitution,
            constitution_version: row.constitution_version,
            constitution_digest: row.constitution_digest,
            pack: row.pack,
            pack_digest: row.pack_digest,
            model: row.model,
            model_digest: row.model_digest,
            prompts_digest: row.prompts_digest,
        }
    }
}
