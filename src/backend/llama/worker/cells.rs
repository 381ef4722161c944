//! The context's cells, as the cache's book-keeping moves them.

use llama_cpp_2::context::LlamaContext;

use crate::backend::llama::cache::Cells;
use crate::backend::llama::prefix::Seq;

/// The context's cells, as the cache's book-keeping moves them.
pub(super) struct ContextCells<'a, 'm>(pub(super) &'a mut LlamaContext<'m>, pub(super) bool);

impl Cells for ContextCells<'_, '_> {
    fn share(&mut self, from: Seq, to: Seq, len: usize) {
        let end = u32::try_from(len).ok();
        if self.1 {
            let _ = self.0.copy_kv_cache_seq(from.into(), to.into(), None, end);
        } else {
            // Between streams only whole buffers are copied; what is too much is dropped behind it.
            let _ = self.0.copy_kv_cache_seq(from.into(), to.into(), None, None);
            let _ = self.0.clear_kv_cache_seq(Some(to.into()), end, None);
        }
    }

    fn forget(&mut self, seq: Seq, from: usize) -> bool {
        let start = (from > 0).then(|| u32::try_from(from).unwrap_or(u32::MAX));
        // Removing a whole sequence always succeeds.
        matches!(
            self.0.clear_kv_cache_seq(Some(seq.into()), start, None),
            Ok(true)
        )
    }
}
