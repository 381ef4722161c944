//! Room for what is kept of rows to compare them with each other.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that may be kept, whatever the number of rows.
const BYTES: usize = 12 << 20;

/// What it takes to keep one thing, besides what the thing itself does: places in maps, and what an allocator needs.
const EACH: usize = 128;

/// Room that is left. What finds none is not kept but read again, so that it changes the time that gates take
/// and nothing that they decide.
#[derive(Debug)]
pub(super) struct Room(AtomicUsize);

impl Default for Room {
    fn default() -> Self {
        Self::of(BYTES)
    }
}

impl Room {
    /// Room for so many bytes.
    pub fn of(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    /// Takes room for something of so many bytes; `false` where it is not there.
    pub fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes + EACH);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        if taken.is_err() {
            // What comes after need not be made to find that out.
            self.0.store(0, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Whether nothing more can be kept.
    pub fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_to_an_end() {
        let room = Room::of(10 + 2 * EACH);
        assert!(room.take(4) && room.take(6) && room.is_full());
        assert!(!room.take(1));
        let room = Room::of(10);
        assert!(!room.take(11) && room.is_full());
    }
}
