//! Who sits where in the KV cache: gives sequences their numbers, shares what is resident, and evicts.
//!
//! What it decides is carried out through [`Cells`], which llama.cpp's context implements, and in tests a
//! cache that remembers every cell.

use super::prefix::{MAX_SEQUENCES, PrefixTree, Removal, Seq};

/// The cells themselves.
pub trait Cells {
    /// Lets `to`, which holds nothing, have the first `len` tokens of `from`.
    fn share(&mut self, from: Seq, to: Seq, len: usize);

    /// Drops what a sequence holds from a position on. False when the model cannot forget a part; then
    /// nothing was dropped.
    fn forget(&mut self, seq: Seq, from: usize) -> bool;
}

/// How the cells are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One pool: sequences share cells, and every token looks at the cells of all of them.
    Unified {
        /// Cells of the pool.
        cells: usize,
    },
    /// A stream of its own for every sequence: what is shared is copied.
    Streams,
}

/// Fewer shared tokens than these are not worth a wait of a step.
const WORTH_SHARING: usize = 24;

/// Behind a copied prefix fewer tokens than these are not worth copying a stream for.
const WORTH_COPYING: usize = 32;

/// How a cache is made.
#[derive(Clone, Copy, Debug)]
pub struct CacheConfig {
    /// How the cells are laid out.
    pub layout: Layout,
    /// How many sequences run at a time.
    pub running: usize,
    /// Between how many adapters sequences differ.
    pub domains: usize,
    /// Whether a part of a sequence can be kept, and may be.
    pub reuse: bool,
    /// Whether every token looks at all cells of a pool, so that what finished sequences leave there costs time.
    pub crowded: bool,
}

/// A sequence that was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Its number.
    pub seq: Seq,
    /// How many of its first tokens it found resident.
    pub shared: usize,
}

/// The book-keeping of one context's cells.
#[derive(Debug)]
pub struct Cache {
    config: CacheConfig,
    tree: PrefixTree,
    running: Vec<bool>,
    removals: Vec<Removal>,
}

impl Cache {
    /// An empty cache.
    pub fn new(config: CacheConfig) -> Self {
        Self {
            tree: PrefixTree::new(config.domains),
            running: vec![false; Self::sequences(&config)],
            removals: Vec::new(),
            config,
        }
    }

    /// How many sequences a cache of this kind numbers: those that run, and in a unified cache others that
    /// only keep tokens resident.
    pub fn sequences(config: &CacheConfig) -> usize {
        match config.layout {
            Layout::Unified { .. } => (config.running * 2 + 8).min(MAX_SEQUENCES),
            Layout::Streams => config.running.min(MAX_SEQUENCES),
        }
    }

    /// How many first tokens of `tokens` are resident and can be shared. At least one token is always left
    /// to decode, since its row of logits is what is asked for.
    pub fn resident(&self, domain: usize, tokens: &[u32]) -> usize {
        match self.config.reuse {
            true => self.tree.longest(domain, shareable(tokens)).len,
            false => 0,
        }
    }

    /// Lets a sequence in that begins with `tokens` and wants room for `reserve` more; `None` when there is
    /// no number or no room for it now.
    pub fn admit(
        &mut self,
        cells: &mut impl Cells,
        domain: usize,
        tokens: &[u32],
        reserve: usize,
    ) -> Option<Admitted> {
        match self.config.layout {
            Layout::Unified { .. } => self.admit_unified(cells, domain, tokens, reserve),
            Layout::Streams => self.admit_stream(cells, domain, tokens),
        }
    }

    fn admit_unified(
        &mut self,
        cells: &mut impl Cells,
        domain: usize,
        tokens: &[u32],
        reserve: usize,
    ) -> Option<Admitted> {
        let seq = self.number(cells)?;
        let found = match self.config.reuse {
            true => self.tree.longest(domain, shareable(tokens)),
            false => self.tree.longest(domain, &[]),
        };
        self.tree.insert(seq, domain, tokens, found.len);
        // What it shares is held by it from here on, so that making room does not take it away.
        if let Some(donor) = found.donor {
            cells.share(donor, seq, found.len);
        }
        if !self.make_room(cells, tokens.len() - found.len + reserve) {
            self.tree.remove(seq);
            cells.forget(seq, 0);
            return None;
        }
        self.running[usize::from(seq)] = true;
        Some(Admitted {
            seq,
            shared: found.len,
        })
    }

    /// A number without tokens, for which the finished sequence unused for longest gives way.
    fn number(&mut self, cells: &mut impl Cells) -> Option<Seq> {
        let free = (0..)
            .zip(&self.running)
            .find(|&(seq, running)| !running && self.tree.len(seq) == 0)
            .map(|(seq, _)| seq);
        let seq = free.or_else(|| {
            let seq = self.tree.drop_oldest()?;
            cells.forget(seq, 0);
            Some(seq)
        })?;
        self.tree.remove(seq);
        Some(seq)
    }

    fn admit_stream(
        &mut self,
        cells: &mut impl Cells,
        domain: usize,
        tokens: &[u32],
    ) -> Option<Admitted> {
        let idle = |seq: &Seq| !self.running[usize::from(*seq)];
        let all = 0..Seq::try_from(self.running.len()).unwrap_or(0);
        if !self.config.reuse {
            let seq = all.clone().find(idle)?;
            return Some(self.start_stream(cells, seq, domain, tokens));
        }
        let front = shareable(tokens);
        let found = self.tree.longest(domain, front);
        // The stream that a chain's last request left goes on with its next one.
        let own = all
            .clone()
            .filter(idle)
            .map(|seq| (self.tree.shared_with(seq, domain, front), seq))
            .filter(|&(len, seq)| len > 0 && 2 * len >= self.tree.len(seq))
            .max();
        let seq = match own {
            Some((len, seq)) if found.len < len + WORTH_COPYING => seq,
            // Otherwise the stream that was unused for longest gives way, an empty one first: other chains
            // come back to the rest. A copy is not made onto its own source while there is another place.
            _ => all
                .filter(idle)
                .min_by_key(|&seq| (found.donor == Some(seq), self.tree.last_used(seq), seq))?,
        };
        let here = self.tree.shared_with(seq, domain, front);
        if let Some(donor) = found.donor
            && donor != seq
            && found.len >= here + WORTH_COPYING
        {
            self.tree.remove(seq);
            cells.forget(seq, 0);
            cells.share(donor, seq, found.len);
            self.tree.insert(seq, domain, tokens, found.len);
            self.running[usize::from(seq)] = true;
            return Some(Admitted {
                seq,
                shared: found.len,
            });
        }
        if here == 0 || !cells.forget(seq, here) {
            return Some(self.start_stream(cells, seq, domain, tokens));
        }
        self.tree.wake(seq, here);
        self.running[usize::from(seq)] = true;
        Some(Admitted { seq, shared: here })
    }

    fn start_stream(
        &mut self,
        cells: &mut impl Cells,
        seq: Seq,
        domain: usize,
        tokens: &[u32],
    ) -> Admitted {
        self.tree.remove(seq);
        cells.forget(seq, 0);
        self.tree.insert(seq, domain, tokens, 0);
        self.running[usize::from(seq)] = true;
        Admitted { seq, shared: 0 }
    }

    /// Frees cells that only finished sequences hold, until `need` cells are free. False when that cannot
    /// be had; then nothing is freed.
    pub fn make_room(&mut self, cells: &mut impl Cells, need: usize) -> bool {
        let Layout::Unified { cells: total } = self.config.layout else {
            return true;
        };
        // A request that has to wait anyway would ask at every step, and leave nothing of what others come back to.
        if total < self.tree.cells() + need
            && total < self.tree.cells() - self.tree.idle_cells() + need
        {
            return false;
        }
        while total < self.tree.cells() + need {
            if !self.evict(cells) {
                return false;
            }
        }
        true
    }

    fn evict(&mut self, cells: &mut impl Cells) -> bool {
        self.removals.clear();
        let freed = self.tree.evict(&mut self.removals);
        for &(seq, from) in &self.removals {
            cells.forget(seq, from);
        }
        freed.is_some()
    }

    /// The fewest tokens for which it is worth waiting until another sequence has decoded them.
    pub fn worth_waiting(&self) -> usize {
        match self.config.layout {
            Layout::Unified { .. } => WORTH_SHARING,
            Layout::Streams => WORTH_COPYING,
        }
    }

    /// How many tokens of a sequence are noted.
    pub fn len(&self, seq: Seq) -> usize {
        self.tree.len(seq)
    }

    /// Takes note of tokens that a running sequence has decoded and that stay.
    pub fn decoded(&mut self, seq: Seq, tokens: &[u32]) {
        self.tree.push(seq, tokens);
    }

    /// Takes a running sequence back to its first `len` tokens, also where the cells hold tokens that were
    /// never noted. Says how many are left: none, where the model cannot forget a part.
    pub fn rewind(&mut self, cells: &mut impl Cells, seq: Seq, len: usize) -> usize {
        let kept = if cells.forget(seq, len) { len } else { 0 };
        if kept < len {
            cells.forget(seq, 0);
        }
        self.tree.truncate(seq, kept);
        kept
    }

    /// A sequence has finished; what it holds may serve others. In a crowded pool at most as many cells
    /// stay behind as are in use, so that tokens do not look at a cache full of memories.
    pub fn finish(&mut self, cells: &mut impl Cells, seq: Seq) {
        if !self.config.reuse {
            return self.release(cells, seq);
        }
        self.running[usize::from(seq)] = false;
        self.tree.rest(seq);
        if let (Layout::Unified { cells: total }, true) = (self.config.layout, self.config.crowded)
        {
            let keep = (total / 4).max(self.tree.cells() / 2);
            while self.tree.idle_cells() > keep && self.evict(cells) {}
        }
    }

    /// Takes a sequence out with all it holds.
    pub fn release(&mut self, cells: &mut impl Cells, seq: Seq) {
        self.running[usize::from(seq)] = false;
        self.tree.remove(seq);
        cells.forget(seq, 0);
    }

    /// Forgets everything; the cells must be cleared by the caller.
    pub fn clear(&mut self) {
        self.tree.clear();
        self.running.fill(false);
    }
}

/// The tokens that may be shared: all but the last.
fn shareable(tokens: &[u32]) -> &[u32] {
    &tokens[..tokens.len().saturating_sub(1)]
}

#[cfg(test)]
mod tests;
