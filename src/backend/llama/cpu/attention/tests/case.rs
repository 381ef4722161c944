//! Attention to be computed, and what it is to come to.

use std::sync::Barrier;

use llama_cpp_sys_2 as sys;

use super::super::super::{Kernel, choose, kernels};
use super::super::{Attention, Place};

/// Minus infinity in half precision.
pub const HIDDEN: u16 = 0xfc00;

/// Queries, keys and values, and who sees what.
#[derive(Clone, Debug)]
pub struct Case {
    pub width: usize,
    pub value_width: usize,
    pub tokens: usize,
    pub heads: usize,
    pub group: usize,
    pub streams: usize,
    pub cells: usize,
    pub queries: Vec<f32>,
    pub keys: Vec<u16>,
    pub values: Vec<u16>,
    /// A half for every cell, for each token of each stream.
    pub mask: Vec<u16>,
}

/// How large a case is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub width: usize,
    pub value_width: usize,
    pub tokens: usize,
    pub heads: usize,
    pub group: usize,
    pub streams: usize,
    pub cells: usize,
}

pub const SMALL: Shape = Shape {
    width: 64,
    value_width: 64,
    tokens: 3,
    heads: 3,
    group: 3,
    streams: 1,
    cells: 256,
};

/// Numbers between -1 and 1, the same each time.
pub fn numbers(count: usize, mut seed: u64) -> Vec<f32> {
    let mut next = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Numbers as ggml rounds them to half precision.
pub fn halves(numbers: &[f32]) -> Vec<u16> {
    // SAFETY: a plain conversion.
    let half = |number: &f32| unsafe { sys::ggml_fp32_to_fp16(*number) };
    numbers.iter().map(half).collect()
}

pub fn number(half: u16) -> f64 {
    // SAFETY: a plain conversion.
    f64::from(unsafe { sys::ggml_fp16_to_fp32(half) })
}

impl Case {
    /// Of a shape, where token `t` of stream `s` sees cell `c` if `sees(s, t, c)`.
    pub fn new(shape: Shape, seed: u64, sees: impl Fn(usize, usize, usize) -> bool) -> Self {
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
    pub fn only(&self, tokens: std::ops::Range<usize>) -> Self {
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
    pub fn size(&self) -> usize {
        self.streams * self.tokens * self.heads * self.group * self.value_width
    }

    const SCALE: f32 = 0.125;

    /// In double precision.
    pub fn expected(&self) -> Vec<f64> {
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
    pub fn attend(&self, kernel: Kernel, threads: usize) -> Vec<f32> {
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

    pub fn check(&self, threads: usize) {
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
    pub fn through_ggml(&self, threads: i32) -> Vec<f32> {
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
