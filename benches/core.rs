//! Micro-benchmarks of what the step loop does between two decodes, so that a regression shows.

// The macros of criterion write functions without docs.
#![allow(missing_docs)]
use std::hint::black_box;

use amend::backend::llama::lookup::Lookup;
use amend::backend::llama::prefix::PrefixTree;
use amend::backend::llama::sampling::Sampler;
use amend::backend::llama::scheduler::{Demand, plan};
use amend::generation::SamplingParams;
use criterion::{Criterion, criterion_group, criterion_main};
use rayon::prelude::*;

fn tokens(seed: u32, count: u32) -> Vec<u32> {
    (0..count)
        .map(|n| (n ^ seed).wrapping_mul(2_654_435_761) % 49_152)
        .collect()
}

fn prefix(c: &mut Criterion) {
    // Sixteen sequences behind 2,000 shared tokens, each with 300 of its own.
    let shared = tokens(1, 2000);
    let mut tree = PrefixTree::new(1);
    let mut asked = Vec::new();
    for seq in 0..16u16 {
        let mut own = shared.clone();
        own.extend(tokens(u32::from(seq) + 10, 300));
        let len = tree.longest(0, &own).len;
        tree.insert(seq, 0, &own, len);
        tree.push(seq, &own[len..]);
        own.truncate(2200);
        own.extend(tokens(99, 50));
        asked.push(own);
    }
    c.bench_function("prefix/longest of 2,200", |b| {
        b.iter(|| {
            asked
                .iter()
                .map(|t| tree.longest(0, black_box(t)).len)
                .sum::<usize>()
        });
    });
    c.bench_function("prefix/insert and remove", |b| {
        b.iter(|| {
            let len = tree.longest(0, &asked[3]).len;
            tree.insert(20, 0, &asked[3], len);
            tree.push(20, &asked[3][len..]);
            tree.remove(20);
        });
    });
}

fn lookup(c: &mut Criterion) {
    let source = tokens(5, 600);
    c.bench_function("lookup/600 tokens with an edit in 20", |b| {
        b.iter(|| {
            let mut lookup = Lookup::new(source.clone(), true);
            let mut written = Vec::with_capacity(600);
            for (n, &token) in source.iter().enumerate() {
                written.push(if n % 20 == 19 { 7 } else { token });
                black_box(lookup.propose(8));
                lookup.observe(&written, 1);
            }
            lookup.chances().sum::<f64>()
        });
    });
}

fn scheduling(c: &mut Criterion) {
    let demands: Vec<_> = (0..64)
        .map(|slot| Demand {
            slot,
            pending: if slot % 8 == 0 { 300 } else { 1 },
            proposals: slot % 5,
        })
        .collect();
    let mut shares = Vec::new();
    c.bench_function("scheduler/plan of 64 sequences", |b| {
        b.iter(|| plan(black_box(&demands), 512, &mut shares));
    });
}

fn sampling(c: &mut Criterion) {
    let rows: Vec<Vec<f32>> = (0..64u32)
        .map(|row| {
            (0..49_152u32)
                .map(|id| ((id ^ (row << 9)).wrapping_mul(2_654_435_761) >> 20) as f32 / 250.0)
                .collect()
        })
        .collect();
    let samplers = |temperature| -> Vec<Sampler> {
        let params = SamplingParams {
            temperature,
            min_p: 0.0,
            ..SamplingParams::default()
        };
        (0..64)
            .map(|seed| Sampler::new(params.clone(), seed))
            .collect()
    };
    for (name, temperature) in [("sampling/64 rows", 0.7), ("sampling/64 rows, greedy", 0.0)] {
        let mut samplers = samplers(temperature);
        c.bench_function(name, |b| {
            b.iter(|| {
                samplers
                    .par_iter_mut()
                    .zip(&rows)
                    .map(|(sampler, row)| sampler.sample(row, |_| true).unwrap_or(0))
                    .reduce(|| 0, u32::wrapping_add)
            });
        });
    }
}

criterion_group!(core, prefix, lookup, scheduling, sampling);
criterion_main!(core);
