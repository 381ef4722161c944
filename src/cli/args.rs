//! What the person typed: options that several commands share, without any input or output.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::constitution::Revise;

use super::lora::LoraArgs;

/// Which model, and how to run it.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// A GGUF file, `default`, or hf:OWNER/REPO[:QUANT] or hf:OWNER/REPO/FILE.gguf
    #[arg(
        short,
        long,
        default_value = "default",
        env = "AMEND_MODEL",
        value_name = "MODEL"
    )]
    pub model: String,
    /// A repository on the Hugging Face Hub: OWNER/REPO[:QUANT]; the same as -m hf:…, and goes before it
    #[arg(long, value_name = "REPO")]
    pub hf_repo: Option<String>,
    /// Use nothing but what is on disk
    #[arg(long)]
    pub offline: bool,
    /// What answers: a model in this process, or a script without any model
    #[arg(long, value_enum, default_value_t = BackendKind::Llama)]
    pub backend: BackendKind,
    /// The script of `--backend scripted`: a YAML file of rules
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,
    /// Sequences decoded together [default: what suits prompts, memory and device, 16 at most without a GPU]
    #[arg(long, allow_negative_numbers = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub parallel: Option<u16>,
    /// Most tokens of one conversation with its reply [default: 4096, less where the model was trained on less]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(64..=16_777_216))]
    pub ctx_size: Option<u32>,
    /// Threads [default: one per core, less those that other programs take]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Most tokens of one decode step
    #[arg(short, long, default_value_t = 512, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(32..=65536))]
    pub batch_size: u32,
    /// Most tokens that llama.cpp computes at once
    #[arg(long, default_value_t = 512, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(32..=65536))]
    pub ubatch_size: u32,
    /// Layers kept on a GPU: a number, `all`, or `auto` for all that fit [default: auto]
    #[arg(long, value_name = "N", value_parser = GpuLayers::parse)]
    pub n_gpu_layers: Option<GpuLayers>,
    /// Flash attention
    #[arg(long, value_enum, default_value_t = Switch::Auto, value_name = "WHEN")]
    pub flash_attn: Switch,
    /// Type of the cached keys
    #[arg(long, value_enum, default_value_t = CacheType::F16, value_name = "TYPE")]
    pub cache_type_k: CacheType,
    /// Type of the cached values; types below f16 need flash attention
    #[arg(long, value_enum, default_value_t = CacheType::F16, value_name = "TYPE")]
    pub cache_type_v: CacheType,
    /// One pool of cache cells for all sequences, which can share them, or a stream for each
    #[arg(long, value_enum, default_value_t, value_name = "LAYOUT")]
    #[serde(default)]
    pub kv: Kv,
    /// Tokens that one pool holds for all sequences together [default: what suits prompts and memory]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(64..=268_435_456))]
    #[serde(default)]
    pub kv_cells: Option<u32>,
    /// Guess tokens of a reply from the text that it repeats: changes how fast, never what is written
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    #[serde(default)]
    pub lookup: Switch,
    /// Whose matrix products and attention are used on this processor
    #[arg(long, value_enum, default_value_t, value_name = "WHOSE")]
    #[serde(default)]
    pub matmul: Matmul,
    #[command(flatten)]
    #[serde(flatten)]
    pub lora: LoraArgs,
    #[command(flatten)]
    #[serde(flatten)]
    pub template: TemplateArgs,
    #[command(flatten)]
    #[serde(flatten)]
    pub endpoint: EndpointArgs,
}

/// A server in place of a model in this process.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Endpoint")]
#[serde(default)]
pub struct EndpointArgs {
    /// An OpenAI-compatible server that answers, such as http://127.0.0.1:8080; --model then names one
    /// of its models. An access token is taken from AMEND_API_KEY
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// How to speak to it: llama-server's own protocol, or /v1/chat/completions; `auto` finds out
    #[arg(long, value_enum, default_value_t = EndpointApi::Auto, value_name = "API")]
    pub endpoint_api: EndpointApi,
    /// Seconds that one request may take
    #[arg(long, default_value_t = 600, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86400))]
    pub endpoint_timeout: u32,
    /// How often a request is tried again after 429, 5xx or a lost connection
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub endpoint_retries: u32,
}

impl Default for EndpointArgs {
    fn default() -> Self {
        Self {
            endpoint: None,
            endpoint_api: EndpointApi::Auto,
            endpoint_timeout: 600,
            endpoint_retries: 5,
        }
    }
}

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndpointApi {
    /// llama-server's own protocol where the server is one.
    Auto,
    /// /v1/chat/completions.
    #[value(name = "openai")]
    #[serde(rename = "openai")]
    OpenAi,
    /// /tokenize and /completion.
    LlamaServer,
}

/// Which chat template.
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Chat template")]
pub struct TemplateArgs {
    /// A template that comes with this program, in place of the model's own
    #[arg(long, value_name = "NAME", conflicts_with = "chat_template_file")]
    pub chat_template: Option<String>,
    /// A file with a Jinja template, in place of the model's own
    #[arg(long, value_name = "FILE")]
    pub chat_template_file: Option<PathBuf>,
    /// Further variables of the template, such as '{"enable_thinking": false}'
    #[arg(long, value_name = "JSON")]
    pub chat_template_kwargs: Option<String>,
    /// What a template that tells the date takes for today [default: today]
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub chat_template_date: Option<jiff::civil::Date>,
}

/// What answers requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// llama.cpp in this process.
    Llama,
    /// Replies from a script.
    Scripted,
}

/// How the KV cache is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kv {
    /// Unified where a pool costs no time or sequences share much, streams elsewhere.
    #[default]
    Auto,
    /// One pool for all sequences.
    Unified,
    /// A stream for each sequence.
    Streams,
}

/// On, off, or where it helps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// Where it is supported and pays.
    #[default]
    Auto,
    /// On.
    On,
    /// Off.
    Off,
}

/// How many layers are kept on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GpuLayers {
    /// As many as fit.
    Auto,
    /// Every one.
    All,
    /// So many.
    #[serde(untagged)]
    Count(u32),
}

impl GpuLayers {
    /// What is meant by a number, or by one of llama.cpp's words.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "all" => Ok(Self::All),
            number => number
                .parse::<u32>()
                .map(Self::Count)
                .map_err(|_| "must be a number, `all` or `auto`".to_owned()),
        }
    }

    /// `None` for `auto`; more than any model has for `all`.
    pub fn asked(self) -> Option<u32> {
        match self {
            Self::Auto => None,
            Self::All => Some(u32::MAX),
            Self::Count(layers) => Some(layers),
        }
    }
}

/// Whose products of quantised weights, and whose attention, are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Matmul {
    /// Those of llama.cpp in deterministic mode, this program's otherwise.
    #[default]
    Auto,
    /// This program's, where processor and formats allow them: faster.
    Own,
    /// Those of llama.cpp.
    Ggml,
}

impl Switch {
    /// `None` for `auto`.
    pub fn forced(self) -> Option<bool> {
        match self {
            Switch::Auto => None,
            Switch::On => Some(true),
            Switch::Off => Some(false),
        }
    }
}

/// A number format of the KV cache, by llama.cpp's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum CacheType {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q5_1,
    Q5_0,
    Q4_1,
    Q4_0,
}

impl CacheType {
    /// Whether numbers are quantised.
    pub fn is_below_f16(self) -> bool {
        !matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }
}

/// How tokens are drawn; what is left out comes from the pack, then from the program.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Temperature; 0 is greedy [default: 0.7]
    #[arg(long, allow_negative_numbers = true, value_name = "T", value_parser = finite_non_negative)]
    pub temp: Option<f64>,
    /// Keep the K most likely tokens; 0 keeps all [default: 40]
    #[arg(long, allow_negative_numbers = true, value_name = "K")]
    pub top_k: Option<u32>,
    /// Keep the most likely tokens whose probabilities sum to P [default: 0.95]
    #[arg(long, allow_negative_numbers = true, value_name = "P", value_parser = share)]
    pub top_p: Option<f64>,
    /// Drop tokens less likely than this share of the most likely one [default: 0.05]
    #[arg(long, allow_negative_numbers = true, value_name = "P", value_parser = share)]
    pub min_p: Option<f64>,
    /// Most tokens of a reply [default: 512]
    #[arg(long, allow_negative_numbers = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: Option<u32>,
    /// What all seeds derive from
    #[arg(
        long,
        allow_negative_numbers = true,
        default_value_t = 0,
        value_name = "N"
    )]
    pub seed: u64,
}

/// What a chain does.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Chains")]
pub struct ChainArgs {
    /// The constitution: a YAML file, or the name of one that comes with this program
    #[arg(short, long, default_value = "hhh", value_name = "FILE")]
    pub constitution: String,
    /// The prompt pack: `default`, `paper`, or a folder
    #[arg(long, default_value = "default", value_name = "PACK")]
    pub pack: String,
    /// Rounds of critique and revision [default: the pack's, the constitution's, or 2]
    #[arg(long, allow_negative_numbers = true, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub rounds: Option<u32>,
    /// Chains per prompt
    #[arg(long, allow_negative_numbers = true, default_value_t = 1, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub samples: u32,
    /// Principles of a round: `sample` draws one, `all` takes all, ID,ID… takes those
    #[arg(long, value_name = "WHICH")]
    pub select: Option<String>,
    /// When to revise [default: the pack's, the constitution's, or when-violated]
    #[arg(long, value_enum)]
    pub revise: Option<Revise>,
    /// Ask again at the end about each principle that was revised for
    #[arg(long)]
    pub recheck: bool,
    /// Least P(violated) that counts as violated
    #[arg(long, allow_negative_numbers = true, default_value_t = 0.5, value_name = "P", value_parser = share)]
    pub threshold: f64,
    /// Make results independent of batch size, order, interruption and resume; slower
    #[arg(long)]
    pub deterministic: bool,
}

/// How the prompt file is read.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Prompts")]
pub struct PromptArgs {
    /// The field or column that holds the prompt
    #[arg(long, default_value = "prompt", value_name = "NAME")]
    pub prompt_field: String,
    /// Take the first N prompts, or those from A to B, counted from 1
    #[arg(long, allow_negative_numbers = true, value_name = "N|A-B", value_parser = limit)]
    pub limit: Option<String>,
    /// Keep prompts that occur more than once
    #[arg(long)]
    pub keep_duplicates: bool,
    /// Stop at the first row that cannot be used
    #[arg(long)]
    pub strict: bool,
}

fn finite_non_negative(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err("must be 0 or more".to_owned())
    }
}

/// A share between 0 and 1.
pub fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err("must be between 0 and 1".to_owned())
    }
}

/// Checks the form of a limit, which [`parse_limit`] reads.
pub fn limit(text: &str) -> Result<String, String> {
    parse_limit(text).map(|_| text.to_owned())
}

/// The range of prompts that a limit takes, counted from 0, end excluded.
pub fn parse_limit(text: &str) -> Result<std::ops::Range<u64>, String> {
    const FORM: &str = "must be a number N, or a range A-B counted from 1 with A not above B";
    let number = |text: &str| text.trim().parse::<u64>().ok().filter(|&n| n > 0);
    match text.split_once('-') {
        None => number(text).map(|n| 0..n),
        Some((a, b)) => number(a)
            .zip(number(b))
            .filter(|(a, b)| a <= b)
            .map(|(a, b)| a - 1..b),
    }
    .ok_or_else(|| FORM.to_owned())
}

/// Turns llama.cpp's one-dash forms into the long options of the same name.
pub fn normalise(args: impl IntoIterator<Item = std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    let mut verbatim = false;
    args.into_iter()
        .map(|arg| {
            verbatim |= arg == "--";
            let long = match arg.to_str() {
                _ if verbatim => None,
                Some("-ngl") => Some("--n-gpu-layers"),
                Some("-np") => Some("--parallel"),
                Some("-hf" | "-hfr") => Some("--hf-repo"),
                Some("-ctk") => Some("--cache-type-k"),
                Some("-ctv") => Some("--cache-type-v"),
                Some("-fa") => Some("--flash-attn"),
                Some("-ub") => Some("--ubatch-size"),
                _ => None,
            };
            long.map_or(arg, Into::into)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_count_from_one_and_include_both_ends() {
        assert_eq!(parse_limit("8"), Ok(0..8));
        assert_eq!(parse_limit("3-5"), Ok(2..5));
        for bad in ["0", "", "a", "5-3", "-3", "1-", "0-4"] {
            assert!(parse_limit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn layers_are_a_number_or_a_word_and_are_kept_as_they_were_given() {
        for (given, asked, kept) in [
            ("auto", None, json!("auto")),
            ("all", Some(u32::MAX), json!("all")),
            ("0", Some(0), json!(0)),
            ("33", Some(33), json!(33)),
        ] {
            let layers = GpuLayers::parse(given).unwrap();
            assert_eq!(layers.asked(), asked);
            assert_eq!(serde_json::to_value(layers).unwrap(), kept);
            assert_eq!(serde_json::from_value::<GpuLayers>(kept).unwrap(), layers);
        }
        for bad in ["", "most", "-1", "1.5", "ALL"] {
            let told = GpuLayers::parse(bad).unwrap_err();
            assert_eq!(told, "must be a number, `all` or `auto`");
        }
    }

    #[test]
    fn one_dash_forms_become_long_options_and_values_stay() {
        let given = ["amend", "run", "-np", "4", "-fa", "on", "--", "-np"].map(Into::into);
        let expected = [
            "amend",
            "run",
            "--parallel",
            "4",
            "--flash-attn",
            "on",
            "--",
            "-np",
        ];
        assert_eq!(normalise(given), expected.map(std::ffi::OsString::from));
    }
}
