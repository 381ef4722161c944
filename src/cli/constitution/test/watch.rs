//! `amend constitution test --watch`: tests again whenever a file of the constitution is saved.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use anyhow::{anyhow, bail};

use super::{Args, Bench, Format, Shown, changed, prepare};
use crate::cli::Exit;
use crate::cli::constitution::trial;
use crate::cli::exit::{say, usage};
use crate::constitution::{self, ConstitutionError, Loaded, Resolved, Source};

/// Between two looks at the files. Polling needs nothing of the file system, network shares included.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// Tests, then waits for a file to be saved and tests what has changed, until interrupted.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    if args.format == Format::Junit {
        bail!(usage(anyhow!("--watch knows --format text and json")));
    }
    let mut watched = Watched::default();
    watched.follow([PathBuf::from(&args.constitution)]);
    let loaded = trial::read(&args.constitution)?;
    if let Source::Shipped(name) = loaded.source {
        bail!(usage(anyhow!(
            "--watch needs a file; `{name}` comes with this program (amend constitution new --from {name} writes it)"
        )));
    }
    prepare(args, &loaded.resolved.constitution)?;
    let Some(mut bench) = Bench::open(args)? else {
        return Ok(Exit::Interrupted);
    };
    let mut last = loaded.resolved;
    watched.follow(last.files.clone());
    if !round(args, &mut bench, &last, None)? {
        return Ok(Exit::Interrupted);
    }
    loop {
        say(&format!("watching {}; Ctrl-C ends", args.constitution));
        if !watched.wait(|| bench.interrupted.load(Ordering::Relaxed)) {
            return Ok(Exit::Interrupted);
        }
        let now = match constitution::load(&args.constitution) {
            Ok(Loaded { resolved, .. }) => resolved,
            Err(error) => {
                say(&error.to_string());
                watched.follow(files_of(&error));
                continue;
            }
        };
        watched.follow(now.files.clone());
        let ids = changed(&last.constitution, &now);
        if ids.is_empty() {
            say("no principle has changed");
        } else if let Err(error) = prepare(args, &now.constitution) {
            say(&format!("{error:#}"));
        } else if !round(args, &mut bench, &now, Some(&ids))? {
            return Ok(Exit::Interrupted);
        }
        last = now;
    }
}

/// Tests the constitution, and shows the given principles. False when interrupted. Replies about
/// principles that have not changed come from the store, so that results are kept for all.
fn round(
    args: &Args,
    bench: &mut Bench<'_>,
    resolved: &Resolved,
    only: Option<&[String]>,
) -> anyhow::Result<bool> {
    let plan = args.trial.plan(resolved.constitution.clone())?;
    let Some(report) = bench.test(&plan)? else {
        return Ok(false);
    };
    let shown = Shown {
        source: &args.constitution,
        args,
        plan: &plan,
        bench,
        report: &report,
    };
    shown.print(only)?;
    Ok(true)
}

fn files_of(error: &ConstitutionError) -> impl Iterator<Item = PathBuf> {
    error.problems.iter().map(|problem| problem.file.clone())
}

/// Files, and how they looked last.
#[derive(Default)]
struct Watched {
    files: Vec<(PathBuf, Option<Look>)>,
}

/// What changes when a file is saved.
type Look = (SystemTime, u64);

impl Watched {
    /// Watches these files, too. What is watched already keeps the look that it had before it was read.
    fn follow(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        for file in files {
            if self.files.iter().all(|(known, _)| *known != file) {
                let now = look(&file);
                self.files.push((file, now));
            }
        }
    }

    /// Waits until a file looks different; false when `stop` says so first.
    fn wait(&mut self, stop: impl Fn() -> bool) -> bool {
        loop {
            let mut found = false;
            for (file, last) in &mut self.files {
                let now = look(file);
                // Editors that write a new file have none for a moment: that is not a change yet.
                if now != *last && now.is_some() {
                    *last = now;
                    found = true;
                }
            }
            if found {
                return true;
            }
            if stop() {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

fn look(file: &Path) -> Option<Look> {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saving_is_seen_and_a_missing_file_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.yaml");
        fs::write(&file, "a").unwrap();
        let mut watched = Watched::default();
        watched.follow([file.clone()]);
        assert!(!watched.wait(|| true), "nothing was saved");
        fs::remove_file(&file).unwrap();
        assert!(!watched.wait(|| true), "it is being replaced");
        fs::write(&file, "longer").unwrap();
        assert!(watched.wait(|| true));
        assert!(!watched.wait(|| true), "once");
    }
}
