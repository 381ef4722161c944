//! Bad input: one clear message that names file, line and remedy, the right exit code, nothing lost.

use std::fs;

use crate::builder::Place;

const GOOD: &str = "{\"prompt\": \"The sky?\"}\n";

fn run(place: &Place, prompts: &str) -> crate::builder::Outcome {
    place.scripted(&["run", prompts, "-c", "minimal"])
}

fn constitution(text: impl AsRef<[u8]>) -> crate::builder::Outcome {
    let place = Place::new();
    place.write("p.jsonl", GOOD).write("c.yaml", text);
    let outcome = place.scripted(&["run", "p.jsonl", "-c", "c.yaml"]).code(2);
    assert!(!place.path("amend.db").exists(), "a store was made");
    outcome.complains(&["c.yaml"])
}

#[test]
fn constitutions() {
    let principle = "{id: a, critique: Is it good?, revision: Make it good.}";
    constitution("").complains(&["holds no constitution"]);
    constitution("- a\n- b\n").complains(&["c.yaml:1"]);
    constitution(format!(
        "schema: 1\nname: n\nprinciples:\n  - {principle}\n  - {principle}\n"
    ))
    .complains(&["c.yaml:5", "a"]);
    constitution(format!(
        "schema: 1\nname: n\nprincipals: 3\nprinciples:\n  - {principle}\n"
    ))
    .complains(&["c.yaml:3", "principals", "principles"]);
    constitution(format!(
        "schema: 1\nname: n\nextends: [c.yaml]\nprinciples:\n  - {principle}\n"
    ))
    .complains(&["c.yaml:3"]);
    let mut bomb = "schema: 1\nname: n\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let alias = format!("*a{}", n - 1);
        bomb.push_str(&format!(
            "a{n}: &a{n} [{}]\n",
            [alias.as_str(); 10].join(", ")
        ));
    }
    constitution(bomb);
    constitution(vec![b'#'; 1_100_000]).complains(&["MB"]);
    constitution(b"schema: 1\nname: \xff\n");
}

#[test]
fn prompt_files_that_cannot_be_used() {
    let place = Place::new();
    let missing = run(&place, "none.jsonl").code(2);
    let missing = missing.complains(&["none.jsonl", "check its path"]);
    assert_eq!(missing.stderr.matches("No such file").count(), 1);
    fs::create_dir(place.path("folder.jsonl")).unwrap();
    run(&place, "folder.jsonl")
        .code(2)
        .complains(&["folder.jsonl", "is a folder; name one prompt file in it"]);
    // Reading from either would never end.
    let made = std::process::Command::new("mkfifo")
        .arg(place.path("pipe.jsonl"))
        .status();
    assert!(made.unwrap().success());
    for endless in ["/dev/zero", "pipe.jsonl"] {
        run(&place, endless)
            .code(2)
            .complains(&[endless, "is not a regular file"]);
    }
    place.write("empty.jsonl", "");
    run(&place, "empty.jsonl")
        .code(2)
        .complains(&["empty.jsonl", "empty"]);
    place.write("broken.jsonl", "{\"prompt\": \n");
    run(&place, "broken.jsonl")
        .code(2)
        .complains(&["broken.jsonl:1"]);
    place.write("p.xlsx", "x");
    run(&place, "p.xlsx")
        .code(2)
        .complains(&[".jsonl", ".parquet"]);
    assert!(!place.path("amend.db").exists());
}

#[test]
fn rows_that_cannot_be_used_are_named_counted_and_skipped() {
    let place = Place::new();
    let mut rows = b"\xef\xbb\xbf{\"prompt\": \"Good one?\"}\r\n{\"prompt\": \r\n".to_vec();
    rows.extend_from_slice(b"{\"prompt\": \"bad \xff byte\"}\n{\"prompt\": \"a\\u0000b\"}\n");
    rows.extend_from_slice(b"{\"prompt\": \"   \"}\n{\"prompt\": \"Another good one?\"}\n");
    rows.extend_from_slice(format!("{{\"prompt\": \"{}\"}}\n", "x".repeat(10 << 20)).as_bytes());
    rows.extend_from_slice(b"{\"prompt\": \"One?\", \"prompt\": \"Two?\"}\n");
    place.write("p.jsonl", rows);
    let outcome = run(&place, "p.jsonl").success();
    let outcome = outcome.complains(&[
        "p.jsonl:2:",
        "p.jsonl:3:",
        "p.jsonl:4:",
        "p.jsonl:5:",
        "p.jsonl:7:",
        "p.jsonl:8: two fields are named `prompt`",
    ]);
    assert!(
        outcome.stdout.contains("6 rows skipped"),
        "{}",
        outcome.stdout
    );
    assert_eq!(
        place.amend(&["ls", "--json"]).success().json_lines().len(),
        2
    );
    let strict = place.scripted(&[
        "run", "p.jsonl", "-c", "minimal", "--strict", "--db", "s.db",
    ]);
    strict.code(2).complains(&["p.jsonl:2:", "--strict"]);
}

#[test]
fn a_prompt_longer_than_the_context_fails_alone() {
    let place = Place::new();
    place.write(
        "script.yaml",
        "context_length: 400\nrules: [{contains: [Zanzibar], error: the script says so}]\n",
    );
    let long = "word ".repeat(500);
    place.write(
        "p.jsonl",
        format!("{GOOD}{{\"prompt\": \"{long}\"}}\n{{\"prompt\": \"Sea?\"}}\n"),
    );
    // Trying again would be of no use, also where the chain failed before.
    for named in [true, false] {
        let outcome = run(&place, "p.jsonl").code(3);
        let line = "p.jsonl:2: the request has 500 tokens and the context holds 400; shorten";
        assert_eq!(outcome.stderr.contains(line), named, "{}", outcome.stderr);
        let told = outcome.stdout;
        assert!(told.contains("shorten the prompt"), "{told}");
        assert!(told.contains("a larger --ctx-size"), "{told}");
        assert!(!told.contains("--retry-errors"), "{told}");
    }
    let rows = place.amend(&["ls", "--json"]).success().json_lines();
    let failed: Vec<_> = rows
        .iter()
        .filter(|row| row["status"] == "failed")
        .collect();
    assert_eq!((rows.len(), failed.len()), (3, 1));
    assert!(
        failed[0]["error"].as_str().unwrap().contains("500 tokens"),
        "{}",
        failed[0]
    );
    // Where another one failed otherwise, it may be.
    place.write(
        "both.jsonl",
        format!("{{\"prompt\": \"{long}\"}}\n{{\"prompt\": \"Zanzibar?\"}}\n"),
    );
    let outcome = run(&place, "both.jsonl").code(3);
    let outcome = outcome.complains(&[
        "both.jsonl:1: ",
        "both.jsonl:2: inference failed: the script",
    ]);
    let told = &outcome.stdout;
    assert!(told.contains("--retry-errors"), "{told}");
    // A chain whose draft another run wrote has no line; of many, the first are named.
    let script = "rules: [{verdict: true, error: the script says so}]\n";
    place
        .write("script.yaml", script)
        .write("p.jsonl", "{\"prompt\": \"Sea?\"}\n");
    let drafts = [
        "run", "p.jsonl", "-c", "minimal", "--rounds", "0", "--db", "d.db",
    ];
    place.scripted(&drafts).success();
    let runs = place.amend(&["runs", "--db", "d.db", "--json"]).success();
    let id = runs.json_lines()[0]["run_id"].as_str().unwrap().to_owned();
    let other = ["run", "--drafts-from", &id, "-c", "minimal", "--db", "d.db"];
    let other = place.scripted(&other).code(3);
    let other = other.complains(&["failed: chain ", ": inference failed: the script"]);
    let listing = "--db d.db` lists them";
    assert!(other.stdout.contains(listing), "{}", other.stdout);
    let many: String = (0..60)
        .map(|n| format!("{{\"prompt\": \"Sea {n}?\"}}\n"))
        .collect();
    place.write("many.jsonl", many);
    let stderr = run(&place, "many.jsonl").code(3).stderr;
    assert_eq!(stderr.matches("many.jsonl:").count(), 50, "{stderr}");
    assert!(stderr.contains("failed: more chains"), "{stderr}");
}

#[test]
fn model_files_that_are_no_model() {
    let place = Place::new();
    place
        .write("p.jsonl", GOOD)
        .write("text.gguf", "not a model\n");
    let with = |model: &str| {
        place
            .amend(&["run", "p.jsonl", "-c", "minimal", "-m", model])
            .code(2)
    };
    with("none.gguf").complains(&["none.gguf", "check the path, or name `default`"]);
    with("text.gguf").complains(&["text.gguf", "give the path of a .gguf file"]);
    with("hf:only-one-part").complains(&["hf:only-one-part"]);
    let model = fs::read(crate::model::default_model()).unwrap();
    place.write("cut.gguf", &model[..50_000_000]);
    with("cut.gguf").complains(&["cut.gguf", "truncated"]);
    // Whoever asks for the vocabulary alone is told the same.
    place.write("m.json", "[{\"role\": \"user\", \"content\": \"Hi.\"}]");
    let render = |model: &str| {
        place
            .amend(&["render", "--messages", "m.json", "-m", model])
            .code(2)
    };
    render("text.gguf").complains(&["text.gguf", "it is a text file"]);
    render("cut.gguf").complains(&["cut.gguf", "truncated"]);
    assert!(!place.path("amend.db").exists(), "a store was made");
}

#[test]
fn chat_templates_with_mistakes() {
    let place = Place::new();
    place
        .write("p.jsonl", GOOD)
        .write("t.jinja", "{{ bos_token }}\n{% if messages %}");
    let args = ["run", "p.jsonl", "-c", "minimal", "--chat-template-file"];
    // Told before the model is looked for.
    let broken = [&args[..], &["t.jinja", "-m", "none.gguf"]].concat();
    place
        .amend(&broken)
        .code(2)
        .complains(&["t.jinja", "line 2"]);
    let missing = [&args[..], &["none.jinja"]].concat();
    place.amend(&missing).code(2).complains(&["none.jinja"]);
    assert!(!place.path("amend.db").exists(), "a store was made");
}

#[test]
fn scripts_with_mistakes() {
    let place = Place::new();
    place.write("p.jsonl", GOOD);
    for (rule, told) in [
        ("{probability: 1.5}", "rules[0]: `probability` is 1.5"),
        ("{choice: -1}", "rules[0]: `choice` is -1"),
        ("{replies: x}", "replies"),
    ] {
        place.write("script.yaml", format!("rules:\n  - {rule}\n"));
        run(&place, "p.jsonl")
            .code(2)
            .complains(&["script.yaml", told]);
    }
}

#[test]
fn stores_that_cannot_be_used() {
    let place = Place::new();
    place
        .write("p.jsonl", GOOD)
        .write("text.db", "this is no database at all\n".repeat(100));
    place.amend(&["ls"]).code(2).complains(&["amend.db"]);
    assert!(!place.path("amend.db").exists(), "reading made a store");
    let with = |db: &str| place.scripted(&["run", "p.jsonl", "-c", "minimal", "--db", db]);
    with("text.db").code(2).complains(&["text.db", "SQLite"]);
    with(".").code(2).complains(&["folder"]);
    let made = std::process::Command::new("mkfifo")
        .arg(place.path("pipe.db"))
        .status();
    assert!(made.unwrap().success());
    with("pipe.db").code(2).complains(&["pipe.db is a pipe"]);
    place
        .amend(&["ls", "--db", "pipe.db"])
        .code(2)
        .complains(&["pipe.db is a pipe"]);
    // Told before the model is looked for.
    let args = [
        "run",
        "p.jsonl",
        "-c",
        "minimal",
        "-m",
        "none.gguf",
        "--db",
        "no/such/a.db",
    ];
    place
        .amend(&args)
        .code(1)
        .complains(&["no/such/a.db", "no folder"]);
    with("good.db").success();
    let python =
        "import sqlite3; c = sqlite3.connect('good.db'); c.execute('PRAGMA user_version = 9999')";
    let changed = std::process::Command::new("python3")
        .args(["-c", python])
        .current_dir(place.root())
        .status();
    assert!(changed.unwrap().success());
    place
        .amend(&["ls", "--db", "good.db"])
        .code(2)
        .complains(&["good.db", "newer"]);
}

#[test]
fn packs_with_mistakes() {
    let place = Place::new();
    place.write("p.jsonl", GOOD);
    let write = |critique: &str| {
        place
            .write(
                "pack/pack.yaml",
                "name: mine\nversion: 1.0.0\ncritique: verdict\n",
            )
            .write("pack/draft.yaml", "- include: conversation\n")
            .write("pack/critique.yaml", critique)
            .write(
                "pack/revision.yaml",
                "- {role: user, content: '{{ response }}'}\n",
            );
        place.scripted(&["run", "p.jsonl", "-c", "minimal", "--pack", "./pack"])
    };
    write("- {role: user, content: '{{ response }} {{ principle.critique }}'}\n").success();
    write("- {role: user, content: '{{ respons }}'}\n")
        .code(2)
        .complains(&["critique.yaml", "respons"]);
    write("- {role: user, content: '{{ response'}\n")
        .code(2)
        .complains(&["critique.yaml"]);
    write("- {role: user, content: '{{ response|nosuch }}'}\n")
        .code(2)
        .complains(&["critique.yaml, line 1", "nosuch"]);
    write("- include: conversation\n- role: user\n")
        .code(2)
        .complains(&["critique.yaml, line 2", "`role` and `content`"]);
    write("- {role: user, contents: x}\n")
        .code(2)
        .complains(&["critique.yaml", "contents"]);
    place.write("empty/notes.txt", "no pack");
    let args = ["run", "p.jsonl", "-c", "minimal", "--pack", "./empty"];
    place
        .scripted(&args)
        .code(2)
        .complains(&["/empty: pack.yaml is missing"]);
    let defaults = |defaults: &str| {
        write("- {role: user, content: '{{ response }}'}\n").success();
        let header = "name: mine\nversion: 1.0.0\ncritique: verdict\ndefaults:\n";
        place.write("pack/pack.yaml", format!("{header}  {defaults}\n"));
        place.scripted(&["run", "p.jsonl", "-c", "minimal", "--pack", "./pack"])
    };
    for (given, told) in [
        ("rounds: 1001", "`rounds` is 1001"),
        ("sampling: {temperature: -1}", "`temperature` is -1"),
        ("sampling: {temperature: .nan}", "`temperature` is NaN"),
        ("sampling: {top_p: 1.5}", "`top_p` is 1.5"),
        ("sampling: {min_p: -0.1}", "`min_p` is -0.1"),
        ("sampling: {max_tokens: 0}", "`max_tokens` is 0"),
    ] {
        defaults(given)
            .code(2)
            .complains(&["pack.yaml, line 5", told]);
    }
    defaults("sampling: {temperature: 0, top_p: 1, min_p: 0, max_tokens: 1}").success();
    fs::create_dir(place.path("pack/recheck.yaml")).unwrap();
    write("- {role: user, content: '{{ response }}'}\n")
        .code(2)
        .complains(&["recheck.yaml: is not a regular file"]);
    fs::remove_dir(place.path("pack/recheck.yaml")).unwrap();
    write("- {role: wizard, content: x}\n")
        .code(2)
        .complains(&["critique.yaml"]);
}

#[test]
fn wrong_usage() {
    let place = Place::new();
    place.write("p.jsonl", GOOD);
    for wrong in [
        &["--parallel", "0"][..],
        &["-ngl", "most"],
        &["--limit", "5-3"],
        &["--retry-errors", "--dry-run"],
        &["--threshold", "2"],
        &["--temp", "nan"],
        &["--samples", "0"],
        &["--select", "no-such-principle"],
        &["--pack", "no-such-pack"],
        &["--pack", "paper", "--revise", "when-violated"],
        &["--chat-template-kwargs", "[1]", "--backend", "llama"],
        &["--cache-type-v", "q8_0", "--flash-attn", "off"],
        &["--no-such-flag"],
    ] {
        let args = [&["run", "p.jsonl", "-c", "minimal"], wrong].concat();
        let outcome = place.amend(&args).code(2);
        assert!(
            !outcome.stderr.is_empty() && !outcome.stderr.contains("panicked"),
            "{wrong:?}"
        );
    }
    // The option is named, and the number not taken for one.
    for option in [
        "--temp",
        "--threshold",
        "--seed",
        "--samples",
        "--limit",
        "--parallel",
    ] {
        place
            .amend(&["run", "p.jsonl", option, "-1"])
            .code(2)
            .complains(&["invalid value '-1' for", option]);
    }
    let select = |ids: &str| place.scripted(&["run", "p.jsonl", "-c", "minimal", "--select", ids]);
    select("helpfull")
        .code(2)
        .complains(&["did you mean `helpful`?"]);
    let unlike = select("ALL").code(2);
    let unlike = unlike.complains(&["no principle `ALL`; there are ", "harmless"]);
    assert!(!unlike.stderr.contains("did you mean"), "{}", unlike.stderr);
    place
        .scripted(&["run", "p.jsonl", "-c", "minimal"])
        .success();
    place
        .amend(&["ls", "prinicple:x"])
        .code(2)
        .complains(&["principle"]);
    place.amend(&["ls", "(revised:true"]).code(2);
    place.amend(&["show", "zzzz"]).code(2);
    place
        .amend(&["export", "--format", "nope", "--out", "o"])
        .code(2);
}
