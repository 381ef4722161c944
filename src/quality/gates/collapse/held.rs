//! What the texts of a row hold, as bytes on a shelf.

/// The numbers of the wordings that a text holds, as they lie on a shelf.
#[derive(Clone, Copy)]
pub(super) struct Held<'a>(&'a [[u8; 4]]);

impl Held<'_> {
    /// The numbers, in order.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied().map(u32::from_le_bytes)
    }
}

/// What two texts hold, the first with its count before it.
pub(super) fn to_bytes(held: &[Vec<u32>; 2]) -> Vec<u8> {
    let count = std::iter::once(held[0].len() as u32);
    let numbers = count.chain(held.iter().flatten().copied());
    numbers.flat_map(u32::to_le_bytes).collect()
}

/// What two texts hold, from bytes.
pub(super) fn from_bytes(bytes: &[u8]) -> [Held<'_>; 2] {
    let (count, numbers) = bytes.as_chunks().0.split_first().unwrap_or((&[0; 4], &[]));
    let count = u32::from_le_bytes(*count) as usize;
    let (chosen, draft) = numbers.split_at(count.min(numbers.len()));
    [Held(chosen), Held(draft)]
}
