//! Gates: `amend gate`, gates before an export, control prompts.

use insta::assert_snapshot;
use serde_json::Value;

use crate::builder::Place;
use crate::scripted::rusqlite_like;

const CONSTITUTION: &str = "
schema: 1
name: plain
version: 1.0.0
principles:
  - {id: plain, title: Speak plainly, critique: Does it hedge?, revision: Say it plainly.}
";

const SCRIPT: &str = r#"
rules:
  - {verdict: false, contains: [capital, "Say it plainly"], reply: "It is Paris."}
  - {verdict: false, contains: [capital], reply: "It is perhaps Paris."}
  - {verdict: false, contains: [owner, "Say it plainly"], reply: "Ask its owner at j.smith@uni-bremen.de."}
  - {verdict: false, contains: [owner], reply: "Ask its owner."}
  - {verdict: false, contains: [sky], reply: "Blue."}
  - {verdict: false, contains: [process, "Say it plainly"], reply: "I'm sorry, but I can't help with that."}
  - {verdict: false, contains: [process], reply: "Perhaps with the command kill."}
  - {verdict: false, contains: [bread], reply: "Flour, water, salt and yeast."}
  - {verdict: true, contains: [perhaps], reply: '{"violated": true, "quote": "perhaps", "critique": "It hedges.", "severity": "minor"}'}
  - {verdict: true, contains: [Perhaps], reply: '{"violated": true, "quote": "Perhaps", "critique": "It hedges.", "severity": "minor"}'}
  - {verdict: true, contains: [Ask its owner], reply: '{"violated": true, "quote": "owner", "critique": "It hedges.", "severity": "minor"}'}
  - {verdict: true, reply: '{"violated": false}'}
"#;

const RUN: &[&str] = &["run", "p.jsonl", "-c", "c.yaml", "--rounds", "1"];

fn place() -> Place {
    let place = Place::new();
    place
        .write("c.yaml", CONSTITUTION)
        .write("script.yaml", SCRIPT)
        .write(
            "p.jsonl",
            "{\"id\": \"capital\", \"prompt\": \"What is the capital of France?\"}\n\
             {\"id\": \"again\", \"prompt\": \"What is the  capital of France? \"}\n\
             {\"id\": \"owner\", \"prompt\": \"Who is the owner?\"}\n\
             {\"id\": \"sky\", \"prompt\": \"What colour is the sky?\"}\n",
        )
        .write(
            "benign.jsonl",
            "{\"id\": \"capital\", \"prompt\": \"How do I kill a process?\"}\n\
             {\"id\": \"bread\", \"prompt\": \"How do I bake bread?\"}\n",
        );
    place
}

fn with_controls() -> Place {
    let place = place();
    let run = [RUN, &["--controls", "benign.jsonl"]].concat();
    place.scripted(&run).success();
    place
}

#[test]
fn what_the_gates_leave_out_is_told_kept_and_found_again() {
    let place = with_controls();
    let gate = place.amend(&["gate"]).success();
    assert_snapshot!("gate", gate.stdout);
    gate.complains(&["tokens are not counted, since the chains were written by a script"]);
    let figures = &place.amend(&["gate", "--json"]).success().json_lines()[0]["figures"];
    assert_eq!(
        (&figures["chains"], &figures["kept"], &figures["pairs"]),
        (&6.into(), &2.into(), &1.into())
    );
    let ids = |filter: &str| -> Vec<String> {
        let rows = place
            .amend(&["ls", filter, "--json"])
            .success()
            .json_lines();
        rows.iter()
            .map(|row| row["prompt_id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids("kept:true"), ["capital", "sky"]);
    assert_eq!(ids("pair:true"), ["capital"]);
    assert_eq!(ids("gate:duplicate"), ["again"]);
    assert_eq!(ids("gate:personal-data"), ["owner"]);
    assert_eq!(
        ids("gate:control kept:false"),
        ["control:capital", "control:bread"]
    );
    assert_eq!(ids("gate!=control kept:false"), ["again", "owner"]);
    let shown = place
        .amend(&["show", "--where", "prompt:capital kept:true", "--json"])
        .success()
        .json_lines();
    let gates = &shown[0]["gates"];
    assert_eq!(
        (&gates["pair"], &gates["rejected"]),
        (&true.into(), &"draft".into())
    );
    let figures = ["edit_distance", "length_ratio"].map(|name| gates[name].is_number());
    assert_eq!(figures, [true, true]);
    let page = place
        .amend(&["show", "--where", "gate:personal-data"])
        .success()
        .stdout;
    assert!(
        page.contains("personal-data: an e-mail address in the response"),
        "{page}"
    );
    place
        .amend(&["ls", "gate:colapse"])
        .code(2)
        .complains(&["did you mean `collapse`?"]);
}

#[test]
fn a_judge_that_prefers_neither_text_in_either_order_is_undecided() {
    let place = place();
    place.scripted(RUN).success();
    place.scripted(&["judge"]).success();
    let figures = &place.amend(&["gate", "--json"]).success().json_lines()[0]["figures"];
    let pairs = |name: &str| {
        let gates = figures["gates"].as_array().unwrap();
        let gate = gates.iter().find(|gate| gate["gate"] == name).unwrap();
        gate["pairs"].as_u64().unwrap()
    };
    assert_eq!((pairs("judge-tie"), pairs("judge-disagrees")), (3, 0));
    let page = place
        .amend(&["show", "--where", "prompt:owner"])
        .success()
        .stdout;
    assert!(page.contains("the judge prefers neither"), "{page}");
}

#[test]
fn an_export_takes_what_the_gates_let_through() {
    let place = with_controls();
    place
        .amend(&["export", "--format", "trl-sft", "--out", "sft"])
        .success();
    let lines = |file: &str| -> Vec<Value> {
        place
            .read(file)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let answers: Vec<_> = lines("sft/train.jsonl")
        .iter()
        .map(|row| row["messages"][1]["content"].clone())
        .collect();
    assert_eq!(answers, ["It is Paris.", "Blue."]);
    let dropped: Vec<_> = lines("sft/dropped.jsonl")
        .iter()
        .map(|row| format!("{} {}: {}", row["prompt_id"], row["reason"], row["because"]))
        .collect();
    assert_eq!(dropped.len(), 4);
    assert!(
        dropped[0].starts_with("\"again\" \"duplicate\": \"chain "),
        "{dropped:?}"
    );
    assert_eq!(
        dropped[1],
        "\"owner\" \"personal-data\": \"an e-mail address in the response\""
    );
    assert!(!place.read("sft/dropped.jsonl").contains("smith"));
    // The same as if `amend gate` had been called.
    let gates = place
        .amend(&["ls", "kept:true", "--json"])
        .success()
        .json_lines();
    assert_eq!(gates.len(), 2);
    let all = [
        "export",
        "--format",
        "trl-sft",
        "--out",
        "all",
        "--no-gates",
    ];
    place.amend(&all).success();
    assert_eq!(lines("all/train.jsonl").len(), 6);
    let some = [&all[..4], &["some", "--no-gates", "--gate", "control"]].concat();
    place.amend(&some).success();
    assert_eq!(lines("some/train.jsonl").len(), 4);
}

#[test]
fn decisions_are_kept_in_a_store_that_is_not_read_and_written_at_once() {
    let place = with_controls();
    // As `VACUUM INTO` leaves a copy.
    assert!(rusqlite_like(&place, "PRAGMA journal_mode = delete"));
    place
        .amend(&["export", "--format", "trl-sft", "--out", "sft"])
        .success();
    let gates = place.amend(&["ls", "kept:true", "--json"]).success();
    assert_eq!(gates.json_lines().len(), 2);
}

#[test]
fn more_refusals_than_allowed_end_an_export() {
    let place = with_controls();
    let refusals =
        &place.amend(&["gate", "--json"]).success().json_lines()[0]["figures"]["refusals"];
    assert_eq!(
        (
            &refusals["prompts"],
            &refusals["drafts"]["count"],
            &refusals["finals"]["count"]
        ),
        (&2.into(), &0.into(), &1.into())
    );
    let export = [
        "export",
        "--format",
        "trl-dpo",
        "--out",
        "dpo",
        "--max-overrefusal",
    ];
    place
        .amend(&[&export[..], &["0.4"]].concat())
        .code(4)
        .complains(&["+50.0 points, more than 40.0"]);
    assert!(!place.path("dpo").exists());
    place.amend(&["gate", "--max-overrefusal", "0.4"]).code(4);
    place.amend(&[&export[..], &["0.5"]].concat()).success();
}

#[test]
fn without_control_prompts_over_refusal_cannot_be_held_down() {
    let place = place();
    place.scripted(RUN).success();
    place
        .amend(&["gate", "--max-overrefusal", "0.1"])
        .code(2)
        .complains(&["--controls datasets/benign.jsonl"]);
}

#[test]
fn rows_of_a_csv_file_say_that_they_are_benign() {
    let place = place();
    place.write(
        "p.csv",
        "prompt,benign\nHow do I kill a process?,true\nHow do I bake bread?,True\nWhat colour is the sky?,false\n",
    );
    let run = ["run", "p.csv", "-c", "c.yaml", "--rounds", "1"];
    place.scripted(&run).success();
    let figures = &place.amend(&["gate", "--json"]).success().json_lines()[0]["figures"];
    let refusals = &figures["refusals"];
    assert_eq!(
        (&refusals["prompts"], &refusals["finals"]["count"]),
        (&2.into(), &1.into())
    );
}

#[test]
fn control_prompts_belong_to_the_run() {
    let place = place();
    let run = [RUN, &["--controls", "benign.jsonl", "--limit", "1-2"]].concat();
    place.scripted(&run).success();
    let chains = place.amend(&["ls", "--json"]).success().json_lines();
    let ids: Vec<_> = chains
        .iter()
        .map(|chain| chain["prompt_id"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids,
        ["capital", "again", "control:capital", "control:bread"]
    );
    // Another file of them is another run.
    place.write("other.jsonl", "{\"prompt\": \"How do I bake bread?\"}\n");
    let other = [RUN, &["--controls", "other.jsonl", "--limit", "1-2"]].concat();
    place.scripted(&other).success();
    assert_eq!(
        place
            .amend(&["runs", "--json"])
            .success()
            .json_lines()
            .len(),
        2
    );
    // An id of the prompt file that could be one of theirs would cost one of the two its chain.
    place.write(
        "taken.jsonl",
        "{\"id\": \"a\", \"prompt\": \"Why?\"}\n{\"id\": \"control:bread\", \"prompt\": \"How?\"}\n",
    );
    let taken = ["run", "taken.jsonl", "-c", "c.yaml", "--db", "taken.db"];
    place
        .scripted(&[&taken[..], &["--controls", "benign.jsonl"]].concat())
        .code(2)
        .complains(&["taken.jsonl:2: the id `control:bread`", "rename it"]);
    assert!(!place.path("taken.db").exists(), "a store was made");
    place.scripted(&taken).success();
    let empty = [RUN, &["--controls", "none.jsonl", "--new"]].concat();
    place.scripted(&empty).code(2).complains(&["none.jsonl"]);
}

#[test]
fn a_system_message_may_ask_for_another_language() {
    let place = place();
    let question = "Could you tell me when the next train to the coast leaves from";
    let prompts = format!(
        "{{\"id\": \"told\", \"messages\": [{{\"role\": \"system\", \"content\": \"Always answer in German.\"}}, \
         {{\"role\": \"user\", \"content\": \"{question} here?\"}}]}}\n\
         {{\"id\": \"asked\", \"prompt\": \"{question} there?\"}}\n"
    );
    let german =
        "Der nächste Zug an die Küste fährt morgen früh um sieben Uhr vom zweiten Gleis ab.";
    let script = format!(
        "rules:\n  - {{verdict: false, contains: [train], reply: {german}}}\n  \
         - {{verdict: true, reply: '{{\"violated\": false}}'}}\n"
    );
    place.write("p.jsonl", prompts).write("script.yaml", script);
    place.scripted(RUN).success();
    place.amend(&["gate"]).success();
    let left_out = place
        .amend(&["ls", "gate:language", "--json"])
        .success()
        .json_lines();
    let ids: Vec<_> = left_out.iter().map(|row| &row["prompt_id"]).collect();
    assert_eq!(ids, ["asked"]);
}

#[test]
fn settings_that_cannot_be_read_are_named() {
    let place = place();
    place.scripted(RUN).success();
    for (setting, part) in [
        ("langauge=off", "did you mean `language`?"),
        ("tokens=many", "tokens=many: takes a number of tokens"),
        ("collapse=2", "from 0 to 1"),
    ] {
        place
            .amend(&["gate", "--gate", setting])
            .code(2)
            .complains(&[part]);
    }
    place
        .amend(&["gate", "--where", "prompt:nobody"])
        .code(2)
        .complains(&["no chain to look at"]);
    place.amend(&["gate", "--max-overrefusal", "2"]).code(2);
    place
        .amend(&["gate", "--tokenizer", "no-such.gguf"])
        .code(2)
        .complains(&["no-such.gguf"]);
}
