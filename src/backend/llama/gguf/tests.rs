use std::fs::{self, File};
use std::io::Cursor;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::backend::llama::model_ref::{self, ModelRef, ResolveOptions};

/// Builds GGUF files byte by byte.
#[derive(Default)]
struct Builder {
    entries: Vec<u8>,
    entry_count: u64,
    tensors: Vec<u8>,
    tensor_count: u64,
    data_len: u64,
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

impl Builder {
    fn entry(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.entries.extend(string(key));
        self.entries.extend(kind.to_le_bytes());
        self.entries.extend(value);
        self.entry_count += 1;
        self
    }

    fn text(self, key: &str, value: &str) -> Self {
        self.entry(key, 8, &string(value))
    }

    fn number(self, key: &str, value: u32) -> Self {
        self.entry(key, 4, &value.to_le_bytes())
    }

    fn tensor(mut self, dimensions: &[u64], kind: u32, bytes: u64) -> Self {
        self.tensors.extend(string("blk.0.weight"));
        self.tensors.extend((dimensions.len() as u32).to_le_bytes());
        for size in dimensions {
            self.tensors.extend(size.to_le_bytes());
        }
        self.tensors.extend(kind.to_le_bytes());
        self.tensors.extend(self.data_len.to_le_bytes());
        self.tensor_count += 1;
        self.data_len += bytes.next_multiple_of(32);
        self
    }

    fn build(self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3u32.to_le_bytes());
        file.extend(self.tensor_count.to_le_bytes());
        file.extend(self.entry_count.to_le_bytes());
        file.extend(self.entries);
        file.extend(self.tensors);
        if self.tensor_count > 0 {
            file.resize(file.len().next_multiple_of(32), 0);
            file.resize(file.len() + self.data_len as usize, 0);
        }
        file
    }
}

/// A small sound model: one Q8_0 tensor of 64 × 2 and one F32 tensor of 3.
fn model(architecture: &str) -> Builder {
    let mut tokens = 8u32.to_le_bytes().to_vec();
    tokens.extend(2u64.to_le_bytes());
    tokens.extend(string("a"));
    tokens.extend(string("b"));
    let mut heads = 4u32.to_le_bytes().to_vec();
    heads.extend(3u64.to_le_bytes());
    for value in [2u32, 8, 4] {
        heads.extend(value.to_le_bytes());
    }
    Builder::default()
        .text("general.architecture", architecture)
        .text("general.name", "Tiny")
        .number("general.file_type", 7)
        .number(&format!("{architecture}.context_length"), 2048)
        .number(&format!("{architecture}.embedding_length"), 64)
        .number(&format!("{architecture}.block_count"), 1)
        .entry(&format!("{architecture}.attention.head_count"), 9, &heads)
        .text("tokenizer.ggml.model", "gpt2")
        .entry("tokenizer.ggml.tokens", 9, &tokens)
        .number("tokenizer.ggml.eos_token_id", 1)
        .text(
            "tokenizer.chat_template",
            "{{ '<|im_start|>' + messages[0].content }}",
        )
        .tensor(&[64, 2], 8, 4 * 34)
        .tensor(&[3], 0, 12)
}

fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn refusal(bytes: &[u8]) -> String {
    let (_folder, path) = file(bytes);
    inspect(&path).unwrap_err().to_string()
}

#[test]
fn a_model_says_what_it_is() {
    let (_folder, path) = file(&model("llama").build());
    let info = inspect(&path).unwrap();
    assert_eq!(info.architecture, "llama");
    assert_eq!(info.name, "Tiny");
    assert_eq!(info.parameters, 131);
    assert_eq!(info.tensors, 2);
    assert_eq!(info.quantisation, "Q8_0");
    assert_eq!(info.training_context, Some(2048));
    assert_eq!(info.heads, Some(8));
    assert_eq!(info.kv_heads, Some(8));
    assert_eq!(info.vocabulary, Some(2));
    assert_eq!(info.weights.layers(), [4 * 34 + 12]);
    assert_eq!(info.tokenizer.as_deref(), Some("gpt2"));
    assert_eq!((info.bos_id, info.eos_id), (None, Some(1)));
    assert_eq!(
        template_family(info.chat_template.as_deref().unwrap()),
        "chatml"
    );
    assert_eq!(info.parts, [path]);
}

#[test]
fn the_default_model_says_what_it_is() {
    let mut ignore = |_| {};
    let mut options = ResolveOptions::from_env(true, &mut ignore);
    let path = model_ref::resolve(&ModelRef::Default, &mut options).unwrap();
    let info = inspect(&path).unwrap();
    assert_eq!(info.architecture, "llama");
    assert_eq!(info.quantisation, "Q4_1");
    assert_eq!(info.parameters, 134_515_008);
    assert_eq!(info.file_size, model_ref::DEFAULT_SIZE);
    assert_eq!(info.layers, Some(30));
    let layers = info.weights.layers();
    assert_eq!(layers.len(), 30);
    let named = layers.iter().sum::<u64>() + info.weights.output();
    assert!(named < info.file_size && named * 10 > info.file_size * 9);
    assert_eq!((info.heads, info.kv_heads), (Some(9), Some(3)));
    assert_eq!(info.vocabulary, Some(49_152));
    assert!(info.chat_template.is_some());
    // One byte less, and it is truncated: the size is exactly what the tensors need.
    let source = fs::read(&path).unwrap();
    let (_folder, short) = file(&source[..source.len() - 1]);
    let message = inspect(&short).unwrap_err().to_string();
    assert!(message.contains("1 are missing"), "{message}");
}

#[test]
fn other_files_are_told_apart() {
    assert!(refusal(b"").contains("it is empty"));
    assert!(refusal("Bonjour, ça va ?\n".repeat(100).as_bytes()).contains("a .gguf file"));
    assert!(refusal(b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"));
    assert!(refusal(b"<!DOCTYPE html>").contains("web page"));
    assert!(refusal(b"tjgg\x03\0\0\0").contains("older GGML"));
    assert!(refusal(b"\x40\0\0\0\0\0\0\0{\"__metadata__\"").contains("safetensors"));
    assert!(refusal(b"PK\x03\x04\0").contains("PyTorch"));
    assert!(refusal(b"\x7fELF\0\0").contains("does not begin"));
    assert!(refusal(b"GGUF\x01\0\0\0").contains("version 1"));
    assert!(refusal(b"GGUF\0\0\0\x03").contains("big-endian"));
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        inspect(folder.path()),
        Err(GgufError::NotAFile(_))
    ));
    assert!(matches!(
        inspect(&folder.path().join("none.gguf")),
        Err(GgufError::Missing(_))
    ));
}

#[test]
fn models_that_write_no_text_are_refused() {
    let refused = |builder: Builder| refusal(&builder.build());
    for architecture in ["bert", "nomic-bert", "jina-bert-v2", "t5encoder"] {
        let message = refused(model(architecture));
        assert!(
            message.contains("is an embedding model")
                && message.contains("needs a model that generates text"),
            "{message}"
        );
    }
    assert!(refused(model("qwen3").number("qwen3.pooling_type", 3)).contains("embedding"));
    assert!(refused(model("clip")).contains("projector"));
    assert!(refused(model("llama").text("general.type", "adapter")).contains("LoRA adapter"));
    assert!(refused(model("dream").entry("dream.attention.causal", 7, &[0])).contains("causal"));
    assert!(
        refused(Builder::default().text("general.architecture", "llama"))
            .contains("vocabulary without weights")
    );
    let (_folder, path) = file(&model("llama").number("llama.pooling_type", 0).build());
    assert!(inspect(&path).is_ok());
}

#[test]
fn a_cut_file_says_how_many_bytes_are_missing() {
    let whole = model("llama").build();
    // The last tensor has 12 bytes, padded to 32; the padding may be missing.
    let needed = whole.len() - 20;
    let (_folder, path) = file(&whole[..needed]);
    assert!(inspect(&path).is_ok());
    for cut in [needed - 1, needed - 100, 300, 25, 10, 5] {
        let message = refusal(&whole[..cut]);
        assert!(message.contains("truncated"), "{cut}: {message}");
    }
    assert!(refusal(&whole[..needed - 7]).contains(&format!("of {needed}, 7 are missing")));
}

#[test]
fn claims_larger_than_the_file_are_not_believed() {
    let huge = u64::MAX.to_le_bytes();
    let nearly = (u64::MAX / 4).to_le_bytes();
    for length in [huge, nearly] {
        let string_claim = Builder::default().entry("k", 8, &length).build();
        assert!(refusal(&string_claim).contains("truncated"));
        for kind in [0u32, 5, 8, 9, 12] {
            let mut array = kind.to_le_bytes().to_vec();
            array.extend(length);
            let array_claim = Builder::default().entry("k", 9, &array).build();
            assert!(refusal(&array_claim).contains("truncated"), "{kind}");
        }
        let tensor = model("llama").tensor(
            &[u64::from_le_bytes(length), u64::from_le_bytes(length)],
            0,
            0,
        );
        assert!(refusal(&tensor.build()).contains("impossible size"));
    }
    let mut entries = b"GGUF\x03\0\0\0".to_vec();
    entries.extend(0u64.to_le_bytes());
    entries.extend(huge);
    assert!(refusal(&entries).contains("metadata entries"));
    let mut tensors = b"GGUF\x03\0\0\0".to_vec();
    tensors.extend(huge);
    tensors.extend(0u64.to_le_bytes());
    assert!(refusal(&tensors).contains("truncated"));
}

#[test]
fn deep_arrays_and_odd_types_are_damage_and_not_a_crash() {
    let mut deep = Vec::new();
    for _ in 0..10_000 {
        deep.extend(9u32.to_le_bytes());
        deep.extend(1u64.to_le_bytes());
    }
    let message = refusal(&Builder::default().entry("k", 9, &deep).build());
    assert!(message.contains("damaged"), "{message}");
    let message = refusal(&Builder::default().entry("\u{1b}[2J", 77, &[]).build());
    assert!(message.contains("unknown type 77"), "{message}");
    assert!(!message.contains('\u{1b}'));
    assert!(refusal(&model("llama").tensor(&[33], 8, 0).build()).contains("rows of 33"));
    assert!(refusal(&model("llama").number("general.alignment", 3).build()).contains("power"));
}

#[test]
fn split_models_are_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let part = |number: u32| folder.path().join(format!("m-0000{number}-of-00002.gguf"));
    let first = model("llama")
        .entry("split.no", 2, &0u16.to_le_bytes())
        .entry("split.count", 2, &2u16.to_le_bytes());
    let second = Builder::default()
        .entry("split.no", 2, &1u16.to_le_bytes())
        .entry("split.count", 2, &2u16.to_le_bytes())
        .tensor(&[5], 0, 20);
    let (first, second) = (first.build(), second.build());
    fs::write(part(1), &first).unwrap();
    let message = inspect(&part(1)).unwrap_err().to_string();
    assert!(message.contains("part 2 of 2"), "{message}");
    assert!(
        message.contains(&part(2).display().to_string()),
        "{message}"
    );
    assert!(message.contains("into one folder"), "{message}");
    fs::write(part(2), &second).unwrap();
    let info = inspect(&part(1)).unwrap();
    assert_eq!(info.parts, [part(1), part(2)]);
    assert_eq!(info.parameters, 136);
    assert_eq!(info.file_size as usize, first.len() + second.len());
    let message = inspect(&part(2)).unwrap_err().to_string();
    assert!(message.contains("part 2 of 2"), "{message}");
    let whole = [first, second].concat();
    assert_eq!(
        digest_with_cache(&part(1), None).unwrap(),
        Digest::of_bytes(&whole)
    );
    fs::rename(part(1), folder.path().join("renamed.gguf")).unwrap();
    let message = inspect(&folder.path().join("renamed.gguf"))
        .unwrap_err()
        .to_string();
    assert!(message.contains("-00001-of-00002"), "{message}");
}

#[test]
fn a_digest_is_remembered_until_the_file_changes() {
    let cache = tempfile::tempdir().unwrap();
    let (_folder, path) = file(b"one");
    let old = SystemTime::now() - Duration::from_secs(3600);
    let set_time = |time| {
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
    };
    let digest = || digest_with_cache(&path, Some(cache.path())).unwrap();
    set_time(old);
    assert_eq!(digest(), Digest::of_bytes(b"one"));
    // Other bytes of the same size and time: the remembered digest shows that nothing is read.
    fs::write(&path, b"two").unwrap();
    set_time(old);
    assert_eq!(digest(), Digest::of_bytes(b"one"));
    set_time(old + Duration::from_nanos(1_000_000));
    assert_eq!(digest(), Digest::of_bytes(b"two"));
    // A file that has just been written may change within the same tick of the clock.
    fs::write(&path, b"six").unwrap();
    set_time(SystemTime::now() + Duration::from_secs(60));
    assert_eq!(digest(), Digest::of_bytes(b"six"));
    fs::write(&path, b"ten").unwrap();
    assert_eq!(digest(), Digest::of_bytes(b"ten"));
    // A cache that cannot be written is no error.
    let (_other, blocker) = file(b"x");
    set_time(old);
    assert_eq!(
        digest_with_cache(&path, Some(&blocker)).unwrap(),
        Digest::of_bytes(b"ten")
    );
}

#[test]
fn a_spoilt_cache_entry_is_ignored() {
    let cache = tempfile::tempdir().unwrap();
    let (_folder, path) = file(b"one");
    let handle = File::options().write(true).open(&path).unwrap();
    handle
        .set_modified(SystemTime::now() - Duration::from_secs(3600))
        .unwrap();
    let digest = || digest_with_cache(&path, Some(cache.path())).unwrap();
    let right = digest();
    for entry in fs::read_dir(cache.path().join("digests")).unwrap() {
        fs::write(entry.unwrap().path(), "{").unwrap();
    }
    assert_eq!(digest(), right);
}

fn header_of(bytes: &[u8]) -> Result<Header, HeaderError> {
    header::read(Cursor::new(bytes), bytes.len() as u64)
}

proptest! {
    #[test]
    fn mutated_headers_never_crash(
        changes in prop::collection::vec((0usize..700, any::<u8>()), 1..8),
        cut in 0usize..1200,
    ) {
        let mut bytes = model("llama").build();
        for (at, value) in changes {
            let length = bytes.len();
            bytes[at % length] = value;
        }
        bytes.truncate(cut);
        if let Ok(header) = header_of(&bytes) {
            // Everything kept was in the file.
            let kept: usize = header.metadata.keys().map(String::len).sum();
            prop_assert!(kept <= 3 * bytes.len());
        }
    }

    #[test]
    fn spliced_lengths_never_crash(at in 0usize..600, claim in any::<u64>()) {
        let mut bytes = model("llama").build();
        let at = at.min(bytes.len() - 8);
        bytes[at..at + 8].copy_from_slice(&claim.to_le_bytes());
        let _ = header_of(&bytes);
    }

    #[test]
    fn every_cut_before_the_end_of_the_weights_is_noticed(cut in 4usize..2000) {
        let bytes = model("llama").build();
        let needed = bytes.len() - 20;
        let cut = 4 + cut % (needed - 4);
        let len = cut as u64;
        match header_of(&bytes[..cut]) {
            Ok(header) => prop_assert!(header.expected_len > len),
            Err(error) => prop_assert!(matches!(error, HeaderError::Truncated)),
        }
    }
}
