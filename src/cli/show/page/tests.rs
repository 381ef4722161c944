//! One chain, on paper and on a terminal.

use serde_json::{Map, json};

use super::*;
use crate::backend::ModelIdentity;
use crate::chain::{Flag, StopReason};
use crate::constitution::{Constitution, Defaults, Principle, Severity, Status};
use crate::digest::Digest;
use crate::generation::{FinishReason, Usage};
use crate::store::{ChainRow, ChainState, RunRow, RunState};
use crate::verdict::VerdictSource;

fn digest() -> Digest {
    Digest::of_bytes(b"x")
}

fn run_detail() -> RunDetail {
    let principle = Principle {
        id: "no-shouting".to_owned(),
        title: "Speak calmly".to_owned(),
        critique: String::new(),
        revision: String::new(),
        weight: 1.0,
        precedence: 0,
        severity: Severity::Major,
        tags: Vec::new(),
        status: Status::Active,
        rationale: String::new(),
        check: None,
        examples: Vec::new(),
        tests: Vec::new(),
    };
    RunDetail {
        row: RunRow {
            run_id: "r-1".to_owned(),
            created_at: String::new(),
            updated_at: String::new(),
            state: RunState::Done,
            constitution: "calm".to_owned(),
            constitution_version: "1.0.0".to_owned(),
            constitution_digest: digest().to_string(),
            pack: "default".to_owned(),
            pack_digest: digest().to_string(),
            model: "Tiny Q4".to_owned(),
            model_digest: digest().to_string(),
            prompts_path: "p.jsonl".to_owned(),
            prompts_digest: digest().to_string(),
            chains: 1,
            running: 0,
            done: 1,
            failed: 0,
        },
        fingerprint: digest(),
        config: json!({}),
        constitution: Constitution {
            schema: 1,
            name: "calm".to_owned(),
            version: "1.0.0".to_owned(),
            description: String::new(),
            license: String::new(),
            defaults: Defaults::default(),
            principles: vec![principle],
        },
        pack_text: String::new(),
        model: ModelIdentity {
            digest: digest(),
            name: "Tiny Q4".to_owned(),
            settings_digest: digest(),
            settings: Default::default(),
            context_length: 2048,
            chat_template: "chatml".to_owned(),
            metadata: Default::default(),
        },
        versions: json!({}),
        execution: json!({}),
        active_seconds: 1.0,
    }
}

fn call(text: &str) -> CallDetail {
    CallDetail {
        key: digest(),
        messages: Vec::new(),
        text: text.to_owned(),
        raw: text.to_owned(),
        thinking: None,
        thinking_unclosed: false,
        invalid_utf8: false,
        seed: Some(7),
        sampling: None,
        shape: None,
        finish: FinishReason::Stop,
        usage: Usage {
            prompt_tokens: 40,
            cached_tokens: 30,
            completion_tokens: 9,
            duration_ms: 120.4,
            ..Usage::default()
        },
        decisions: Vec::new(),
        reused: false,
    }
}

fn step(ordinal: u32, kind: StepKind, output: &str) -> StepDetail {
    let draft = kind == StepKind::Draft;
    StepDetail {
        ordinal,
        round: u32::from(!draft),
        kind,
        principle_id: (!draft).then(|| "no-shouting".to_owned()),
        output: output.to_owned(),
        flags: Vec::new(),
        adopted: matches!(kind, StepKind::Draft | StepKind::Revision),
        verdict: None,
        agreed: None,
        calls: vec![call(output)],
    }
}

fn verdict(violated: bool, quote: Option<&str>, verified: bool) -> Option<Verdict> {
    Some(Verdict {
        violated,
        probability: Some(if violated { 0.875 } else { 0.25 }),
        severity: violated.then_some(Severity::Major),
        quote: quote.map(str::to_owned),
        quote_verified: verified,
        critique: if violated {
            "It shouts.".to_owned()
        } else {
            String::new()
        },
        source: VerdictSource::Model,
    })
}

fn chain() -> ChainDetail {
    let steps = vec![
        step(0, StepKind::Draft, "Go AWAY now.\n\nPlease."),
        StepDetail {
            verdict: verdict(true, Some("AWAY\nnow"), true),
            flags: vec![Flag::Truncated],
            ..step(1, StepKind::Critique, "It shouts.")
        },
        step(2, StepKind::Revision, "Go for a walk now.\n\nPlease."),
        StepDetail {
            adopted: false,
            flags: vec![Flag::NoRevision],
            ..step(3, StepKind::Revision, "No revision needed.\x1b[2J")
        },
        StepDetail {
            verdict: verdict(true, Some("LOUD"), false),
            calls: Vec::new(),
            ..step(4, StepKind::Recheck, "It shouts.")
        },
        StepDetail {
            verdict: verdict(false, None, false),
            ..step(5, StepKind::Recheck, "")
        },
    ];
    ChainDetail {
        row: ChainRow {
            chain_id: "7k2m".to_owned(),
            run_id: "r-1".to_owned(),
            prompt_id: "p-1".to_owned(),
            prompt: "Hello?".to_owned(),
            sample: 0,
            position: 0,
            status: ChainState::Done,
            stop_reason: Some(StopReason::RoundsDone),
            rounds: 1,
            draft: Some("Go AWAY now.\n\nPlease.".to_owned()),
            last: Some("Go for a walk now.\n\nPlease.".to_owned()),
            revised: true,
            changed: Some(0.5),
            length_ratio: Some(1.25),
            regressions: 1,
            regressed: vec!["no-shouting".to_owned()],
            violated: vec!["no-shouting".to_owned()],
            flags: vec![Flag::Truncated],
            steps: 6,
            prompt_tokens: 1,
            cached_tokens: 1,
            tokens: 1,
            error: None,
            label: None,
            chosen: None,
            note: None,
        },
        prompt_messages: vec![Message::user("Hello?")],
        prompt_metadata: Map::new(),
        steps,
    }
}

#[test]
fn a_chain_reads_from_prompt_to_recheck() {
    let page = render(&chain(), &run_detail(), None, false);
    insta::assert_snapshot!(page, @r"
    chain 7k2m
    Run:       r-1  (calm 1.0.0, Tiny Q4)
    Prompt:    p-1, sample 0
    Stopped:   rounds-done, 1 round, revised
    Changed:   50 % of words, length × 1.25
    Regressed: no-shouting

        Hello?

    step 0  draft
        Go [*AWAY now*].

        Please.
        (40 prompt tokens (30 cached), 9 written, 120 ms, stop, seed 7)

    step 1  critique, round 1, no-shouting (Speak calmly)
        violated, P 0.88, major, by model
        quote: “AWAY now”
        It shouts.
        flags: truncated
        (40 prompt tokens (30 cached), 9 written, 120 ms, stop, seed 7)

    step 2  revision, round 1, no-shouting (Speak calmly)
        Go [-AWAY-]{+for a walk+} now.

        Please.
        (40 prompt tokens (30 cached), 9 written, 120 ms, stop, seed 7)

    step 3  revision, round 1, no-shouting (Speak calmly), not adopted
        [-Go for a walk now.

        Please-]{+No revision needed+}.{+␛[2J+}
        flags: no-revision
        (40 prompt tokens (30 cached), 9 written, 120 ms, stop, seed 7)

    step 4  recheck, round 1, no-shouting (Speak calmly)
        regression: violated again, P 0.88, major, by model
        quote: “LOUD”  (not in the response)
        It shouts.

    step 5  recheck, round 1, no-shouting (Speak calmly)
        ok, P 0.25, by model
        (40 prompt tokens (30 cached), 9 written, 120 ms, stop, seed 7)
    ");
}

#[test]
fn one_step_is_shown_against_the_response_before_it() {
    let page = render(&chain(), &run_detail(), Some(2), false);
    assert!(page.contains("Go [-AWAY-]{+for a walk+} now."));
    assert!(!page.contains("step 1") && page.contains("Hello?"));
}

#[test]
fn on_a_terminal_the_quote_is_marked_where_it_stands() {
    let page = render(&chain(), &run_detail(), Some(0), true);
    let marked = Style::new().underline().bold();
    assert!(
        page.contains(&format!("Go {marked}AWAY now{marked:#}.")),
        "{page:?}"
    );
    let page = render(&chain(), &run_detail(), Some(2), true);
    let (gone, new) = (BAD.strikethrough(), GOOD);
    assert!(
        page.contains(&format!("{gone}AWAY{gone:#}{new}for a walk{new:#}")),
        "{page:?}"
    );
    assert!(!page.contains("[-"));
}

#[test]
fn conversations_name_their_roles_and_failed_chains_their_error() {
    let mut chain = chain();
    chain.prompt_messages.insert(
        0,
        Message::new(crate::generation::Role::System, "Be brief."),
    );
    chain.row.error = Some("the request has 9 tokens".to_owned());
    chain.row.stop_reason = Some(StopReason::Failed);
    let page = render(&chain, &run_detail(), Some(0), false);
    assert!(
        page.contains("  system:\n    Be brief.\n  user:\n    Hello?\n"),
        "{page}"
    );
    assert!(
        page.contains("Error:     the request has 9 tokens\n"),
        "{page}"
    );
}

#[test]
fn no_text_reaches_the_terminal_raw() {
    let nasty = "\x1b]0;x\x07\r\u{202e}";
    let mut chain = chain();
    chain.prompt_messages = vec![Message::user(nasty)];
    chain.row.prompt_id = nasty.to_owned();
    chain.row.error = Some(nasty.to_owned());
    for step in &mut chain.steps {
        step.output = nasty.to_owned();
        step.principle_id = Some(nasty.to_owned());
        if let Some(verdict) = &mut step.verdict {
            verdict.quote = Some(nasty.to_owned());
            verdict.critique = nasty.to_owned();
        }
    }
    let page = render(&chain, &run_detail(), None, false);
    assert!(page.chars().all(|c| c == '\n' || !c.is_control()));
    assert!(!page.contains('\u{202e}'));
}
