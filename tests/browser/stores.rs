//! Stores to look at, made by the program itself on the scripted backend.

use crate::browser::Browser;
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
  - id: ends-asking
    title: End with a question
    revision: End with a question to the reader.
    check: {ends_with_any: ['?']}
";

const RULES: &str = r#"
  - {verdict: false, contains: [capital, "to the reader"], reply: "The capital is Paris. Shall I say more?"}
  - {verdict: false, contains: [capital, "Say it plainly"], reply: "The capital is Paris."}
  - {verdict: false, contains: [capital], reply: "The capital is perhaps Paris."}
  - verdict: true
    contains: [perhaps Paris]
    probability: 0.875
    reply: '{"violated": true, "quote": "perhaps Paris", "critique": "It hedges.", "severity": "minor"}'
  - {verdict: true, probability: 0.125, reply: '{"violated": false}'}
  - {verdict: false, contains: [sky, "to the reader"], reply: "Here is the revised response: Blue, is it not?"}
  - {verdict: false, contains: [sky], reply: "Blue."}
  - {verdict: false, contains: [rain], reply: "Wasser, das fällt – ist das nicht schön?"}
"#;

/// A run over the place's prompts.
pub const RUN: &[&str] = &[
    "run", "p.jsonl", "-c", "c.yaml", "--select", "all", "--rounds", "1",
];

fn place(rules: &str, prompts: &[(&str, &str)]) -> Place {
    let place = Place::new();
    let lines: Vec<_> = prompts
        .iter()
        .map(|(id, prompt)| serde_json::json!({"id": id, "prompt": prompt}).to_string())
        .collect();
    place
        .write("c.yaml", CONSTITUTION)
        .write(
            "script.yaml",
            format!("rules:\n{}", rules.trim_start_matches('\n')),
        )
        .write("p.jsonl", lines.join("\n") + "\n");
    place
}

const PROMPTS: [(&str, &str); 8] = [
    ("capital-1", "What is the capital of France?"),
    ("capital-2", "And the capital of France once more?"),
    ("capital-3", "The capital of France, in short."),
    ("sky-1", "What colour is the sky?"),
    ("sky-2", "Which colour has the sky at noon?"),
    ("rain-1", "What is rain? Café, naïve."),
    ("rain-2", "Why does rain fall?"),
    ("rain-3", "Is rain wet?"),
];

/// Eight chains: three that hedge and are revised, two that a check has revised, three that are clean.
pub fn questions() -> Place {
    let place = place(RULES, &PROMPTS);
    place.scripted(RUN).success();
    place
}

/// The same prompts under two constitutions.
pub fn two_runs() -> Place {
    with_another_run(questions())
}

/// A place with a run of its prompts under another constitution as well.
pub fn with_another_run(place: Place) -> Place {
    place.write(
        "other.yaml",
        CONSTITUTION
            .replace("name: test", "name: other")
            .replace("check: {ends_with_any: ['?']}", "check: {max_words: 40}"),
    );
    let mut run = RUN.to_vec();
    run[3] = "other.yaml";
    place.scripted(&run).success();
    place
}

/// 120 chains, of which every other one is about rain: more than the list shows at once.
pub fn many() -> Place {
    let prompts: Vec<_> = (0..120)
        .map(|n| match n % 2 {
            0 => (format!("rain-{n}"), format!("What is rain number {n}?")),
            _ => (
                format!("sky-{n}"),
                format!("What colour is sky number {n}?"),
            ),
        })
        .collect();
    let prompts: Vec<_> = prompts
        .iter()
        .map(|(id, prompt)| (id.as_str(), prompt.as_str()))
        .collect();
    let place = place(RULES, &prompts);
    place.scripted(RUN).success();
    place
}

/// A run of four chains, of which the later ones wait for the file `go`.
pub fn waiting() -> Place {
    let rule = "  - {verdict: false, contains: [late], reply: \"Late, is it not?\", until: go}\n";
    let rules = format!("{rule}{}", RULES.trim_start_matches('\n'));
    place(
        &rules,
        &[
            ("rain-1", "What is rain?"),
            ("late-1", "This is late."),
            ("late-2", "This is late as well."),
            ("late-3", "This is later than late."),
        ],
    )
}

/// What a text may hold that a page must not obey.
pub const HOSTILE: &str = "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>\
    <!-- <style>*{display:none}</style> \u{202e}reversed\u{e0041} \u{2028}line &amp; \u{0}nul ${1} {{2}} javascript:alert(1)";

/// Three chains: one of hostile texts, one with an answer of a megabyte, and one that is plain.
pub fn hostile() -> Place {
    let text = serde_json::to_string(HOSTILE).unwrap();
    let long: Vec<_> = (0..110_000).map(|n| format!("word{n}")).collect();
    let rules = format!(
        "  - {{verdict: false, contains: [hostile], reply: {text}}}\n  \
         - {{verdict: false, contains: [long], reply: \"{}\"}}\n{}",
        long.join(" "),
        RULES.trim_start_matches('\n'),
    );
    // A prompt with NUL is not taken; a model may write one.
    let hostile = format!("{} hostile", HOSTILE.replace('\0', ""));
    let place = place(
        &rules,
        &[
            ("hostile", hostile.as_str()),
            ("long", "A long one."),
            ("rain", "What is rain?"),
        ],
    );
    place.scripted(RUN).success();
    place
}

/// Two runs over one prompt, with answers longer than pages show at once: a revision that changes a word in the middle,
/// and one that changes nothing.
pub fn long_answers() -> Place {
    let words: Vec<_> = (0..12_000).map(|n| format!("word{n}")).collect();
    let (one, other) = words.split_at(6_000);
    let answer = |city: &str| {
        let (one, other) = (one.join(" "), other.join(" "));
        format!("{one} {city} {other}, is it not?")
    };
    let rules = format!(
        "  - {{verdict: false, contains: [long, \"Say it plainly\"], reply: \"{}\"}}\n  \
         - {{verdict: false, contains: [long], reply: \"{}\"}}\n{}",
        answer("certainly Paris"),
        answer("perhaps Paris"),
        RULES.trim_start_matches('\n'),
    );
    let place = place(&rules, &[]);
    let other = CONSTITUTION
        .replace("name: test", "name: other")
        .replace("Say it plainly", "Say it");
    let prompt = r#"{"id": "long", "prompt": "A long one.", "topic": "length"}"#;
    place
        .write("p.jsonl", format!("{prompt}\n"))
        .write("other.yaml", other);
    place.scripted(RUN).success();
    let mut run = RUN.to_vec();
    run[3] = "other.yaml";
    place.scripted(&run).success();
    place
}

/// Waits until the hostile text is shown as the text that it is, and asserts that nothing came of it.
pub fn sees_hostile(browser: &Browser) {
    browser.sees("main", "<img src=x onerror=\"document.title='owned'\">");
    browser.sees(
        "main",
        "</script><script>document.title='owned'</script><!--",
    );
    browser.sees("main", "&amp;");
    browser.sees("main", "U+202E");
    browser.sees("main", "U+E0041");
    browser.wait(
        "nothing of it became an element or a script",
        "document.title !== 'owned' && !document.querySelector('main img, main script, main style')",
    );
}
