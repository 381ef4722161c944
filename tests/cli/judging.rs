//! `amend judge` on the scripted backend: what it prints and stores, and what it says of bad input.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use insta::{Settings, assert_snapshot};

use crate::builder::{Outcome, Place};

/// The judge prefers the text with the word "better", wherever it stands, except about the sky, where it
/// prefers what is shown first.
const SCRIPT: &str = r#"
rules:
  - {contains: [broken pair], choice: 0.5, error: the script says so}
  - {contains: ["(A)\nBlue, better", "keeps the rule"], choice: 0.75}
  - {contains: ["(B)\nBlue, better", "keeps the rule"], choice: 0.75}
  - {contains: ["(A)\nParis, better"], choice: 0.875}
  - {contains: ["(B)\nParis, better"], choice: 0.25}
  - {contains: ["So which"], choice: 0.9}
  - {contains: ["Do not decide yet"], reply: "Much speaks for either."}
  - {verdict: false, contains: [capital, mend], reply: "Paris, better."}
  - {verdict: false, contains: [capital], reply: "Lyon."}
  - {verdict: false, contains: [sky, mend], reply: "Blue, better."}
  - {verdict: false, contains: [sky], reply: "Green."}
  - {verdict: false, contains: [same], reply: "The same."}
  - {verdict: true, probability: 0.875, reply: '{"violated": true, "quote": "Lyon", "critique": "No.", "severity": "minor"}'}
"#;

const PROMPTS: &str = r#"{"id": "capital", "prompt": "What is the capital of France?"}
{"id": "sky", "prompt": "What colour is the sky?"}
{"id": "same", "prompt": "Say the same."}
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("p.jsonl", PROMPTS).write("script.yaml", SCRIPT);
    place
        .scripted(&["run", "p.jsonl", "-c", "minimal", "--rounds", "1"])
        .success();
    place
}

fn settings() -> Settings {
    let mut settings = Settings::clone_current();
    settings.add_filter(r"\b\d+(\.\d+)? (ms|s)\b", "[time]");
    settings.add_filter(r"\d+(\.\d+)? pairs/s", "[speed]");
    settings.add_filter(r"\d+(\.\d+)?/s\)", "[speed])");
    settings.add_filter(r"judge [0-9a-z]{10}", "judge [id]");
    settings
}

fn summary(outcome: &Outcome) -> serde_json::Value {
    outcome.json_lines().last().unwrap().clone()
}

#[test]
fn pairs_are_judged_once_in_both_orders() {
    let place = place();
    let judged = place.scripted(&["judge"]).success();
    settings().bind(|| assert_snapshot!("judge", judged.stdout));
    let again = place.scripted(&["judge", "--json"]).success();
    let last = summary(&again);
    assert_eq!(
        (&last["judged"], &last["judged_before"], &last["calls"]),
        (&0.into(), &2.into(), &0.into())
    );
    let list = |filter: &str| -> Vec<String> {
        let rows = place
            .amend(&["ls", filter, "--json"])
            .success()
            .json_lines();
        rows.iter()
            .map(|row| row["prompt_id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(list("judged:true"), ["capital", "sky"]);
    assert_eq!(list("preference>0.7 agree:true"), ["capital"]);
    assert_eq!(list("margin:0"), ["sky"]);
}

#[test]
fn help_tells_how_long_reasons_may_be() {
    let place = Place::new();
    let help = place.amend(&["judge", "--help"]).success().stdout;
    let said = "most tokens of the reasons [default: 256]";
    assert!(help.contains(said), "{help}");
}

#[test]
fn every_judgement_is_a_json_line() {
    let place = place();
    let judged = place
        .scripted(&[
            "judge",
            "--json",
            "--where",
            "prompt:capital",
            "--pairs",
            "adjacent",
        ])
        .success();
    let lines = judged.json_lines();
    assert_eq!(lines.len(), 2);
    let judgement = &lines[0];
    assert_eq!(judgement["kind"], "adjacent");
    assert_eq!(
        (&judgement["p_ab"], &judgement["p_ba"]),
        (&0.75.into(), &0.875.into())
    );
    assert_eq!(
        (&judgement["p"], &judgement["margin"]),
        (&0.8125.into(), &0.625.into())
    );
    assert_eq!(judgement["agree"], true);
    assert_eq!(lines[1]["first_shown_preferred"], 1);
}

#[test]
fn reasons_are_asked_for_and_hold_judgements_to_the_middle() {
    let place = place();
    let args = [
        "judge",
        "--json",
        "--mode",
        "cot",
        "--samples",
        "2",
        "--ensemble",
        "2",
        "--pairs",
        "best",
    ];
    let judged = place.scripted(&args).success();
    let lines = judged.json_lines();
    assert_eq!(lines.len(), 3);
    // Always (A) after the reasons: no preference.
    assert_eq!(lines[0]["p"], 0.5);
    assert_eq!(lines[0]["principles"].as_array().unwrap().len(), 2);
    // 2 pairs, 2 orders, 2 principles, 2 samples of reasons and of their conclusions.
    assert_eq!(lines[2]["calls"], 32);
    // Another mode is another judge: both judgements stand.
    let choice = summary(
        &place
            .scripted(&["judge", "--json", "--pairs", "best"])
            .success(),
    );
    assert_eq!(choice["judged"], 2);
}

#[test]
fn the_pack_of_the_paper_judges_too() {
    let place = place();
    let script = SCRIPT.replacen(
        "rules:",
        "rules:\n  - {contains: [\"(A) Paris, better\"], choice: 0.875}\n  \
         - {contains: [\"(B) Paris, better\"], choice: 0.25}",
        1,
    );
    place.write("script.yaml", &script);
    let judge = |mode: &[&str]| {
        let args = [
            &[
                "judge",
                "--pack",
                "paper",
                "--where",
                "prompt:capital",
                "--json",
            ][..],
            mode,
        ];
        place.scripted(&args.concat()).success().json_lines()
    };
    let lines = judge(&[]);
    assert_eq!(
        (&lines[0]["p_ab"], &lines[0]["p_ba"]),
        (&0.75.into(), &0.875.into())
    );
    let lines = judge(&["--mode", "cot", "--samples", "1"]);
    assert_eq!(lines[0]["p"], 0.5);
}

#[test]
fn a_run_that_was_not_chosen_need_not_be_judged_by() {
    let place = place();
    // Its only principle is decided by a program, so there is none to judge by.
    place.write(
        "checked.yaml",
        "{schema: 1, name: checked, version: 1.0.0, principles: [{id: asks, title: Ask, critique: Does it ask?, \
         revision: Ask., check: {ends_with_any: ['?']}}]}",
    );
    let run = ["run", "p.jsonl", "-c", "checked.yaml", "--rounds", "1"];
    place.scripted(&run).success();
    place
        .scripted(&["judge"])
        .code(2)
        .complains(&["the constitution `checked` has 0 principles to draw from"]);
    let runs = place.amend(&["runs", "--json"]).success().json_lines();
    let first = runs[0]["run_id"].as_str().unwrap();
    let filter = format!("run:{first}");
    place.scripted(&["judge", "--where", &filter]).success();
}

#[test]
fn a_dry_run_counts_and_keeps_nothing() {
    let place = place();
    let before = place
        .amend(&["ls", "judged:true", "--json"])
        .success()
        .stdout;
    let dry = place.scripted(&["judge", "--dry-run"]).success();
    settings().bind(|| assert_snapshot!("judge_dry_run", dry.stdout));
    let after = place
        .amend(&["ls", "judged:true", "--json"])
        .success()
        .stdout;
    assert_eq!((before, after), (String::new(), String::new()));
    assert_eq!(
        summary(&place.scripted(&["judge", "--json"]).success())["reused_calls"],
        0
    );
}

#[test]
fn a_pair_that_fails_is_told_and_tried_again() {
    let place = Place::new();
    place
        .write(
            "p.jsonl",
            "{\"id\": \"x\", \"prompt\": \"What is the capital of the broken pair?\"}\n",
        )
        .write("script.yaml", SCRIPT);
    let run = ["run", "p.jsonl", "-c", "minimal", "--rounds", "1"];
    place.scripted(&run).success();
    let judged = place.scripted(&["judge"]).code(3);
    judged.complains(&["not judged", "the script says so"]);
    place
        .scripted(&["judge"])
        .code(3)
        .complains(&["not judged"]);
}

const ROWS: &str = r#"{"prompt": "Which? (A) [[[Paris, better]]] (B) [[[Lyon]]]", "corrects": [" (A)"], "incorrects": [" (B)"]}
{"prompt": "What is the capital?", "chosen": "Paris, better.", "rejected": "Lyon."}
{"prompt": "What colour is the sky?", "chosen": "Blue, better.", "rejected": "Green and many other colours."}
{"prompt": "Which one?", "corrects": ["(B)"], "incorrects": ["(A)"]}
{"prompt": "no answers"}
"#;

#[test]
fn a_judge_is_measured_on_labelled_comparisons() {
    let place = place();
    place.write("rows.jsonl", ROWS);
    let args = ["judge", "--eval", "rows.jsonl", "--svg", "plot.svg"];
    let measured = place
        .scripted(&args)
        .success()
        .complains(&["rows.jsonl:5:", "found `prompt`"]);
    settings().bind(|| assert_snapshot!("judge_eval", measured.stdout));
    assert!(place.read("plot.svg").contains("</svg>"));
    let lines = place
        .scripted(&["judge", "--eval", "rows.jsonl", "--json"])
        .success()
        .json_lines();
    assert_eq!(lines.len(), 5);
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["calls"], &last["rows_skipped"]),
        (&0.into(), &1.into())
    );
    assert_eq!(last["accuracy"]["one_order"], 1);
    let reasons = ["judge", "--eval", "rows.jsonl", "--mode", "cot"];
    place
        .scripted(&reasons)
        .success()
        .complains(&["at once, also with --mode cot, in 2 questions"]);
    let few = place
        .scripted(&["judge", "--eval", "rows.jsonl", "--json", "--limit", "2-3"])
        .success();
    assert_eq!(summary(&few)["accuracy"]["comparisons"], 2);
}

#[test]
fn bad_input_is_refused_with_a_remedy() {
    let place = place();
    let broken =
        "[1]\n\u{1F600}\n{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"a\"}\n{\"prompt\"";
    place
        .write("empty.jsonl", "")
        .write("blank.jsonl", "\n\n")
        .write("broken.jsonl", broken)
        .write("bytes.jsonl", b"\xff\xfe\x00\xd8\n".as_slice())
        .write("latin.jsonl", b"{\"prompt\": \"\xe9\"}\n".as_slice())
        .write("rows.csv", "prompt\nx\n")
        .write("rows.json", ROWS)
        .write("rows.jsonl", ROWS)
        .write(
            "pack/pack.yaml",
            "{name: p, version: 1.0.0, critique: prose}",
        )
        .write("pack/draft.yaml", "[{include: conversation}]")
        .write("pack/critique.yaml", "[{role: user, content: x}]")
        .write("pack/revision.yaml", "[{role: user, content: x}]")
        .write(
            "half/pack.yaml",
            "{name: h, version: 1.0.0, critique: prose}",
        )
        .write("half/draft.yaml", "[{include: conversation}]")
        .write("half/critique.yaml", "[{role: user, content: x}]")
        .write("half/revision.yaml", "[{role: user, content: x}]")
        .write(
            "half/judge.yaml",
            "[{role: user, content: '{{ response_c }}'}]",
        );
    for (args, said) in [
        (
            &["--eval", "none.jsonl"][..],
            &["none.jsonl", "cannot be opened"][..],
        ),
        (
            &["--eval", "empty.jsonl"],
            &["empty.jsonl: the file is empty; put one comparison on each line"],
        ),
        (
            &["--eval", "blank.jsonl"],
            &["blank.jsonl: there are no rows; put one comparison on each line"],
        ),
        (
            &["--eval", "broken.jsonl"],
            &["broken.jsonl:1: the line is a list"],
        ),
        (&["--eval", "bytes.jsonl"], &["bytes.jsonl", "UTF-16"]),
        (&["--eval", "latin.jsonl"], &["latin.jsonl:1: bad UTF-8"]),
        (
            &["--eval", "rows.csv"],
            &["rows.csv", "is not a .jsonl file"],
        ),
        (
            &["--eval", "rows.json"],
            &["rows.json", "is not a .jsonl file"],
        ),
        (
            &["--eval", "."],
            &["is a folder; name one comparison file in it"],
        ),
        (
            &["--eval", "rows.jsonl", "--limit", "9-12"],
            &["--limit leaves nothing", "4 usable rows"],
        ),
        (
            &["--eval", "rows.jsonl", "--svg", "none/plot.svg"],
            &["--svg none/plot.svg", "folder"],
        ),
        (
            &["--eval", "rows.jsonl", "--run", "x"],
            &["cannot be used with"],
        ),
        (
            &["--eval", "rows.jsonl", "--explain"],
            &["cannot be used with"],
        ),
        (&["--svg", "plot.svg"], &["--eval"]),
        (&["--principle", "no-such"], &["no principle `no-such`"]),
        (
            &["--ensemble", "500"],
            &["principles to draw from", "--ensemble asks for 500"],
        ),
        (&["--ensemble", "0"], &["0"]),
        (&["--mode", "guess"], &["choice, cot"]),
        (&["--pairs", "all"], &["first-last"]),
        (
            &["--pack", "pack"],
            &["the pack `p` has no judge.yaml", "--pack default"],
        ),
        (
            &["--pack", "half"],
            &["half/judge.yaml, line 1", "response_c"],
        ),
        (&["--pack", "half", "--mode", "cot"], &["half/judge.yaml"]),
        (&["--run", "zzz"], &["zzz"]),
        (&["--where", "judged:perhaps"], &["true or false"]),
        (&["--db", "none.db"], &["none.db"]),
    ] {
        let args = [&["judge"], args].concat();
        place.scripted(&args).code(2).complains(said);
    }
    place
        .scripted(&["judge", "--where", "prompt:none"])
        .success()
        .complains(&["nothing to judge"]);
}

#[test]
fn a_program_is_given_figures_where_there_is_nothing_to_judge() {
    let place = place();
    let args = ["judge", "--json", "--where", "prompt:none"];
    let last = summary(&place.scripted(&args).success());
    assert_eq!(
        (&last["event"], &last["judged"], &last["calls"]),
        (&"summary".into(), &0.into(), &0.into())
    );
    assert!(last["model"].is_null(), "{last}");
}

#[test]
fn what_a_judge_is_told_can_be_seen() {
    let place = Place::new();
    let set = ["--set", "response_a=One.", "--set", "reasoning=Because."];
    let args = [
        &[
            "render", "--pack", "default", "--step", "conclude", "--json",
        ][..],
        &set,
    ]
    .concat();
    let shown = place.amend(&args).success().json_lines();
    let messages = shown[0].as_array().unwrap();
    assert_eq!(messages.len(), 3);
    let first = messages[0]["content"].as_str().unwrap();
    assert!(first.contains("## Response (A)\nOne.\n"), "{first}");
    assert!(first.contains("## Response (B)\n[response_b]\n"), "{first}");
    assert_eq!(messages[1]["content"], "Because.");
}

#[test]
fn what_was_answered_before_ctrl_c_is_kept_and_the_same_command_continues() {
    let place = Place::new();
    let late = "rules:\n  - {contains: [What colour is the sky, \"(B)\\nBlue, better\"], choice: 0.75, until: go}";
    let tree = "{\"id\": \"tree\", \"prompt\": \"Is a tree green under the sky?\"}\n";
    place
        .write("p.jsonl", format!("{PROMPTS}{tree}"))
        .write("script.yaml", SCRIPT.replace("rules:", late));
    place
        .scripted(&["run", "p.jsonl", "-c", "minimal", "--rounds", "1"])
        .success();
    let args = ["judge", "--json", "--parallel", "1"];
    let script = ["--backend", "scripted", "--script", "script.yaml"];
    let mut child = place
        .command(args.iter().chain(&script))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(stdout.next().unwrap().unwrap().contains("\"judgement\""));
    let kill = format!("kill -INT {}", child.id());
    assert!(
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .unwrap()
            .success()
    );
    assert!(stderr.any(|line| line.unwrap().contains("press Ctrl-C again")));
    // The answers of the second chain are in flight, or it was not begun yet; the third was not.
    place.write("go", "");
    let last = stdout.map(Result::unwrap).last().unwrap();
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(last["interrupted"], true);
    let first = last["judged"].as_u64().unwrap();
    assert!(first < 3, "{last}");
    let rest = summary(&place.scripted(&args).success());
    let count = |line: &serde_json::Value, name: &str| line[name].as_u64().unwrap();
    assert_eq!(count(&rest, "judged"), 3 - first);
    assert_eq!(count(&rest, "judged_before"), first);
    // Nothing was asked twice.
    assert_eq!(count(&last, "calls") + count(&rest, "calls"), 6);
}
