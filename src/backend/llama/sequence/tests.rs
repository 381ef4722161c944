use proptest::prelude::*;

use super::*;
use crate::backend::llama::sampling::Sampler;
use crate::backend::llama::shape::{CompiledShape, ShapeWriter};
use crate::generation::SamplingParams;
use crate::verdict;

/// Ten tokens, each a letter; the last one ends the turn.
struct Letters;

impl Vocabulary for Letters {
    fn piece(&self, id: u32) -> &[u8] {
        &b"abcdefghi."[id as usize..=id as usize]
    }
    fn ends_turn(&self, id: u32) -> bool {
        id == 9
    }
    fn is_control(&self, id: u32) -> bool {
        id == 9
    }
    fn is_plain(&self, id: u32) -> bool {
        id < 9
    }
    fn encode(&self, text: &str) -> Vec<u32> {
        text.bytes().map(|byte| u32::from(byte - b'a')).collect()
    }
}

/// The cells of a sequence: for each token whether it was decoded beside guesses.
#[derive(Default)]
struct Cells(Vec<bool>);

impl Cells {
    /// Decodes what is due, and what is proposed, as the worker does. Says whether there is a row behind it.
    fn decode(&mut self, sequence: &mut Sequence) -> bool {
        self.0.truncate(sequence.decoded);
        sequence.decoded += sequence.due();
        let guesses = sequence.proposals.len();
        self.0.resize(sequence.decoded + guesses, guesses > 0);
        sequence.decoded == sequence.tokens.len()
    }

    /// Whether what is computed of the first `count` tokens rounds otherwise than without guesses.
    fn are_off(&self, count: usize) -> bool {
        self.0[..count].contains(&true)
    }
}

/// What becomes of logits that round otherwise.
fn noise(hash: u32, id: u32) -> f32 {
    (hash.rotate_left(id) % 25) as f32 / 100.0 - 0.12
}

/// What a model would say behind `tokens`: it likes to go on as `source` does, and strays. It may be a little off.
fn row(tokens: &[u32], source: &[u32], salt: u32, off: bool) -> Vec<f32> {
    let hash = tokens.iter().fold(salt, |h, &t| {
        (h ^ t).wrapping_mul(0x0100_0193).rotate_left(7)
    });
    let mut row: Vec<f32> = (0..10)
        .map(|id| ((hash >> id) % 61) as f32 / 20.0 + if off { noise(hash, id) } else { 0.0 })
        .collect();
    if let Some(&next) = source.get(tokens.len() - 1)
        && hash % 5 != 0
    {
        row[next as usize] += 4.0;
    }
    row
}

/// The text written behind one token of prompt, and the steps it took.
fn write(
    source: &[u32],
    salt: u32,
    sampling: &SamplingParams,
    most: usize,
    exact: bool,
) -> (String, usize) {
    let (sender, _replies) = crossbeam_channel::unbounded();
    let job = Job {
        tokens: vec![0],
        prompt_tokens: 1,
        room: sampling.max_tokens as usize,
        domain: 0,
        lookup: Some(Lookup::new(source.to_vec(), true)),
        task: Task::Write {
            sampler: Sampler::new(sampling.clone(), salt),
            max_tokens: sampling.max_tokens,
            thinking: None,
        },
        reply: ReplyTo::new(0, sender),
    };
    let mut sequence = Sequence::new(job, 0);
    // Draws are never taken for close, so that they may differ.
    let drifts = exact && sampling.temperature <= 0.0;
    let mut cells = Cells::default();
    for step in 1.. {
        sequence.propose(most);
        if !cells.decode(&mut sequence) {
            assert!(exact && sequence.proposals.is_empty());
            continue;
        }
        let mut context = sequence.tokens.clone();
        let look = |context: &[u32]| {
            let off = drifts && cells.are_off(context.len());
            row(context, source, salt, off)
        };
        let mut rows = vec![look(&context)];
        for &token in &sequence.proposals {
            context.push(token);
            rows.push(look(&context));
        }
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        match sequence.take(&rows, &Letters, 1000, exact) {
            Next::Continue => assert_eq!(sequence.pending(), 1),
            Next::Again => assert!(exact && sequence.due() == 1),
            Next::Finished(Reply::Generated(generation)) => return (generation.text, step),
            other => panic!("{other:?}"),
        }
    }
    unreachable!()
}

proptest! {
    #[test]
    fn proposals_change_how_fast_a_text_is_written_and_never_which(
        source in prop::collection::vec(0u32..9, 0..40),
        salt: u32,
        greedy: bool,
        exact: bool,
        most in 1usize..12,
    ) {
        let sampling = SamplingParams {
            temperature: if greedy { 0.0 } else { 0.8 },
            max_tokens: 50,
            ..SamplingParams::default()
        };
        let (plain, steps) = write(&source, salt, &sampling, 0, exact);
        let (guessed, fewer) = write(&source, salt, &sampling, most, exact);
        prop_assert_eq!(plain, guessed);
        prop_assert!(exact || fewer <= steps);
    }
}

#[test]
fn a_copy_takes_few_steps() {
    let source: Vec<u32> = (0..40).map(|n| n * 7 % 9).collect();
    let sampling = SamplingParams {
        temperature: 0.0,
        max_tokens: 40,
        ..SamplingParams::default()
    };
    let steps = |most| write(&source, 3, &sampling, most, false).1;
    assert!(steps(8) * 2 < steps(0), "{} and {}", steps(8), steps(0));
}

/// Every byte is a token.
struct Bytes;

static BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = at as u8;
        at += 1;
    }
    bytes
};

impl Vocabulary for Bytes {
    fn piece(&self, id: u32) -> &[u8] {
        &BYTES[id as usize..=id as usize]
    }
    fn ends_turn(&self, id: u32) -> bool {
        id == 0
    }
    fn is_control(&self, id: u32) -> bool {
        id == 0
    }
    fn is_plain(&self, id: u32) -> bool {
        id >= 0x20 && id != u32::from(b'"') && id != u32::from(b'\\')
    }
    fn encode(&self, text: &str) -> Vec<u32> {
        text.bytes().map(u32::from).collect()
    }
}

/// Some text that a quote is copied from.
const SOURCE: &[u8] = b"the egg is soft and the egg is warm, so the egg is done";

/// What a model would say inside a verdict: it copies, strays, comes near to a tie, and often likes best
/// what no string may hold. It may be a little off.
fn verdict_row(tokens: &[u32], salt: u32, off: bool) -> Vec<f32> {
    let hash = tokens.iter().fold(salt, |h, &t| {
        (h ^ t).wrapping_mul(0x0100_0193).rotate_left(7)
    });
    let noise = |id| if off { noise(hash, id) } else { 0.0 };
    let mut row: Vec<f32> = (0..256)
        .map(|id| (hash.rotate_right(id * 5) % 61) as f32 / 30.0 + noise(id))
        .collect();
    let last = tokens.last().copied().unwrap_or(0);
    let places = SOURCE.windows(2).filter(|pair| u32::from(pair[0]) == last);
    for pair in places.take(2) {
        row[usize::from(pair[1])] += 6.0;
    }
    if hash.is_multiple_of(3) {
        row[usize::from(b'\n')] += 12.0;
    }
    if hash.is_multiple_of(17) {
        row[usize::from(b'"')] += 9.0;
    }
    row
}

/// A violated verdict, and the steps it took.
fn fill(salt: u32, most: usize) -> (String, usize) {
    let sampling = SamplingParams {
        temperature: 0.0,
        ..SamplingParams::default()
    };
    let shape = CompiledShape::new(&verdict::shape(0.0, 40), &Bytes);
    let room = shape.max_tokens();
    let mut tokens = vec![u32::from(b' ')];
    let writer = ShapeWriter::new(shape.into(), &mut tokens);
    let (sender, _replies) = crossbeam_channel::unbounded();
    let job = Job {
        tokens,
        prompt_tokens: 1,
        room,
        domain: 0,
        lookup: Some(Lookup::new(
            Bytes.encode(&String::from_utf8_lossy(SOURCE)),
            false,
        )),
        task: Task::Fill {
            sampler: Sampler::new(sampling, salt),
            writer,
        },
        reply: ReplyTo::new(0, sender),
    };
    let mut sequence = Sequence::new(job, 0);
    let mut cells = Cells::default();
    for step in 1.. {
        // As the worker does: nothing is proposed beside forced tokens.
        let alone = step == 1 || sequence.pending() > 1 || sequence.lookup().is_none();
        sequence.propose(if alone { 0 } else { most });
        if !cells.decode(&mut sequence) {
            continue;
        }
        let mut context = sequence.tokens.clone();
        // What is decoded to be tried must fit as well, where conversation and reply just fill the context.
        assert!(sequence.tokens.len() + sequence.proposals.len() <= 1 + room);
        let look = |context: &[u32]| verdict_row(context, salt, cells.are_off(context.len()));
        let mut rows = vec![look(&context)];
        for &token in &sequence.proposals {
            context.push(token);
            rows.push(look(&context));
        }
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        match sequence.take(&rows, &Bytes, 1000, true) {
            Next::Continue | Next::Again => assert!(sequence.pending() > 0),
            Next::Finished(Reply::Generated(generation)) => return (generation.raw, step),
            other => panic!("{other:?}"),
        }
    }
    unreachable!()
}

proptest! {
    #[test]
    fn a_quote_is_the_same_with_proposals_though_forbidden_tokens_hide_what_is_close(
        salt: u32,
        most in 1usize..12,
    ) {
        let (plain, _) = fill(salt, 0);
        let (guessed, _) = fill(salt, most);
        prop_assert_eq!(plain, guessed);
    }
}

#[test]
fn a_tie_among_allowed_tokens_is_close_whatever_is_forbidden() {
    let shape = CompiledShape::new(&verdict::shape(0.0, 40), &Bytes);
    let mut tokens = Vec::new();
    let mut writer = ShapeWriter::new(shape.into(), &mut tokens);
    let sampling = SamplingParams {
        temperature: 0.0,
        ..SamplingParams::default()
    };
    let mut sampler = Sampler::new(sampling, 1);
    assert!(writer.decides());
    writer.advance(&[0.0; 256], &mut sampler, &Bytes, &mut tokens);
    assert!(writer.in_text());
    let mut row = vec![0.0; 256];
    row[usize::from(b'\n')] = 9.0;
    (row[usize::from(b'a')], row[usize::from(b'b')]) = (5.0, 4.9);
    assert!(!sampler.is_close(&row, |id| !Bytes.is_control(id)));
    assert!(sampler.is_close(&row, |id| writer.allows(id, &Bytes)));
    // A forbidden token close to the best allowed one decides nothing.
    (row[usize::from(b'\n')], row[usize::from(b'b')]) = (5.1, 1.0);
    assert!(sampler.is_close(&row, |id| !Bytes.is_control(id)));
    assert!(!sampler.is_close(&row, |id| writer.allows(id, &Bytes)));
}

#[test]
fn a_row_without_a_number_is_an_error_and_no_empty_reply() {
    for nothing in [f32::NAN, f32::NEG_INFINITY] {
        let (sender, _replies) = crossbeam_channel::unbounded();
        let job = Job {
            tokens: vec![0],
            prompt_tokens: 1,
            room: 5,
            domain: 0,
            lookup: None,
            task: Task::Write {
                sampler: Sampler::new(SamplingParams::default(), 1),
                max_tokens: 5,
                thinking: None,
            },
            reply: ReplyTo::new(0, sender),
        };
        let mut sequence = Sequence::new(job, 0);
        sequence.decoded = 1;
        let next = sequence.take(&[&[nothing; 10]], &Letters, 1000, false);
        assert!(matches!(next, Next::Broken), "{next:?}");
    }
}

#[test]
fn a_choice_between_tokens_is_read_from_the_row_behind_the_prompt() {
    let (sender, _replies) = crossbeam_channel::unbounded();
    let job = Job {
        tokens: vec![0, 1],
        prompt_tokens: 2,
        room: 0,
        domain: 0,
        lookup: None,
        task: Task::Choose {
            options: vec![vec![3], vec![5]],
            scores: Vec::new(),
            current: 0,
        },
        reply: ReplyTo::new(0, sender),
    };
    let mut sequence = Sequence::new(job, 0);
    sequence.decoded = sequence.due();
    let mut row = [0.0; 10];
    (row[3], row[5]) = (1.0, 2.0);
    match sequence.take(&[&row], &Letters, 1000, false) {
        Next::Finished(Reply::Chosen(choice)) => {
            let difference = choice.logprobs[1] - choice.logprobs[0];
            assert!((difference - 1.0).abs() < 1e-6, "{difference}");
            assert_eq!(choice.usage.completion_tokens, 0);
        }
        other => panic!("{other:?}"),
    }
}
