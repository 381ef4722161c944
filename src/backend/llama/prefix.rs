//! Which tokens are resident in the KV cache, and what a new sequence can share of them. Pure: it knows
//! sequences by number and never calls llama.cpp.
//!
//! A radix tree: every edge carries a run of tokens, and every node knows which sequences hold it. A
//! sequence's tokens are the path from the root to its end. One token of the tree is one cell of a
//! unified cache, however many sequences share it. Two sequences that decode the same token on their own
//! hold two cells, so siblings may begin alike; a new sequence takes the longer of them.

/// A sequence of the cache, by llama.cpp's number. At most [`MAX_SEQUENCES`] exist.
pub type Seq = u16;

/// llama.cpp's limit on sequences.
pub const MAX_SEQUENCES: usize = 256;

/// Index of a node.
type NodeId = usize;

/// A set of sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Holders([u64; MAX_SEQUENCES / 64]);

impl Holders {
    fn insert(&mut self, seq: Seq) {
        self.0[usize::from(seq) / 64] |= 1 << (seq % 64);
    }

    fn remove(&mut self, seq: Seq) {
        self.0[usize::from(seq) / 64] &= !(1 << (seq % 64));
    }

    fn contains(&self, seq: Seq) -> bool {
        self.0[usize::from(seq) / 64] & (1 << (seq % 64)) != 0
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    fn overlaps(&self, other: &Holders) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    fn only(&self, seq: Seq) -> bool {
        let mut alone = Holders::default();
        alone.insert(seq);
        *self == alone
    }

    fn iter(&self) -> impl Iterator<Item = Seq> + '_ {
        (0..).take(MAX_SEQUENCES).filter(|&seq| self.contains(seq))
    }
}

#[derive(Clone, Debug)]
struct Node {
    parent: Option<NodeId>,
    children: Vec<NodeId>,
    /// Position of the first token.
    start: usize,
    tokens: Vec<u32>,
    holders: Holders,
    /// When a sequence last took this node, by the tree's own clock.
    used: u64,
}

impl Node {
    fn end(&self) -> usize {
        self.start + self.tokens.len()
    }
}

/// What a new sequence can share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// How many of its first tokens are resident.
    pub len: usize,
    /// A sequence that holds all of them; `None` when `len` is 0.
    pub donor: Option<Seq>,
}

/// Tokens to forget: those of a sequence from a position on.
pub type Removal = (Seq, usize);

/// The tokens resident in a KV cache.
#[derive(Clone, Debug)]
pub struct PrefixTree {
    nodes: Vec<Node>,
    free: Vec<NodeId>,
    /// One root per domain: what was computed under different adapters is never shared.
    roots: Vec<NodeId>,
    /// Where each sequence ends; `None` for one that is not in the tree.
    ends: Vec<Option<NodeId>>,
    running: Holders,
    clock: u64,
}

impl PrefixTree {
    /// An empty tree of a number of domains, between which nothing is shared.
    pub fn new(domains: usize) -> Self {
        let mut tree = Self {
            nodes: Vec::new(),
            free: Vec::new(),
            roots: Vec::new(),
            ends: vec![None; MAX_SEQUENCES],
            running: Holders::default(),
            clock: 0,
        };
        for _ in 0..domains.max(1) {
            let root = tree.add(None, 0, Vec::new(), Holders::default());
            tree.roots.push(root);
        }
        tree
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::new(self.roots.len());
    }

    /// Cells of a unified cache that the tree stands for.
    pub fn cells(&self) -> usize {
        self.live().map(|id| self.nodes[id].tokens.len()).sum()
    }

    /// Cells that no running sequence holds.
    pub fn idle_cells(&self) -> usize {
        self.live()
            .filter(|&id| !self.nodes[id].holders.overlaps(&self.running))
            .map(|id| self.nodes[id].tokens.len())
            .sum()
    }

    /// How many tokens a sequence has in the cache.
    pub fn len(&self, seq: Seq) -> usize {
        self.end_of(seq).map_or(0, |id| self.nodes[id].end())
    }

    /// Whether no sequence is in the tree.
    pub fn is_empty(&self) -> bool {
        self.ends.iter().all(Option::is_none)
    }

    /// The longest resident beginning of `tokens` in a domain.
    pub fn longest(&self, domain: usize, tokens: &[u32]) -> Match {
        let (node, len) = self.descend(self.roots[domain], tokens);
        Match {
            len,
            donor: self.nodes[node].holders.iter().next().filter(|_| len > 0),
        }
    }

    /// How many first tokens of `tokens` a given sequence holds.
    pub fn shared_with(&self, seq: Seq, domain: usize, tokens: &[u32]) -> usize {
        let Some(mut id) = self.end_of(seq) else {
            return 0;
        };
        let mut path = Vec::new();
        while let Some(parent) = self.nodes[id].parent {
            path.push(id);
            id = parent;
        }
        if id != self.roots[domain] {
            return 0;
        }
        let mut len = 0;
        for id in path.into_iter().rev() {
            let node = &self.nodes[id];
            let same = common(&node.tokens, &tokens[len..]);
            len += same;
            if same < node.tokens.len() {
                break;
            }
        }
        len
    }

    /// Puts a running sequence into the tree that shares the first `len` tokens of `tokens`, as
    /// [`longest`](Self::longest) has found them. The sequence must not be in the tree.
    pub fn insert(&mut self, seq: Seq, domain: usize, tokens: &[u32], len: usize) {
        self.clock += 1;
        let (mut node, found) = self.descend(self.roots[domain], &tokens[..len]);
        let inside = found - self.nodes[node].start;
        if inside < self.nodes[node].tokens.len() {
            self.split(node, inside);
        }
        self.ends[usize::from(seq)] = Some(node);
        self.running.insert(seq);
        loop {
            let clock = self.clock;
            let here = &mut self.nodes[node];
            here.used = clock;
            let Some(parent) = here.parent else { break };
            here.holders.insert(seq);
            node = parent;
        }
    }

    /// Appends tokens that a sequence has decoded.
    pub fn push(&mut self, seq: Seq, tokens: &[u32]) {
        let Some(end) = self.end_of(seq).filter(|_| !tokens.is_empty()) else {
            return;
        };
        let node = &mut self.nodes[end];
        if node.parent.is_some() && node.children.is_empty() && node.holders.only(seq) {
            node.tokens.extend_from_slice(tokens);
            return;
        }
        let start = node.end();
        let mut holders = Holders::default();
        holders.insert(seq);
        let child = self.add(Some(end), start, tokens.to_vec(), holders);
        self.ends[usize::from(seq)] = Some(child);
    }

    /// Takes a sequence back to its first `len` tokens.
    pub fn truncate(&mut self, seq: Seq, len: usize) {
        let Some(mut end) = self.end_of(seq) else {
            return;
        };
        while self.nodes[end].parent.is_some() && self.nodes[end].end() > len {
            let inside = len.saturating_sub(self.nodes[end].start);
            let parent = if inside == 0 {
                self.nodes[end].parent.unwrap_or(end)
            } else {
                end
            };
            if inside > 0 {
                end = self.split(end, inside);
            }
            self.nodes[end].holders.remove(seq);
            if self.nodes[end].holders.is_empty() {
                self.delete(end);
            }
            end = parent;
        }
        self.ends[usize::from(seq)] = Some(end);
    }

    /// Takes a sequence out of the tree.
    pub fn remove(&mut self, seq: Seq) {
        self.truncate(seq, 0);
        self.ends[usize::from(seq)] = None;
        self.running.remove(seq);
    }

    /// A sequence has finished: its tokens stay, and may be evicted.
    pub fn rest(&mut self, seq: Seq) {
        self.running.remove(seq);
        if self.len(seq) == 0 {
            self.remove(seq);
        }
        self.touch(seq);
    }

    /// The tokens of a sequence were used just now.
    fn touch(&mut self, seq: Seq) {
        self.clock += 1;
        let mut node = self.end_of(seq);
        while let Some(id) = node {
            self.nodes[id].used = self.clock;
            node = self.nodes[id].parent;
        }
    }

    /// A finished sequence goes on with its first `len` tokens.
    pub fn wake(&mut self, seq: Seq, len: usize) {
        self.truncate(seq, len);
        self.running.insert(seq);
        self.touch(seq);
    }

    /// Frees the run of tokens that was unused for longest and that no running sequence holds. Adds to
    /// `removals` what must be forgotten in the cache, and says how many cells that frees; `None` when
    /// nothing can be freed. Sequences left without tokens of their own are taken out of the tree.
    pub fn evict(&mut self, removals: &mut Vec<Removal>) -> Option<usize> {
        let victim = self
            .live()
            .filter(|&id| {
                let node = &self.nodes[id];
                node.children.is_empty() && !node.holders.overlaps(&self.running)
            })
            .min_by_key(|&id| self.nodes[id].used)?;
        let (start, freed) = (self.nodes[victim].start, self.nodes[victim].tokens.len());
        let holders = self.nodes[victim].holders;
        for seq in holders.iter() {
            self.truncate(seq, start);
            // What is left of it is worth keeping only where no other sequence holds it.
            let needed = self.end_of(seq).is_some_and(|end| {
                self.nodes[end].parent.is_some() && self.nodes[end].holders.only(seq)
            });
            if needed {
                removals.push((seq, start));
            } else {
                self.remove(seq);
                removals.push((seq, 0));
            }
        }
        Some(freed)
    }

    /// Takes the finished sequence that was unused for longest out of the tree, and says which.
    pub fn drop_oldest(&mut self) -> Option<Seq> {
        let seq = (0..)
            .take(MAX_SEQUENCES)
            .filter(|&seq| !self.running.contains(seq))
            .filter_map(|seq| Some((self.nodes[self.end_of(seq)?].used, seq)))
            .min()?
            .1;
        self.remove(seq);
        Some(seq)
    }

    /// When a sequence was last let in or rested, by the tree's own clock; 0 for one without tokens.
    pub fn last_used(&self, seq: Seq) -> u64 {
        self.end_of(seq).map_or(0, |id| self.nodes[id].used)
    }

    fn end_of(&self, seq: Seq) -> Option<NodeId> {
        self.ends.get(usize::from(seq)).copied().flatten()
    }

    fn live(&self) -> impl Iterator<Item = NodeId> + '_ {
        (0..self.nodes.len()).filter(|&id| !self.nodes[id].holders.is_empty())
    }

    /// The deepest node on the way of `tokens`, and how many of them lead there. The last node may be
    /// met half-way.
    fn descend(&self, from: NodeId, tokens: &[u32]) -> (NodeId, usize) {
        let start = self.nodes[from].end();
        let rest = &tokens[start.min(tokens.len())..];
        let mut best = (from, start.min(tokens.len()));
        for &child in &self.nodes[from].children {
            let run = &self.nodes[child].tokens;
            let same = common(run, rest);
            if same == 0 {
                continue;
            }
            let found = if same == run.len() {
                self.descend(child, tokens)
            } else {
                (child, start + same)
            };
            if found.1 > best.1 {
                best = found;
            }
        }
        best
    }

    fn add(
        &mut self,
        parent: Option<NodeId>,
        start: usize,
        tokens: Vec<u32>,
        holders: Holders,
    ) -> NodeId {
        self.clock += 1;
        let node = Node {
            parent,
            children: Vec::new(),
            start,
            tokens,
            holders,
            used: self.clock,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.nodes[id] = node;
                id
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        if let Some(parent) = parent {
            self.nodes[parent].children.push(id);
        }
        id
    }

    /// Cuts a node in two behind its first `inside` tokens; gives the second half. Sequences that ended
    /// at the node end at the second half.
    fn split(&mut self, id: NodeId, inside: usize) -> NodeId {
        let tokens = self.nodes[id].tokens.split_off(inside);
        let (start, holders, used) = (
            self.nodes[id].end(),
            self.nodes[id].holders,
            self.nodes[id].used,
        );
        let children = std::mem::take(&mut self.nodes[id].children);
        let lower = self.add(Some(id), start, tokens, holders);
        self.nodes[lower].used = used;
        for &child in &children {
            self.nodes[child].parent = Some(lower);
        }
        self.nodes[lower].children = children;
        for end in self.ends.iter_mut().filter(|end| **end == Some(id)) {
            *end = Some(lower);
        }
        lower
    }

    fn delete(&mut self, id: NodeId) {
        if let Some(parent) = self.nodes[id].parent {
            self.nodes[parent].children.retain(|&child| child != id);
        }
        self.nodes[id].tokens = Vec::new();
        self.nodes[id].children = Vec::new();
        self.free.push(id);
    }
}

/// How many tokens two runs have in common at the front.
pub fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}
