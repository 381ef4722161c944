//! Looking for rows that repeat others, among prints that lie on disk.

use std::collections::{HashMap, VecDeque};
use std::iter::Peekable;
use std::sync::Arc;

use super::{HASHES, MARKS, MOST_COMPARED, Print, SHORT, Sets, agreeing};
use crate::quality::disjoint::DisjointSets;
use crate::store::{Entry, Scratch, Shelf, Sorted, Sorter, StoreError};

/// Bytes of runs that were read again and may be met once more.
const MOST_READ: usize = 4 << 20;

/// Where a row stands among those that are compared: its rank, and among rows of one rank its number. Of two that say
/// the same, the first stays.
type Place = u32;

/// Bits of a place that are the number of the row.
const NUMBER_BITS: u32 = 30;

/// Bits of a band's value, which its number stands before.
pub(in crate::quality) const BAND_BITS: u32 = 32;

/// The rank of a row, from 0 to 3, where it is compared at all: what has a lower one stays before others.
pub(in crate::quality::gates) type Rank<'a> = &'a dyn Fn(u32) -> Option<u8>;

/// Prints by the numbers of their rows.
pub(in crate::quality) struct Prints<'a> {
    pub scratch: &'a Scratch,
    pub shelf: Shelf,
    /// Runs of words of some of them.
    pub sets: &'a HashMap<u32, Arc<Sets>>,
}

/// Which row an earlier one repeats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::quality::gates) enum Repeats {
    /// Word for word, by its number.
    Exactly(u32),
    /// Nearly, by its number, with the similarity.
    Nearly(u32, f64),
}

impl Repeats {
    /// The number of the other row.
    pub fn other(self) -> u32 {
        match self {
            Repeats::Exactly(other) | Repeats::Nearly(other, _) => other,
        }
    }

    /// As bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.other().to_le_bytes().to_vec();
        if let Repeats::Nearly(_, similarity) = self {
            bytes.extend(similarity.to_le_bytes());
        }
        bytes
    }

    /// From bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (other, similarity) = bytes.split_first_chunk()?;
        let other = u32::from_le_bytes(*other);
        Some(match similarity.first_chunk() {
            Some(similarity) => Repeats::Nearly(other, f64::from_le_bytes(*similarity)),
            None => Repeats::Exactly(other),
        })
    }
}

/// Reads the runs of a row again, by its number.
pub(in crate::quality) type Again<'a> = &'a mut dyn FnMut(u32) -> Result<Option<Sets>, StoreError>;

/// Hands out the rows that repeat one that is kept, which has a lower rank or, at the same rank, a lower number, and
/// what each repeats. `near` is the similarity that counts as the same.
pub(in crate::quality::gates) fn find(
    prints: &Prints<'_>,
    rank: Rank<'_>,
    exact: bool,
    near: Option<f64>,
    again: Again<'_>,
    found: &mut dyn FnMut(u32, Repeats) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut equal = Sorter::default();
    let mut alike = Sorter::default();
    prints.each(|number, bytes| {
        let Some(rank) = rank(number) else {
            return Ok(());
        };
        let place = u32::from(rank) << NUMBER_BITS | number;
        if exact {
            equal.add(Print::exact_in(bytes), place)?;
        }
        match near {
            Some(_) => add_bands(&mut alike, bytes, place),
            None => Ok(()),
        }
    })?;
    let (mut equal, mut alike) = (Groups::of(equal)?, Groups::of(alike)?);
    let mut kept = Kept::new(&equal, &alike);
    let mut sets = AllSets::new(prints, again);
    // Rows that have nothing in common with others are neither left out nor compared with.
    while let Some(place) = first(equal.next_place()?, alike.next_place()?) {
        let row = In {
            place,
            equal: equal.take(place)?,
            alike: alike.take(place)?,
        };
        let marks = match row.alike.is_empty() {
            true => None,
            false => prints.marks(number_at(place))?,
        };
        match kept.repeats(&row, marks, near, |place| sets.get(number_at(place)))? {
            Some(repeats) => found(number_at(place), repeats)?,
            None => kept.keep(&row, marks),
        }
    }
    Ok(())
}

fn number_at(place: Place) -> u32 {
    place & ((1 << NUMBER_BITS) - 1)
}

fn first(one: Option<Place>, other: Option<Place>) -> Option<Place> {
    [one, other].into_iter().flatten().min()
}

/// Adds the bands of a print, each with its number before its value.
pub(in crate::quality) fn add_bands(
    sorter: &mut Sorter,
    bytes: &[u8],
    place: u32,
) -> Result<(), StoreError> {
    let mut bands = (0_u64..).zip(Print::bands_in(bytes));
    bands.try_for_each(|(band, value)| sorter.add(band << BAND_BITS | u64::from(value), place))
}

/// Hands out pairs of rows that are nearly the same, enough of them that all such rows hang together: fewer than there
/// are rows, which are those with the numbers below `count`.
pub(in crate::quality) fn pairs(
    prints: &Prints<'_>,
    count: u32,
    least: f64,
    again: Again<'_>,
    found: &mut dyn FnMut(u32, u32),
) -> Result<(), StoreError> {
    let mut bands = Sorter::default();
    prints.each(|number, bytes| add_bands(&mut bands, bytes, number))?;
    let mut sets = AllSets::new(prints, again);
    // Rows that hang together already need no further pair.
    let mut together = DisjointSets::of(count);
    // The last rows of the same band.
    let (mut band, mut before) = (None, VecDeque::new());
    for entry in bands.sorted()? {
        let (value, row) = entry?;
        if band.replace(value) != Some(value) {
            before.clear();
        }
        let mut own = None;
        for &other in before.iter().rev() {
            if together.lowest(row) == together.lowest(other) {
                continue;
            }
            if own.is_none() {
                own = sets.get(row)?;
            }
            if let (Some(own), Some(other_sets)) = (&own, sets.get(other)?)
                && own.similarity(&other_sets) >= least
            {
                together.join(row, other);
                found(other, row);
            }
        }
        before.push_back(row);
        if before.len() > MOST_COMPARED {
            before.pop_front();
        }
    }
    Ok(())
}

impl Prints<'_> {
    /// Hands out all prints, by number.
    fn each(
        &self,
        mut each: impl FnMut(u32, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        self.scratch.each(self.shelf, |number, bytes| {
            if outcome.is_ok() {
                outcome = each(number, bytes);
            }
        })?;
        outcome
    }

    /// The bits of the MinHash values of a row.
    fn marks(&self, number: u32) -> Result<Option<Marks>, StoreError> {
        let bytes = self.scratch.get(self.shelf, number)?;
        Ok(bytes.as_deref().map(Print::marks_in))
    }
}

/// Four bits of every MinHash value of a row.
type Marks = [[u64; MARKS]; 2];

/// Rows that have something in common, in order of their places. Most rows belong to no group.
struct Groups {
    /// Places with the groups that they belong to.
    of: Peekable<Sorted>,
    /// How many groups there are.
    count: u32,
}

impl Groups {
    /// Puts rows into one group that have the same value.
    fn of(values: Sorter) -> Result<Self, StoreError> {
        let (mut of, mut count) = (Sorter::default(), 0);
        // The last row, and whether it is in a group already.
        let mut last: Option<(Entry, bool)> = None;
        for entry in values.sorted()? {
            let (value, place) = entry?;
            let same = last.filter(|((before, _), _)| *before == value);
            if let Some(((_, first), grouped)) = same {
                if !grouped {
                    count += 1;
                    of.add(first.into(), count - 1)?;
                }
                of.add(place.into(), count - 1)?;
            }
            last = Some(((value, place), same.is_some()));
        }
        Ok(Self {
            of: of.sorted()?.peekable(),
            count,
        })
    }

    /// The next place that belongs to a group.
    fn next_place(&mut self) -> Result<Option<Place>, StoreError> {
        match self.of.next_if(Result::is_err) {
            Some(failed) => failed.map(|_| None),
            None => Ok(self.of.peek().and_then(place_of)),
        }
    }

    /// The groups of a place, which is the next one or comes before it.
    fn take(&mut self, place: Place) -> Result<Vec<u32>, StoreError> {
        let mut groups = Vec::new();
        while let Some(entry) = self.of.next_if(|entry| place_of(entry) == Some(place)) {
            groups.push(entry?.1);
        }
        Ok(groups)
    }
}

fn place_of(entry: &Result<Entry, StoreError>) -> Option<Place> {
    // It was a place when it was put in order.
    entry.as_ref().ok().map(|(place, _)| *place as Place)
}

/// A row and the groups that it belongs to.
struct In {
    place: Place,
    equal: Vec<u32>,
    alike: Vec<u32>,
}

/// The rows that were kept so far, as far as others may repeat them.
struct Kept {
    /// For each group of equal rows the one that was kept.
    equal: Vec<Place>,
    /// For each group of rows that share a band the last member that was kept, and how many were.
    last: Vec<u32>,
    filled: Vec<u16>,
    /// Members, each with the one before it in its group.
    members: Vec<(u32, u32)>,
    /// Rows that are members.
    rows: Vec<(Place, Marks)>,
}

/// What stands for no place, and for no member.
const NONE: u32 = u32::MAX;

impl Kept {
    fn new(equal: &Groups, alike: &Groups) -> Self {
        Self {
            equal: vec![NONE; equal.count as usize],
            last: vec![NONE; alike.count as usize],
            filled: vec![0; alike.count as usize],
            members: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// The kept row that one repeats.
    fn repeats(
        &self,
        row: &In,
        marks: Option<Marks>,
        near: Option<f64>,
        mut sets: impl FnMut(Place) -> Result<Option<Arc<Sets>>, StoreError>,
    ) -> Result<Option<Repeats>, StoreError> {
        let mut equal = row.equal.iter().map(|group| self.equal[*group as usize]);
        if let Some(place) = equal.find(|place| *place != NONE) {
            return Ok(Some(Repeats::Exactly(number_at(place))));
        }
        let (Some(least), Some(own)) = (near, marks) else {
            return Ok(None);
        };
        let mut candidates: Vec<u32> = row
            .alike
            .iter()
            .flat_map(|group| self.members(*group))
            .filter(|&other| may_be(&own, &self.rows[other as usize].1, least))
            .collect();
        candidates.sort_unstable();
        candidates.dedup();
        for other in candidates {
            let other = self.rows[other as usize].0;
            if let Some(own) = sets(row.place)?
                && let Some(sets) = sets(other)?
            {
                let similarity = own.similarity(&sets);
                if similarity >= least {
                    return Ok(Some(Repeats::Nearly(number_at(other), similarity)));
                }
            }
        }
        Ok(None)
    }

    /// The kept rows of a group, the last one first.
    fn members(&self, group: u32) -> impl Iterator<Item = u32> + '_ {
        let mut next = self.last[group as usize];
        std::iter::from_fn(move || {
            let (row, before) = *self.members.get(next as usize)?;
            next = before;
            Some(row)
        })
    }

    fn keep(&mut self, row: &In, marks: Option<Marks>) {
        for group in &row.equal {
            self.equal[*group as usize] = row.place;
        }
        let Some(marks) = marks else { return };
        let number = self.rows.len() as u32;
        let mut member = false;
        for group in &row.alike {
            let group = *group as usize;
            if usize::from(self.filled[group]) < MOST_COMPARED {
                self.filled[group] += 1;
                self.members.push((number, self.last[group]));
                self.last[group] = self.members.len() as u32 - 1;
                member = true;
            }
        }
        if member {
            self.rows.push((row.place, marks));
        }
    }
}

/// Whether rows may be that similar, by the MinHash values on which they agree. Most that share a band by chance are
/// told apart so, without a look at their runs.
fn may_be(one: &Marks, other: &Marks, least: f64) -> bool {
    let fewest = (least - SHORT) * HASHES as f64;
    let mut both = one.iter().zip(other);
    both.all(|(one, other)| f64::from(agreeing(one, other)) >= fewest)
}

/// The runs of all rows: those that were kept, and those that were read again lately.
struct AllSets<'p, 'a> {
    kept: &'p HashMap<u32, Arc<Sets>>,
    again: Again<'a>,
    read: HashMap<u32, Arc<Sets>>,
    /// Rows in the order in which they were read.
    order: VecDeque<u32>,
    bytes: usize,
}

impl<'p, 'a> AllSets<'p, 'a> {
    fn new(prints: &Prints<'p>, again: Again<'a>) -> Self {
        Self {
            kept: prints.sets,
            again,
            read: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
        }
    }

    fn get(&mut self, row: u32) -> Result<Option<Arc<Sets>>, StoreError> {
        let met = self.kept.get(&row).or_else(|| self.read.get(&row));
        if let Some(sets) = met {
            return Ok(Some(Arc::clone(sets)));
        }
        let Some(sets) = (self.again)(row)? else {
            return Ok(None);
        };
        let sets = Arc::new(sets);
        self.bytes += sets.bytes();
        self.order.push_back(row);
        self.read.insert(row, Arc::clone(&sets));
        while self.bytes > MOST_READ
            && let Some(oldest) = self.order.pop_front()
        {
            let gone = self.read.remove(&oldest);
            self.bytes -= gone.map_or(0, |sets| sets.bytes());
        }
        Ok(Some(sets))
    }
}
