//! Numbers in order, also where there are more of them than memory should hold.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::ops::Range;

use rayon::prelude::*;

use super::{Scratch, Shelf, StoreError};

/// Entries that are held in memory, which are 2 MiB.
const HELD: usize = 1 << 17;

/// Entries of a block on disk: one of every run is in memory while they are merged.
const BLOCK: usize = 1 << 10;

/// The shelf of blocks, by their numbers.
const BLOCKS: Shelf = 0;

/// A value, and what it belongs to. They are put in order of their values, equal ones in order of the second.
pub type Entry = (u64, u32);

/// Bytes of an entry on disk.
const BYTES: usize = size_of::<u64>() + size_of::<u32>();

/// Puts entries in order. What is more than a few MiB lies in a temporary file, in sorted runs that are merged when
/// they are read (Knuth, *The Art of Computer Programming*, volume 3, 5.4.1).
#[derive(Debug)]
pub struct Sorter {
    held: Vec<Entry>,
    /// The most that are held.
    most: usize,
    spilled: Option<Spilled>,
}

/// Runs on disk, each the blocks with these numbers.
#[derive(Debug)]
struct Spilled {
    scratch: Scratch,
    runs: Vec<Range<u32>>,
}

impl Default for Sorter {
    fn default() -> Self {
        Self::holding(HELD)
    }
}

impl Sorter {
    fn holding(most: usize) -> Self {
        Self {
            held: Vec::new(),
            most,
            spilled: None,
        }
    }

    /// Adds one.
    ///
    /// # Errors
    ///
    /// Here and below: when there is no room for a temporary file.
    pub fn add(&mut self, value: u64, of: u32) -> Result<(), StoreError> {
        if self.held.len() >= self.most {
            self.spill()?;
        }
        self.held.push((value, of));
        Ok(())
    }

    fn spill(&mut self) -> Result<(), StoreError> {
        self.held.par_sort_unstable();
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => none.insert(Spilled {
                scratch: Scratch::begin()?,
                runs: Vec::new(),
            }),
        };
        let first = spilled.runs.last().map_or(0, |run| run.end);
        let mut end = first;
        for block in self.held.chunks(BLOCK) {
            spilled.scratch.put(BLOCKS, end, &to_bytes(block))?;
            end += 1;
        }
        spilled.runs.push(first..end);
        self.held.clear();
        Ok(())
    }

    /// All of them in order.
    pub fn sorted(mut self) -> Result<Sorted, StoreError> {
        if self.spilled.is_some() {
            self.spill()?;
        }
        let Some(Spilled { scratch, runs }) = self.spilled else {
            self.held.par_sort_unstable();
            return Ok(Sorted(Source::Held(self.held.into_iter())));
        };
        let mut merge = Merge {
            scratch,
            runs: runs.into_iter().map(Run::of).collect(),
            heads: BinaryHeap::new(),
        };
        for run in 0..merge.runs.len() {
            merge.advance(run)?;
        }
        Ok(Sorted(Source::Merged(merge)))
    }
}

/// Entries in order.
#[derive(Debug)]
pub struct Sorted(Source);

#[derive(Debug)]
enum Source {
    Held(std::vec::IntoIter<Entry>),
    Merged(Merge),
}

impl Iterator for Sorted {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Source::Held(entries) => entries.next().map(Ok),
            Source::Merged(merge) => merge.next(),
        }
    }
}

/// Runs that are read side by side.
struct Merge {
    scratch: Scratch,
    runs: Vec<Run>,
    /// The next entry of every run that has one.
    heads: BinaryHeap<Reverse<(Entry, usize)>>,
}

impl fmt::Debug for Merge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Merge of {} runs", self.runs.len())
    }
}

/// A run as it is read: a block of it, and the numbers of those that follow.
struct Run {
    block: Vec<u8>,
    /// Bytes of the block that were read.
    read: usize,
    rest: Range<u32>,
}

impl Run {
    fn of(rest: Range<u32>) -> Self {
        Self {
            block: Vec::new(),
            read: 0,
            rest,
        }
    }

    fn next(&mut self, scratch: &Scratch) -> Result<Option<Entry>, StoreError> {
        if self.read == self.block.len() {
            let Some(number) = self.rest.next() else {
                self.block = Vec::new();
                self.read = 0;
                return Ok(None);
            };
            self.block = scratch.get(BLOCKS, number)?.unwrap_or_default();
            self.read = 0;
        }
        let entry = from_bytes(&self.block[self.read..]);
        self.read += BYTES;
        Ok(entry)
    }
}

impl Merge {
    fn next(&mut self) -> Option<Result<Entry, StoreError>> {
        let Reverse((entry, run)) = self.heads.pop()?;
        Some(self.advance(run).map(|()| entry))
    }

    fn advance(&mut self, run: usize) -> Result<(), StoreError> {
        if let Some(entry) = self.runs[run].next(&self.scratch)? {
            self.heads.push(Reverse((entry, run)));
        }
        Ok(())
    }
}

fn to_bytes(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * BYTES);
    for (value, of) in entries {
        bytes.extend(value.to_le_bytes());
        bytes.extend(of.to_le_bytes());
    }
    bytes
}

/// The first entry of some bytes; `None` where there is none.
fn from_bytes(bytes: &[u8]) -> Option<Entry> {
    let (value, rest) = bytes.split_first_chunk()?;
    let of = rest.first_chunk()?;
    Some((u64::from_le_bytes(*value), u32::from_le_bytes(*of)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn entries_come_in_order_however_few_are_held(
            entries in prop::collection::vec((0_u64..50, any::<u32>()), 0..300),
            most in 1_usize..400,
        ) {
            let mut sorter = Sorter::holding(most);
            for (value, of) in &entries {
                sorter.add(*value, *of).unwrap();
            }
            let sorted: Vec<Entry> = sorter.sorted().unwrap().map(Result::unwrap).collect();
            let mut expected = entries;
            expected.sort_unstable();
            prop_assert_eq!(sorted, expected);
        }
    }

    #[test]
    fn runs_of_several_blocks_are_merged() {
        let count = 5 * BLOCK as u32;
        let mut sorter = Sorter::holding(2 * BLOCK + 7);
        for number in (0..count).rev() {
            sorter.add(u64::from(number / 2) << 40, number).unwrap();
        }
        let expected = (0..count).map(|number| (u64::from(number / 2) << 40, number));
        let sorted = sorter.sorted().unwrap().map(Result::unwrap);
        assert!(sorted.eq(expected));
    }
}
