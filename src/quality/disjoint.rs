//! Things that hang together, by their numbers.

/// Disjoint sets of numbers from 0 on (union-find with path halving; Tarjan and van Leeuwen 1984).
#[derive(Debug, Default)]
pub struct DisjointSets {
    /// Another number of the same set; itself for the lowest.
    parent: Vec<u32>,
}

impl DisjointSets {
    /// So many numbers, each by itself.
    pub fn of(count: u32) -> Self {
        Self {
            parent: (0..count).collect(),
        }
    }

    /// Adds the next number, by itself.
    pub fn push(&mut self) {
        self.parent.push(self.parent.len() as u32);
    }

    /// The lowest number of the set that a number is in. It was added before.
    pub fn lowest(&mut self, mut number: u32) -> u32 {
        while self.parent[number as usize] != number {
            self.parent[number as usize] = self.parent[self.parent[number as usize] as usize];
            number = self.parent[number as usize];
        }
        number
    }

    /// Makes one set of the two that these numbers are in.
    pub fn join(&mut self, one: u32, other: u32) {
        let (one, other) = (self.lowest(one), self.lowest(other));
        self.parent[one.max(other) as usize] = one.min(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_has_one_lowest_number() {
        let mut sets = DisjointSets::of(5);
        sets.push();
        for (one, other) in [(4, 2), (5, 4), (3, 3), (2, 5)] {
            sets.join(one, other);
        }
        let lowest: Vec<u32> = (0..6).map(|number| sets.lowest(number)).collect();
        assert_eq!(lowest, [0, 1, 2, 3, 2, 2]);
    }
}
