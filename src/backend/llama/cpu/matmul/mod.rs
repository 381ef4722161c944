//! Products of quantised weights with many tokens at once, faster than ggml's own on common processors.
//!
//! For some formats ggml unpacks each row of weights anew for every token, so that a step of sixteen tokens costs some
//! eight times as much as a step of one (`scripts/bench --only products`). Here a tile of 16 rows is unpacked once a step
//! ([`panel`]) and multiplied with all tokens ([`kernel`]), by ggml's threads and on weights as they lie in the file. With
//! a few tokens a tile is multiplied as it is, to the same numbers. As in ggml's products of these formats, activations
//! are rounded to eight bits, 32 to a scale; scales and sums are in single precision.
//!
//! Weights that ggml repacks or keeps on a GPU stay with it, as do other formats and processors.

mod avx2;
mod avx512;
mod format;
mod kernel;
mod panel;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use llama_cpp_sys_2::{GGML_OP_MUL_MAT, GGML_TYPE_F32, ggml_backend_buffer_is_host, ggml_tensor};

use super::{ALIGNMENT, Kernel};
use format::Format;
use kernel::{Activation, Columns, FEW, Output, Rows};
use panel::{BLOCK, PanelBlock, ROWS};

/// A product that is computed here.
#[derive(Clone, Copy)]
pub(super) struct Product {
    kernel: Kernel,
    format: Format,
    weights: *const u8,
    /// Bytes from one row of weights to the next.
    row_bytes: usize,
    rows: usize,
    /// Blocks of 32 weights in a row.
    depth: usize,
    activations: *const u8,
    /// Bytes from one column of activations to the next.
    column_bytes: usize,
    columns: usize,
    output: *mut u8,
    /// Bytes from one column of results to the next.
    output_bytes: usize,
}

impl Product {
    /// The product that an operation asks for, if it is one for this module.
    ///
    /// # Safety
    ///
    /// `op` is a valid operation.
    pub(super) unsafe fn of(kernel: Kernel, op: *const ggml_tensor) -> Option<Self> {
        // SAFETY: the caller's promise; sources of a product are valid tensors.
        unsafe {
            let op = &*op;
            if op.op != GGML_OP_MUL_MAT {
                return None;
            }
            let (weights, activations) = (&*op.src[0], &*op.src[1]);
            let format = Format::of(weights.type_).filter(|format| kernel.reads(*format))?;
            let flat = |tensor: &ggml_tensor| tensor.ne[2] == 1 && tensor.ne[3] == 1;
            let numbers = |tensor: &ggml_tensor| {
                tensor.type_ == GGML_TYPE_F32 && tensor.nb[0] == size_of::<f32>()
            };
            let width = usize::try_from(weights.ne[0]).ok()?;
            let fits = flat(weights)
                && flat(activations)
                && numbers(activations)
                && numbers(op)
                && weights.view_src.is_null()
                && weights.nb[0] == format.bytes()
                && op.nb[1].is_multiple_of(size_of::<f32>())
                && width > 0
                && width.is_multiple_of(BLOCK)
                && weights.ne[1] > 0
                && activations.ne[1] > 0
                && !weights.buffer.is_null()
                && ggml_backend_buffer_is_host(weights.buffer);
            fits.then(|| Self {
                kernel,
                format,
                weights: weights.data.cast(),
                row_bytes: weights.nb[1],
                rows: weights.ne[1] as usize,
                depth: width / BLOCK,
                activations: activations.data.cast(),
                column_bytes: activations.nb[1],
                columns: activations.ne[1] as usize,
                output: op.data.cast(),
                output_bytes: op.nb[1],
            })
        }
    }

    /// Where the parts of the work buffer begin, from an aligned start: a counter, quants, scales, panels; and
    /// where they end.
    fn parts(&self, threads: usize) -> [usize; 4] {
        let quants = ALIGNMENT;
        let blocks = quants + self.columns * self.depth * BLOCK;
        let panels = (blocks + self.columns * self.depth * size_of::<Activation>())
            .next_multiple_of(ALIGNMENT);
        [
            quants,
            blocks,
            panels,
            panels + threads * self.depth * size_of::<PanelBlock>(),
        ]
    }

    /// Bytes that it needs to work in.
    pub(super) fn work_size(&self, threads: usize) -> usize {
        self.parts(threads)[3] + ALIGNMENT
    }

    /// Computes one thread's share.
    ///
    /// # Safety
    ///
    /// All threads of the operation call this with the same product and a work buffer of
    /// [`work_size`](Self::work_size) bytes; `barrier` waits for all of them.
    pub(super) unsafe fn compute(
        &self,
        thread: usize,
        threads: usize,
        work: *mut u8,
        barrier: impl FnOnce(),
    ) {
        let [quants, blocks, panels, _] = self.parts(threads);
        let quantised = self.columns * self.depth;
        // SAFETY: the parts do not overlap and lie in the buffer. Before the barrier each thread writes its own
        // blocks; after it they are only read, and each thread writes its own panel and its own tiles. What the
        // buffer holds before is some number or other.
        unsafe {
            let start = work.add(work.align_offset(ALIGNMENT));
            let claimed = &*start.cast::<AtomicUsize>();
            let (quants, blocks) = (
                start.add(quants).cast::<i8>(),
                start.add(blocks).cast::<Activation>(),
            );
            let tiles = self.rows.div_ceil(ROWS);
            // Few enough to share work evenly, and enough to keep threads out of each other's way.
            let share = (tiles / (threads * 8)).max(1);
            if thread == 0 {
                // Every thread begins with a share of its own.
                claimed.store(threads * share, Ordering::Relaxed);
            }
            // Its weights come while activations are rounded and others are waited for.
            panel::ask_for(self.row(thread * share * ROWS), ROWS * self.row_bytes);
            let own = quantised * thread / threads..quantised * (thread + 1) / threads;
            self.quantise(own, quants, blocks);
            barrier();
            let columns = Columns {
                quants: std::slice::from_raw_parts(quants, quantised * BLOCK),
                blocks: std::slice::from_raw_parts(blocks, quantised),
                depth: self.depth,
            };
            let panel = start
                .add(panels)
                .cast::<PanelBlock>()
                .add(thread * self.depth);
            let depth = if self.unpacks() { self.depth } else { 0 };
            let panel = std::slice::from_raw_parts_mut(panel, depth);
            let mut tiles = Tiles {
                claimed,
                share,
                own: thread * share..(thread + 1) * share,
                all: tiles,
            }
            .peekable();
            while let Some(tile) = tiles.next() {
                // Behind the last there is nothing to ask for but what is here.
                let next = tiles.peek().copied().unwrap_or(tile);
                if self.unpacks() {
                    self.unpacked_tile(tile, next, panel, columns);
                } else {
                    self.tile(tile, next, columns);
                }
            }
        }
    }

    /// Rounds blocks of activations.
    ///
    /// # Safety
    ///
    /// The processor has AVX2, there are such blocks, and nobody else writes theirs.
    #[target_feature(enable = "avx2")]
    unsafe fn quantise(&self, own: Range<usize>, quants: *mut i8, blocks: *mut Activation) {
        for index in own {
            let (column, block) = (index / self.depth, index % self.depth);
            // SAFETY: the caller's promise.
            unsafe {
                let column = self
                    .activations
                    .add(column * self.column_bytes)
                    .cast::<f32>();
                let to = quants.add(index * BLOCK);
                kernel::quantise(column.add(block * BLOCK), to, blocks.add(index));
            }
        }
    }

    /// Whether tiles are unpacked before they are multiplied.
    fn unpacks(&self) -> bool {
        self.columns > FEW || self.rows < ROWS
    }

    /// Where a row of weights begins.
    fn row(&self, row: usize) -> *const u8 {
        self.weights.wrapping_add(row * self.row_bytes)
    }

    /// Where the results of a tile go whose first row is `first`.
    fn output(&self, first: usize) -> Output {
        Output {
            first: self.output.cast::<f32>().wrapping_add(first),
            stride: self.output_bytes / size_of::<f32>(),
            skip: 0,
            rows: ROWS.min(self.rows - first),
        }
    }

    /// Unpacks a tile of 16 rows and multiplies it.
    ///
    /// # Safety
    ///
    /// Both tiles exist, and nobody else writes the results of the first.
    unsafe fn unpacked_tile(
        &self,
        tile: usize,
        next: usize,
        panel: &mut [PanelBlock],
        columns: Columns<'_>,
    ) {
        let first = tile * ROWS;
        // Rows past the last are read as the last, and their results are not written.
        let rows = std::array::from_fn(|row| self.row((first + row).min(self.rows - 1)));
        // SAFETY: the caller's promise.
        unsafe {
            panel::unpack(self.format, rows, self.row(next * ROWS), panel);
            kernel::multiply(self.kernel, self.format, panel, columns, self.output(first));
        }
    }

    /// Multiplies a tile of 16 rows as it is.
    ///
    /// # Safety
    ///
    /// Both tiles exist, nobody else writes the results of the first, and there are 16 rows and few columns.
    unsafe fn tile(&self, tile: usize, next: usize, columns: Columns<'_>) {
        // The last tile begins early enough to be whole; what it has in common with the one before is not written.
        let begin = |tile: usize| (tile * ROWS).min(self.rows - ROWS);
        let first = begin(tile);
        let rows = Rows {
            first: self.row(first),
            stride: self.row_bytes,
            next: self.row(begin(next)),
        };
        let output = Output {
            skip: tile * ROWS - first,
            ..self.output(first)
        };
        // SAFETY: 16 rows begin there.
        unsafe { kernel::multiply_rows(self.kernel, self.format, rows, columns, output) };
    }
}

/// The tiles that a thread computes: a share of its own, and further shares of what nobody has claimed. One is claimed
/// when it is looked at, so that the weights of the next tile can be asked for.
struct Tiles<'a> {
    /// How many are claimed.
    claimed: &'a AtomicUsize,
    /// How many are claimed at a time.
    share: usize,
    /// What is left of the thread's share.
    own: Range<usize>,
    /// How many there are.
    all: usize,
}

impl Iterator for Tiles<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.own.is_empty() {
            let first = self.claimed.fetch_add(self.share, Ordering::Relaxed);
            self.own = first..first + self.share;
        }
        self.own.next().filter(|tile| *tile < self.all)
    }
}
