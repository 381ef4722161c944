//! The formats by name.

use super::layouts::{Layout, layout};
use super::lesson::Draws;

/// What a dataset is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `messages`: the prompt and the final text, for TRL's SFTTrainer
    TrlSft,
    /// `prompt`, `chosen`, `rejected`: final text over draft, for TRL's DPOTrainer, ORPOTrainer and CPOTrainer
    TrlDpo,
    /// `chosen`, `rejected` as whole conversations, for TRL's RewardTrainer
    TrlReward,
    /// `prompt`, `completion`, `label`, for TRL's KTOTrainer and BCOTrainer
    TrlKto,
    /// `prompt`, for trainers that write their own answers, such as TRL's GRPOTrainer
    TrlPrompts,
    /// `prompt`, `completions`, `labels`: sentences of responses and which of them stand, for TRL's PRMTrainer
    TrlPrm,
    /// The columns of Hugging Face's Constitutional AI datasets, a row for every adopted revision
    HfCai,
    /// `messages`, for axolotl's chat_template
    AxolotlSft,
    /// `messages`, `chosen`, `rejected`, for axolotl's chat_template.default
    AxolotlDpo,
    /// `system`, `prompt`, `completion`, `label`, for axolotl's KTO
    AxolotlKto,
    /// `conversations`, `system`, for LLaMA-Factory's sharegpt form
    LlamafactorySft,
    /// The same with `chosen` and `rejected`
    LlamafactoryDpo,
    /// `instruction`, `input`, `output`, `system`, `history`
    Alpaca,
    /// `messages`, for OpenAI's fine-tuning
    OpenaiSft,
    /// `input`, `preferred_output`, `non_preferred_output`, for OpenAI's preference fine-tuning
    OpenaiDpo,
    /// `messages`, in the files that mlx-lm looks for
    Mlx,
    /// Critiques as they were asked for and written, to train a critic on
    Critic,
}

impl Format {
    /// The name used on the command line and in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::TrlSft => "trl-sft",
            Format::TrlDpo => "trl-dpo",
            Format::TrlReward => "trl-reward",
            Format::TrlKto => "trl-kto",
            Format::TrlPrompts => "trl-prompts",
            Format::TrlPrm => "trl-prm",
            Format::HfCai => "hf-cai",
            Format::AxolotlSft => "axolotl-sft",
            Format::AxolotlDpo => "axolotl-dpo",
            Format::AxolotlKto => "axolotl-kto",
            Format::LlamafactorySft => "llamafactory-sft",
            Format::LlamafactoryDpo => "llamafactory-dpo",
            Format::Alpaca => "alpaca",
            Format::OpenaiSft => "openai-sft",
            Format::OpenaiDpo => "openai-dpo",
            Format::Mlx => "mlx",
            Format::Critic => "critic",
        }
    }

    /// Every format.
    pub fn all() -> &'static [Format] {
        <Format as clap::ValueEnum>::value_variants()
    }

    /// The format of this name.
    pub fn parse(name: &str) -> Option<Format> {
        Format::all()
            .iter()
            .copied()
            .find(|format| format.as_str() == name)
    }

    /// Whether a row is an answer to learn, so that every adopted revision can give one.
    pub fn teaches_answers(self) -> bool {
        self.draws() == Draws::Answers
    }

    /// Whether a row prefers one text to another.
    pub fn prefers(self) -> bool {
        matches!(self.draws(), Draws::Pairs | Draws::Revisions)
    }

    /// Whether a pair's row has a column for the judge's probability. OpenAI refuses unknown fields.
    pub(super) fn holds_probability(self) -> bool {
        self.draws() == Draws::Pairs && self != Format::OpenaiDpo
    }

    pub(super) fn draws(self) -> Draws {
        self.layout().draws()
    }

    pub(super) fn layout(self) -> &'static dyn Layout {
        layout(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn names_are_those_of_the_command_line() {
        for format in Format::all() {
            let name = format.to_possible_value().unwrap();
            assert_eq!(name.get_name(), format.as_str());
            assert_eq!(Format::parse(format.as_str()), Some(*format));
        }
    }
}
