mod case;

use proptest::prelude::*;

use super::super::{Kernel, choose, kernels};
use super::seen::{Seen, read_words, words};
use super::{Attention, MAX_ROWS, Place, READING};
use case::{Case, HIDDEN, SMALL, Shape};

/// The bits of numbers, which compare to the last.
fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

#[test]
fn a_sequence_sees_what_came_before() {
    let shape = Shape {
        tokens: 150,
        ..SMALL
    };
    Case::new(shape, 1, |_, token, cell| cell <= 100 + token).check(2);
}

#[test]
fn sequences_in_one_pool_see_their_own_cells_and_a_prefix() {
    let shape = Shape {
        tokens: 16,
        cells: 512,
        ..SMALL
    };
    // After a common prefix every 16th cell is a sequence's own.
    Case::new(shape, 2, |_, token, cell| cell < 100 || cell % 16 == token).check(2);
}

#[test]
fn streams_have_masks_of_their_own() {
    let shape = Shape {
        tokens: 5,
        streams: 3,
        ..SMALL
    };
    Case::new(shape, 3, |stream, token, cell| cell <= 70 * stream + token).check(3);
}

#[test]
fn widths_that_fill_no_vectors_of_the_widest_kind_are_right() {
    for (width, value_width) in [(16, 16), (80, 48), (128, 128), (192, 96), (512, 512)] {
        let shape = Shape {
            width,
            value_width,
            tokens: 4,
            heads: 1,
            ..SMALL
        };
        Case::new(shape, 4, |_, token, cell| (cell + token) % 3 > 0).check(1);
    }
}

#[test]
fn a_token_that_sees_nothing_gets_zeros() {
    let case = Case::new(SMALL, 5, |_, token, cell| token != 1 && cell < 9);
    case.check(2);
    for kernel in kernels() {
        let row = case.size() / SMALL.tokens;
        assert!(
            case.attend(kernel, 2)[row..2 * row]
                .iter()
                .all(|number| *number == 0.0)
        );
    }
}

#[test]
fn scores_far_apart_neither_vanish_nor_overflow() {
    let mut case = Case::new(SMALL, 6, |_, _, _| true);
    for (index, query) in case.queries.iter_mut().enumerate() {
        *query *= 10_f32.powi((index / SMALL.width % 4) as i32);
    }
    // Beside large scores single precision is coarser.
    let expected = case.expected();
    for kernel in kernels() {
        for (result, expected) in case.attend(kernel, 1).iter().zip(&expected) {
            assert!(
                (f64::from(*result) - expected).abs() < 5e-3,
                "{result}, not {expected}"
            );
        }
    }
}

#[test]
fn what_is_no_number_stays_none_and_with_its_token() {
    let mut case = Case::new(SMALL, 7, |_, token, cell| cell % 3 == token);
    let row = SMALL.heads * SMALL.group * SMALL.width;
    case.queries[row] = f32::NAN;
    for kernel in kernels() {
        let results = case.attend(kernel, 2);
        let (first, rest) = results.split_at(row);
        let (second, third) = rest.split_at(row);
        assert!(first.iter().chain(third).all(|number| number.is_finite()));
        // The first head of the token, and no other.
        let (head, others) = second.split_at(SMALL.value_width);
        assert!(head.iter().all(|number| number.is_nan()));
        assert!(others.iter().all(|number| number.is_finite()));
    }
}

#[test]
fn a_value_that_is_no_number_stays_with_those_who_see_it() {
    let shape = Shape { tokens: 2, ..SMALL };
    // Computed together, and only the second token sees cell 101.
    let mut case = Case::new(shape, 8, |_, token, cell| cell <= 100 + token);
    let infinite = 0x7c00;
    case.values[101 * SMALL.heads * SMALL.value_width] = infinite;
    let mut without = case.clone();
    without.values[101 * SMALL.heads * SMALL.value_width] = 0;
    let expected = without.expected();
    for kernel in kernels() {
        let results = case.attend(kernel, 1);
        let row = results.len() / 2;
        for (result, expected) in results[..row].iter().zip(&expected) {
            assert!((f64::from(*result) - expected).abs() < 2e-6);
        }
        // One number of each head of the group.
        let odd = results[row..].iter().filter(|number| !number.is_finite());
        assert_eq!(odd.count(), SMALL.group);
    }
}

#[test]
fn a_token_of_a_sequence_gets_to_the_bit_what_it_gets_alone() {
    for (tokens, threads) in [(2, 1), (9, 2), (70, 3)] {
        let shape = Shape { tokens, ..SMALL };
        let case = Case::new(shape, 8, |_, token, cell| cell <= 150 + token);
        let row = case.size() / tokens;
        for kernel in kernels() {
            let together = case.attend(kernel, threads);
            for token in 0..tokens {
                let alone = case.only(token..token + 1).attend(kernel, 1);
                assert_eq!(
                    bits(&alone),
                    bits(&together[token * row..][..row]),
                    "{kernel:?}: token {token} of {tokens}"
                );
            }
        }
    }
}

#[test]
fn ggml_computes_its_attention_here() {
    let Some(kernel) = choose(true) else { return };
    for (tokens, streams) in [(1, 1), (1, 4), (40, 1), (100, 2)] {
        let shape = Shape {
            tokens,
            streams,
            ..SMALL
        };
        let case = Case::new(shape, 9, |stream, token, cell| {
            cell <= 60 + 20 * stream + token
        });
        for threads in 1..4 {
            let there = case.through_ggml(threads);
            assert_eq!(bits(&there), bits(&case.attend(kernel, threads as usize)));
        }
    }
}

#[test]
fn tokens_are_taken_together_where_they_see_the_same() {
    let (cells, tokens) = (1024, 8);
    let first = |sees: &dyn Fn(usize, usize) -> bool| {
        let mut memory = vec![0_u64; Seen::size(cells, tokens).div_ceil(8)];
        let masks: Vec<Vec<u16>> = (0..tokens)
            .map(|token| {
                let half = |cell| if sees(token, cell) { 0 } else { HIDDEN };
                (0..cells).map(half).collect()
            })
            .collect();
        if kernels().is_empty() {
            return None;
        }
        // SAFETY: the memory is as large as asked for, every kernel needs AVX2, and masks have a half for each cell.
        unsafe {
            let mut bits = vec![0; tokens * words(cells)];
            let mask = |token: usize| masks[token].as_ptr();
            read_words(0..bits.len(), cells, mask, bits.as_mut_ptr());
            let mut seen = Seen::new(memory.as_mut_ptr().cast(), cells, tokens);
            seen.look(0, &bits);
            Some(seen.together(0..tokens, 3, READING).end)
        }
    };
    let all = |end: Option<usize>, wanted: usize| assert!(end.is_none_or(|end| end == wanted));
    // A sequence; one of four tokens before another; and sequences that share nothing.
    all(first(&|token, cell| cell <= 500 + token), tokens);
    all(first(&|token, cell| cell % 2 == token / 4), 4);
    all(first(&|token, cell| cell % 8 == token), 1);
}

#[test]
fn a_task_has_as_many_rows_as_make_all_threads_soonest_done() {
    let rows = |tokens, streams, threads| {
        let case = Case::new(
            Shape {
                tokens,
                streams,
                ..SMALL
            },
            10,
            |_, _, _| true,
        );
        let attention = Attention {
            kernel: Kernel::Avx2,
            queries: Place {
                data: std::ptr::null_mut(),
                strides: [0; 3],
            },
            keys: Place {
                data: std::ptr::null_mut(),
                strides: [0; 3],
            },
            values: Place {
                data: std::ptr::null_mut(),
                strides: [0; 3],
            },
            mask: Place {
                data: std::ptr::null_mut(),
                strides: [0; 3],
            },
            output: Place {
                data: std::ptr::null_mut(),
                strides: [0; 3],
            },
            width: case.width,
            value_width: case.value_width,
            tokens,
            heads: case.heads,
            group: case.group,
            streams,
            cells: case.cells,
            scale: 1.0,
        };
        attention.rows_of_task(threads)
    };
    // One token: its heads are together while there are enough tasks, and apart where threads would wait.
    assert_eq!(rows(1, 1, 3), 3);
    assert_eq!(rows(1, 1, 9), 1);
    assert_eq!(rows(1, 16, 2), 3);
    // A prompt: nearly as many as there is room for.
    assert!(rows(512, 1, 2) > MAX_ROWS / 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn attention_is_right_whatever_the_shape(
        widths in (1_usize..5, 1_usize..5),
        tokens in 1_usize..40,
        heads in 1_usize..4,
        group in 1_usize..5,
        streams in 1_usize..3,
        cells in 1_usize..300,
        threads in 1_usize..4,
        share in 1_u64..100,
        seed: u64,
    ) {
        let shape = Shape {
            width: 16 * widths.0,
            value_width: 16 * widths.1,
            tokens,
            heads,
            group,
            streams,
            cells,
        };
        // Any cells, few or many.
        let sees = |stream: usize, token: usize, cell: usize| {
            let place = (stream * tokens + token) * cells + cell;
            (seed ^ place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 & 127 < share
        };
        Case::new(shape, seed, sees).check(threads);
    }
}
