//! Which principle comes next, and when rounds and chain end.

use crate::chain::StopReason;
use crate::constitution::Revise;
use crate::engine::policy::{Select, principles_of_round};

use super::{ChainMachine, State};

impl ChainMachine {
    pub(super) fn next_principle(&mut self) {
        self.turn += 1;
        if self.turn < self.queue.len() {
            self.state = State::Critique;
        } else {
            self.end_round();
        }
    }

    fn end_round(&mut self) {
        // A round over all principles that changed nothing has seen the current text under each of them.
        let whole_round = self.plan.select != Select::Sample;
        if whole_round && !self.disturbed {
            self.stop = StopReason::Clean;
            self.recheck(0);
        } else if self.round >= self.plan.rounds
            || (whole_round && self.plan.revise == Revise::Never)
        {
            // A response that stays as it is need not be asked about twice.
            self.stop = if self.untouched && !self.revised {
                StopReason::Clean
            } else {
                StopReason::RoundsDone
            };
            self.recheck(0);
        } else {
            self.begin_round();
        }
    }

    pub(super) fn begin_round(&mut self) {
        if self.round >= self.plan.rounds {
            // No rounds were asked for, so nothing was found clean.
            self.untouched = false;
            self.disturbed = true;
            self.end_round();
            return;
        }
        self.round += 1;
        self.turn = 0;
        self.disturbed = false;
        self.queue = principles_of_round(
            &self.plan.constitution,
            &self.plan.select,
            self.seed(),
            self.round,
        );
        if self.queue.is_empty() {
            self.fail("no principle can be asked: none is active with a weight above 0".to_owned());
        } else {
            self.state = State::Critique;
        }
    }

    /// Asks again about the n-th principle that was revised for, or ends.
    pub(super) fn recheck(&mut self, n: usize) {
        self.state = if self.plan.recheck && n < self.mended.len() {
            State::Recheck(n)
        } else {
            State::Ended
        };
    }
}
