//! Looking for rows that repeat others, among prints that lie on disk.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rayon::prelude::*;

use super::{BANDS, HASHES, MARKS, MOST_COMPARED, Print, SHORT, Sets, agreeing};
use crate::store::{Scratch, Shelf, StoreError};

/// Bytes of runs that were read again and may be met once more.
const MOST_READ: usize = 16 << 20;

/// Bands that are looked at together: so many numbers of every row are in memory.
const TOGETHER: usize = 4;

/// Where a row stands among those that are compared: of two that say the same, the first stays.
type Place = u32;

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

/// Reads the runs of a row again, by its number.
pub(in crate::quality) type Again<'a> = &'a mut dyn FnMut(u32) -> Result<Option<Sets>, StoreError>;

/// The rows that repeat one that is kept, which comes before them in `order`, and the row that each repeats. `near` is
/// the similarity that counts as the same.
pub(in crate::quality::gates) fn find(
    prints: &Prints<'_>,
    order: &[u32],
    exact: bool,
    near: Option<f64>,
    again: Again<'_>,
) -> Result<Vec<(u32, Repeats)>, StoreError> {
    let places = places(order);
    let place_of = |number: u32| places.get(number as usize).copied().filter(|p| *p != NONE);
    let mut equal = Groups::default();
    if exact {
        let mut values = Vec::with_capacity(order.len());
        prints.each(place_of, |place, bytes| {
            values.push((Print::exact_in(bytes), place))
        })?;
        values.sort_unstable();
        equal.add(&values);
    }
    let mut alike = Groups::default();
    if near.is_some() {
        each_band(prints, order.len(), place_of, |values| alike.add(values))?;
    }
    for groups in [&mut equal, &mut alike] {
        groups.of.sort_unstable();
    }
    let mut kept = Kept::new(prints, place_of, &equal, &alike)?;
    let mut sets = AllSets::new(prints, again);
    let (mut equal, mut alike) = (&equal.of[..], &alike.of[..]);
    let mut found = Vec::new();
    for (&number, place) in order.iter().zip(0..) {
        let row = In {
            place,
            equal: of(&mut equal, place),
            alike: of(&mut alike, place),
        };
        match kept.repeats(row, near, |place| sets.get(order[place as usize]))? {
            Some(Repeats::Exactly(other)) => {
                found.push((number, Repeats::Exactly(order[other as usize])));
            }
            Some(Repeats::Nearly(other, similarity)) => {
                found.push((number, Repeats::Nearly(order[other as usize], similarity)));
            }
            None => kept.keep(row),
        }
        kept.pass(row);
    }
    Ok(found)
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
    let mut sets = AllSets::new(prints, again);
    // Rows that hang together already need no further pair.
    let mut parent: Vec<u32> = (0..count).collect();
    let mut failed = None;
    let mut band = |values: &[(u32, Place)]| -> Result<(), StoreError> {
        for group in values.chunk_by(|a, b| a.0 == b.0) {
            for (place, &(_, row)) in group.iter().enumerate() {
                let mut own = None;
                for &(_, other) in group[..place].iter().rev().take(MOST_COMPARED) {
                    let (one, two) = (root(&mut parent, row), root(&mut parent, other));
                    if one == two {
                        continue;
                    }
                    if own.is_none() {
                        own = sets.get(row)?;
                    }
                    if let (Some(own), Some(other_sets)) = (&own, sets.get(other)?)
                        && own.similarity(&other_sets) >= least
                    {
                        parent[one.max(two) as usize] = one.min(two);
                        found(other, row);
                    }
                }
            }
        }
        Ok(())
    };
    each_band(prints, count as usize, Some, |values| {
        if failed.is_none() {
            failed = band(values).err();
        }
    })?;
    failed.map_or(Ok(()), Err)
}

/// The row that stands for all that hang together with this one.
fn root(parent: &mut [u32], mut row: u32) -> u32 {
    while parent[row as usize] != row {
        parent[row as usize] = parent[parent[row as usize] as usize];
        row = parent[row as usize];
    }
    row
}

/// What stands for no place.
const NONE: Place = Place::MAX;

/// The place of every row, by its number.
fn places(order: &[u32]) -> Vec<Place> {
    let most = order.iter().max().map_or(0, |number| *number as usize + 1);
    let mut places = vec![NONE; most];
    for (&number, place) in order.iter().zip(0..) {
        places[number as usize] = place;
    }
    places
}

impl Prints<'_> {
    /// Hands out the prints of the rows that have a place.
    fn each(
        &self,
        place_of: impl Fn(u32) -> Option<Place>,
        mut each: impl FnMut(Place, &[u8]),
    ) -> Result<(), StoreError> {
        self.scratch.each(self.shelf, |number, bytes| {
            if let Some(place) = place_of(number) {
                each(place, bytes);
            }
        })
    }
}

/// Hands out band after band: for each row its number of that band with its place, in order.
fn each_band(
    prints: &Prints<'_>,
    rows: usize,
    place_of: impl Fn(u32) -> Option<Place>,
    mut each: impl FnMut(&[(u32, Place)]),
) -> Result<(), StoreError> {
    let mut bands: [Vec<(u32, Place)>; TOGETHER] =
        std::array::from_fn(|_| Vec::with_capacity(rows));
    for first in (0..BANDS).step_by(TOGETHER) {
        bands.iter_mut().for_each(Vec::clear);
        prints.each(&place_of, |place, bytes| {
            for (band, values) in (first..).zip(&mut bands) {
                values.push((Print::band_in(bytes, band), place));
            }
        })?;
        bands
            .par_iter_mut()
            .for_each(|values| values.sort_unstable());
        bands.iter().for_each(|values| each(values));
    }
    Ok(())
}

/// Rows that have something in common.
#[derive(Debug, Default)]
struct Groups {
    /// Rows with the groups that they belong to. Most rows belong to none.
    of: Vec<(Place, u32)>,
    /// How many groups there are.
    count: u32,
}

impl Groups {
    /// Puts rows into one group that have the same value. They come in order of their values.
    fn add<T: PartialEq>(&mut self, values: &[(T, Place)]) {
        let groups = values.chunk_by(|a, b| a.0 == b.0);
        for group in groups.filter(|group| group.len() > 1) {
            let number = self.count;
            self.of
                .extend(group.iter().map(|(_, place)| (*place, number)));
            self.count += 1;
        }
    }
}

/// The groups of the row at a place: they come first where those of earlier rows are taken off.
fn of<'a>(rest: &mut &'a [(Place, u32)], place: Place) -> &'a [(Place, u32)] {
    let count = rest.iter().take_while(|(of, _)| *of == place).count();
    let (own, after) = rest.split_at(count);
    *rest = after;
    own
}

/// A row and the groups that it belongs to.
#[derive(Clone, Copy)]
struct In<'a> {
    place: Place,
    equal: &'a [(Place, u32)],
    alike: &'a [(Place, u32)],
}

/// The rows that were kept so far. Those that share a band are numbered anew, so that what is kept of them is small.
#[derive(Debug)]
struct Kept {
    /// For each group of equal rows the one that was kept.
    equal: Vec<Place>,
    /// For each group of rows that share a band where its members begin, and how many were kept.
    begin: Vec<u32>,
    filled: Vec<u32>,
    members: Vec<u32>,
    /// The places of rows that share a band, and four bits of every MinHash value of theirs.
    sharing: Vec<Place>,
    marks: Vec<[[u64; MARKS]; 2]>,
    /// Of these, how many were looked at.
    next: usize,
}

impl Kept {
    fn new(
        prints: &Prints<'_>,
        place_of: impl Fn(u32) -> Option<Place>,
        equal: &Groups,
        alike: &Groups,
    ) -> Result<Self, StoreError> {
        let mut begin = vec![0; alike.count as usize + 1];
        for (_, group) in &alike.of {
            begin[*group as usize + 1] += 1;
        }
        for group in 1..begin.len() {
            begin[group] += begin[group - 1];
        }
        let mut sharing: Vec<Place> = alike.of.iter().map(|(place, _)| *place).collect();
        sharing.dedup();
        let mut marks = vec![[[0; MARKS]; 2]; sharing.len()];
        if !sharing.is_empty() {
            prints.each(place_of, |place, bytes| {
                if let Ok(number) = sharing.binary_search(&place) {
                    marks[number] = Print::marks_in(bytes);
                }
            })?;
        }
        Ok(Self {
            equal: vec![NONE; equal.count as usize],
            filled: vec![0; alike.count as usize],
            members: vec![0; alike.of.len()],
            begin,
            sharing,
            marks,
            next: 0,
        })
    }

    /// The kept row that one repeats, by its place.
    fn repeats(
        &self,
        row: In<'_>,
        near: Option<f64>,
        mut sets: impl FnMut(Place) -> Result<Option<Arc<Sets>>, StoreError>,
    ) -> Result<Option<Repeats>, StoreError> {
        let equal = row
            .equal
            .iter()
            .map(|(_, group)| self.equal[*group as usize]);
        if let Some(place) = equal.into_iter().find(|place| *place != NONE) {
            return Ok(Some(Repeats::Exactly(place)));
        }
        let Some(least) = near.filter(|_| !row.alike.is_empty()) else {
            return Ok(None);
        };
        let own = &self.marks[self.next];
        let mut candidates: Vec<u32> = row
            .alike
            .iter()
            .flat_map(|(_, group)| self.members(*group))
            .copied()
            .filter(|&other| may_be(own, &self.marks[other as usize], least))
            .collect();
        candidates.sort_unstable();
        candidates.dedup();
        for other in candidates {
            let other = self.sharing[other as usize];
            if let Some(own) = sets(row.place)?
                && let Some(sets) = sets(other)?
            {
                let similarity = own.similarity(&sets);
                if similarity >= least {
                    return Ok(Some(Repeats::Nearly(other, similarity)));
                }
            }
        }
        Ok(None)
    }

    fn members(&self, group: u32) -> &[u32] {
        let begin = self.begin[group as usize] as usize;
        &self.members[begin..begin + self.filled[group as usize] as usize]
    }

    fn keep(&mut self, row: In<'_>) {
        for (_, group) in row.equal {
            self.equal[*group as usize] = row.place;
        }
        for (_, group) in row.alike {
            let group = *group as usize;
            if (self.filled[group] as usize) < MOST_COMPARED {
                self.members[(self.begin[group] + self.filled[group]) as usize] = self.next as u32;
                self.filled[group] += 1;
            }
        }
    }

    /// Goes on to the next row.
    fn pass(&mut self, row: In<'_>) {
        self.next += usize::from(!row.alike.is_empty());
    }
}

/// Whether rows may be that similar, by the MinHash values on which they agree. Most that share a band by chance are
/// told apart so, without a look at their runs.
fn may_be(one: &[[u64; MARKS]; 2], other: &[[u64; MARKS]; 2], least: f64) -> bool {
    let fewest = (least - SHORT) * HASHES as f64;
    let mut both = one.iter().zip(other);
    both.all(|(one, other)| f64::from(agreeing(one, other)) >= fewest)
}

/// The runs of all rows: those that were kept, and those that were read again lately.
struct AllSets<'p, 'a> {
    kept: &'p HashMap<u32, Arc<Sets>>,
    again: Again<'a>,
    /// By row, as far as they were read.
    read: Vec<Option<Arc<Sets>>>,
    /// Rows in the order in which they were read.
    order: VecDeque<u32>,
    bytes: usize,
}

impl<'p, 'a> AllSets<'p, 'a> {
    fn new(prints: &Prints<'p>, again: Again<'a>) -> Self {
        Self {
            kept: prints.sets,
            again,
            read: Vec::new(),
            order: VecDeque::new(),
            bytes: 0,
        }
    }

    fn get(&mut self, row: u32) -> Result<Option<Arc<Sets>>, StoreError> {
        let read = || self.read.get(row as usize)?.as_ref();
        if let Some(sets) = self.kept.get(&row).or_else(read) {
            return Ok(Some(Arc::clone(sets)));
        }
        let Some(sets) = (self.again)(row)? else {
            return Ok(None);
        };
        let sets = Arc::new(sets);
        self.bytes += sets.bytes();
        self.order.push_back(row);
        let place = row as usize;
        if self.read.len() <= place {
            self.read.resize(place + 1, None);
        }
        self.read[place] = Some(Arc::clone(&sets));
        while self.bytes > MOST_READ
            && let Some(oldest) = self.order.pop_front()
        {
            let gone = self.read[oldest as usize].take();
            self.bytes -= gone.map_or(0, |sets| sets.bytes());
        }
        Ok(Some(sets))
    }
}
