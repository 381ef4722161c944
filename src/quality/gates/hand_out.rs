//! One thread reads, all others work.

/// The most things that are handed out together.
const TOGETHER: usize = 256;

/// Bytes from which things are handed out, however few they are: several such batches wait at a time.
const BYTES: usize = 4 << 20;

/// Calls `work` on all threads with what `read` hands out on this one, [`TOGETHER`] at a time or fewer where they
/// are large, and with the number of the batch, counted from 0 as they were read. `size` tells about how many bytes
/// one takes.
///
/// # Panics
///
/// When `work` does.
pub(super) fn hand_out<T: Send, R>(
    size: impl Fn(&T) -> usize,
    work: impl Fn(usize, Vec<T>) + Sync,
    read: impl FnOnce(&mut dyn FnMut(T)) -> R,
) -> R {
    let work = &work;
    let (sender, batches) = crossbeam_channel::bounded::<(usize, Vec<T>)>(4);
    rayon::in_place_scope(|scope| {
        for _ in 0..rayon::current_num_threads() {
            let batches = batches.clone();
            scope.spawn(move |_| {
                for (number, batch) in batches {
                    work(number, batch);
                }
            });
        }
        // Only those that work receive: where all of them have panicked, nobody would make room for another batch.
        drop(batches);
        let (mut number, mut batch, mut bytes) = (0, Vec::with_capacity(TOGETHER), 0);
        let read = read(&mut |item| {
            bytes += size(&item);
            batch.push(item);
            if batch.len() == TOGETHER || bytes >= BYTES {
                bytes = 0;
                // Fails where nobody receives any more, and then the scope panics.
                let _ = sender.send((number, std::mem::take(&mut batch)));
                number += 1;
            }
        });
        let _ = sender.send((number, batch));
        drop(sender);
        read
    })
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn everything_is_worked_on_once() {
        let sum = AtomicUsize::new(0);
        let work = |_, batch: Vec<usize>| {
            sum.fetch_add(batch.iter().sum(), Ordering::Relaxed);
        };
        let read = hand_out(
            |_| 1,
            work,
            |hand| {
                (0..10_000).for_each(&mut *hand);
                "done"
            },
        );
        assert_eq!((read, sum.into_inner()), ("done", 9999 * 5000));
    }

    #[test]
    fn batches_are_numbered_as_they_were_read() {
        let met = Mutex::new(Vec::new());
        let work = |number, batch: Vec<usize>| met.lock().unwrap().push((number, batch));
        hand_out(|_| 1, work, |hand| (0..1000).for_each(&mut *hand));
        let mut met = met.into_inner().unwrap();
        met.sort();
        let numbers: Vec<usize> = met.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
        let read: Vec<usize> = met.into_iter().flat_map(|(_, batch)| batch).collect();
        assert_eq!(read, Vec::from_iter(0..1000));
    }

    #[test]
    fn large_things_are_handed_out_by_few() {
        let most = AtomicUsize::new(0);
        let work = |_, batch: Vec<usize>| {
            most.fetch_max(batch.len(), Ordering::Relaxed);
        };
        hand_out(|_| BYTES / 2, work, |hand| (0..100).for_each(&mut *hand));
        assert_eq!(most.into_inner(), 2);
    }

    #[test]
    fn a_panic_while_working_ends_the_reading() {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            // More batches than there is room for, with any number of threads.
            hand_out(
                |_| 1,
                |_, _: Vec<usize>| panic!("as a test wants it"),
                |hand| (0..100 * TOGETHER).for_each(&mut *hand),
            );
        }));
        assert!(caught.is_err());
    }
}
