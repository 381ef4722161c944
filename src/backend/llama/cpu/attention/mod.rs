//! Attention over a cache in half precision, faster than ggml's own.
//!
//! ggml takes the keys that a token sees one after the other, with an exponential and a rescaled sum for each, unless 64
//! tokens of a stream are computed together. Here those keys are gathered in tiles of 64 ([`seen`]), read once for the
//! tokens and heads of a task, and multiplied as matrices ([`kernel`]). What a token does not see costs no more than a
//! look at its mask, wherever it lies: in a pool of cells the tokens of a sequence lie between those of others. Scores,
//! weights and sums are in single precision, with the online softmax of <https://arxiv.org/abs/2112.05682>.
//!
//! A mask may hide a key and not bias it, as llama.cpp's masks do unless a model has ALiBi. That, attention sinks, capped
//! scores, caches of other types, and heads whose size is no multiple of 16 or above 512 stay with ggml.

mod avx2;
mod avx512;
mod kernel;
mod scratch;
mod seen;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use llama_cpp_sys_2::{GGML_OP_FLASH_ATTN_EXT, GGML_TYPE_F16, GGML_TYPE_F32, ggml_tensor};

use super::{ALIGNMENT, Kernel};
use scratch::{Head, Row, Scratch, TILE, UNIT};
use seen::Seen;

/// The most rows that are computed together; a row is a token of one head.
const MAX_ROWS: usize = 64;

/// What it costs to read a tile of keys and values, in rows that are multiplied with it.
const READING: usize = 3;

/// The largest size of a head.
const MAX_WIDTH: usize = 512;

/// Where numbers lie: bytes from one token or cell to the next, from one head to the next, from one stream to the next.
#[derive(Clone, Copy)]
struct Place {
    data: *mut u8,
    strides: [usize; 3],
}

impl Place {
    /// Of a tensor whose dimensions are numbers, tokens or cells, heads and streams.
    fn of(tensor: &ggml_tensor) -> Self {
        Self {
            data: tensor.data.cast(),
            strides: [tensor.nb[1], tensor.nb[2], tensor.nb[3]],
        }
    }

    /// The first number of a token or cell.
    fn at(self, token: usize, head: usize, stream: usize) -> *mut u8 {
        let [tokens, heads, streams] = self.strides;
        self.data
            .wrapping_add(token * tokens + head * heads + stream * streams)
    }
}

/// Attention that is computed here.
#[derive(Clone, Copy)]
pub(super) struct Attention {
    kernel: Kernel,
    queries: Place,
    keys: Place,
    values: Place,
    mask: Place,
    output: Place,
    /// Numbers of a key.
    width: usize,
    /// Numbers of a value.
    value_width: usize,
    tokens: usize,
    /// Heads of keys and values.
    heads: usize,
    /// Heads of queries that share one of keys and values.
    group: usize,
    streams: usize,
    cells: usize,
    scale: f32,
}

impl Attention {
    /// The attention that an operation asks for, if it is one for this module.
    ///
    /// # Safety
    ///
    /// `op` is a valid operation.
    pub(super) unsafe fn of(kernel: Kernel, op: *const ggml_tensor) -> Option<Self> {
        // SAFETY: the caller's promise; sources that are there are valid tensors.
        unsafe {
            let op = &*op;
            if op.op != GGML_OP_FLASH_ATTN_EXT || !op.src[4].is_null() {
                return None;
            }
            let [queries, keys, values] = [&*op.src[0], &*op.src[1], &*op.src[2]];
            let mask = op.src[3].as_ref()?;
            let parameter = |index: usize| f32::from_bits(op.op_params[index].cast_unsigned());
            let [scale, bias, cap] = std::array::from_fn(parameter);
            let halves = |tensor: &ggml_tensor| {
                tensor.type_ == GGML_TYPE_F16 && tensor.nb[0] == size_of::<u16>()
            };
            let numbers = |tensor: &ggml_tensor| {
                tensor.type_ == GGML_TYPE_F32 && tensor.nb[0] == size_of::<f32>()
            };
            let width = |tensor: &ggml_tensor| {
                (1..=MAX_WIDTH as i64).contains(&tensor.ne[0])
                    && (tensor.ne[0] as usize).is_multiple_of(UNIT)
            };
            let fits = bias == 0.0
                && cap == 0.0
                && numbers(queries)
                && numbers(op)
                && halves(keys)
                && halves(values)
                && halves(mask)
                && width(keys)
                && width(values)
                && keys.ne[2] == values.ne[2]
                && queries.ne[2] % keys.ne[2] == 0
                && keys.ne[3] == queries.ne[3]
                && values.ne[3] == queries.ne[3]
                && mask.ne[0] == keys.ne[1]
                && mask.ne[1] >= queries.ne[1]
                && mask.ne[2] == 1
                && (mask.ne[3] == queries.ne[3] || mask.ne[3] == 1);
            fits.then(|| Self {
                kernel,
                queries: Place::of(queries),
                keys: Place::of(keys),
                values: Place::of(values),
                mask: Place {
                    data: mask.data.cast(),
                    // One mask may be for all streams.
                    strides: [mask.nb[1], 0, if mask.ne[3] == 1 { 0 } else { mask.nb[3] }],
                },
                output: Place {
                    data: op.data.cast(),
                    // Here heads come before tokens.
                    strides: [op.nb[2], op.nb[1], op.nb[3]],
                },
                width: keys.ne[0] as usize,
                value_width: values.ne[0] as usize,
                tokens: queries.ne[1] as usize,
                heads: keys.ne[2] as usize,
                group: (queries.ne[2] / keys.ne[2]) as usize,
                streams: queries.ne[3] as usize,
                cells: keys.ne[1] as usize,
                scale,
            })
        }
    }

    /// Rows that share keys and values.
    fn rows(&self) -> usize {
        self.tokens * self.group
    }

    /// How many rows to compute together, so that all threads are soonest done: few, to share the work evenly, and many,
    /// since each task reads the keys for itself.
    fn rows_of_task(&self, threads: usize) -> usize {
        let cost = |rows: &usize| {
            let tasks = self.rows().div_ceil(*rows) * self.heads * self.streams;
            tasks.div_ceil(threads) * (READING + rows)
        };
        (1..=MAX_ROWS.min(self.rows()).max(1))
            .min_by_key(cost)
            .unwrap_or(1)
    }

    /// The most tokens of a task.
    fn tokens_of_task(&self) -> usize {
        self.tokens.min(MAX_ROWS.div_ceil(self.group) + 1)
    }

    /// Bytes that a thread works in.
    fn scratch_size(&self) -> usize {
        Scratch::size(self.width, self.value_width)
            + Seen::size(self.cells, self.tokens_of_task()).next_multiple_of(ALIGNMENT)
    }

    /// Bytes for what all tokens see: a bit for each cell.
    fn bits_size(&self) -> usize {
        (self.streams * self.tokens * seen::words(self.cells) * size_of::<u64>())
            .next_multiple_of(ALIGNMENT)
    }

    /// Bytes that it needs to work in: a counter of tasks, what tokens see, and what threads work in.
    pub(super) fn work_size(&self, threads: usize) -> usize {
        2 * ALIGNMENT + self.bits_size() + threads * self.scratch_size()
    }

    /// Computes one thread's share.
    ///
    /// # Safety
    ///
    /// All threads of the operation call this with the same attention and a work buffer of
    /// [`work_size`](Self::work_size) bytes; `barrier` waits for all of them.
    pub(super) unsafe fn compute(
        &self,
        thread: usize,
        threads: usize,
        work: *mut u8,
        barrier: impl FnOnce(),
    ) {
        // SAFETY: the counter, the bits and each thread's part lie in the buffer and do not overlap. Before the barrier
        // each thread writes its own words of the bits; after it they are only read. Numbers are written by the one
        // thread that has claimed their task.
        unsafe {
            let start = work.add(work.align_offset(ALIGNMENT));
            let claimed = &*start.cast::<AtomicUsize>();
            if thread == 0 {
                // Every thread begins with a task of its own.
                claimed.store(threads, Ordering::Relaxed);
            }
            let bits = start.add(ALIGNMENT).cast::<u64>();
            let all = self.streams * self.tokens * seen::words(self.cells);
            seen::read_words(
                all * thread / threads..all * (thread + 1) / threads,
                self.cells,
                |row| self.mask(row % self.tokens, row / self.tokens),
                bits,
            );
            let own = start.add(ALIGNMENT + self.bits_size() + thread * self.scratch_size());
            let mut scratch = Scratch::new(own, self.width, self.value_width);
            let seen = own.add(Scratch::size(self.width, self.value_width));
            let mut seen = Seen::new(seen, self.cells, self.tokens_of_task());
            barrier();
            let bits = std::slice::from_raw_parts(bits, all);
            let rows = self.rows_of_task(threads);
            let blocks = self.rows().div_ceil(rows);
            let tasks = blocks * self.heads * self.streams;
            let task = |index: usize| Task {
                rows: index % blocks * rows..((index % blocks + 1) * rows).min(self.rows()),
                head: index / blocks % self.heads,
                stream: index / blocks / self.heads,
            };
            let mut next = (thread < tasks).then(|| task(thread));
            while let Some(this) = next {
                let index = claimed.fetch_add(1, Ordering::Relaxed);
                next = (index < tasks).then(|| task(index));
                if let Some(next) = &next {
                    self.ask_for(next, bits);
                }
                self.task(this, bits, &mut seen, &mut scratch);
            }
        }
    }

    /// A head of keys and values in a stream.
    fn head(&self, head: usize, stream: usize) -> Head {
        Head {
            keys: self.keys.at(0, head, stream),
            values: self.values.at(0, head, stream),
            key_bytes: self.keys.strides[0],
            value_bytes: self.values.strides[0],
            scale: self.scale,
        }
    }

    /// The mask of a token of a stream.
    fn mask(&self, token: usize, stream: usize) -> *const u16 {
        self.mask.at(token, 0, stream).cast()
    }

    /// Asks for what a task reads first, so that it arrives while another is computed.
    ///
    /// # Safety
    ///
    /// There is such a task.
    unsafe fn ask_for(&self, task: &Task, bits: &[u64]) {
        let words = seen::words(self.cells);
        let token = task.stream * self.tokens + task.rows.start / self.group;
        let mut cells = [0; TILE];
        let cells = seen::first(&bits[token * words..][..words], &mut cells);
        self.head(task.head, task.stream)
            .ask_for(cells, self.width, self.value_width);
    }

    /// Computes a task.
    ///
    /// # Safety
    ///
    /// There is such a task, and nobody else writes its results.
    unsafe fn task<'a>(
        &self,
        task: Task,
        bits: &'a [u64],
        seen: &mut Seen<'a>,
        scratch: &mut Scratch<'_>,
    ) {
        let Task { rows, head, stream } = task;
        let token = |row: usize| row / self.group;
        let tokens = token(rows.start)..token(rows.end - 1) + 1;
        let mut from = rows.start;
        // SAFETY: the caller's promise, and a mask has a half for each cell.
        unsafe {
            let words = seen::words(self.cells);
            let place = stream * self.tokens;
            seen.look(
                tokens.start,
                &bits[(place + tokens.start) * words..(place + tokens.end) * words],
            );
            while from < rows.end {
                let together = seen.together(token(from)..tokens.end, self.group, READING);
                let to = rows.end.min(together.end * self.group);
                let keys = seen.gather(together);
                let row = |row: usize| {
                    let head = head * self.group + row % self.group;
                    Row {
                        token: token(row) - token(from),
                        query: self.queries.at(token(row), head, stream).cast(),
                        output: self.output.at(token(row), head, stream).cast(),
                    }
                };
                let head = self.head(head, stream);
                scratch.attend(self.kernel, head, &keys, (from..to).map(row));
                from = to;
            }
        }
    }
}

/// Rows of a head of keys in a stream.
struct Task {
    rows: Range<usize>,
    head: usize,
    stream: usize,
}
