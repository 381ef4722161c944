//! `amend report`: the file that it writes and the ones that it leaves alone. What a browser makes of it is
//! tested in `tests/browser`.

use std::fs;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use insta::assert_snapshot;
use serde_json::json;

use crate::builder::Place;

const CONSTITUTION: &str = "
schema: 1
name: test
version: 1.0.0
principles:
  - id: no-perhaps
    title: Speak plainly
    critique: Does the response hedge where a plain answer is known?
    revision: Say it plainly.
";

const SCRIPT: &str = r##"
rules:
  - {verdict: false, contains: [capital, "Say it plainly"], reply: "- The capital is *Paris*.\n\n# @octo see #12 </details>"}
  - {verdict: false, contains: [capital], reply: "- The capital is perhaps *Paris*.\n\n# @octo see #12 </details>"}
  - verdict: true
    contains: [perhaps]
    probability: 0.875
    reply: '{"violated": true, "quote": "perhaps", "critique": "It hedges | a lot.", "severity": "minor"}'
  - {verdict: true, probability: 0.125, reply: '{"violated": false}'}
  - {verdict: false, contains: [sky], reply: "Blue."}
"##;

const RUN: &[&str] = &[
    "run", "p.jsonl", "-c", "c.yaml", "--select", "all", "--rounds", "1",
];

fn place() -> Place {
    let place = Place::new();
    place
        .write("c.yaml", CONSTITUTION)
        .write("script.yaml", SCRIPT)
        .write(
            "p.jsonl",
            "{\"id\": \"capital\", \"prompt\": \"What is the `capital` of <France>?\"}\n\
             {\"id\": \"sky\", \"prompt\": \"What colour is the sky?\"}\n",
        );
    place.scripted(RUN).success();
    place
}

#[test]
fn a_report_for_a_pull_request_is_markdown_in_which_texts_are_text() {
    let place = place();
    let args = [
        "report",
        "--format",
        "md",
        "--title",
        "What `test` did | here",
    ];
    let outcome = place.amend(&args).success();
    assert_snapshot!("markdown", outcome.stdout);
    // By the name of the file, and of the chains that a filter selects.
    let filtered = [
        "report",
        "-o",
        "r.md",
        "--where",
        "stop:clean",
        "--examples",
        "0",
    ];
    let outcome = place.amend(&filtered).success();
    assert!(
        outcome.stdout.contains("1 chain, 0.0 MB: r.md"),
        "{}",
        outcome.stdout
    );
    let text = place.read("r.md");
    assert!(text.starts_with("<!-- amend report "), "{text}");
    assert!(
        text.contains("1 chain matches the filter stop:clean") && !text.contains("<details>"),
        "{text}"
    );
}

#[test]
fn only_an_earlier_report_is_replaced() {
    let place = place();
    place
        .write("notes.html", "my notes")
        .write("empty.html", "");
    place
        .amend(&["report", "-o", "notes.html"])
        .code(2)
        .complains(&["notes.html exists already and is no report", "--force"]);
    assert_eq!(place.read("notes.html"), "my notes");
    place
        .amend(&["report", "-o", "notes.html", "--force"])
        .success();
    place
        .amend(&["report", "-o", "notes.html", "--where", "sky"])
        .success();
    place
        .amend(&["report", "-o", "notes.html", "--format", "md"])
        .success();
    place.amend(&["report", "-o", "empty.html"]).success();
    place.amend(&["report"]).success();
    assert!(place.read("report.html").starts_with("<!doctype html>"));
    fs::create_dir(place.path("folder")).unwrap();
    place
        .amend(&["report", "-o", "folder"])
        .code(2)
        .complains(&["folder is a folder"]);
    place
        .amend(&["report", "-o", "none/r.html"])
        .code(2)
        .complains(&["none/r.html cannot be written: its folder does not exist"]);
    let names: Vec<_> = fs::read_dir(place.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        names.iter().all(|name| !name.contains("unfinished")),
        "{names:?}"
    );
}

#[test]
fn mistakes_are_told_and_nothing_is_written() {
    let place = place();
    place
        .amend(&["report", "--where", "stop:cleen"])
        .code(2)
        .complains(&["column 6", "clean"]);
    place
        .amend(&["report", "--run", "zzz"])
        .code(2)
        .complains(&["zzz"]);
    place
        .amend(&["report", "--db", "none.db"])
        .code(2)
        .complains(&["none.db"]);
    assert!(!place.path("report.html").exists());
    let none = place.amend(&["report", "--where", "chain:zzz"]).success();
    assert!(none.stderr.contains("no chain matches"), "{}", none.stderr);
    assert!(place.read("report.html").contains("</html>"));
}

#[test]
fn a_report_on_stdout_is_nothing_but_the_report() {
    let place = place();
    let outcome = place.amend(&["report", "-o", "-"]).success();
    assert!(outcome.stdout.starts_with("<!doctype html>") && outcome.stdout.ends_with("</html>\n"));
    assert_eq!(outcome.stderr, "");
}

#[test]
fn texts_never_leave_the_data_and_the_policy_names_what_may_run() {
    let place = Place::new();
    let hostile = "</script><script>alert(1)</script><!-- \u{2028} <img src=x onerror=alert(1)>";
    place
        .write("c.yaml", CONSTITUTION)
        .write(
            "script.yaml",
            format!("rules: [{{verdict: false, reply: {}}}]", json!(hostile)),
        )
        .write(
            "p.jsonl",
            format!(
                "{}\n{{\"id\": \"nul\", \"prompt\": \"a\\u0000b \\ud83d\\ude00\"}}\n",
                json!({"id": hostile, "prompt": hostile})
            ),
        );
    place.scripted(RUN).success();
    place.amend(&["report", "--title", hostile]).success();
    let page = place.read("report.html");
    assert!(!page.contains("alert(1)</script>"));
    assert!(!page.contains("<img"));
    assert_eq!(
        page.matches("<script").count(),
        page.matches("</script>").count()
    );
    let policy = page
        .split("Content-Security-Policy\" content=\"")
        .nth(1)
        .unwrap();
    let policy = policy.split('"').next().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'sha256-"),
        "{policy}"
    );
    assert!(
        !policy.contains("http") && !policy.contains("unsafe") && !policy.contains("connect"),
        "{policy}"
    );
    let title = page
        .split("<title>")
        .nth(1)
        .unwrap()
        .split("</title>")
        .next()
        .unwrap();
    assert!(!title.contains('<'), "{title}");
}

/// What a browser unpacks of a report.
fn unpacked(page: &str) -> String {
    let parts = page.split("class=\"data\">").skip(1);
    let bytes: Vec<u8> = parts
        .flat_map(|part| STANDARD.decode(part.split('<').next().unwrap()).unwrap())
        .collect();
    let mut text = String::new();
    GzDecoder::new(&bytes[..])
        .read_to_string(&mut text)
        .unwrap();
    text
}

#[test]
fn a_report_names_files_and_no_folder_of_this_machine() {
    let place = place();
    place.amend(&["report"]).success();
    let page = place.read("report.html");
    let data = unpacked(&page);
    let markdown = place.amend(&["report", "--format", "md"]).success().stdout;
    let folder = place.root().to_str().unwrap();
    for text in [&page, &data, &markdown] {
        assert!(!text.contains(folder), "{text}");
    }
    assert!(data.contains("\"prompts\":\"p.jsonl\""), "{data}");
    let command = "amend run p.jsonl --constitution c.yaml";
    assert!(data.contains(command), "{data}");
}

/// A thousand chains as a model of several billion parameters writes them: drafts of some 180 words, critiques
/// of 40, revisions that change a fifth of the draft, and every message that was sent.
#[test]
fn a_thousand_chains_take_less_than_five_megabytes() {
    let place = Place::new();
    let mut dice = Dice::new();
    let mut rules = String::from("rules:\n");
    let mut prompts = String::new();
    for n in 0..1_000 {
        let mark = format!("number{n}x");
        let draft = dice.words(180);
        let revised: Vec<_> = draft
            .iter()
            .map(|word| {
                if dice.below(5) == 0 {
                    dice.words(1)[0]
                } else {
                    *word
                }
            })
            .collect();
        let critique = dice.words(40).join(" ");
        let verdict = json!({"violated": true, "quote": draft[20..26].join(" "), "critique": critique, "severity": "major"});
        for (contains, verdict, reply) in [
            (
                vec![mark.as_str(), "Say it plainly"],
                false,
                revised.join(" "),
            ),
            (vec![mark.as_str()], true, verdict.to_string()),
            (vec![mark.as_str()], false, draft.join(" ")),
        ] {
            let rule = json!({"contains": contains, "verdict": verdict, "reply": reply, "probability": 0.75});
            rules.push_str(&format!("  - {rule}\n"));
        }
        let prompt = format!("{mark}: {}?", dice.words(20).join(" "));
        prompts.push_str(&format!(
            "{}\n",
            json!({"id": format!("q{n}"), "prompt": prompt})
        ));
    }
    place
        .write("c.yaml", CONSTITUTION)
        .write("script.yaml", rules)
        .write("p.jsonl", prompts);
    place.scripted(RUN).success();
    place
        .amend(&["report", "--where", "revised:true"])
        .success();
    let bytes = fs::metadata(place.path("report.html")).unwrap().len();
    assert!((500_000..5_000_000).contains(&bytes), "{bytes}");
    place.amend(&["report", "--without-messages"]).success();
    let fewer = fs::metadata(place.path("report.html")).unwrap().len();
    assert!(fewer < bytes, "{fewer}");
}

/// Words as they follow each other in this project's own README, the same every time.
struct Dice {
    state: u64,
    all: Vec<&'static str>,
}

impl Dice {
    fn new() -> Self {
        const TEXT: &str = include_str!("../../README.md");
        Self {
            state: 1,
            all: TEXT.split_whitespace().collect(),
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        let state = self.state.wrapping_mul(6_364_136_223_846_793_005);
        self.state = state.wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as usize % limit
    }

    fn words(&mut self, count: usize) -> Vec<&'static str> {
        // A few words that stand together, then a jump.
        let mut words = Vec::with_capacity(count);
        while words.len() < count {
            let start = self.below(self.all.len() - 4);
            let length = 1 + self.below(4);
            words.extend(&self.all[start..start + length]);
        }
        words.truncate(count);
        words
    }
}
