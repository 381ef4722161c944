use std::sync::Barrier;

use llama_cpp_sys_2 as sys;
use proptest::prelude::*;

use super::super::{Kernel, choose, kernels};
use super::seen::Seen;
use super::{Attention, MAX_ROWS, Place, READING};

/// Minus infinity in half precision.
const HIDDEN: u16 = 0xfc00;

/// Queries, keys and values, and who sees what.
#[derive(Clone, Debug)]
struct Case {
    width: usize,
    value_width: usize,
    tokens: usize,
    heads: usize,
    group: usize,
    streams: usize,
    cells: usize,
    queries: Vec<f32>,
    keys: Vec<u16>,
    values: Vec<u16>,
    /// A half for every cell, for each token of each stream.
    mask: Vec<u16>,
}

/// How large a case is.
#[derive(Clone, Copy, Debug)]
struct Shape {
    width: usize,
    value_width: usize,
    tokens: usize,
    heads: usize,
    group: usize,
    streams: usize,
    cells: usize,
}

const SMALL: Shape = Shape {
    width: 64,
    value_width: 64,
    tokens: 3,
    heads: 3,
    group: 3,
    streams: 1,
    cells: 256,
};

/// Numbers between -1 and 1, the same each time.
fn numbers(count: usize, mut seed: u64) -> Vec<f32> {
    let mut next = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Numbers as ggml rounds them to half precision.
fn halves(numbers: &[f32]) -> Vec<u16> {
    // SAFETY: a plain conversion.
    let half = |number: &f32| unsafe { sys::ggml_fp32_to_fp16(*number) };
    numbers.iter().map(half).collect()
}

fn number(half: u16) -> f64 {
    // SAFETY: a plain conversion.
    f64::from(unsafe { sys::ggml_fp16_to_fp32(half) })
}

impl Case {
    /// Of a shape, where token `t` of stream `s` sees cell `c` if `sees(s, t, c)`.
    fn new(shape: Shape, seed: u64, sees: impl Fn(usize, usize, usize) -> bool) -> Self {
        let Shape {
            width,
            value_width,
            tokens,
            heads,
            group,
            streams,
            cells,
        } = shape;
        let mut mask = Vec::new();
        for stream in 0..streams {
            for token in 0..tokens {
                mask.extend((0..cells).map(|cell| match sees(stream, token, cell) {
                    true => 0,
                    false => HIDDEN,
                }));
            }
        }
        Self {
            width,
            value_width,
            tokens,
            heads,
            group,
            streams,
            cells,
            queries: numbers(streams * tokens * heads * group * width, seed),
            keys: halves(&numbers(streams * cells * heads * width, seed ^ 1)),
            values: halves(&numbers(streams * cells * heads * value_width, seed ^ 2)),
            mask,
        }
    }

    /// Some of the tokens of one stream alone.
    fn only(&self, tokens: std::ops::Range<usize>) -> Self {
        assert_eq!(self.streams, 1);
        let row = self.heads * self.group * self.width;
        Self {
            tokens: tokens.len(),
            queries: self.queries[tokens.start * row..tokens.end * row].to_vec(),
            mask: self.mask[tokens.start * self.cells..tokens.end * self.cells].to_vec(),
            ..self.clone()
        }
    }

    /// Numbers of a result.
    fn size(&self) -> usize {
        self.streams * self.tokens * self.heads * self.group * self.value_width
    }

    const SCALE: f32 = 0.125;

    /// In double precision.
    fn expected(&self) -> Vec<f64> {
        let mut results = Vec::new();
        for stream in 0..self.streams {
            for token in 0..self.tokens {
                let place = stream * self.tokens + token;
                let mask = &self.mask[place * self.cells..][..self.cells];
                for head in 0..self.heads * self.group {
                    let query = &self.queries
                        [(place * self.heads * self.group + head) * self.width..][..self.width];
                    results.extend(self.row(query, stream, head / self.group, mask));
                }
            }
        }
        results
    }

    fn row(&self, query: &[f32], stream: usize, head: usize, mask: &[u16]) -> Vec<f64> {
        let place = |cell: usize| (stream * self.cells + cell) * self.heads + head;
        let scores: Vec<f64> = (0..self.cells)
            .map(|cell| {
                let key = &self.keys[place(cell) * self.width..][..self.width];
                let products = query
                    .iter()
                    .zip(key)
                    .map(|(q, k)| f64::from(*q) * number(*k));
                products.sum::<f64>() * f64::from(Self::SCALE) + number(mask[cell])
            })
            .collect();
        let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut totals = vec![0.0; self.value_width];
        let mut sum = 0.0;
        for (cell, score) in scores
            .iter()
            .enumerate()
            .filter(|(_, score)| score.is_finite())
        {
            let weight = (score - highest).exp();
            sum += weight;
            let value = &self.values[place(cell) * self.value_width..][..self.value_width];
            for (total, number_of) in totals.iter_mut().zip(value) {
                *total += weight * number(*number_of);
            }
        }
        totals
            .iter()
            .map(|total| total / f64::max(sum, 1e-300))
            .collect()
    }

    /// By several threads.
    fn attend(&self, kernel: Kernel, threads: usize) -> Vec<f32> {
        #[derive(Clone, Copy)]
        struct Shared(Attention, *mut u8);
        // SAFETY: the threads share the buffers as `Attention::compute` says.
        unsafe impl Send for Shared {}
        let place = |data: *const u8, number: usize, [tokens, heads, streams]: [usize; 3]| Place {
            data: data.cast_mut(),
            strides: [tokens * number, heads * number, streams * number],
        };
        let (all, width, value_width) = (self.heads * self.group, self.width, self.value_width);
        let mut output = vec![f32::NAN; self.size()];
        let attention = Attention {
            kernel,
            queries: place(
                self.queries.as_ptr().cast(),
                4,
                [all * width, width, self.tokens * all * width],
            ),
            keys: place(
                self.keys.as_ptr().cast(),
                2,
                [self.heads * width, width, self.cells * self.heads * width],
            ),
            values: place(
                self.values.as_ptr().cast(),
                2,
                [
                    self.heads * value_width,
                    value_width,
                    self.cells * self.heads * value_width,
                ],
            ),
            mask: place(
                self.mask.as_ptr().cast(),
                2,
                [self.cells, 0, self.tokens * self.cells],
            ),
            output: place(
                output.as_mut_ptr().cast(),
                4,
                [
                    all * value_width,
                    value_width,
                    self.tokens * all * value_width,
                ],
            ),
            width,
            value_width,
            tokens: self.tokens,
            heads: self.heads,
            group: self.group,
            streams: self.streams,
            cells: self.cells,
            scale: Self::SCALE,
        };
        // Filled with what is no number, so that what nobody has written shows.
        let mut work = vec![0xff_u8; attention.work_size(threads)];
        let shared = Shared(attention, work.as_mut_ptr());
        let barrier = Barrier::new(threads);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let barrier = &barrier;
                scope.spawn(move || {
                    let Shared(attention, work) = { shared };
                    // SAFETY: every thread runs this with the same attention and work buffer.
                    unsafe {
                        attention.compute(thread, threads, work, || {
                            barrier.wait();
                        });
                    }
                });
            }
        });
        output
    }

    fn check(&self, threads: usize) {
        let expected = self.expected();
        for kernel in kernels() {
            let results = self.attend(kernel, threads);
            for (index, (result, expected)) in results.iter().zip(&expected).enumerate() {
                // Single precision over values of at most one.
                assert!(
                    (f64::from(*result) - expected).abs() < 2e-6,
                    "{kernel:?}: number {index} is {result}, not {expected}"
                );
            }
        }
    }

    /// As an operation of ggml's CPU backend.
    fn through_ggml(&self, threads: i32) -> Vec<f32> {
        let mut output = vec![f32::NAN; self.size()];
        let sizes = |numbers: usize, tokens: usize, heads: usize| {
            [numbers, heads, tokens, self.streams].map(|size| size as i64)
        };
        // SAFETY: tensors, graph and buffer live until they are freed at the end; sizes are those of the tensors.
        unsafe {
            let context = sys::ggml_init(sys::ggml_init_params {
                mem_size: 16 * sys::ggml_tensor_overhead() + sys::ggml_graph_overhead(),
                mem_buffer: std::ptr::null_mut(),
                no_alloc: true,
            });
            let tensor = |kind, size: [i64; 4]| {
                sys::ggml_new_tensor_4d(context, kind, size[0], size[1], size[2], size[3])
            };
            let queries = tensor(
                sys::GGML_TYPE_F32,
                sizes(self.width, self.tokens, self.heads * self.group),
            );
            let keys = tensor(
                sys::GGML_TYPE_F16,
                sizes(self.width, self.cells, self.heads),
            );
            let values = tensor(
                sys::GGML_TYPE_F16,
                sizes(self.value_width, self.cells, self.heads),
            );
            let mask = tensor(
                sys::GGML_TYPE_F16,
                [self.cells, self.tokens, 1, self.streams].map(|size| size as i64),
            );
            let [q, k, v] =
                [queries, keys, values].map(|all| sys::ggml_permute(context, all, 0, 2, 1, 3));
            let attention = sys::ggml_flash_attn_ext(context, q, k, v, mask, Self::SCALE, 0.0, 0.0);
            let graph = sys::ggml_new_graph(context);
            sys::ggml_build_forward_expand(graph, attention);
            let backend = sys::ggml_backend_cpu_init();
            sys::ggml_backend_cpu_set_n_threads(backend, threads);
            let buffer = sys::ggml_backend_alloc_ctx_tensors(context, backend);
            assert!(!buffer.is_null());
            let set = |tensor, data: *const u8, bytes| {
                sys::ggml_backend_tensor_set(tensor, data.cast(), 0, bytes);
            };
            set(
                queries,
                self.queries.as_ptr().cast(),
                size_of_val(self.queries.as_slice()),
            );
            set(
                keys,
                self.keys.as_ptr().cast(),
                size_of_val(self.keys.as_slice()),
            );
            set(
                values,
                self.values.as_ptr().cast(),
                size_of_val(self.values.as_slice()),
            );
            set(
                mask,
                self.mask.as_ptr().cast(),
                size_of_val(self.mask.as_slice()),
            );
            if let Some(kernel) = choose(true) {
                assert!(Attention::of(kernel, attention).is_some());
            }
            assert_eq!(
                sys::ggml_backend_graph_compute(backend, graph),
                sys::GGML_STATUS_SUCCESS
            );
            let bytes = size_of_val(output.as_slice());
            sys::ggml_backend_tensor_get(attention, output.as_mut_ptr().cast(), 0, bytes);
            sys::ggml_backend_buffer_free(buffer);
            sys::ggml_backend_free(backend);
            sys::ggml_free(context);
        }
        output
    }
}

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
            let mut seen = Seen::new(memory.as_mut_ptr().cast(), cells, tokens);
            seen.read(0..tokens, |token| masks[token].as_ptr());
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
