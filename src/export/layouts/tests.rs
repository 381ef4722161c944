//! What is written is what is read.

use proptest::prelude::*;

use super::*;
use crate::export::columns;
use crate::export::lesson::{Critique, Revision};

/// Conversations that every format can hold: perhaps a system message, one question.
fn prompts() -> impl Strategy<Value = Vec<Message>> {
    let system = proptest::option::of("\\PC{1,12}");
    (system, ".{1,40}").prop_map(|(system, question)| {
        let system = system.map(|text| Message::new(Role::System, text));
        system
            .into_iter()
            .chain([Message::user(question)])
            .collect()
    })
}

fn lesson(draws: Draws, prompt: Vec<Message>, one: String, other: String, yes: bool) -> Lesson {
    match draws {
        Draws::Answers => Lesson::Answer {
            prompt,
            response: one,
        },
        Draws::Pairs => Lesson::Pair {
            prompt,
            chosen: one,
            rejected: other,
            probability: None,
        },
        Draws::Unpaired => Lesson::Unpaired {
            prompt,
            completion: one,
            good: yes,
        },
        Draws::Prompts => Lesson::Prompt { prompt },
        Draws::Steps => Lesson::Steps {
            prompt: prompt
                .into_iter()
                .filter(|m| m.role == Role::User)
                .collect(),
            steps: vec![(one, yes), (other, !yes)],
        },
        Draws::Revisions => Lesson::Revision(Box::new(Revision {
            prompt,
            response: other,
            critique_request: "Look.".to_owned(),
            critique: one.clone(),
            revision_request: String::new(),
            revision: one,
            from: None,
        })),
        Draws::Critiques => Lesson::Critique(Box::new(Critique {
            request: prompt,
            reply: one,
            principle: "calm".to_owned(),
            violated: yes.then_some(true),
            probability: Some(0.25),
        })),
    }
}

proptest! {
    #[test]
    fn a_row_has_its_columns_and_reads_as_the_lesson_that_it_was(
        prompt in prompts(), one in ".{1,60}", other in ".{1,60}", yes in any::<bool>(),
    ) {
        for format in Format::all() {
            let layout = layout(*format);
            let given = lesson(layout.draws(), prompt.clone(), one.clone(), other.clone(), yes);
            let row = layout.row(&given).unwrap();
            prop_assert_eq!(columns::check(&layout.columns(), &row), Ok(()), "{:?}", format);
            prop_assert_eq!(layout.lesson(&row), Ok(given), "{:?}", format);
        }
    }
}

fn long() -> Vec<Message> {
    vec![
        Message::new(Role::System, "Be brief."),
        Message::user("One?"),
        Message::assistant("Two."),
        Message::user("Three?"),
    ]
}

#[test]
fn earlier_turns_are_kept_or_the_row_is_refused() {
    let answer = Lesson::Answer {
        prompt: long(),
        response: "Four.".to_owned(),
    };
    for format in Format::all()
        .iter()
        .filter(|format| format.draws() == Draws::Answers)
    {
        let row = format.layout().row(&answer).unwrap();
        assert_eq!(
            format.layout().lesson(&row),
            Ok(answer.clone()),
            "{format:?}"
        );
    }
    let judged = Lesson::Unpaired {
        prompt: long(),
        completion: "Four.".to_owned(),
        good: true,
    };
    let layout = Format::AxolotlKto.layout();
    assert_eq!(layout.row(&judged), Err(Misfit::SeveralTurns));
}

#[test]
fn formats_that_need_turns_in_order_refuse_others() {
    let lesson = Lesson::Answer {
        prompt: vec![Message::user("One?"), Message::user("Two?")],
        response: "Three.".to_owned(),
    };
    for format in [Format::Alpaca, Format::LlamafactorySft] {
        assert_eq!(
            format.layout().row(&lesson),
            Err(Misfit::RolesDoNotAlternate)
        );
    }
    assert!(Format::TrlSft.layout().row(&lesson).is_ok());
}

#[test]
fn rows_are_what_the_trainers_document() {
    let prompt = vec![Message::new(Role::System, "S"), Message::user("Q")];
    let pair = Lesson::Pair {
        prompt: prompt.clone(),
        chosen: "C".to_owned(),
        rejected: "R".to_owned(),
        probability: Some(0.9),
    };
    let answer = Lesson::Answer {
        prompt: long(),
        response: "Four.".to_owned(),
    };
    let judged = Lesson::Unpaired {
        prompt: vec![Message::user("Q")],
        completion: "C".to_owned(),
        good: true,
    };
    let asked = json!([{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]);
    let says = |text: &str| json!({"role": "assistant", "content": text});
    let expected = [
        (
            Format::TrlDpo,
            &pair,
            json!({"prompt": asked, "chosen": [says("C")], "rejected": [says("R")]}),
        ),
        (
            Format::TrlReward,
            &pair,
            json!({
            "chosen": [asked[0], asked[1], says("C")], "rejected": [asked[0], asked[1], says("R")]}),
        ),
        (
            Format::AxolotlDpo,
            &pair,
            json!({"messages": asked, "chosen": says("C"), "rejected": says("R")}),
        ),
        (
            Format::OpenaiDpo,
            &pair,
            json!({
            "input": {"messages": asked}, "preferred_output": [says("C")], "non_preferred_output": [says("R")]}),
        ),
        (
            Format::AxolotlKto,
            &judged,
            json!({"system": "", "prompt": "Q", "completion": "C", "label": true}),
        ),
        (
            Format::LlamafactoryDpo,
            &pair,
            json!({
            "conversations": [{"from": "human", "value": "Q"}],
            "chosen": {"from": "gpt", "value": "C"}, "rejected": {"from": "gpt", "value": "R"}, "system": "S"}),
        ),
        (
            Format::Alpaca,
            &answer,
            json!({
            "instruction": "Three?", "input": "", "output": "Four.", "system": "Be brief.",
            "history": [["One?", "Two."]]}),
        ),
        (
            Format::LlamafactorySft,
            &answer,
            json!({
            "conversations": [
                {"from": "human", "value": "One?"}, {"from": "gpt", "value": "Two."},
                {"from": "human", "value": "Three?"}, {"from": "gpt", "value": "Four."}],
            "system": "Be brief."}),
        ),
    ];
    for (format, lesson, row) in expected {
        assert_eq!(format.layout().row(lesson), Ok(row), "{format:?}");
    }
}

#[test]
fn a_row_that_says_something_else_is_named() {
    let role = json!({"messages": [{"role": "tool", "content": "x"}]});
    let error = Format::TrlSft.layout().lesson(&role).unwrap_err();
    assert!(error.contains("messages[0].role"), "{error}");
    let end = json!({"messages": [{"role": "user", "content": "x"}]});
    let error = Format::TrlSft.layout().lesson(&end).unwrap_err();
    assert!(error.contains("does not end with the assistant"), "{error}");
    let two = json!({
        "chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        "rejected": [{"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}],
    });
    let error = Format::TrlReward.layout().lesson(&two).unwrap_err();
    assert!(error.contains("same prompt"), "{error}");
}
