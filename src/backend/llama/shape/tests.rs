use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::backend::llama::sampling::Sampler;
use crate::generation::{Decision, SamplingParams};
use crate::verdict;

/// A vocabulary of bytes, and a few longer tokens as real ones have.
struct Bytes {
    pieces: Vec<Vec<u8>>,
}

impl Bytes {
    fn new() -> Self {
        let mut pieces: Vec<Vec<u8>> = (0u8..=255).map(|b| vec![b]).collect();
        for long in [
            " true", " false", "\",", "\"}", "\", \"", "ab\"", "\\\"", "\"x", "minor",
        ] {
            pieces.push(long.as_bytes().to_vec());
        }
        Self { pieces }
    }
}

impl Vocabulary for Bytes {
    fn piece(&self, id: u32) -> &[u8] {
        &self.pieces[id as usize]
    }
    fn ends_turn(&self, id: u32) -> bool {
        id == 0
    }
    fn is_control(&self, id: u32) -> bool {
        id == 0
    }
    fn is_plain(&self, id: u32) -> bool {
        self.pieces[id as usize]
            .iter()
            .all(|&b| b >= 0x20 && b != b'"' && b != b'\\')
    }
    fn encode(&self, text: &str) -> Vec<u32> {
        match self.pieces.iter().rposition(|p| p == text.as_bytes()) {
            Some(id) if text.len() > 1 => vec![id as u32],
            _ => text.bytes().map(u32::from).collect(),
        }
    }
}

fn write(rows: impl Fn(usize) -> Vec<f32>, temperature: f64, seed: u32) -> (String, Vec<Decision>) {
    let vocabulary = Bytes::new();
    let shape = Arc::new(CompiledShape::new(&verdict::shape(0.5, 20), &vocabulary));
    let params = SamplingParams {
        temperature,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        max_tokens: 99,
    };
    let mut sampler = Sampler::new(params, seed);
    let mut tokens = Vec::new();
    let mut writer = ShapeWriter::new(Arc::clone(&shape), &mut tokens);
    let mut step = 0;
    while writer.advance(&rows(step), &mut sampler, &vocabulary, &mut tokens) == Progress::More {
        step += 1;
        assert!(step < 500, "the writer does not end");
    }
    assert!(tokens.len() <= shape.max_tokens());
    (
        String::from_utf8_lossy(writer.text()).into_owned(),
        writer.decisions().to_vec(),
    )
}

fn favouring(texts: &[&str]) -> Vec<f32> {
    let vocabulary = Bytes::new();
    let mut row = vec![0.0; vocabulary.pieces.len()];
    for (rank, text) in texts.iter().enumerate() {
        let id = vocabulary
            .pieces
            .iter()
            .rposition(|p| p == text.as_bytes())
            .unwrap();
        row[id] = 10.0 - rank as f32;
    }
    row
}

#[test]
fn a_clean_verdict_is_one_decision() {
    let (text, decisions) = write(|_| favouring(&[" false", " true"]), 0.0, 1);
    assert_eq!(text, r#"{"violated": false}"#);
    assert!((decisions[0].probability - 1.0 / (1.0 + 1f64.exp())).abs() < 1e-6);
}

#[test]
fn a_violated_verdict_is_written_to_its_end() {
    let (text, _) = write(
        |step| match step {
            0 => favouring(&[" true"]),
            1 => favouring(&["q"]),
            2 => favouring(&["\","]),
            3 => favouring(&["c"]),
            4 => favouring(&["\""]),
            _ => favouring(&["minor"]),
        },
        0.0,
        1,
    );
    assert_eq!(
        text,
        r#"{"violated": true, "quote": "q", "critique": "c", "severity": "minor"}"#
    );
}

#[test]
fn text_that_never_closes_is_closed_at_its_limit() {
    let (text, _) = write(
        |step| {
            if step == 0 {
                favouring(&[" true"])
            } else {
                favouring(&["a"])
            }
        },
        0.0,
        1,
    );
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["quote"], "a".repeat(20));
}

#[test]
fn an_escape_cut_at_the_limit_is_dropped() {
    let (text, _) = write(
        |step| match step {
            0 => favouring(&[" true"]),
            20 => favouring(&["\\"]),
            _ => favouring(&["a"]),
        },
        0.0,
        1,
    );
    assert!(
        serde_json::from_str::<serde_json::Value>(&text).is_ok(),
        "{text}"
    );
}

proptest! {
    #[test]
    fn whatever_the_model_prefers_the_reply_is_a_verdict(seed: u32, salt: u64, hot in 0f32..4.0) {
        let size = Bytes::new().pieces.len();
        let (text, _) = write(
            |step| {
                (0..size)
                    .map(|id| {
                        let x = (id as u64 * 2654435761 + step as u64 * 40503 + salt) % 1009;
                        x as f32 * hot / 200.0
                    })
                    .collect()
            },
            1.0,
            seed,
        );
        // The byte vocabulary writes broken UTF-8, which is replaced when a reply is finished.
        let value: serde_json::Value = serde_json::from_str(&text)
            .map_err(|e| TestCaseError::fail(format!("{e}: {text}")))?;
        prop_assert!(value["violated"].is_boolean());
    }
}

/// The tokens that may come next.
fn allowed(writer: &ShapeWriter) -> Vec<u32> {
    let vocabulary = Bytes::new();
    let all = 0..vocabulary.pieces.len() as u32;
    all.filter(|&id| writer.allows(id, &vocabulary)).collect()
}

#[test]
fn what_is_allowed_is_what_the_hole_takes() {
    let vocabulary = Bytes::new();
    let shape = Arc::new(CompiledShape::new(&verdict::shape(0.5, 3), &vocabulary));
    let params = SamplingParams {
        temperature: 0.0,
        ..SamplingParams::default()
    };
    let mut sampler = Sampler::new(params, 1);
    let mut tokens = Vec::new();
    let mut writer = ShapeWriter::new(shape, &mut tokens);
    let mut advance = |writer: &mut ShapeWriter, text: &str| {
        writer.advance(&favouring(&[text]), &mut sampler, &vocabulary, &mut tokens)
    };
    assert!(writer.decides());
    assert_eq!(allowed(&writer).len(), 2);
    advance(&mut writer, " true");
    assert!(writer.in_text() && !writer.decides());
    let open = allowed(&writer);
    // A new line must be escaped; only the tail of this text may stand behind its end.
    assert!(open.contains(&u32::from(b'a')) && open.contains(&u32::from(b'"')));
    assert!(!open.contains(&u32::from(b'\n')) && !open.contains(&0));
    let piece = |text: &str| vocabulary.encode(text)[0];
    assert!(open.contains(&piece("\", \"")) && !open.contains(&piece("\"x")));
    advance(&mut writer, "\\");
    let escaped = allowed(&writer);
    assert!(escaped.contains(&u32::from(b'n')) && !escaped.contains(&u32::from(b'a')));
    advance(&mut writer, "n");
    advance(&mut writer, "a");
    // The text has come to its limit and is closed whatever the row says.
    assert!(allowed(&writer).is_empty());
}

/// A vocabulary as the step loop has it, in which nothing may be tokenised.
struct InStep(Bytes);

impl Vocabulary for InStep {
    fn piece(&self, id: u32) -> &[u8] {
        self.0.piece(id)
    }
    fn ends_turn(&self, id: u32) -> bool {
        self.0.ends_turn(id)
    }
    fn is_control(&self, id: u32) -> bool {
        self.0.is_control(id)
    }
    fn is_plain(&self, id: u32) -> bool {
        self.0.is_plain(id)
    }
    fn encode(&self, text: &str) -> Vec<u32> {
        panic!("`{text}` is tokenised during a step")
    }
}

#[test]
fn no_step_tokenises_whatever_a_token_writes_beyond_a_text() {
    let vocabulary = InStep(Bytes::new());
    let shape = Arc::new(CompiledShape::new(&verdict::shape(0.5, 20), &vocabulary.0));
    let params = SamplingParams {
        temperature: 0.0,
        ..SamplingParams::default()
    };
    for end in ["\"", "\",", "\", \"", "ab\""] {
        let mut sampler = Sampler::new(params.clone(), 1);
        let mut tokens = Vec::new();
        let mut writer = ShapeWriter::new(Arc::clone(&shape), &mut tokens);
        let mut progress = Progress::More;
        for favoured in [" true", "q", end, "c", end, "minor"] {
            assert_eq!(progress, Progress::More, "{end}");
            let row = favouring(&[favoured]);
            progress = writer.advance(&row, &mut sampler, &vocabulary, &mut tokens);
        }
        assert_eq!(progress, Progress::Done, "{end}");
        let more = if end == "ab\"" { "ab" } else { "" };
        let expected = format!(
            r#"{{"violated": true, "quote": "q{more}", "critique": "c{more}", "severity": "minor"}}"#
        );
        assert_eq!(String::from_utf8_lossy(writer.text()), expected);
        let spelled: Vec<u8> = tokens
            .iter()
            .flat_map(|&id| vocabulary.piece(id))
            .copied()
            .collect();
        assert_eq!(String::from_utf8_lossy(&spelled), expected, "{end}");
    }
}
