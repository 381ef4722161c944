//! Which tokens of a sequence were decoded beside guesses, and in which steps they would have been decoded without.
//! Pure.

/// Tokens that were decoded beside guesses, and all behind them, which look at those. What is computed of them rounds
/// otherwise than without guesses. Where a choice is too close to be left to that, they are decoded anew, step by step
/// as without guesses.
#[derive(Debug, Default)]
pub struct Beside {
    /// The first of them.
    from: Option<usize>,
    /// How many tokens of the sequence are decoded after each of those steps.
    steps: Vec<usize>,
    /// Whether they are being decoded anew.
    anew: bool,
}

impl Beside {
    /// Whether the row behind the last token rounds otherwise.
    pub fn any(&self) -> bool {
        self.from.is_some()
    }

    /// Guesses were decoded behind the last of `decoded` tokens, which is a step of its own without them.
    pub fn guessed(&mut self, decoded: usize) {
        if self.from.is_none() {
            self.from = Some(decoded.saturating_sub(1));
            self.steps.clear();
            self.steps.push(decoded);
        }
    }

    /// From one row the tokens up to `end` were written, which are one step without guesses.
    pub fn written(&mut self, end: usize) {
        if self.any() {
            self.steps.push(end);
        }
    }

    /// From here on they are decoded anew; gives how many tokens are left that need not be.
    pub fn begin_anew(&mut self) -> Option<usize> {
        let from = self.from.take()?;
        self.anew = true;
        Some(from)
    }

    /// Whether they are being decoded anew; then nothing may be guessed.
    pub fn is_anew(&self) -> bool {
        self.anew
    }

    /// How many tokens the next step decodes after `decoded`, where it must not decode all.
    pub fn next_step(&self, decoded: usize) -> Option<usize> {
        let end = self.steps.iter().find(|&&end| end > decoded);
        end.filter(|_| self.anew).map(|end| end - decoded)
    }

    /// There is a row again, so whatever was decoded anew has come to its end.
    pub fn caught_up(&mut self) {
        self.anew = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_decoded_anew_comes_in_the_steps_in_which_it_was_written() {
        let mut beside = Beside::default();
        beside.written(9);
        assert!(!beside.any());
        beside.guessed(10);
        for end in [11, 14] {
            beside.written(end);
        }
        // Behind guesses everything is off, with others or without.
        beside.guessed(14);
        beside.written(15);
        assert_eq!(beside.next_step(9), None);
        assert_eq!(beside.begin_anew(), Some(9));
        assert!(beside.is_anew() && !beside.any());
        let mut decoded = 9;
        let steps: Vec<usize> = std::iter::from_fn(|| {
            let step = beside.next_step(decoded)?;
            decoded += step;
            Some(step)
        })
        .collect();
        assert_eq!(steps, [1, 1, 3, 1]);
        beside.caught_up();
        assert!(!beside.is_anew() && beside.next_step(9).is_none());
        assert_eq!(beside.begin_anew(), None);
    }
}
