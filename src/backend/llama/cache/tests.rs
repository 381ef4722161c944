use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A unified cache that remembers for every cell its position, its token and who holds it, or streams
/// that each remember their own.
#[derive(Default)]
struct Model {
    unified: bool,
    cells: Vec<(usize, u32, Vec<Seq>)>,
}

impl Model {
    fn decode(&mut self, seq: Seq, position: usize, token: u32) {
        self.cells.push((position, token, vec![seq]));
    }

    fn held(&self, seq: Seq) -> BTreeMap<usize, u32> {
        let mut held = BTreeMap::new();
        for (position, token, _) in self.cells.iter().filter(|cell| cell.2.contains(&seq)) {
            assert_eq!(
                held.insert(*position, *token),
                None,
                "a position held twice"
            );
        }
        held
    }
}

impl Cells for Model {
    fn share(&mut self, from: Seq, to: Seq, len: usize) {
        assert!(
            self.held(to).is_empty(),
            "shared onto a sequence with tokens"
        );
        let mut copies = Vec::new();
        for cell in self
            .cells
            .iter_mut()
            .filter(|c| c.0 < len && c.2.contains(&from))
        {
            if self.unified {
                cell.2.push(to);
            } else {
                copies.push((cell.0, cell.1, vec![to]));
            }
        }
        self.cells.extend(copies);
    }

    fn forget(&mut self, seq: Seq, from: usize) -> bool {
        for cell in self.cells.iter_mut().filter(|cell| cell.0 >= from) {
            cell.2.retain(|&holder| holder != seq);
        }
        self.cells.retain(|cell| !cell.2.is_empty());
        true
    }
}

#[derive(Clone, Debug)]
enum Op {
    Admit(Vec<u32>, usize),
    Decode(usize, Vec<u32>, usize),
    Finish(usize),
    Release(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let tokens = || prop::collection::vec(0u32..3, 1..12);
    prop_oneof![
        3 => (tokens(), 0usize..2).prop_map(|(t, d)| Op::Admit(t, d)),
        4 => (0usize..8, tokens(), 0usize..4).prop_map(|(i, t, r)| Op::Decode(i, t, r)),
        2 => (0usize..8).prop_map(Op::Finish),
        1 => (0usize..8).prop_map(Op::Release),
    ]
}

struct Running {
    seq: Seq,
    tokens: Vec<u32>,
    decoded: usize,
}

fn check(layout: Layout, crowded: bool, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let config = CacheConfig {
        layout,
        running: 4,
        domains: 2,
        reuse: true,
        crowded,
    };
    let mut cache = Cache::new(config);
    let unified = layout != Layout::Streams;
    let mut model = Model {
        unified,
        ..Model::default()
    };
    // What is computed under one adapter must not be shared with another: the model's tokens carry it.
    let tagged = |domain: usize, token: u32| token + 100 * u32::try_from(domain).unwrap();
    let mut running: Vec<(Running, usize)> = Vec::new();
    for op in ops {
        match op {
            Op::Admit(tokens, domain) if running.len() < 4 => {
                let Some(admitted) = cache.admit(&mut model, domain, &tokens, 2) else {
                    prop_assert!(unified, "a stream is always to be had");
                    continue;
                };
                prop_assert!(admitted.shared < tokens.len());
                let held = model.held(admitted.seq);
                prop_assert_eq!(held.len(), admitted.shared);
                for (position, token) in held {
                    prop_assert_eq!(token, tagged(domain, tokens[position]));
                }
                let decoded = admitted.shared;
                running.push((
                    Running {
                        seq: admitted.seq,
                        tokens,
                        decoded,
                    },
                    domain,
                ));
            }
            Op::Admit(..) => {}
            Op::Decode(index, more, rejected) => {
                let Some((sequence, domain)) = running.get_mut(index) else {
                    continue;
                };
                sequence.tokens.extend(more);
                let pending = sequence.tokens.len() - sequence.decoded;
                if !cache.make_room(&mut model, pending + rejected) {
                    continue;
                }
                for position in sequence.decoded..sequence.tokens.len() {
                    model.decode(
                        sequence.seq,
                        position,
                        tagged(*domain, sequence.tokens[position]),
                    );
                }
                cache.decoded(sequence.seq, &sequence.tokens[sequence.decoded..]);
                sequence.decoded = sequence.tokens.len();
                for extra in 0..rejected {
                    model.decode(sequence.seq, sequence.decoded + extra, 77);
                }
                if rejected > 0 {
                    let kept = cache.rewind(&mut model, sequence.seq, sequence.decoded);
                    prop_assert_eq!(kept, sequence.decoded);
                }
            }
            Op::Finish(index) if index < running.len() => {
                cache.finish(&mut model, running.remove(index).0.seq);
            }
            Op::Release(index) if index < running.len() => {
                cache.release(&mut model, running.remove(index).0.seq);
            }
            Op::Finish(_) | Op::Release(_) => {}
        }
        // The book and the cells agree.
        for seq in 0..Seq::try_from(Cache::sequences(&config)).unwrap() {
            prop_assert_eq!(model.held(seq).len(), cache.tree.len(seq));
        }
        for (sequence, domain) in &running {
            let held: Vec<u32> = model.held(sequence.seq).into_values().collect();
            let expected: Vec<u32> = sequence.tokens[..sequence.decoded]
                .iter()
                .map(|&token| tagged(*domain, token))
                .collect();
            prop_assert_eq!(held, expected);
        }
        if let Layout::Unified { cells } = layout {
            prop_assert_eq!(model.cells.len(), cache.tree.cells());
            prop_assert!(model.cells.len() <= cells);
        }
    }
    // Nothing leaks: with everything released and evicted, no cell is left.
    for (sequence, _) in running {
        cache.finish(&mut model, sequence.seq);
    }
    if unified {
        while cache.evict(&mut model) {}
        prop_assert!(model.cells.is_empty() && cache.tree.is_empty());
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_unified_cache_shares_only_equal_tokens_and_leaks_no_cell(
        ops in prop::collection::vec(op(), 0..80),
        cells in 12usize..80,
        crowded: bool,
    ) {
        check(Layout::Unified { cells }, crowded, ops)?;
    }

    #[test]
    fn streams_share_only_equal_tokens(ops in prop::collection::vec(op(), 0..80)) {
        check(Layout::Streams, true, ops)?;
    }
}

fn unified(cells: usize) -> (Cache, Model) {
    let config = CacheConfig {
        layout: Layout::Unified { cells },
        running: 4,
        domains: 1,
        reuse: true,
        crowded: false,
    };
    let model = Model {
        unified: true,
        ..Model::default()
    };
    (Cache::new(config), model)
}

fn run(cache: &mut Cache, model: &mut Model, tokens: &[u32]) -> Admitted {
    let admitted = cache.admit(model, 0, tokens, 0).unwrap();
    for (position, &token) in tokens.iter().enumerate().skip(admitted.shared) {
        model.decode(admitted.seq, position, token);
    }
    cache.decoded(admitted.seq, &tokens[admitted.shared..]);
    admitted
}

#[test]
fn a_prefix_is_shared_while_its_first_owner_still_runs() {
    let (mut cache, mut model) = unified(100);
    run(&mut cache, &mut model, &[1, 2, 3, 4]);
    let second = run(&mut cache, &mut model, &[1, 2, 3, 9, 9]);
    assert_eq!(second.shared, 3);
    assert_eq!(model.cells.len(), 6);
}

#[test]
fn what_runs_is_never_evicted_and_the_oldest_of_the_rest_goes_first() {
    let (mut cache, mut model) = unified(16);
    let old = run(&mut cache, &mut model, &[1; 4]);
    cache.finish(&mut model, old.seq);
    let young = run(&mut cache, &mut model, &[2; 4]);
    cache.finish(&mut model, young.seq);
    run(&mut cache, &mut model, &[3; 7]);
    assert!(cache.make_room(&mut model, 5));
    assert_eq!(cache.resident(0, &[1; 5]), 0);
    assert_eq!(cache.resident(0, &[2; 5]), 4);
    assert!(!cache.make_room(&mut model, 10));
    assert_eq!(cache.resident(0, &[3; 8]), 7);
}

#[test]
fn a_request_that_finds_no_room_takes_nothing_away() {
    let (mut cache, mut model) = unified(16);
    let done = run(&mut cache, &mut model, &[1; 4]);
    cache.finish(&mut model, done.seq);
    run(&mut cache, &mut model, &[2; 10]);
    assert_eq!(cache.admit(&mut model, 0, &[3; 5], 4), None);
    assert_eq!(cache.resident(0, &[1; 5]), 4);
    assert!(!cache.make_room(&mut model, 7));
    assert_eq!(cache.resident(0, &[1; 5]), 4);
    assert!(cache.make_room(&mut model, 6));
    assert_eq!(cache.resident(0, &[1; 5]), 0);
}

#[test]
fn what_finished_stays_as_long_as_there_is_room_unless_tokens_look_at_it() {
    for crowded in [false, true] {
        let (mut cache, mut model) = unified(40);
        cache.config.crowded = crowded;
        for token in 1..=4 {
            let done = run(&mut cache, &mut model, &[token; 9]);
            cache.finish(&mut model, done.seq);
        }
        let resident = (1..=4).filter(|&token| cache.resident(0, &[token; 10]) == 9);
        assert_eq!(resident.count(), if crowded { 1 } else { 4 });
    }
}

#[test]
fn without_reuse_nothing_stays() {
    let (mut cache, mut model) = unified(16);
    cache.config.reuse = false;
    let first = run(&mut cache, &mut model, &[1; 4]);
    cache.finish(&mut model, first.seq);
    assert!(model.cells.is_empty());
    assert_eq!(run(&mut cache, &mut model, &[1; 4]).shared, 0);
}
