//! What pages are told and what they may write: chains, labels, events, comparisons.

use std::io::BufRead;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Viewer, place};
use crate::builder::Place;
use crate::stress;

#[test]
fn a_chain_comes_with_places_as_scripts_count_them() {
    let place = place();
    let viewer = Viewer::start(&place, &[]);
    let id = viewer.chain("capital");
    let answer = viewer
        .get(&format!("/api/chains/{id}?q=revised:true"))
        .json();
    let steps = answer["page"]["steps"].as_array().unwrap();
    let units = |text: &str| text.encode_utf16().collect::<Vec<_>>();
    let draft = units(steps[0]["output"].as_str().unwrap());
    let quoted = &steps[0]["quoted"][0];
    let [start, end] = ["start", "end"].map(|key| quoted[key].as_u64().unwrap() as usize);
    assert_eq!(
        String::from_utf16(&draft[start..end]).unwrap(),
        "perhaps Paris"
    );
    assert_eq!(quoted["step"], 1);
    // The diff's lengths cover both texts.
    let lengths: Vec<_> = steps[2]["diff"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_u64().unwrap())
        .collect();
    let sum = |without: usize| -> u64 {
        let kept = lengths.iter().enumerate().filter(|(i, _)| i % 3 != without);
        kept.map(|(_, n)| n).sum()
    };
    let revision = units(steps[2]["output"].as_str().unwrap());
    assert_eq!(
        (sum(2), sum(1)),
        (draft.len() as u64, revision.len() as u64)
    );
    assert_eq!(
        answer["near"],
        json!({"index": 0, "total": 1, "listed": true, "previous": null, "next": null})
    );
    assert_eq!(
        (&answer["gates"], &answer["judgements"]),
        (&Value::Null, &json!([]))
    );
    place.amend(&["gate"]).success();
    let gates = viewer.get(&format!("/api/chains/{id}")).json()["gates"].clone();
    assert!(
        gates["edit_distance"].is_number() && gates["findings"].is_array(),
        "{gates}"
    );
    let calls = viewer.get(&format!("/api/chains/{id}/steps/1")).json();
    let messages = calls["calls"][0]["messages"].as_array().unwrap();
    assert!(
        messages.last().unwrap()["content"]
            .as_str()
            .unwrap()
            .contains("perhaps Paris")
    );
    let command = answer["page"]["command"].as_str().unwrap();
    assert!(
        command.starts_with("amend run ") && command.contains("--limit 1-1"),
        "{command}"
    );
}

/// Runs the commands that a chain's page gives, and asserts that they make the chain again. Gives the store that
/// they made it in.
fn made_again(place: &Place, viewer: &Viewer, id: &str) -> String {
    let before = viewer.get(&format!("/api/chains/{id}")).json();
    let chain = &before["page"]["chain"];
    let commands = before["page"]["command"].as_str().unwrap();
    let lines = commands.lines().map(|line| {
        let words = line.strip_prefix("amend ").unwrap();
        format!("{} {words}", env!("CARGO_BIN_EXE_amend"))
    });
    let script = lines.collect::<Vec<_>>().join("\n");
    let done = Command::new("sh")
        .args(["-ec", &script])
        .current_dir(place.root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{commands}\n{said}");
    let db = format!("chain-{id}.db");
    let again = Viewer::start(place, &["--db", &db]);
    let runs = again.get("/api/info").json()["runs"].clone();
    // The first run may be there for its draft only.
    let of = &before["page"]["run"]["constitution"];
    let is_it = |run: &&Value| *of == format!("{} 1.0.0", run["constitution"].as_str().unwrap());
    let run = runs.as_array().unwrap().iter().find(is_it).unwrap();
    let filter = format!(
        "run:{}%20prompt:{}%20sample:{}",
        run["run_id"].as_str().unwrap(),
        chain["prompt_id"].as_str().unwrap(),
        chain["sample"]
    );
    let list = again.get(&format!("/api/chains?q={filter}")).json();
    assert_eq!(list["total"], 1, "{filter}: {list}");
    let made = list["rows"][0]["chain_id"].as_str().unwrap();
    let after = again.get(&format!("/api/chains/{made}")).json();
    let texts = |chain: &Value| -> Vec<Value> {
        let steps = chain["page"]["steps"].as_array().unwrap().iter();
        steps
            .map(|step| {
                json!([
                    step["kind"],
                    step["principle"],
                    step["output"],
                    step["cost"]["seed"]
                ])
            })
            .collect()
    };
    assert_eq!(texts(&before), texts(&after), "{commands}");
    db
}

#[test]
fn the_command_makes_the_chain_again() {
    let place = place();
    let viewer = Viewer::start(&place, &[]);
    for prompt in ["capital", "sky"] {
        made_again(&place, &viewer, &viewer.chain(prompt));
    }
}

#[test]
fn commands_make_chains_over_drafts_and_beside_controls_again() {
    let place = place();
    let control = "{\"id\": \"fog\", \"prompt\": \"What is fog?\"}\n";
    place.write("controls.jsonl", control);
    let over = |from: &str, name: &str, rounds: &str| {
        let text = super::CONSTITUTION.replace("name: test", &format!("name: {name}"));
        place.write(&format!("{name}.yaml"), text);
        let runs = place.amend(&["runs", "--db", "more.db", "--json"]);
        let runs = runs.success().json_lines();
        let run = runs.iter().find(|run| run["constitution"] == from);
        let id = run.unwrap()["run_id"].as_str().unwrap();
        let constitution = format!("{name}.yaml");
        let take = ["run", "--drafts-from", id, "-c", constitution.as_str()];
        let args = [&take[..], &["--rounds", rounds, "--db", "more.db"]].concat();
        place.scripted(&args).success();
    };
    let first =
        "run p.jsonl -c c.yaml --rounds 1 --samples 2 --controls controls.jsonl --db more.db";
    let first: Vec<_> = first.split(' ').collect();
    place.scripted(&first).success();
    over("test", "second", "1");
    // Over drafts that were taken themselves.
    over("second", "third", "2");
    let viewer = Viewer::start(&place, &["--db", "more.db"]);
    let list = viewer.get("/api/chains?q=sample:1").json();
    let rows = list["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 9);
    for row in rows {
        let db = made_again(&place, &viewer, row["chain_id"].as_str().unwrap());
        // One prompt is answered, and controls only where it is one of them.
        let made = place.amend(&["ls", "--db", &db, "--json"]).success();
        for chain in made.json_lines() {
            assert_eq!(chain["prompt_id"], row["prompt_id"]);
        }
    }
}

#[test]
fn chains_of_a_stress_test_have_no_command() {
    let place = stress::stressed();
    let args = [stress::STRESS, &["--db", "amend.db"]].concat();
    place.scripted(&args).success();
    let viewer = Viewer::start(&place, &[]);
    let list = viewer.get("/api/chains").json();
    let id = list["rows"][0]["chain_id"].as_str().unwrap();
    let answer = viewer.get(&format!("/api/chains/{id}")).json();
    assert_eq!(answer["page"]["command"], "");
}

#[test]
fn labels_are_written_with_the_name_and_can_be_undone() {
    let place = place();
    let viewer = Viewer::start(&place, &[]);
    let id = viewer.chain("capital");
    let path = format!("/api/chains/{id}/labels");
    assert_eq!(viewer.post(&path, &json!({"action": "accept"})).status, 200);
    let edit = json!({"action": "edit", "text": "Paris.\u{202e}"});
    assert_eq!(viewer.post(&path, &edit).status, 200);
    assert_eq!(
        viewer
            .post(&path, &json!({"action": "disagree", "step": 1}))
            .status,
        200
    );
    let labels =
        |viewer: &Viewer| viewer.get(&format!("/api/chains/{id}")).json()["labels"].clone();
    let now = labels(&viewer);
    assert_eq!(
        (&now["label"], &now["chosen"]),
        (&json!("edit"), &edit["text"])
    );
    assert_eq!(now["agreements"][0]["agreed"], false);
    let history = now["history"].as_array().unwrap();
    assert_eq!(history.len(), 3);
    assert!(history.iter().all(|entry| entry["who"] == "ada"));
    for _ in 0..2 {
        assert_eq!(viewer.post(&path, &json!({"action": "undo"})).status, 200);
    }
    assert_eq!(labels(&viewer)["label"], "accept");
    assert_eq!(viewer.get("/api/chains?q=label:accept").json()["total"], 1);
    for (body, status) in [
        (json!({"action": "edit", "text": "  "}), 409),
        (json!({"action": "edit"}), 400),
        (json!({"action": "agree", "step": 0}), 409),
        (json!({"action": "praise"}), 422),
        (json!([]), 422),
    ] {
        let answer = viewer.post(&path, &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        assert!(answer.json()["error"]["message"].is_string());
    }
    let blank = viewer.post(&path, &json!({"action": "note", "text": " "}));
    assert_eq!(
        blank.json()["error"]["message"],
        "the text of the note is blank"
    );
    let unknown = viewer.post("/api/chains/none/labels", &json!({"action": "accept"}));
    assert_eq!(unknown.status, 404);
}

#[test]
fn all_that_match_are_labelled_when_they_are_as_many_as_was_said() {
    let place = place();
    let viewer = Viewer::start(&place, &[]);
    let count = viewer
        .get("/api/labels?q=revised:true&action=reject")
        .json();
    assert_eq!(count["count"], 1);
    let body =
        |expected: u64| json!({"q": "revised:true", "action": "reject", "expected": expected});
    assert_eq!(viewer.post("/api/labels", &body(2)).status, 409);
    assert_eq!(viewer.get("/api/chains?q=label:reject").json()["total"], 0);
    assert_eq!(viewer.post("/api/labels", &body(1)).json()["count"], 1);
    assert_eq!(viewer.get("/api/chains?q=label:reject").json()["total"], 1);
    let unsaid = json!({"q": "", "action": "reject"});
    assert_eq!(viewer.post("/api/labels", &unsaid).status, 400);
}

#[test]
fn a_read_only_viewer_and_requests_from_elsewhere_write_nothing() {
    let place = place();
    let body = json!({"action": "accept"}).to_string();
    let json = "Content-Type: application/json";
    let reader = Viewer::start(&place, &["--read-only"]);
    let path = format!("/api/chains/{}/labels", reader.chain("sky"));
    reader
        .send(&format!("POST {path}"), &[&reader.bearer(), json], &body)
        .refused("read-only");
    reader
        .get("/api/labels?q=&action=accept")
        .refused("read-only");
    assert_eq!(reader.get("/api/info").json()["read_only"], true);
    let writer = Viewer::start(&place, &[]);
    let cookie = format!("Cookie: amend-view-{}={}", writer.port, writer.token);
    let post = format!("POST {path}");
    writer
        .send(&post, &[&cookie, json], &body)
        .refused("origin");
    let own = format!("Origin: http://127.0.0.1:{}", writer.port);
    // What a form of another page could send.
    let form = writer.send(&post, &[&cookie, &own, "Content-Type: text/plain"], &body);
    assert_eq!(form.status, 415);
    assert_eq!(writer.get("/api/chains?q=label:none").json()["total"], 2);
    assert_eq!(
        writer.send(&post, &[&cookie, &own, json], &body).status,
        200
    );
}

#[test]
fn pages_hear_of_chains_while_a_run_writes_them() {
    let place = place();
    place.write("more.jsonl", "{\"id\": \"one\", \"prompt\": \"The capital of Spain?\"}\n{\"id\": \"two\", \"prompt\": \"The late one?\"}\n");
    let viewer = Viewer::start(&place, &[]);
    let mut lines = viewer.events().lines().map(Result::unwrap);
    let mut pulse = || -> Value {
        let line = lines.find(|line| line.starts_with("data: ")).unwrap();
        serde_json::from_str(&line["data: ".len()..]).unwrap()
    };
    let mut run = place
        .command([
            "run",
            "more.jsonl",
            "-c",
            "c.yaml",
            "--backend",
            "scripted",
            "--script",
            "script.yaml",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // One chain has ended while the other waits for its draft.
    let live = loop {
        let pulse = pulse();
        let found = pulse["runs"].as_array().unwrap().iter().find(|run| {
            run["prompts_path"]
                .as_str()
                .unwrap()
                .ends_with("more.jsonl")
                && run["done"] == 1
        });
        if let Some(run) = found {
            break run.clone();
        }
    };
    assert_eq!(
        (&live["active"], &live["running"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(viewer.get("/api/chains").json()["total"], 4);
    let path = format!("/api/runs/{}", live["run_id"].as_str().unwrap());
    let asked = || {
        let run = viewer.get(&path).json();
        run["figures"]["no-perhaps"]["asked"].as_u64().unwrap()
    };
    let before = asked();
    assert_eq!(asked(), before);
    place.write("late", "");
    while pulse()["runs"]
        .as_array()
        .unwrap()
        .iter()
        .any(|run| run["active"] == true || run["running"] != 0)
    {}
    assert!(run.wait().unwrap().success());
    // Figures that were kept are counted again.
    assert!(asked() > before);
}

#[test]
fn ctrl_c_ends_it_with_streams_open() {
    let place = place();
    let mut viewer = Viewer::start(&place, &[]);
    let _stream = viewer.events();
    let pid = viewer.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(viewer.child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_viewer_that_cannot_begin_says_why() {
    let place = place();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let _ = place.amend(&["view", "--port", &port]).code(2).complains(&[
        "cannot listen",
        &port,
        "--port",
    ]);
    let _ = place
        .amend(&["view", "--db", "none.db"])
        .code(2)
        .complains(&["no store at none.db"]);
    let _ = place
        .amend(&["view", "--port", "70000"])
        .code(2)
        .complains(&["--port"]);
}

#[test]
fn two_runs_are_compared_a_page_at_a_time() {
    let place = place();
    let _ = place
        .scripted(&[
            "run",
            "p.jsonl",
            "-c",
            "c.yaml",
            "--rounds",
            "1",
            "--threshold",
            "0.9",
            "--new",
        ])
        .success();
    let viewer = Viewer::start(&place, &[]);
    let runs = viewer.get("/api/info").json()["runs"].clone();
    let ids: Vec<_> = (0..2)
        .map(|i| runs[i]["run_id"].as_str().unwrap().to_owned())
        .collect();
    let path = format!("/api/compare?a={}&b={}", ids[0], ids[1]);
    let all = viewer.get(&path).json();
    assert_eq!(
        (&all["total"], &all["comparison"]["different"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(all["settings"], json!([["threshold", "0.5", "0.9"]]));
    let some = viewer.get(&format!("{path}&differs=true&limit=1")).json();
    assert_eq!(
        (&some["total"], &some["pairs"][0]["pair"]["prompt_id"]),
        (&json!(1), &json!("capital"))
    );
    assert!(some["pairs"][0]["diff"].is_array());
    let page = viewer.get(&format!("/api/runs/{}", ids[0])).json();
    assert_eq!(page["constitution"]["principles"][0]["id"], "no-perhaps");
    assert_eq!(page["figures"]["no-perhaps"]["fired"], 1);
}
