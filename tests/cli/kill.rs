//! Killed at any moment, a run continues where it was: nothing lost, repeated or different.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::builder::Place;
use crate::model::default_model;

/// Everything of a store that must not depend on when a process was killed.
const DUMP: &str = "
import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
time = {'created_at', 'updated_at', 'started_at', 'ended_at', 'duration_ms', 'active_seconds', 'execution'}
for view in ('v_runs', 'v_chains', 'v_steps', 'v_verdicts'):
    cursor = c.execute(f'SELECT * FROM {view}')
    names = [d[0] for d in cursor.description]
    rows = [tuple((n, v) for n, v in zip(names, row) if n not in time and n != 'step_id') for row in cursor]
    for row in sorted(rows, key=repr):
        print(view, row)
for table in ('generations', 'prompts', 'chains', 'steps', 'step_calls', 'verdicts'):
    print(table, c.execute(f'SELECT count(*) FROM {table}').fetchone())
print(c.execute('PRAGMA integrity_check').fetchone(), c.execute('PRAGMA foreign_key_check').fetchall())
";

/// What a store holds, without times.
pub fn dump(db: &Path) -> String {
    let output = Command::new("python3")
        .args(["-c", DUMP])
        .arg(db)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Numbers that differ from call to call and not from test run to test run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The files that a store is exported to, and how each export ended.
fn exports(place: &Place, db: &str) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for format in ["trl-sft", "trl-dpo"] {
        let out = format!("{db}-{format}");
        // A dataset without rows is an outcome too, as long as it is the same one.
        let export = place.amend(&["export", "--db", db, "--format", format, "--out", &out]);
        let told = export.stderr.replace(db, "[db]");
        match export.code {
            Some(0) => {}
            Some(1) => assert!(told.contains("no row to write"), "{told}"),
            code => panic!("{format}: {code:?}\n{told}"),
        }
        let ended = format!("{:?}\n{told}", export.code);
        files.push((format!("the end of {format}"), ended.into_bytes()));
        let mut names: Vec<_> = fs::read_dir(place.path(&out))
            .into_iter()
            .flatten()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        for name in names {
            let content = fs::read(place.path(&out).join(&name)).unwrap();
            files.push((format!("{format}/{}", name.to_string_lossy()), content));
        }
    }
    files
}

/// Kills a run until it was killed `kills` times, each time at a random moment, and compares what it
/// comes to with an undisturbed run. Gives the names of what was exported.
fn kill_and_resume(place: &Place, args: &[&str], kills: u32, code: i32) -> Vec<String> {
    let whole = Instant::now();
    place
        .amend(&[args, &["--db", "whole.db"]].concat())
        .code(code);
    let mut whole = whole.elapsed();
    let expected = (dump(&place.path("whole.db")), exports(place, "whole.db"));
    let mut dice = Dice(7);
    let (mut killed, mut finished, mut resumed) = (0, 0, 0);
    while killed < kills || finished == 0 {
        let db = format!("killed-{finished}.db");
        // Killed before its run was recorded, a store has nothing to resume; killed after its run was
        // done, it has nothing left to resume.
        let state = match place.path(&db).exists() {
            true => place.amend(&["runs", "--db", &db, "--json"]).stdout,
            false => String::new(),
        };
        let resume = !state.is_empty() && !state.contains(r#""state":"done""#);
        // The same command again and `resume` must both do.
        let again = resume && dice.roll() < 0.5;
        resumed += u32::from(again);
        let mut command = if again {
            place.command(["resume", "--db", &db])
        } else {
            place.command([args, &["--db", &db]].concat())
        };
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Any moment of a whole run may be hit. Once enough were, the rest goes undisturbed.
        let ended = if killed < kills {
            std::thread::sleep(Duration::from_secs_f64(whole.as_secs_f64() * dice.roll()));
            child.try_wait().unwrap()
        } else {
            Some(child.wait().unwrap())
        };
        match ended {
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                killed += 1;
            }
            Some(status) => {
                let mut stderr = String::new();
                std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut stderr)
                    .unwrap();
                assert_eq!(status.code(), Some(code), "after {killed} kills: {stderr}");
                assert_eq!(dump(&place.path(&db)), expected.0, "after {killed} kills");
                let found = exports(place, &db);
                for (a, b) in expected.1.iter().zip(&found) {
                    assert!(a == b, "{} differs from {}", a.0, b.0);
                }
                assert_eq!(found.len(), expected.1.len());
                finished += 1;
                // Through before it was killed: runs are faster than the first one was.
                whole = whole.mul_f64(0.8);
            }
        }
    }
    println!("killed {killed} times over {finished} whole runs, {resumed} continued with `resume`");
    expected.1.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn fifty_kills_of_the_real_model_change_nothing() {
    let place = Place::new();
    default_model();
    let prompts: String = [
        "Why is the sky blue?",
        "Name a fruit.",
        "How old is the sun?",
        "Say hello.",
    ]
    .iter()
    .map(|prompt| format!("{}\n", serde_json::json!({ "prompt": prompt })))
    .collect();
    place.write("p.jsonl", prompts);
    let args = [
        "run",
        "p.jsonl",
        "-c",
        "hhh",
        "--deterministic",
        "--max-tokens",
        "24",
        "--rounds",
        "2",
        "--recheck",
        "--seed",
        "5",
        "--ctx-size",
        "1024",
    ];
    kill_and_resume(&place, &args, 50, 0);
}

#[test]
fn kills_of_many_quick_chains_change_nothing() {
    let place = Place::new();
    let prompts: String = (0..200)
        .map(|n| {
            format!(
                "{}\n",
                serde_json::json!({ "id": format!("q{n}"), "prompt": format!("Question {n}?") })
            )
        })
        .collect();
    place.write("p.jsonl", prompts);
    place.write(
        "script.yaml",
        "rules:\n  - {contains: ['Question 77?'], error: broken}\n",
    );
    let args = [
        "run",
        "p.jsonl",
        "-c",
        "hhh",
        "--deterministic",
        "--select",
        "all",
        "--backend",
        "scripted",
        "--script",
        "script.yaml",
    ];
    let exported = kill_and_resume(&place, &args, 30, 3);
    // What no rule matches is answered from its content, and revised in about half of all steps.
    for rows in ["trl-sft/train.jsonl", "trl-dpo/train.jsonl"] {
        assert!(exported.iter().any(|name| name == rows), "{exported:?}");
    }
}
