//! What a file is that cannot serve as a model, and what a chat template seems to be.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::GgufError;
use super::header::{Header, Value};

/// Says what a file without the GGUF magic seems to be.
pub(super) fn not_gguf(path: &Path) -> GgufError {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(512).read_to_end(&mut head));
    if let Err(source) = read {
        return GgufError::Io {
            path: path.to_owned(),
            source,
        };
    }
    let found = if head.is_empty() {
        "it is empty; download it again"
    } else if head.starts_with(b"version https://git-lfs") {
        "it is a Git LFS pointer, not the file itself; run `git lfs pull`"
    } else if [&b"lmgg"[..], b"fmgg", b"tjgg", b"algg"]
        .iter()
        .any(|magic| head.starts_with(magic))
    {
        "it is of the older GGML format; get the model as GGUF"
    } else if head.starts_with(b"PK\x03\x04") {
        "it is a zip or PyTorch file; get the model as GGUF"
    } else if head.get(8) == Some(&b'{') && head[..8].iter().rev().take(3).all(|b| *b == 0) {
        "it is a safetensors file; get the model as GGUF"
    } else if head.starts_with(b"<!") || head.starts_with(b"<html") {
        "it is a web page; download the file itself"
    } else if is_text(&head) {
        "it is a text file; give the path of a .gguf file"
    } else {
        "it does not begin with the bytes GGUF"
    };
    GgufError::NotGguf {
        path: path.to_owned(),
        found: found.to_owned(),
    }
}

/// The head of a file may end within a character.
fn is_text(head: &[u8]) -> bool {
    let utf8 = std::str::from_utf8(head);
    !head.contains(&0) && utf8.map_or_else(|error| error.error_len().is_none(), |_| true)
}

/// Architectures whose output is vectors.
const ENCODERS: [&str; 13] = [
    "bert",
    "modern-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "neo-bert",
    "jina-bert-v2",
    "jina-bert-v3",
    "eurobert",
    "roberta",
    "xlm-roberta",
    "t5encoder",
    "gemma-embedding",
    "llama-embed",
];

pub(super) fn refuse_other_kinds(path: &Path, header: &Header) -> Result<(), GgufError> {
    let architecture = header.text("general.architecture").unwrap_or_default();
    let kind = header.text("general.type").unwrap_or_default();
    let pooling = header
        .unsigned(&format!("{architecture}.pooling_type"))
        .unwrap_or(0);
    let causal = header
        .metadata
        .get(&format!("{architecture}.attention.causal"));
    let what = if kind == "adapter" {
        "a LoRA adapter, which is no model of its own; merge it into the model it was made for"
            .to_owned()
    } else if kind == "mmproj" || architecture == "clip" {
        "a multimodal projector (mmproj)".to_owned()
    } else if kind == "imatrix" || architecture == "imatrix" {
        "an importance matrix".to_owned()
    } else if architecture.is_empty() {
        // Later parts of a split model carry no architecture.
        if header.unsigned("split.no").is_some_and(|number| number > 0) {
            return Ok(());
        }
        "a GGUF file without `general.architecture`".to_owned()
    } else if ENCODERS.contains(&architecture) || pooling != 0 {
        format!("an embedding model (architecture {architecture})")
    } else if header.tensors == 0 && header.unsigned("split.count").unwrap_or(1) <= 1 {
        "a vocabulary without weights".to_owned()
    } else if architecture == "t5" {
        "an encoder-decoder model (architecture t5)".to_owned()
    } else if architecture == "wavtokenizer-dec" {
        "an audio decoder (architecture wavtokenizer-dec)".to_owned()
    } else if causal == Some(&Value::Bool(false)) {
        format!("a model without causal attention (architecture {architecture})")
    } else {
        return Ok(());
    };
    Err(GgufError::NotGenerative {
        path: path.to_owned(),
        what,
    })
}

/// Markers of well-known chat templates; the first one found decides.
const FAMILIES: [(&str, &str); 18] = [
    ("<|start_of_role|>", "granite"),
    ("<|im_middle|>", "kimi-k2"),
    ("<|im_start|>", "chatml"),
    ("<|start_header_id|>", "llama3"),
    ("<|header_start|>", "llama4"),
    ("<start_of_turn>", "gemma"),
    ("<|start|>", "gpt-oss"),
    ("<|START_OF_TURN_TOKEN|>", "command-r"),
    ("<｜Assistant｜>", "deepseek"),
    ("<|end_of_role|>", "granite"),
    ("[gMASK]", "glm"),
    ("<|endofuser|>", "exaone"),
    ("<<SYS>>", "llama2"),
    ("[INST]", "mistral"),
    ("<|assistant|>", "phi-or-zephyr"),
    ("ASSISTANT:", "vicuna"),
    ("### Instruction", "alpaca"),
    ("[|assistant|]", "exaone"),
];

/// Guesses the name of a chat template by its markers; `custom` when it has none of them.
pub fn template_family(template: &str) -> &'static str {
    FAMILIES
        .iter()
        .find(|(marker, _)| template.contains(marker))
        .map_or("custom", |(_, name)| name)
}
