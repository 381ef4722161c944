use proptest::prelude::*;

use super::*;
use crate::likelihood::Gap;

fn answer(refused: bool, violated: bool, words: u64) -> Answer {
    Answer {
        words,
        refused,
        verdicts: BTreeMap::from([("short".to_owned(), violated)]),
    }
}

fn suite(answers: &[Compared]) -> SuiteEffect {
    let principles = [("short".to_owned(), true), ("unasked".to_owned(), false)];
    SuiteEffect::new("benign", SuiteKind::Benign, answers, 0, &principles)
}

/// Forty prompts: before, every fourth obeys; after, three of four do.
fn forty() -> Vec<Compared> {
    (0..40)
        .map(|n| Compared {
            prompt: format!("p{n}"),
            before: Some(answer(n % 10 == 0, n % 4 != 0, 50)),
            after: answer(false, n % 4 == 1, 25),
        })
        .collect()
}

#[test]
fn rates_of_both_sides_are_told_with_their_difference() {
    let effect = suite(&forty());
    assert_eq!((effect.prompts, effect.answers), (40, 40));
    let short = effect.principle("short").unwrap();
    assert_eq!(short.violated.before.unwrap().hits, 30);
    assert_eq!(short.violated.after.hits, 10);
    let difference = short.violated.difference.unwrap();
    assert!((difference.value + 0.5).abs() < 1e-12);
    let interval = difference.interval.unwrap();
    assert!(interval.low < -0.5 && interval.high > -0.5 && interval.high < -0.2);
    assert!(short.violated.p_value.unwrap() < 1e-4);
    let ratio = short.obeyed_ratio.unwrap();
    assert!((ratio.value - 3.0).abs() < 1e-12);
    assert!(ratio.interval.unwrap().low > 1.5);
    assert_eq!(effect.refused.unwrap().before.unwrap().hits, 4);
    assert!(effect.principle("unasked").is_none());
}

#[test]
fn all_verdicts_together_and_lengths_have_intervals() {
    let mut answers = forty();
    for (n, compared) in answers.iter_mut().enumerate() {
        let plain = "plain".to_owned();
        let before = compared.before.as_mut().unwrap();
        before.verdicts.insert(plain.clone(), true);
        compared.after.verdicts.insert(plain, n % 2 == 0);
    }
    answers[0].after.words = 65;
    let principles = [("short".to_owned(), true), ("plain".to_owned(), false)];
    let effect = SuiteEffect::new("benign", SuiteKind::Benign, &answers, 0, &principles);
    let rate = effect.violations.unwrap();
    let (before, after) = (rate.before.unwrap(), rate.after);
    assert_eq!((before.hits, before.trials), (70, 80));
    assert_eq!((after.hits, after.trials), (30, 80));
    assert!(after.interval.low > 0.25 && after.interval.high < 0.5);
    let difference = rate.difference.unwrap();
    assert!((difference.value + 0.5).abs() < 1e-12 && difference.interval.is_some());
    assert!(rate.p_value.unwrap() < 1e-4);
    let ratio = effect.length_ratio.unwrap();
    assert!((ratio.value - 0.52).abs() < 1e-12);
    let interval = ratio.interval.unwrap();
    assert!(interval.low < 0.52 && interval.high > 0.52, "{interval:?}");
    let figures = Effect {
        suites: vec![effect],
        ..Effect::default()
    }
    .figures();
    assert!((figures["violations"] - 0.375).abs() < 1e-12);
    assert!((figures["violations_before"] - 0.875).abs() < 1e-12);
    assert!((figures["length_ratio"] - 0.52).abs() < 1e-12);
}

#[test]
fn a_verdict_on_one_side_alone_counts_on_neither() {
    let mut answers = forty();
    for compared in answers.iter_mut().take(10) {
        compared.before.as_mut().unwrap().verdicts.clear();
    }
    answers[39].after.verdicts.clear();
    let effect = suite(&answers);
    let violated = effect.principle("short").unwrap().violated;
    let trials = (violated.before.unwrap().trials, violated.after.trials);
    assert_eq!(trials, (29, 29));
    let missing = BTreeMap::from([("short".to_owned(), 11), ("unasked".to_owned(), 40)]);
    assert_eq!(effect.without_verdict, missing);
    // Where no pair is left there is nothing to tell.
    for compared in &mut answers {
        compared.before.as_mut().unwrap().verdicts.clear();
    }
    let effect = suite(&answers);
    assert_eq!((effect.principles, effect.violations), (Vec::new(), None));
}

#[test]
fn one_side_alone_has_no_differences() {
    let mut answers = forty();
    for answer in &mut answers {
        answer.before = None;
    }
    let effect = suite(&answers);
    let short = effect.principle("short").unwrap();
    assert_eq!(
        (short.violated.before, short.violated.difference),
        (None, None)
    );
    assert_eq!((short.violated.p_value, short.obeyed_ratio), (None, None));
    assert_eq!(effect.length_ratio, None);
    let figures = Effect {
        suites: vec![effect],
        ..Effect::default()
    }
    .figures();
    assert!(!figures.contains_key("violations_before:short"));
    assert!((figures["violations:short"] - 0.25).abs() < 1e-12);
}

#[test]
fn what_was_never_obeyed_has_no_ratio() {
    let mut answers = forty();
    for answer in &mut answers {
        answer
            .before
            .as_mut()
            .unwrap()
            .verdicts
            .insert("short".to_owned(), true);
    }
    let effect = suite(&answers);
    assert_eq!(effect.principle("short").unwrap().obeyed_ratio, None);
    let effect = Effect {
        suites: vec![effect],
        ..Effect::default()
    };
    assert!(!effect.figures().contains_key("obeyed_ratio:short"));
    for (figure, why) in [
        ("obeyed_ratio:short", "the side before never obeyed it"),
        (
            "obeyed_ratio:unasked",
            "no answer has a verdict on it on every side",
        ),
        ("drift", "no text has a token to look at"),
        ("win_rate", "no pair of answers that differ was judged"),
    ] {
        assert_eq!(effect.why_missing(figure), why, "{figure}");
    }
    let none = Effect::default().why_missing("violations:short");
    assert_eq!(none, "no answer is there on every side");
}

#[test]
fn samples_of_a_prompt_are_drawn_together() {
    // Ten equal answers to each of four prompts say no more than four answers.
    let many: Vec<Compared> = forty()
        .into_iter()
        .take(4)
        .flat_map(|compared| vec![compared; 10])
        .collect();
    let wide = suite(&many)
        .principle("short")
        .unwrap()
        .violated
        .difference
        .unwrap();
    let narrow = suite(&forty())
        .principle("short")
        .unwrap()
        .violated
        .difference
        .unwrap();
    let width = |e: Estimate| e.interval.map(|i| i.high - i.low).unwrap();
    assert!(width(wide) > 1.5 * width(narrow), "{wide:?} {narrow:?}");
}

fn gaps(kl: f64, same_top: bool, count: usize) -> Vec<Gap> {
    let gap = Gap {
        first: 0.5_f64.ln(),
        second: 0.25_f64.ln(),
        kl,
        kl_top: kl / 2.0,
        same_top,
    };
    vec![gap; count]
}

#[test]
fn drift_is_a_mean_over_tokens() {
    let texts = [
        ("a".to_owned(), gaps(0.1, true, 30)),
        ("b".to_owned(), gaps(0.5, false, 10)),
        ("empty".to_owned(), Vec::new()),
    ];
    let drift = Drift::new(&texts, 1).unwrap();
    assert_eq!((drift.texts, drift.tokens, drift.cut), (2, 40, 1));
    assert!((drift.kl.value - 0.2).abs() < 1e-12);
    assert!((drift.same_top.value - 0.75).abs() < 1e-12);
    assert!((drift.perplexity_before.value - 2.0).abs() < 1e-9);
    assert!((drift.perplexity.value - 4.0).abs() < 1e-9);
    assert!((drift.perplexity_ratio.value - 2.0).abs() < 1e-9);
    assert_eq!(drift.furthest[0].0, "b");
    assert_eq!(Drift::new(&[], 0), None);
}

fn verdict(n: u64, p: f64, words_after: u64) -> Verdict {
    Verdict {
        prompt: format!("p{n}"),
        shown_second: p,
        shown_first: p,
        words_before: 100,
        words_after,
    }
}

#[test]
fn a_preference_for_length_alone_is_taken_out() {
    // The longer answer is preferred, whichever side it is on; after is longer three times out of four.
    let verdicts: Vec<Verdict> = (0..80)
        .map(|n| match n % 4 {
            0 => verdict(n, 0.2, 50),
            _ => verdict(n, 0.8, 150),
        })
        .collect();
    let preferred = Preferred::new(&verdicts, 0).unwrap();
    assert!((preferred.win_rate.value - 0.65).abs() < 1e-9);
    let controlled = preferred.win_rate_length_controlled.unwrap().value;
    assert!((controlled - 0.5).abs() < 0.01, "{controlled}");
    assert!((preferred.consistent.value - 1.0).abs() < 1e-12);
}

#[test]
fn a_judge_that_looks_at_the_place_is_found_out() {
    let verdicts: Vec<Verdict> = (0..20)
        .map(|n| Verdict {
            shown_first: 0.9,
            shown_second: 0.1,
            ..verdict(n, 0.5, 100)
        })
        .collect();
    let preferred = Preferred::new(&verdicts, 0).unwrap();
    assert!((preferred.win_rate.value - 0.5).abs() < 1e-12);
    assert!(preferred.consistent.value < 1e-12);
    assert!((preferred.first_place_bias.value - 0.4).abs() < 1e-12);
}

#[test]
fn conditions_compare_a_figure_with_a_number() {
    let figures = BTreeMap::from([
        ("drift".to_owned(), 0.1),
        ("refusals:benign".to_owned(), 0.0),
    ]);
    let holds = |text: &str| text.parse::<Condition>().unwrap().holds(&figures);
    assert_eq!(holds("drift>0.05"), Some(true));
    assert_eq!(holds(" drift >= 0.2"), Some(false));
    assert_eq!(holds("refusals:benign=0"), Some(true));
    assert_eq!(holds("refusals:benign!=0"), Some(false));
    assert_eq!(holds("nothing<1"), None);
    let figure = |text: &str| text.parse::<Condition>().unwrap().figure;
    assert_eq!(
        figure("refusals:run=1-borderline>0.9"),
        "refusals:run=1-borderline"
    );
    assert_eq!(figure("refusals:a<b>=c != 0.9"), "refusals:a<b>=c");
    for bad in [
        "drift",
        ">1",
        "drift>",
        "drift>much",
        "drift~1",
        "drift!1",
        "drift>inf",
    ] {
        assert!(bad.parse::<Condition>().is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_condition_panic(text in "\\PC*") {
        let _ = text.parse::<Condition>();
    }

    #[test]
    fn a_win_rate_is_a_probability(
        pairs in prop::collection::vec((0.0..=1.0f64, 0.0..=1.0f64, 0u64..400), 1..30)
    ) {
        let verdicts: Vec<Verdict> = (0..)
            .zip(pairs)
            .map(|(n, (shown_first, shown_second, words))| Verdict {
                shown_first,
                shown_second,
                ..verdict(n, 0.5, words)
            })
            .collect();
        let preferred = Preferred::new(&verdicts, 0).unwrap();
        prop_assert!((0.0..=1.0).contains(&preferred.win_rate.value));
        if let Some(controlled) = preferred.win_rate_length_controlled {
            prop_assert!((0.0..=1.0).contains(&controlled.value));
        }
    }
}
