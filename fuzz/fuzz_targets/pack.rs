//! Any text in place of a file of a pack is refused or taken, and what is taken can be rendered.

#![no_main]

use std::sync::LazyLock;

use amend_fuzz::chain::StepKind;
use amend_fuzz::constitution::{Principle, load};
use amend_fuzz::generation::Message;
use amend_fuzz::template::{Pack, Vars};
use libfuzzer_sys::fuzz_target;

const MARK: &str = "=== ";

static PACK: LazyLock<String> = LazyLock::new(|| {
    Pack::load("paper")
        .expect("the pack ships")
        .text()
        .to_owned()
});
static PRINCIPLE: LazyLock<Principle> = LazyLock::new(|| {
    let loaded = load("hhh").expect("the constitution ships");
    loaded.resolved.constitution.principles[0].clone()
});

fuzz_target!(|data: (u8, &str)| {
    let (which, text) = data;
    let mut files: Vec<&str> = PACK.split_inclusive('\n').collect();
    let starts: Vec<usize> = (0..files.len())
        .filter(|at| files[*at].starts_with(MARK))
        .collect();
    let chosen = usize::from(which) % starts.len();
    let end = starts.get(chosen + 1).copied().unwrap_or(files.len());
    files.splice(starts[chosen] + 1..end, [text, "\n"]);
    let Ok(pack) = Pack::from_text(&files.concat()) else {
        return;
    };
    let conversation = [
        Message::user("a"),
        Message::assistant("b"),
        Message::user("c"),
    ];
    let vars = Vars {
        conversation: &conversation,
        prompt: "c",
        draft: Some("d"),
        response: Some("e"),
        critique: Some("f"),
        quote: None,
        principle: Some(&PRINCIPLE),
        constitution_name: "n",
        round: 1,
    };
    for step in [
        StepKind::Draft,
        StepKind::Critique,
        StepKind::Revision,
        StepKind::Recheck,
    ] {
        let _ = pack.render(step, &vars);
    }
});
