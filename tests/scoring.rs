//! Reading given texts with the real default model: held against what the inference core says of the same
//! words, and under adapters.

#[path = "support/adapter.rs"]
mod adapter;
#[path = "support/loading.rs"]
mod loading;
#[path = "support/model.rs"]
mod model;

use std::ops::ControlFlow;

use adapter::write_adapter;
use amend::backend::Backend;
use amend::backend::llama::score::{Scorer, Tokens};
use amend::backend::llama::{AdapterOptions, LlamaBackend};
use amend::digest::Digest;
use amend::generation::{Choose, Message, Reply, Request};
use amend::likelihood::{Gap, Passage, TokenScore};
use loading::default_options;

fn passage(prompt: &str, text: &str) -> Passage {
    Passage {
        messages: match prompt {
            "" => Vec::new(),
            prompt => vec![Message::user(prompt)],
        },
        text: text.to_owned(),
    }
}

fn scores(passages: &[Passage], top: usize) -> Vec<(Tokens, Vec<TokenScore>)> {
    let mut scorer = Scorer::load(&default_options(), &[None]).unwrap();
    let texts: Vec<Tokens> = passages.iter().map(|p| scorer.tokens(p).unwrap()).collect();
    let mut found = Vec::new();
    scorer
        .score(&texts, top, &mut |number, scores| {
            found.push((texts[number].clone(), scores));
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

#[test]
fn no_text_is_read_after_the_last_one_that_is_wanted() {
    let mut scorer = Scorer::load(&default_options(), &[None]).unwrap();
    let text = scorer.tokens(&passage("", "One. Two. Three.")).unwrap();
    let mut read = Vec::new();
    scorer
        .score(&[text.clone(), text.clone(), text], 0, &mut |number, _| {
            read.push(number);
            match number {
                1 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        })
        .unwrap();
    assert_eq!(read, [0, 1]);
}

#[test]
fn a_side_that_computes_no_numbers_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("diverged.gguf");
    write_adapter(&file, f32::NAN);
    let adapter = AdapterOptions {
        name: None,
        path: file,
        digest: Digest::of(&"diverged"),
        scale: 1.0,
    };
    let mut scorer = Scorer::load(&default_options(), &[None, Some(adapter)]).unwrap();
    let text = scorer.tokens(&passage("", "One. Two. Three.")).unwrap();
    let mut read = 0;
    let error = scorer
        .compare(&[text], &mut |_, _| {
            read += 1;
            ControlFlow::Continue(())
        })
        .unwrap_err()
        .to_string();
    assert_eq!(read, 0);
    assert!(
        error.contains("diverged.gguf") && error.contains("computes no numbers"),
        "{error}"
    );
}

#[test]
fn two_sides_read_no_text_after_a_break() {
    let mut scorer = Scorer::load(&default_options(), &[None, None]).unwrap();
    let text = scorer.tokens(&passage("", "One. Two. Three.")).unwrap();
    let mut read = Vec::new();
    scorer
        .compare(&[text.clone(), text], &mut |number, _| {
            read.push(number);
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(read, [0]);
}

fn sum(scores: &[TokenScore]) -> f64 {
    scores.iter().map(|score| score.logprob).sum()
}

const QUESTION: &str = "What is the capital of France?";

#[test]
fn a_text_is_as_likely_as_the_inference_core_says() {
    let answers = [
        "Paris is the capital of France.",
        "Lyon is a town in the south.",
    ];
    let backend = LlamaBackend::load(&default_options()).unwrap();
    let (sender, receiver) = crossbeam_channel::unbounded();
    let request = Request::Choose(Choose {
        messages: vec![Message::user(QUESTION)],
        options: answers.map(str::to_owned).to_vec(),
        adapter: None,
    });
    backend.submit(0, request, sender);
    let Ok((_, Ok(Reply::Chosen(choice)))) = receiver.recv() else {
        panic!("no choice");
    };
    let read = scores(&answers.map(|answer| passage(QUESTION, answer)), 0);
    // The choice is normalised over the two, so that only the difference can be compared.
    let chosen = choice.logprobs[0] - choice.logprobs[1];
    let scored = sum(&read[0].1) - sum(&read[1].1);
    assert!(chosen > 1.0, "the model prefers Lyon: {chosen}");
    assert!((chosen - scored).abs() < 0.2, "{chosen} and {scored}");
}

#[test]
fn sense_is_likelier_than_the_same_words_in_disorder() {
    let sense = "The cat sat down on the mat and looked out of the window at the rain.";
    let disorder = "Rain the of mat window cat on sat the out looked at the and down the.";
    // One text that is longer than a chunk of rows, in which places must not be mixed up.
    let long = format!("{sense} ").repeat(20);
    let read = scores(&[sense, disorder, &long].map(|text| passage("", text)), 3);
    let per_token = |n: usize| sum(&read[n].1) / read[n].1.len() as f64;
    assert!(
        per_token(0) > per_token(1) + 1.0,
        "{} {}",
        per_token(0),
        per_token(1)
    );
    assert!(read[2].1.len() > 200);
    // What was read many times is known by heart at the end.
    let end = &read[2].1[read[2].1.len() - 30..];
    assert!(sum(end) / 30.0 > -0.5, "{}", sum(end) / 30.0);
    for (tokens, scores) in &read {
        assert_eq!(tokens.ids.len() - tokens.first, scores.len());
        for (score, id) in scores.iter().zip(&tokens.ids[tokens.first..]) {
            assert_eq!((score.token, score.top.len()), (*id, 3));
            assert!(score.logprob <= 0.0);
            assert!(score.top[0].1 >= score.top[1].1);
        }
    }
}

#[test]
fn what_does_not_fit_is_left_out_and_counted() {
    let mut small = default_options();
    small.context_per_sequence = Some(256);
    let scorer = Scorer::load(&small, &[None]).unwrap();
    let tokens = scorer.tokens(&passage("", &"word ".repeat(600))).unwrap();
    assert_eq!(tokens.ids.len(), 256);
    assert!(tokens.left_out > 300, "{}", tokens.left_out);
}

#[test]
fn adapters_are_told_apart_by_how_far_they_move_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.gguf");
    write_adapter(&file, 0.3);
    let adapter = |scale: f32| {
        Some(AdapterOptions {
            name: None,
            path: file.clone(),
            digest: Digest::of(&"a"),
            scale,
        })
    };
    let text = passage(
        QUESTION,
        "Paris is the capital of France, and its largest city.",
    );
    let compare = |sides: [Option<AdapterOptions>; 2]| -> Vec<Gap> {
        let mut scorer = Scorer::load(&default_options(), &sides).unwrap();
        let tokens = [scorer.tokens(&text).unwrap()];
        let mut gaps = Vec::new();
        scorer
            .compare(&tokens, &mut |_, found| {
                gaps = found;
                ControlFlow::Continue(())
            })
            .unwrap();
        gaps
    };
    let mean = |gaps: &[Gap]| gaps.iter().map(|gap| gap.kl).sum::<f64>() / gaps.len() as f64;
    let same = compare([None, adapter(0.0)]);
    assert!(mean(&same) < 1e-6, "{}", mean(&same));
    let little = compare([None, adapter(0.3)]);
    let much = compare([None, adapter(1.0)]);
    assert!(
        mean(&little) > 1e-6 && mean(&much) > 2.0 * mean(&little),
        "{little:?} {much:?}"
    );
    // The other way round the sides change places.
    let back = compare([adapter(1.0), None]);
    for (there, back) in much.iter().zip(&back) {
        assert!(
            (there.first - back.second).abs() < 1e-6 && (there.second - back.first).abs() < 1e-6
        );
    }
}
