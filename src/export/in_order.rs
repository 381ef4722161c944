//! One thread reads, all others work, and one takes what they make in the order in which it was read.

use std::panic::resume_unwind;
use std::thread;

use rayon::prelude::*;

/// The most things that are worked on together.
const TOGETHER: usize = 256;

/// Bytes from which things are worked on, however few they are.
const BYTES: usize = 1 << 20;

/// Calls `work` on all threads with what `read` hands out on this one, and `take` on one thread with what `work`
/// makes of it, in the order in which it was handed out. `size` tells about how many bytes a thing takes: a few
/// batches wait at a time, and no more.
///
/// What is handed out is answered with `false` once `take` has failed, whose error comes beside what `read` says.
pub(super) fn in_order<T, U, R, E>(
    size: impl Fn(&T) -> usize,
    work: impl Fn(T) -> U + Sync,
    mut take: impl FnMut(U) -> Result<(), E> + Send,
    read: impl FnOnce(&mut dyn FnMut(T) -> bool) -> R,
) -> (R, Result<(), E>)
where
    T: Send,
    U: Send,
    E: Send,
{
    let work = &work;
    let (sender, batches) = crossbeam_channel::bounded::<Vec<T>>(2);
    thread::scope(|scope| {
        let taking = scope.spawn(move || {
            batches.into_iter().try_for_each(|batch| {
                let made: Vec<U> = batch.into_par_iter().map(work).collect();
                made.into_iter().try_for_each(&mut take)
            })
        });
        let (mut batch, mut bytes) = (Vec::with_capacity(TOGETHER), 0);
        let read = read(&mut |thing| {
            bytes += size(&thing);
            batch.push(thing);
            if batch.len() < TOGETHER && bytes < BYTES {
                return true;
            }
            bytes = 0;
            // Fails where nobody receives any more.
            sender.send(std::mem::take(&mut batch)).is_ok()
        });
        // The same.
        let _ = sender.send(batch);
        drop(sender);
        match taking.join() {
            Ok(taken) => (read, taken),
            Err(panic) => resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn what_is_made_comes_in_the_order_in_which_it_was_read() {
        let mut taken = Vec::new();
        let take = |made: usize| {
            taken.push(made);
            Ok::<_, ()>(())
        };
        let read = |hand: &mut dyn FnMut(usize) -> bool| (0..10_000).all(hand);
        let (all, outcome) = in_order(|_| 1, |number: usize| number * 3, take, read);
        assert!(all && outcome.is_ok());
        assert_eq!(taken, Vec::from_iter((0..30_000).step_by(3)));
    }

    #[test]
    fn reading_ends_where_nothing_can_be_taken() {
        let take = |number: usize| if number < 1000 { Ok(()) } else { Err(number) };
        let mut handed = 0;
        let read = |hand: &mut dyn FnMut(usize) -> bool| {
            handed = (0..1_000_000).take_while(|number| hand(*number)).count();
        };
        let ((), outcome) = in_order(|_| 1, |number| number, take, read);
        assert_eq!(outcome, Err(1000));
        // No more than the batches that can wait.
        assert!((1000..1000 + 8 * TOGETHER).contains(&handed), "{handed}");
    }

    #[test]
    fn large_things_do_not_wait_for_others() {
        let (sender, taken) = crossbeam_channel::unbounded();
        let take = move |thing: u8| sender.send(thing);
        let read = |hand: &mut dyn FnMut(u8) -> bool| {
            assert!(hand(7));
            // It was taken before anything else was read.
            taken.recv().unwrap()
        };
        let (met, outcome) = in_order(|_| BYTES, |thing| thing, take, read);
        assert!(met == 7 && outcome.is_ok());
    }

    #[test]
    fn a_panic_while_working_is_one_of_the_whole() {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let take = |(): ()| Ok::<_, ()>(());
            let work = |_: usize| panic!("as a test wants it");
            in_order(|_| 1, work, take, |hand| (0..100_000).all(hand))
        }));
        assert!(caught.is_err());
    }
}
