//! How many threads compute a step.
//!
//! llama.cpp's threads meet after every operation, hundreds of times a step, and wait for each other in a loop. Where
//! other programs take cores too, all of them wait for the one that the system does not let run: on two cores, beside
//! two busy programs, two threads take several times as long as one. So what threads do not get of the processor is
//! measured, as many compute as there are cores left, and now and then all of them try again.

mod clock;

pub use clock::install;

/// Seconds of computing after which it is looked at how much the threads got of the processor.
const WINDOW: f64 = 0.1;

/// The same where all threads try again, which is slow as long as others take the processor.
const TRIAL: f64 = 0.02;

/// Seconds of computing before all threads try again, at first and at most; they double with every trial in vain.
const REST: (f64, f64) = (1.0, 8.0);

/// How many threads compute a step, learnt from the steps before.
#[derive(Clone, Debug)]
pub struct Threads {
    most: i32,
    now: i32,
    /// Whether there may ever be fewer than the most.
    yields: bool,
    /// Of the steps since the last look: seconds, and those that threads did not get, of all threads together.
    wall: f64,
    missed: f64,
    /// Seconds of computing since the last trial, and before the next one.
    rested: f64,
    rest: f64,
    on_trial: bool,
}

impl Threads {
    /// Always as many.
    pub fn fixed(count: i32) -> Self {
        Self::new(count, false)
    }

    /// So many where no other program takes the processor, and else as many as there are cores left.
    pub fn up_to(most: i32) -> Self {
        Self::new(most, true)
    }

    fn new(most: i32, yields: bool) -> Self {
        let most = most.max(1);
        Self {
            most,
            now: most,
            yields,
            wall: 0.0,
            missed: 0.0,
            rested: 0.0,
            rest: REST.0,
            on_trial: false,
        }
    }

    /// The most that ever compute.
    pub fn most(&self) -> i32 {
        self.most
    }

    /// Decodes with the threads that are worth it now. Contexts must have been made for [`most`](Self::most) threads.
    pub fn compute<T>(&mut self, decode: impl FnOnce() -> T) -> T {
        if !self.yields || self.most == 1 {
            return decode();
        }
        let (result, spent) = clock::with_threads(self.now, decode);
        if let Some((wall, processor)) = spent {
            self.observe(wall, processor);
        }
        result
    }

    /// A step took `wall` seconds, in which the threads had the processor for `processor` seconds together.
    fn observe(&mut self, wall: f64, processor: f64) {
        let count = f64::from(self.now);
        // They are started one after the other.
        let starting = 50e-6 * count + 10e-6 * count * count;
        self.wall += wall;
        self.missed += count * wall - processor - starting;
        self.rested += wall;
        if self.now < self.most && self.rested >= self.rest {
            self.on_trial = true;
            self.set(self.most);
            return;
        }
        if self.wall < if self.on_trial { TRIAL } else { WINDOW } {
            return;
        }
        let missing = self.missed / self.wall;
        let taken = self.now > 1 && missing > 0.2 + 0.02 * count;
        if self.on_trial {
            self.rest = match taken {
                true => (2.0 * self.rest).min(REST.1),
                false => REST.0,
            };
            self.on_trial = false;
        }
        match taken {
            true => self.set(((count - missing + 0.1) as i32).clamp(1, self.now - 1)),
            false => (self.wall, self.missed) = (0.0, 0.0),
        }
    }

    /// Goes on with another number of threads, about which nothing is known yet.
    fn set(&mut self, count: i32) {
        if !self.on_trial {
            tracing::debug!(
                "other programs take the processor: {count} of {} threads compute",
                self.most
            );
        }
        self.now = count;
        (self.wall, self.missed, self.rested) = (0.0, 0.0, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Has steps of 10 ms computed on a machine where each thread beyond `free` gets nothing, and a step takes ten times
    /// as long for them; returns the seconds that `steps` steps took.
    fn steps(threads: &mut Threads, free: f64, steps: usize) -> f64 {
        (0..steps)
            .map(|_| {
                let count = f64::from(threads.now);
                let wall = if count > free { 0.1 } else { 0.01 };
                threads.observe(wall, wall * count.min(free));
                wall
            })
            .sum()
    }

    #[test]
    fn all_compute_where_nobody_else_does() {
        let mut threads = Threads::up_to(8);
        steps(&mut threads, 8.0, 1000);
        assert_eq!(threads.now, 8);
    }

    #[test]
    fn as_many_compute_as_there_are_cores_left_and_all_when_they_are_free_again() {
        for (most, free, expected) in [(2, 1.0, 1), (2, 0.6, 1), (8, 7.0, 7), (8, 2.5, 2)] {
            let mut threads = Threads::up_to(most);
            steps(&mut threads, free, 3);
            assert_eq!(threads.now, expected, "{most} with {free} free");
            // Trials in vain cost less and less.
            steps(&mut threads, free, 2000);
            let spent = steps(&mut threads, free.max(1.0), 2000);
            assert!(spent < 2000.0 * 0.01 * 1.1, "{spent}");
            steps(&mut threads, f64::from(most), 1000);
            assert_eq!(threads.now, most, "{most} with {free} free before");
        }
    }

    #[test]
    fn threads_that_are_started_are_not_taken_for_threads_that_wait() {
        // Steps so short that starting eight threads is a third of them.
        let mut threads = Threads::up_to(8);
        for _ in 0..1000 {
            threads.observe(0.002, 8.0 * 0.002 - 0.001);
        }
        assert_eq!(threads.now, 8);
    }

    #[test]
    fn a_pause_of_one_thread_changes_nothing() {
        let mut threads = Threads::up_to(2);
        for step in 0..100 {
            let pause = if step % 10 == 0 { 0.004 } else { 0.0 };
            threads.observe(0.010 + pause, 2.0 * (0.010 + pause) - pause);
            assert_eq!(threads.now, 2);
        }
    }

    #[test]
    fn a_number_by_hand_stays() {
        let mut threads = Threads::fixed(2);
        let counted = threads.compute(|| 3);
        assert_eq!((counted, threads.now, threads.wall), (3, 2, 0.0));
    }

    proptest! {
        #[test]
        fn at_least_one_computes_and_never_more_than_the_most(
            most in 1i32..130,
            steps in prop::collection::vec((1e-5f64..1.0, 0.0f64..1.2), 1..200),
        ) {
            let mut threads = Threads::up_to(most);
            for (wall, share) in steps {
                threads.observe(wall, wall * f64::from(threads.now) * share);
                prop_assert!((1..=most).contains(&threads.now));
            }
        }
    }
}
