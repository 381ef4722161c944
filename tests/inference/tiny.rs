//! Tiny models of other architectures with random weights, written as GGUF files.

use std::path::Path;

const WIDTH: u64 = 32;
const LAYERS: u64 = 2;
/// A token for each byte, and those that a chat template needs.
const VOCABULARY: u64 = 256 + 3;

enum Value {
    Text(String),
    Number(u32),
    Real(f32),
    Texts(Vec<String>),
    Kinds(Vec<i32>),
}

/// What is written into a file.
#[derive(Default)]
struct Gguf {
    entries: Vec<(String, Value)>,
    /// Names, lengths of the dimensions, and how the values are drawn.
    tensors: Vec<(String, Vec<u64>, Draw)>,
}

/// Values of a tensor: evenly drawn around a centre.
#[derive(Clone, Copy)]
struct Draw {
    centre: f32,
    spread: f32,
}

const NORM: Draw = Draw {
    centre: 1.0,
    spread: 0.2,
};
const WEIGHT: Draw = Draw {
    centre: 0.0,
    spread: 0.3,
};

impl Gguf {
    fn new(architecture: &str) -> Self {
        let mut gguf = Self::default();
        gguf.set("general.architecture", Value::Text(architecture.to_owned()));
        gguf.set("general.name", Value::Text(format!("tiny-{architecture}")));
        for (key, number) in [
            ("context_length", 512),
            ("embedding_length", WIDTH as u32),
            ("block_count", LAYERS as u32),
        ] {
            gguf.set(&format!("{architecture}.{key}"), Value::Number(number));
        }
        gguf.set(
            &format!("{architecture}.attention.layer_norm_rms_epsilon"),
            Value::Real(1e-5),
        );
        gguf.vocabulary();
        gguf.tensor("token_embd.weight", &[WIDTH, VOCABULARY], WEIGHT);
        gguf.tensor("output_norm.weight", &[WIDTH], NORM);
        gguf
    }

    fn set(&mut self, key: &str, value: Value) {
        self.entries.push((key.to_owned(), value));
    }

    fn tensor(&mut self, name: &str, shape: &[u64], draw: Draw) {
        self.tensors.push((name.to_owned(), shape.to_vec(), draw));
    }

    /// A byte-level vocabulary whose only merge joins two spaces' stand-ins.
    fn vocabulary(&mut self) {
        let mut tokens: Vec<String> = (0..=255u8).map(|byte| stand_in(byte).to_string()).collect();
        let mut kinds = vec![1; tokens.len()];
        tokens.extend(["<|im_start|>", "<|im_end|>", "ĠĠ"].map(str::to_owned));
        kinds.extend([3, 3, 1]);
        self.set("tokenizer.ggml.model", Value::Text("gpt2".to_owned()));
        self.set("tokenizer.ggml.pre", Value::Text("gpt-2".to_owned()));
        self.set("tokenizer.ggml.tokens", Value::Texts(tokens));
        self.set("tokenizer.ggml.token_type", Value::Kinds(kinds));
        self.set(
            "tokenizer.ggml.merges",
            Value::Texts(vec!["Ġ Ġ".to_owned()]),
        );
        self.set("tokenizer.ggml.bos_token_id", Value::Number(256));
        self.set("tokenizer.ggml.eos_token_id", Value::Number(257));
    }

    fn write(&self, path: &Path) {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.entries.len() as u64).to_le_bytes());
        for (key, value) in &self.entries {
            text(&mut out, key);
            match value {
                Value::Number(number) => {
                    out.extend(4u32.to_le_bytes());
                    out.extend(number.to_le_bytes());
                }
                Value::Real(number) => {
                    out.extend(6u32.to_le_bytes());
                    out.extend(number.to_le_bytes());
                }
                Value::Text(value) => {
                    out.extend(8u32.to_le_bytes());
                    text(&mut out, value);
                }
                Value::Texts(values) => {
                    array(&mut out, 8, values.len());
                    values.iter().for_each(|value| text(&mut out, value));
                }
                Value::Kinds(values) => {
                    array(&mut out, 5, values.len());
                    values
                        .iter()
                        .for_each(|value| out.extend(value.to_le_bytes()));
                }
            }
        }
        let mut data = Vec::new();
        let mut random = 7u32;
        for (name, shape, draw) in &self.tensors {
            text(&mut out, name);
            out.extend((shape.len() as u32).to_le_bytes());
            shape
                .iter()
                .for_each(|length| out.extend(length.to_le_bytes()));
            out.extend(0u32.to_le_bytes());
            out.extend((data.len() as u64).to_le_bytes());
            for _ in 0..shape.iter().product::<u64>() {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let unit = (random >> 8) as f32 / (1 << 24) as f32;
                let value = draw.centre + draw.spread * (2.0 * unit - 1.0);
                data.extend(value.to_le_bytes());
            }
            data.resize(data.len().next_multiple_of(32), 0);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        std::fs::write(path, out).unwrap();
    }
}

fn text(out: &mut Vec<u8>, value: &str) {
    out.extend((value.len() as u64).to_le_bytes());
    out.extend(value.as_bytes());
}

fn array(out: &mut Vec<u8>, kind: u32, len: usize) {
    out.extend(9u32.to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend((len as u64).to_le_bytes());
}

/// The character that stands for a byte in a byte-level vocabulary.
fn stand_in(byte: u8) -> char {
    let plain = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    if plain(byte) {
        return char::from(byte);
    }
    let index = (0..byte).filter(|&b| !plain(b)).count() as u32;
    char::from_u32(256 + index).unwrap()
}

/// A recurrent model: its state cannot be cut back.
pub fn mamba(path: &Path) {
    const INNER: u64 = 2 * WIDTH;
    const STATE: u64 = 8;
    const RANK: u64 = 4;
    let mut gguf = Gguf::new("mamba");
    for (key, number) in [
        ("ssm.conv_kernel", 4),
        ("ssm.inner_size", INNER as u32),
        ("ssm.state_size", STATE as u32),
        ("ssm.time_step_rank", RANK as u32),
    ] {
        gguf.set(&format!("mamba.{key}"), Value::Number(number));
    }
    let falling = Draw {
        centre: -1.0,
        spread: 0.5,
    };
    for layer in 0..LAYERS {
        let tensors: [(&str, &[u64], Draw); 10] = [
            ("attn_norm.weight", &[WIDTH], NORM),
            ("ssm_in.weight", &[WIDTH, 2 * INNER], WEIGHT),
            ("ssm_conv1d.weight", &[4, INNER], WEIGHT),
            ("ssm_conv1d.bias", &[INNER], WEIGHT),
            ("ssm_x.weight", &[INNER, RANK + 2 * STATE], WEIGHT),
            ("ssm_dt.weight", &[RANK, INNER], WEIGHT),
            ("ssm_dt.bias", &[INNER], WEIGHT),
            ("ssm_a", &[STATE, INNER], falling),
            ("ssm_d", &[INNER], NORM),
            ("ssm_out.weight", &[INNER, WIDTH], WEIGHT),
        ];
        for (name, shape, draw) in tensors {
            gguf.tensor(&format!("blk.{layer}.{name}"), shape, draw);
        }
    }
    gguf.write(path);
}

/// A model whose every second layer looks back at no more than `window` tokens.
pub fn sliding_window(path: &Path, window: u32) {
    const HIDDEN: u64 = 64;
    let mut gguf = Gguf::new("gemma2");
    for (key, number) in [
        ("feed_forward_length", HIDDEN as u32),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("attention.key_length", 8),
        ("attention.value_length", 8),
        ("attention.sliding_window", window),
    ] {
        gguf.set(&format!("gemma2.{key}"), Value::Number(number));
    }
    for layer in 0..LAYERS {
        let tensors: [(&str, &[u64], Draw); 11] = [
            ("attn_norm.weight", &[WIDTH], NORM),
            ("attn_q.weight", &[WIDTH, WIDTH], WEIGHT),
            ("attn_k.weight", &[WIDTH, WIDTH / 2], WEIGHT),
            ("attn_v.weight", &[WIDTH, WIDTH / 2], WEIGHT),
            ("attn_output.weight", &[WIDTH, WIDTH], WEIGHT),
            ("post_attention_norm.weight", &[WIDTH], NORM),
            ("ffn_norm.weight", &[WIDTH], NORM),
            ("ffn_gate.weight", &[WIDTH, HIDDEN], WEIGHT),
            ("ffn_up.weight", &[WIDTH, HIDDEN], WEIGHT),
            ("ffn_down.weight", &[HIDDEN, WIDTH], WEIGHT),
            ("post_ffw_norm.weight", &[WIDTH], NORM),
        ];
        for (name, shape, draw) in tensors {
            gguf.tensor(&format!("blk.{layer}.{name}"), shape, draw);
        }
    }
    gguf.write(path);
}
