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

    /// A sequence has finished; what it holds may serve others. In a unified cache at most as many cells
    /// stay behind as are in use, so that tokens do not look at a cache full of memories.
    pub fn finish(&mut self, cells: &mut impl Cells, seq: Seq) {
        if !self.config.reuse {
            return self.release(cells, seq);
        }
        self.running[usize::from(seq)] = false;
        self.tree.rest(seq);
        if let Layout::Unified { cells: total } = self.config.layout {
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
mod tests {
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

    fn check(layout: Layout, ops: Vec<Op>) -> Result<(), TestCaseError> {
        let config = CacheConfig {
            layout,
            running: 4,
            domains: 2,
            reuse: true,
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
        ) {
            check(Layout::Unified { cells }, ops)?;
        }

        #[test]
        fn streams_share_only_equal_tokens(ops in prop::collection::vec(op(), 0..80)) {
            check(Layout::Streams, ops)?;
        }
    }

    fn unified(cells: usize) -> (Cache, Model) {
        let config = CacheConfig {
            layout: Layout::Unified { cells },
            running: 4,
            domains: 1,
            reuse: true,
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
    fn without_reuse_nothing_stays() {
        let (mut cache, mut model) = unified(16);
        cache.config.reuse = false;
        let first = run(&mut cache, &mut model, &[1; 4]);
        cache.finish(&mut model, first.seq);
        assert!(model.cells.is_empty());
        assert_eq!(run(&mut cache, &mut model, &[1; 4]).shared, 0);
    }
}
