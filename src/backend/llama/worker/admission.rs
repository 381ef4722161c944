//! Who gets a place: waiting requests are let in, and the latest gives its place up where cells run out.

use std::sync::atomic::Ordering;

use crate::backend::llama::scheduler::{Ahead, Share, rides_along};
use crate::backend::llama::sequence::{Job, Sequence};

use super::{Running, Worker};

/// Tokens for which a sequence that is let in finds room beyond its prompt. It may need more; then others
/// give way.
const RESERVE: usize = 64;

/// How many waiting requests are looked at for one that can be let in.
const LOOK_AHEAD: usize = 64;

/// A request that waits for a place.
pub(super) enum Waiting {
    New(Job),
    Preempted(Sequence),
}

impl Waiting {
    fn tokens(&self) -> &[u32] {
        match self {
            Waiting::New(job) => &job.tokens,
            Waiting::Preempted(sequence) => &sequence.tokens,
        }
    }

    fn domain(&self) -> usize {
        match self {
            Waiting::New(job) => job.domain,
            Waiting::Preempted(sequence) => sequence.domain,
        }
    }

    fn room(&self) -> usize {
        match self {
            Waiting::New(job) => job.room,
            Waiting::Preempted(sequence) => sequence.room(),
        }
    }
}

impl Worker<'_> {
    pub(super) fn enqueue(&mut self, job: Job, arrivals: &mut u64) {
        *arrivals += 1;
        self.waiting
            .insert((job.order(), *arrivals), Waiting::New(job));
    }

    /// Lets waiting requests in, earlier ones first, as far as there are places and cells.
    pub(super) fn admit(&mut self) {
        let mut looked = 0;
        let mut after = None;
        while self.running.len() < self.config.cache.running && looked < LOOK_AHEAD {
            let next = match after {
                None => self.waiting.iter().next(),
                Some(key) => self
                    .waiting
                    .range((std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded))
                    .next(),
            };
            let Some((&key, waiting)) = next else { return };
            looked += 1;
            after = Some(key);
            if self.rides_along(waiting) {
                continue;
            }
            // Those that run grow as well; without room for that, whoever is let in would soon give way.
            // One alone has the whole cache, which holds a whole context.
            let reserve = match self.running.len() {
                0 => 0,
                running => waiting.room().min(RESERVE) + running * RESERVE / 2,
            };
            let mut cells = Self::cells(&mut self.context, self.config);
            let admitted =
                self.cache
                    .admit(&mut cells, waiting.domain(), waiting.tokens(), reserve);
            // Who comes later must not take the cells that this one waits for.
            let Some(admitted) = admitted else { return };
            let sequence = match self.waiting.remove(&key) {
                Some(Waiting::New(job)) => Sequence::new(job, admitted.shared),
                Some(Waiting::Preempted(mut sequence)) => {
                    sequence.admit_again(admitted.shared);
                    sequence
                }
                None => return,
            };
            let place = self.running.partition_point(|running| running.key < key);
            self.running.insert(
                place,
                Running {
                    key,
                    seq: admitted.seq,
                    sequence,
                    rows: (0, 0),
                    outcome: None,
                },
            );
        }
    }

    /// Whether a request should wait for what a running sequence is prefilling.
    fn rides_along(&self, waiting: &Waiting) -> bool {
        if !self.config.cache.reuse {
            return false;
        }
        let resident = self.cache.resident(waiting.domain(), waiting.tokens());
        let running = self.running.iter().map(|running| Ahead {
            tokens: &running.sequence.tokens,
            decoded: running.sequence.decoded,
            domain: running.sequence.domain,
        });
        let worth = self.cache.worth_waiting();
        rides_along(waiting.tokens(), waiting.domain(), resident, worth, running)
    }

    /// Takes the place of the latest request, which begins again later, and its part of the plan. False
    /// when only one is left, which has the whole cache to itself.
    pub(super) fn preempt(&mut self, shares: &mut Vec<Share>) -> bool {
        if self.running.len() < 2 {
            return false;
        }
        let Some(last) = self.running.pop() else {
            return false;
        };
        shares.retain(|share| share.slot < self.running.len());
        let mut cells = Self::cells(&mut self.context, self.config);
        self.cache.release(&mut cells, last.seq);
        self.counters.preempted.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting::Preempted(last.sequence.step_back());
        self.waiting.insert(last.key, waiting);
        true
    }
}
