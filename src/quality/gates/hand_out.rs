//! One thread reads, all others work.

/// Things that are handed out together.
const TOGETHER: usize = 256;

/// Calls `work` on all threads with what `read` hands out on this one, [`TOGETHER`] at a time.
pub(super) fn hand_out<T: Send, R>(
    work: impl Fn(Vec<T>) + Sync,
    read: impl FnOnce(&mut dyn FnMut(T)) -> R,
) -> R {
    let (sender, batches) = crossbeam_channel::bounded::<Vec<T>>(4);
    rayon::in_place_scope(|scope| {
        for _ in 0..rayon::current_num_threads() {
            scope.spawn(|_| batches.iter().for_each(&work));
        }
        let mut batch = Vec::with_capacity(TOGETHER);
        let read = read(&mut |item| {
            batch.push(item);
            if batch.len() == TOGETHER {
                // The receivers stay until the sender is gone.
                let _ = sender.send(std::mem::take(&mut batch));
            }
        });
        let _ = sender.send(batch);
        drop(sender);
        read
    })
}
