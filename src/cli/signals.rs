//! Ctrl-C and SIGTERM, and the signal of a file that has grown too large.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use super::Exit;
use super::exit::say;

/// Sets the returned flag at the first Ctrl-C or SIGTERM and says `first`; leaves at the second, and
/// says `second`.
pub fn interruption(first: &str, second: &str) -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&flag);
    let (first, second) = (first.to_owned(), second.to_owned());
    on_signal(move || {
        if theirs.swap(true, Ordering::Relaxed) {
            say(&format!("\n{second}"));
            leave();
        }
        if !first.is_empty() {
            say(&format!("\n{first}"));
        }
    })?;
    Ok(flag)
}

/// Lets a write beyond the limit that the system sets for files (`ulimit -f`) fail like one on a full disk, in
/// place of ending the process without a word.
pub fn fail_at_file_size_limit() {
    // Where it cannot be set the process ends as it would without it.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

fn on_signal(mut then: impl FnMut() + Send + 'static) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || signals.forever().for_each(|_| then()))?;
    Ok(())
}

fn leave() -> ! {
    // Without destructors: the inference thread may be inside llama.cpp.
    signal_hook::low_level::exit(i32::from(Exit::Interrupted.code()))
}

/// Ends the process at the first Ctrl-C or SIGTERM, for commands that wait for the person. The flag is
/// for the engine and stays as it is.
pub fn leave_on_interrupt() -> anyhow::Result<AtomicBool> {
    on_signal(|| {
        say("");
        leave();
    })?;
    Ok(AtomicBool::new(false))
}
