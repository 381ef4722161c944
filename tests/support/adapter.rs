//! An adapter for the default model, written byte by byte.

use std::path::Path;

const WIDTH: usize = 576;

/// Writes a LoRA adapter of rank 1 in llama.cpp's format, on one weight of the model's first layer.
pub fn write_adapter(path: &Path, strength: f32) {
    let of = |scale: f32| move |n: usize| scale * ((n % 7) as f32 - 3.0);
    write(path, "blk.0.attn_output.weight", of(0.3), of(strength));
}

/// Writes one on a square weight, from what stands in its two matrices.
pub fn write(path: &Path, weight: &str, a: impl Fn(usize) -> f32, b: impl Fn(usize) -> f32) {
    fn text(out: &mut Vec<u8>, value: &str) {
        out.extend((value.len() as u64).to_le_bytes());
        out.extend(value.as_bytes());
    }
    let mut out = Vec::new();
    out.extend(b"GGUF");
    out.extend(3u32.to_le_bytes());
    out.extend(2u64.to_le_bytes());
    out.extend(4u64.to_le_bytes());
    for (key, value) in [
        ("general.type", "adapter"),
        ("general.architecture", "llama"),
        ("adapter.type", "lora"),
    ] {
        text(&mut out, key);
        out.extend(8u32.to_le_bytes());
        text(&mut out, value);
    }
    text(&mut out, "adapter.lora.alpha");
    out.extend(6u32.to_le_bytes());
    out.extend(1f32.to_le_bytes());
    let tensors = [
        (format!("{weight}.lora_a"), [WIDTH, 1]),
        (format!("{weight}.lora_b"), [1, WIDTH]),
    ];
    for (index, (name, shape)) in tensors.iter().enumerate() {
        text(&mut out, name);
        out.extend(2u32.to_le_bytes());
        for length in shape {
            out.extend((*length as u64).to_le_bytes());
        }
        out.extend(0u32.to_le_bytes());
        out.extend(((index * WIDTH * 4) as u64).to_le_bytes());
    }
    out.resize(out.len().next_multiple_of(32), 0);
    let values = (0..WIDTH).map(a).chain((0..WIDTH).map(b));
    out.extend(values.flat_map(f32::to_le_bytes));
    std::fs::write(path, out).unwrap();
}
