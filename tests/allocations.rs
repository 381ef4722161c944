//! The step loop allocates nothing for a token: neither where tokens are drawn, in whatever way, nor where a step is
//! planned. In a binary of its own, whose allocator counts for all threads.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use amend::backend::ReplyTo;
use amend::backend::llama::lookup::Lookup;
use amend::backend::llama::sampling::Sampler;
use amend::backend::llama::scheduler::{Demand, plan};
use amend::backend::llama::sequence::{Job, Next, Sequence, Task};
use amend::backend::llama::shape::{CompiledShape, ShapeWriter, Vocabulary};
use amend::generation::SamplingParams;
use amend::verdict;
use rayon::prelude::*;

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// Everything is the system's; only calls are counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often something was allocated meanwhile.
fn allocations(work: impl FnOnce()) -> usize {
    let before = COUNT.load(Ordering::Relaxed);
    work();
    COUNT.load(Ordering::Relaxed) - before
}

/// A token for every byte; none of them ends a turn.
struct Bytes([u8; 256]);

impl Vocabulary for Bytes {
    fn piece(&self, id: u32) -> &[u8] {
        &self.0[id as usize..=id as usize]
    }
    fn ends_turn(&self, _: u32) -> bool {
        false
    }
    fn is_control(&self, _: u32) -> bool {
        false
    }
    fn is_plain(&self, id: u32) -> bool {
        id >= 0x20 && id != u32::from(b'"') && id != u32::from(b'\\')
    }
    fn encode(&self, text: &str) -> Vec<u32> {
        text.bytes().map(u32::from).collect()
    }
}

fn vocabulary() -> Bytes {
    let mut bytes = [0; 256];
    for (byte, value) in bytes.iter_mut().zip(0..=u8::MAX) {
        *byte = value;
    }
    Bytes(bytes)
}

fn sampling(temperature: f64) -> SamplingParams {
    SamplingParams {
        temperature,
        max_tokens: 2000,
        ..SamplingParams::default()
    }
}

/// Takes one row of every step, and those behind its proposals; gives how many tokens were written.
fn write(sequence: &mut Sequence, rows: &[&[f32]], vocabulary: &Bytes, steps: usize) -> usize {
    let before = sequence.tokens.len();
    for _ in 0..steps {
        sequence.propose(rows.len() - 1);
        sequence.decoded = sequence.tokens.len();
        let rows = &rows[..=sequence.proposals.len()];
        match sequence.take(rows, vocabulary, 9000, false) {
            Next::Continue => {}
            other => panic!("{other:?}"),
        }
    }
    sequence.tokens.len() - before
}

#[test]
fn no_token_costs_an_allocation() {
    let vocabulary = vocabulary();
    let row: Vec<f32> = (0..256u32)
        .map(|id| (id.wrapping_mul(2_654_435_761) >> 24) as f32 / 32.0)
        .map(|logit| logit.min(7.0))
        .collect();
    // The likeliest letter is what the source holds, so that guesses are right and rows behind them are taken.
    let mut likely = row.clone();
    likely[usize::from(b'e')] = 20.0;
    let rows = [likely.as_slice(); 4];
    let (sender, _replies) = crossbeam_channel::unbounded();
    let job = |task: Task, tokens: Vec<u32>| Job {
        tokens,
        prompt_tokens: 1,
        room: 2000,
        domain: 0,
        lookup: Some(Lookup::new(vec![u32::from(b'e'); 2000], true)),
        task,
        reply: ReplyTo::new(0, sender.clone()),
    };
    for temperature in [0.0, 0.8] {
        let task = Task::Write {
            sampler: Sampler::new(sampling(temperature), 1),
            max_tokens: 2000,
            thinking: None,
        };
        let mut sequence = Sequence::new(job(task, vec![1]), 0);
        write(&mut sequence, &rows, &vocabulary, 20);
        let mut written = 0;
        let allocated = allocations(|| written = write(&mut sequence, &rows, &vocabulary, 300));
        assert!(written > 900, "{written}");
        assert_eq!(allocated, 0, "{written} tokens at {temperature}");
    }
    // Inside a text of a verdict. Only the text itself grows, twofold each time.
    let shape = CompiledShape::new(&verdict::shape(0.0, 2000), &vocabulary);
    let mut tokens = vec![1];
    let writer = ShapeWriter::new(shape.into(), &mut tokens);
    let task = Task::Fill {
        sampler: Sampler::new(sampling(0.8), 1),
        writer,
    };
    let mut sequence = Sequence::new(job(task, tokens), 0);
    sequence.propose(0);
    sequence.decoded = sequence.tokens.len();
    let decision = sequence.take(&rows[..1], &vocabulary, 9000, false);
    assert!(matches!(decision, Next::Continue), "{decision:?}");
    write(&mut sequence, &rows[..1], &vocabulary, 5);
    let mut written = 0;
    let allocated = allocations(|| written = write(&mut sequence, &rows[..1], &vocabulary, 40));
    assert!(written >= 40 && allocated <= 3, "{allocated} of {written}");

    // The rows of a step in parallel. What rayon keeps of the steps themselves is no cost of a token.
    let mut samplers: Vec<Sampler> = (0..64)
        .map(|seed| Sampler::new(sampling(0.8), seed))
        .collect();
    let mut step = || {
        samplers.par_iter_mut().for_each(|sampler| {
            let _ = sampler.sample(&row, |_| true);
        });
    };
    (0..50).for_each(|_| step());
    let allocated = allocations(|| (0..200).for_each(|_| step()));
    assert!(allocated <= 100, "{allocated} for 12,800 tokens");

    let demands: Vec<_> = (0..64)
        .map(|slot| Demand {
            slot,
            pending: 1 + slot % 3,
            proposals: slot % 5,
        })
        .collect();
    let mut shares = Vec::new();
    plan(&demands, 512, &mut shares);
    assert_eq!(allocations(|| plan(&demands, 512, &mut shares)), 0);
}
