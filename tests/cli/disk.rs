//! Disks that do not take what is written: one clear message, and nothing lost that was there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::builder::{Outcome, Place};
use crate::kill::dump;

const RUN: &[&str] = &[
    "run",
    "p.jsonl",
    "-c",
    "minimal",
    "--backend",
    "scripted",
    "--db",
    "store/amend.db",
];

fn place(prompts: usize) -> Place {
    let place = Place::new();
    let rows: String = (0..prompts)
        .map(|n| format!("{{\"id\": \"q{n}\", \"prompt\": \"Question {n}?\"}}\n"))
        .collect();
    place.write("p.jsonl", rows).write("store/.keep", "");
    place
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Runs amend as somebody whom permissions bind. They do not bind root, who becomes nobody.
fn bound(place: &Place, args: &[&str]) -> Outcome {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let command = place.command(args);
    let mut command = match root {
        false => command,
        true => {
            // Nobody may not look into the folder that the program was built in.
            let copy = place.path("amend");
            if !copy.exists() {
                fs::copy(command.get_program(), &copy).unwrap();
            }
            mode(&copy, 0o755);
            let mut lowered = Command::new("setpriv");
            lowered
                .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
                .arg(copy)
                .args(args)
                .current_dir(place.root())
                .env("NO_COLOR", "1")
                .stdin(Stdio::null());
            lowered
        }
    };
    outcome(&mut command)
}

fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
    }
}

/// Runs amend where no file may grow beyond `blocks`, which to whoever writes is like a full disk.
fn limited(place: &Place, blocks: u32, args: &[&str]) -> Outcome {
    let script = format!("ulimit -f {blocks}; exec \"$@\"");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script, "sh"])
        .arg(place.command(args).get_program())
        .args(args)
        .current_dir(place.root())
        .stdin(Stdio::null());
    outcome(&mut command)
}

#[test]
fn a_read_only_store_is_read_and_not_written() {
    let place = place(3);
    place.amend(RUN).success();
    let before = fs::read(place.path("store/amend.db")).unwrap();
    let listed = place
        .amend(&["ls", "--db", "store/amend.db"])
        .success()
        .stdout;
    mode(place.root(), 0o755);
    let more = [RUN, &["--rounds", "1"]].concat();
    // A file that cannot be written in a folder that can, and one in a folder that cannot either.
    for folder in [0o777, 0o555] {
        mode(&place.path("store/amend.db"), 0o444);
        mode(&place.path("store"), folder);
        bound(&place, &more)
            .code(1)
            .complains(&["store/amend.db", "read-only", "--db"]);
        let read = bound(&place, &["ls", "--db", "store/amend.db"]).success();
        assert_eq!(read.stdout, listed);
        let again = fs::read(place.path("store/amend.db")).unwrap();
        assert!(again == before, "the store was changed");
        mode(&place.path("store"), 0o755);
    }
    // A store cannot be made in such a folder either.
    mode(&place.path("store"), 0o555);
    let other = [&RUN[..RUN.len() - 1], &["store/new.db"]].concat();
    bound(&place, &other).code(1).complains(&["store/new.db"]);
    mode(&place.path("store"), 0o755);
}

#[test]
fn a_disk_that_is_full_half_way_loses_nothing() {
    let place = place(300);
    let stopped =
        limited(&place, 3000, RUN)
            .code(1)
            .complains(&["store/amend.db", "amend resume", "kept"]);
    assert!(!stopped.stderr.contains("300 chains"), "{}", stopped.stderr);
    let runs = place.amend(&["runs", "--db", "store/amend.db", "--json"]);
    let runs = runs.success().json_lines();
    let done = runs[0]["done"].as_u64().unwrap();
    assert!((1..300).contains(&done), "{done} chains were done");
    place.amend(&["resume", "--db", "store/amend.db"]).success();
    // Reading a store that is closed needs no room at all.
    limited(&place, 0, &["ls", "--db", "store/amend.db"]).success();
    place
        .amend(&[&RUN[..RUN.len() - 1], &["whole.db"]].concat())
        .success();
    assert!(dump(&place.path("store/amend.db")) == dump(&place.path("whole.db")));
}
