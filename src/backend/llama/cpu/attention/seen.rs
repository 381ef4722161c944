//! Which cells tokens see, and which tokens are best computed together.

use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::ops::Range;

use super::scratch::TILE;

/// A bit for every cell.
type Word = u64;

/// Cells of a word.
const CELLS: usize = Word::BITS as usize;

/// Minus infinity in half precision: what a mask says of a cell that is not seen.
const HIDDEN: u16 = 0xfc00;

/// What the tokens of a task see, with memory that a thread works in.
pub struct Seen<'a> {
    /// The token that the first bits belong to.
    first: usize,
    /// The cells that each token sees.
    bits: &'a [Word],
    /// The cells that any of the tokens sees that are taken together.
    any: &'a mut [Word],
    /// Those cells, in order.
    gathered: &'a mut [u32],
    /// Which of them each token sees.
    tiles: &'a mut [Word],
    memory: PhantomData<&'a mut [u8]>,
}

/// The cells that some tokens see.
pub struct Keys<'a> {
    /// In ascending order.
    pub cells: &'a [u32],
    tiles: &'a [Word],
    /// Tiles that there is room for.
    room: usize,
}

impl Keys<'_> {
    /// Which keys of a tile a token sees, the first in the lowest bit.
    pub fn seen(&self, token: usize, tile: usize) -> u64 {
        self.tiles[token * self.room + tile]
    }
}

// A tile is what a word tells of.
const _: () = assert!(TILE == CELLS);

impl<'a> Seen<'a> {
    /// Bytes for so many tokens.
    pub fn size(cells: usize, tokens: usize) -> usize {
        let words = cells.div_ceil(CELLS);
        (tokens + 1) * words * size_of::<Word>() + cells * size_of::<u32>()
    }

    /// In memory of [`size`](Self::size) bytes.
    ///
    /// # Safety
    ///
    /// The memory is aligned to a word, and nobody else's as long as this lives.
    pub unsafe fn new(memory: *mut u8, cells: usize, tokens: usize) -> Self {
        let words = cells.div_ceil(CELLS);
        // SAFETY: the parts are as long as `size` says; what they hold is some number or other.
        unsafe {
            let any = memory.cast::<Word>();
            let tiles = any.add(words);
            let gathered = tiles.add(tokens * words).cast::<u32>();
            Self {
                first: 0,
                bits: &[],
                any: std::slice::from_raw_parts_mut(any, words),
                gathered: std::slice::from_raw_parts_mut(gathered, cells),
                tiles: std::slice::from_raw_parts_mut(tiles, tokens * words),
                memory: PhantomData,
            }
        }
    }

    /// Looks at tokens from `first` on, whose bits were read.
    pub fn look(&mut self, first: usize, bits: &'a [Word]) {
        self.first = first;
        self.bits = bits;
    }

    /// What a token sees.
    fn of(&self, token: usize) -> &'a [Word] {
        let words = self.any.len();
        &self.bits[(token - self.first) * words..][..words]
    }

    /// How many of the first tokens to compute together, each with `rows` rows: as long as it costs no more to multiply
    /// them with what others see too than to read their keys once more, which costs as much as `reading` rows.
    ///
    /// # Safety
    ///
    /// The processor has AVX2 and POPCNT.
    #[target_feature(enable = "avx2,popcnt")]
    pub unsafe fn together(
        &mut self,
        tokens: Range<usize>,
        rows: usize,
        reading: usize,
    ) -> Range<usize> {
        let words = self.any.len();
        let own = (tokens.start - self.first) * words;
        self.any.copy_from_slice(&self.bits[own..][..words]);
        let mut keys = count(self.any.iter().copied());
        for token in tokens.start + 1..tokens.end {
            let others = self.any.iter().zip(self.of(token));
            let both = count(others.map(|(any, own)| any | own));
            let before = (token - tokens.start) * rows;
            let joined = (both - keys) * (reading + before) + both * rows;
            let apart = count(self.of(token).iter().copied()) * (reading + rows);
            if joined > apart {
                return tokens.start..token;
            }
            let own = (token - self.first) * words;
            for (any, own) in self.any.iter_mut().zip(&self.bits[own..][..words]) {
                *any |= own;
            }
            keys = both;
        }
        tokens
    }

    /// The cells that tokens see which [`together`](Self::together) gave.
    pub fn gather(&mut self, tokens: Range<usize>) -> Keys<'_> {
        let room = self.any.len();
        self.tiles[..tokens.len() * room].fill(0);
        let mut keys = 0;
        for (word, &any) in self.any.iter().enumerate().filter(|(_, any)| **any != 0) {
            for (token, tiles) in tokens.clone().zip(self.tiles.chunks_exact_mut(room)) {
                let own = self.bits[(token - self.first) * room + word];
                append(&mut tiles[keys / TILE..], keys % TILE, packed(own, any));
            }
            let mut left = any;
            while left != 0 {
                self.gathered[keys] = (word * CELLS) as u32 + left.trailing_zeros();
                keys += 1;
                left &= left - 1;
            }
        }
        Keys {
            cells: &self.gathered[..keys],
            tiles: &self.tiles[..tokens.len() * room],
            room,
        }
    }
}

/// The first cells that a token sees, at most a tile of them.
pub fn first<'a>(bits: &[Word], found: &'a mut [u32; TILE]) -> &'a [u32] {
    let mut count = 0;
    for (word, &bits) in bits.iter().enumerate() {
        let mut left = bits;
        while left != 0 {
            found[count] = (word * CELLS) as u32 + left.trailing_zeros();
            count += 1;
            if count == TILE {
                return found;
            }
            left &= left - 1;
        }
    }
    &found[..count]
}

/// Words of a mask.
pub fn words(cells: usize) -> usize {
    cells.div_ceil(CELLS)
}

/// Reads a range of the words of all tokens' masks, one token's after the other's.
///
/// # Safety
///
/// The processor has AVX2, `mask` gives a half for every cell of a token, and nobody else reads or writes these words.
pub unsafe fn read_words(
    range: Range<usize>,
    cells: usize,
    mask: impl Fn(usize) -> *const u16,
    bits: *mut Word,
) {
    let words = words(cells);
    let mut at = range.start;
    while at < range.end {
        let (row, word) = (at / words, at % words);
        let count = (words - word).min(range.end - at);
        let left = (cells - word * CELLS).min(count * CELLS);
        // SAFETY: the caller's promise.
        unsafe {
            read(
                mask(row).add(word * CELLS),
                left,
                std::slice::from_raw_parts_mut(bits.add(at), count),
            )
        };
        at += count;
    }
}

/// How many bits are set.
#[inline(always)]
fn count(words: impl Iterator<Item = Word>) -> usize {
    words.map(|word| word.count_ones() as usize).sum()
}

/// The bits of `own` where `any` has one, side by side.
fn packed(own: Word, any: Word) -> Word {
    if own == any {
        return match any.count_ones() {
            Word::BITS => Word::MAX,
            bits => (1 << bits) - 1,
        };
    }
    let (mut left, mut packed, mut place) = (any, 0, 0);
    while left != 0 {
        packed |= (own >> left.trailing_zeros() & 1) << place;
        place += 1;
        left &= left - 1;
    }
    packed
}

/// Adds bits behind the first `at` of the first word.
fn append(words: &mut [Word], at: usize, bits: Word) {
    words[0] |= bits << at;
    if at > 0 && bits >> (CELLS - at) != 0 {
        words[1] |= bits >> (CELLS - at);
    }
}

/// A bit for every cell that a mask does not hide.
///
/// # Safety
///
/// As for [`read_words`].
#[target_feature(enable = "avx2")]
unsafe fn read(mask: *const u16, cells: usize, bits: &mut [Word]) {
    for (word, bits) in bits.iter_mut().enumerate() {
        let first = word * CELLS;
        // SAFETY: cells up to the last are read.
        *bits = unsafe {
            let mask = mask.add(first);
            if cells - first >= CELLS {
                let low = hidden(mask);
                !(u64::from(hidden(mask.add(32))) << 32 | u64::from(low))
            } else {
                (0..cells - first)
                    .map(|cell| u64::from(mask.add(cell).read() != HIDDEN) << cell)
                    .fold(0, |bits, bit| bits | bit)
            }
        };
    }
}

/// A bit for each of 32 cells that a mask hides.
///
/// # Safety
///
/// The processor has AVX2, and 32 halves can be read.
#[target_feature(enable = "avx2")]
unsafe fn hidden(mask: *const u16) -> u32 {
    let hidden = _mm256_set1_epi16(HIDDEN.cast_signed());
    // SAFETY: the caller's promise.
    let same =
        |at: usize| unsafe { _mm256_cmpeq_epi16(_mm256_loadu_si256(mask.add(at).cast()), hidden) };
    // Packing works on halves of vectors.
    let bytes = _mm256_packs_epi16(same(0), same(16));
    _mm256_movemask_epi8(_mm256_permute4x64_epi64::<0b11_01_10_00>(bytes)).cast_unsigned()
}
