//! What to export, and what of that goes together.

use crate::store::Filter;

use super::card::CardOptions;
use super::columns::{self, Column};
use super::error::ExportError;
use super::format::Format;
use super::lesson::Draws;
use super::replay::ReplayOptions;
use super::shards::ShardLimit;
use super::split::Splits;
use super::table::Kind;

/// The column of soft labels.
pub(super) const PROBABILITY: &str = "probability";

/// What to export.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// What to write.
    pub format: Format,
    /// Which chains.
    pub filter: Filter,
    /// Of which run, by its whole id; `None` for all.
    pub run: Option<String>,
    /// One row for every adopted revision instead of one for every chain, where rows are answers to learn.
    pub all_rounds: bool,
    /// Write into a folder that holds other files, and over files of the same names.
    pub force: bool,
    /// The kind of the files that hold rows.
    pub kind: Kind,
    /// What to divide prompts into; `None` for what the format's trainer wants.
    pub splits: Option<Splits>,
    /// What the division derives from.
    pub seed: u64,
    /// When a file is full.
    pub shard: ShardLimit,
    /// Add a column with the judge's probability to pairs.
    pub soft_labels: bool,
    /// General data to mix in.
    pub replay: Option<ReplayOptions>,
    /// Add the drafts of control prompts that no critique objected to.
    pub benign: bool,
    /// What the dataset card says that the store does not know.
    pub card: CardOptions,
}

impl ExportOptions {
    /// Every chain as `format`, in one JSONL file.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            filter: Filter::all(),
            run: None,
            all_rounds: false,
            force: false,
            kind: Kind::Jsonl,
            splits: None,
            seed: 0,
            shard: ShardLimit::default(),
            soft_labels: false,
            replay: None,
            benign: false,
            card: CardOptions::default(),
        }
    }

    /// The splits that are written.
    pub(super) fn divided(&self) -> Splits {
        match (self.format, &self.splits) {
            (Format::HfCai, splits) => {
                // Its readers look for a part to test on.
                let own = || Splits::of(&[("train", 0.9), ("test", 0.1)]);
                splits.clone().unwrap_or_else(own).halved(["sft", "prefs"])
            }
            (_, Some(splits)) => splits.clone(),
            // It does not train without a file to validate on.
            (Format::Mlx, None) => Splits::of(&[("train", 0.9), ("valid", 0.1)]),
            (_, None) => Splits::default(),
        }
    }

    pub(super) fn columns(&self) -> Vec<Column> {
        columns_of(self.format, self.soft_labels)
    }
}

/// The columns of a format, perhaps with one of soft labels.
pub(super) fn columns_of(format: Format, soft_labels: bool) -> Vec<Column> {
    let mut columns = format.layout().columns();
    if soft_labels && format.holds_probability() {
        columns.push(columns::nullable(PROBABILITY, columns::Kind::Float));
    }
    columns
}

/// Whether options go together.
pub(super) fn check(options: &ExportOptions) -> Result<(), ExportError> {
    let format = options.format;
    let wrong = |text: String| Err(ExportError::Options(text));
    if options.all_rounds && !format.teaches_answers() {
        return wrong(format!(
            "--all-rounds is for formats whose rows are answers to learn, and {} is none; a preference pair has \
             one final text",
            format.as_str()
        ));
    }
    if options.benign && !matches!(format.draws(), Draws::Answers | Draws::Unpaired) {
        return wrong(format!(
            "--benign is for formats whose rows are single answers, and {} is none",
            format.as_str()
        ));
    }
    let jsonl_only = matches!(format, Format::Mlx | Format::OpenaiSft | Format::OpenaiDpo);
    if jsonl_only && (options.kind != Kind::Jsonl || options.shard != ShardLimit::default()) {
        return wrong(format!(
            "{} is read from one JSONL file for each split; leave out --as, --shard-rows and --shard-size",
            format.as_str()
        ));
    }
    if format == Format::Mlx {
        let known = ["train", "valid", "test"];
        let splits = options.divided();
        if let Some(name) = splits.names().find(|name| !known.contains(name)) {
            return wrong(format!(
                "mlx-lm looks for train, valid and test, and not for {name}"
            ));
        }
        if !["train", "valid"]
            .iter()
            .all(|wanted| splits.names().any(|name| name == *wanted))
        {
            return wrong("mlx-lm needs the splits train and valid".to_owned());
        }
    }
    if options.replay.is_some() && !matches!(format.draws(), Draws::Answers | Draws::Pairs) {
        return wrong(format!(
            "--replay is for formats whose rows are answers or pairs, and {} is none",
            format.as_str()
        ));
    }
    Ok(())
}
