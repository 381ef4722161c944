//! The judge over a backend whose answers depend on what it is shown.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::accuracy::Tally;
use super::labelled::{Labelled, Posed, Scored};
use super::pairs::contests;
use super::*;
use crate::backend::BackendError;
use crate::chain::ChainId;
use crate::constitution::{Check, Status};
use crate::engine::testing::{AtOnce, constitution, written};
use crate::generation::{Choice, Reply, Request, Usage};
use crate::judgement::{Judgement, PairKind};
use crate::store::{Response, Responses};

/// Scores by what the last message and the reasons say; gives no reasons where it says so. P(A) is `always`,
/// whatever is asked, or a function of the request.
fn oracle(always: Option<f64>) -> AtOnce<'static> {
    AtOnce::new(move |_, request| {
        let hash = f64::from(Digest::of(request).seed()) / f64::from(u32::MAX);
        let last = &request.messages().last().unwrap().content;
        if last.contains("cannot be judged") {
            return Err(BackendError::Inference("no".to_owned()));
        }
        Ok(match request {
            Request::Choose(choose) => {
                let a = always.unwrap_or(hash);
                let rest = (1.0 - a) / (choose.options.len() - 1) as f64;
                let mut logprobs = vec![rest.ln(); choose.options.len()];
                logprobs[0] = a.ln();
                Reply::Chosen(Choice {
                    logprobs,
                    usage: Usage::default(),
                })
            }
            Request::Generate(_) if last.contains("silent") => written("", Vec::new()),
            Request::Generate(_) => written(format!("Because {hash}."), Vec::new()),
        })
    })
}

fn judge(mode: Mode, ensemble: usize) -> Arc<Judge> {
    Arc::new(Judge {
        constitution: constitution(&["kind", "honest", "plain", "brief"]),
        pack: Pack::load("default").unwrap(),
        mode,
        ensemble,
        only: None,
        samples: 3,
        sampling: SamplingParams::default(),
        seed: 7,
        adapter: None,
    })
}

fn chain(texts: &[&str]) -> Responses {
    let responses = (0..).zip(texts).map(|(n, text)| Response {
        ordinal: 2 * n,
        text: (*text).to_owned(),
    });
    Responses {
        chain: ChainId("c".to_owned()),
        run_id: "r".to_owned(),
        prompt_id: "p".to_owned(),
        sample: 0,
        messages: vec![Message::user("Why?")],
        responses: responses.collect(),
    }
}

/// Judges a chain; judgements and errors, and how many calls were made.
fn judged(
    backend: &AtOnce<'_>,
    judge: &Arc<Judge>,
    kind: PairKind,
    chain: &Responses,
) -> (Vec<Result<Judgement, String>>, Summary) {
    let open = contests(judge, kind, chain, &[]).unwrap().open;
    let mut asks = open.into_iter().map(|contest| {
        let questions = contest.questions();
        Ok::<_, DriveError>(Ask {
            about: contest,
            questions,
        })
    });
    let mut results = Vec::new();
    let interrupted = AtomicBool::new(false);
    let options = Options {
        parallel: 3,
        interrupted: &interrupted,
    };
    let mut replies = HashMap::new();
    let summary = answer_all(
        backend,
        &mut replies,
        &mut asks,
        options,
        &mut |contest, answers, _| {
            results.push(answers.and_then(|answers| contest.judge(judge, answers)));
            Ok(())
        },
    );
    (results, summary.unwrap())
}

#[test]
fn each_kind_of_pair_compares_what_it_says() {
    let texts = chain(&["one", "two", "three"]);
    for (kind, expected) in [
        (PairKind::FirstLast, vec![(0, 4)]),
        (PairKind::DraftEach, vec![(0, 2), (0, 4)]),
        (PairKind::Adjacent, vec![(0, 2), (2, 4)]),
    ] {
        let (results, _) = judged(&oracle(None), &judge(Mode::Choice, 1), kind, &texts);
        let mut pairs: Vec<_> = results
            .iter()
            .map(|judgement| {
                let judgement = judgement.as_ref().unwrap();
                (judgement.first, judgement.second)
            })
            .collect();
        pairs.sort_unstable();
        assert_eq!(pairs, expected, "{kind:?}");
    }
    let (each, _) = judged(
        &oracle(None),
        &judge(Mode::Choice, 4),
        PairKind::DraftEach,
        &texts,
    );
    let (best, summary) = judged(
        &oracle(None),
        &judge(Mode::Choice, 4),
        PairKind::Best,
        &texts,
    );
    let most = each
        .iter()
        .map(|j| j.as_ref().unwrap().p)
        .fold(0.0, f64::max);
    let [Ok(best)] = &best[..] else {
        panic!("{best:?}")
    };
    assert_eq!((best.p, best.kind), (most, PairKind::Best));
    assert_eq!(summary.calls, 2 * 2 * 4);
}

#[test]
fn equal_texts_and_what_is_known_are_left_out() {
    let judge = judge(Mode::Choice, 1);
    let texts = chain(&["same", " same\n", "other"]);
    let found = contests(&judge, PairKind::DraftEach, &texts, &[]).unwrap();
    assert_eq!((found.open.len(), found.equal, found.known), (1, 1, 0));
    let alone = contests(&judge, PairKind::Adjacent, &chain(&["same"]), &[]).unwrap();
    assert_eq!((alone.open.len(), alone.equal), (0, 0));
}

#[test]
fn principles_are_drawn_by_pair_and_never_one_that_a_program_decides() {
    let mut judge = Judge::clone(&judge(Mode::Choice, 2));
    judge.constitution.principles[0].check =
        Some(serde_json::from_str::<Check>(r#"{"max_words": 3}"#).unwrap());
    judge.constitution.principles[1].status = Status::Retired;
    judge
        .constitution
        .principles
        .extend(constitution(&["a", "b", "c"]).principles);
    let mut seen = std::collections::BTreeSet::new();
    for n in 0..60 {
        let drawn: Vec<_> = judge.draw(&n).iter().map(|p| p.id.clone()).collect();
        assert_eq!(
            drawn,
            judge
                .draw(&n)
                .iter()
                .map(|p| p.id.clone())
                .collect::<Vec<_>>()
        );
        assert_eq!(drawn.len(), 2);
        assert_ne!(drawn[0], drawn[1]);
        seen.extend(drawn);
    }
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        ["a", "b", "brief", "c", "plain"]
    );
    judge.only = Some(vec!["kind".to_owned(), "honest".to_owned()]);
    assert_eq!(judge.draw(&1).len(), 2);
}

#[test]
fn reasons_are_asked_for_in_samples_and_held_to_the_middle() {
    let texts = chain(&["one", "two"]);
    let judge = judge(Mode::Cot, 2);
    let (results, summary) = judged(&oracle(Some(0.99)), &judge, PairKind::FirstLast, &texts);
    let judgement = results[0].as_ref().unwrap();
    // Two requests, two orders, two principles, three samples.
    assert_eq!(summary.calls, 2 * 2 * 2 * 3);
    assert_eq!(judgement.votes.len(), 2);
    assert_eq!(judgement.votes[0].calls.len(), 12);
    assert_eq!(judgement.p, 0.5);
    let (results, _) = judged(&oracle(None), &judge, PairKind::FirstLast, &texts);
    let p = results[0].as_ref().unwrap().p;
    assert!((0.4..=0.6).contains(&p), "{p}");
    let silent = judged(
        &oracle(None),
        &judge,
        PairKind::FirstLast,
        &chain(&["silent", "two"]),
    )
    .0;
    let error = silent[0].as_ref().unwrap_err();
    assert!(error.contains("gave no probability"), "{error}");
}

#[test]
fn one_that_fails_ends_no_other() {
    let texts = chain(&["one", "cannot be judged", "three"]);
    let (results, _) = judged(
        &oracle(None),
        &judge(Mode::Choice, 1),
        PairKind::DraftEach,
        &texts,
    );
    let errors: Vec<_> = results.iter().filter_map(|r| r.as_ref().err()).collect();
    assert_eq!((results.len(), errors.len()), (2, 1));
    assert!(errors[0].contains("no"), "{errors:?}");
}

fn posed(right: [bool; 2], exchanged: bool) -> Posed {
    Posed {
        conversation: vec![Message::user("Which? (A) [[[a]]] (B) [[[bb]]]")],
        answers: vec!["(A)".to_owned(), "(B)".to_owned()],
        right: right.to_vec(),
        exchanged: exchanged.then(|| {
            (
                vec![Message::user("Which? (A) [[[bb]]] (B) [[[a]]]")],
                [1, 2],
            )
        }),
    }
}

fn scored(backend: &AtOnce<'_>, labelled: Labelled) -> Scored {
    let judge = judge(Mode::Choice, 1);
    let questions = labelled.questions();
    let mut asks = std::iter::once(Ok::<_, DriveError>(Ask {
        about: labelled,
        questions,
    }));
    let interrupted = AtomicBool::new(false);
    let options = Options {
        parallel: 1,
        interrupted: &interrupted,
    };
    let mut found = None;
    answer_all(
        backend,
        &mut HashMap::new(),
        &mut asks,
        options,
        &mut |labelled, answers, _| {
            found = Some(labelled.score(&judge, answers.unwrap()).unwrap());
            Ok(())
        },
    )
    .unwrap();
    found.unwrap()
}

fn near(found: Option<f64>, expected: f64) {
    let found = found.unwrap();
    assert!(
        (found - expected).abs() < 1e-9,
        "{found} and not {expected}"
    );
}

#[test]
fn a_posed_question_is_scored_in_both_orders() {
    let judge = judge(Mode::Choice, 1);
    let backend = oracle(Some(0.9));
    for (right, longer) in [([true, false], false), ([false, true], true)] {
        let scored = scored(&backend, Labelled::posed(&judge, posed(right, true)));
        near(scored.right_first, 0.9);
        near(scored.right_second, 0.1);
        near(Some(scored.p), 0.5);
        assert_eq!(scored.right_longer, Some(longer));
        assert_eq!(scored.agrees(), Some(false));
    }
    let alone = scored(
        &backend,
        Labelled::posed(&judge, posed([false, true], false)),
    );
    assert_eq!((alone.right_first, alone.agrees()), (None, None));
    near(alone.right_second, 0.1);
    near(Some(alone.p), 0.1);
}

#[test]
fn two_responses_are_scored_in_both_orders() {
    let judge = judge(Mode::Choice, 1);
    let row = (
        vec![Message::user("Why?")],
        "chosen".to_owned(),
        "rejected".to_owned(),
    );
    let labelled = Labelled::responses(&judge, 1, row).unwrap();
    let scored = scored(&oracle(Some(0.75)), labelled);
    near(scored.right_first, 0.75);
    near(scored.right_second, 0.25);
    assert_eq!(scored.right_longer, Some(false));
}

#[test]
fn figures_tell_a_judge_by_place_from_a_judge_by_content() {
    let one = |right_first: f64, right_second: f64, right_longer| Scored {
        right_first: Some(right_first),
        right_second: Some(right_second),
        p: f64::midpoint(right_first, right_second),
        right_longer,
    };
    let mut place = Tally::default();
    let mut content = Tally::default();
    for n in 0..20 {
        place.add(&one(0.9, 0.1, Some(n % 2 == 0)));
        content.add(&one(0.9, 0.8, Some(n % 2 == 0)));
    }
    let place = place.figures();
    assert_eq!(place.accuracy.share, Some(0.5));
    assert_eq!(
        (place.right_first.share, place.right_second.share),
        (Some(1.0), Some(0.0))
    );
    assert_eq!(place.prefers_first.share, Some(1.0));
    assert_eq!(place.agree.share, Some(0.0));
    assert_eq!(place.brier, Some(0.25));
    assert_eq!(place.ece, Some(0.0));
    let content = content.figures();
    assert_eq!(content.accuracy.share, Some(1.0));
    assert_eq!(content.prefers_first.share, Some(0.5));
    assert_eq!(
        (content.prefers_longer.share, content.longer_is_right.share),
        (Some(0.5), Some(0.5))
    );
    assert!((content.brier.unwrap() - 0.0225).abs() < 1e-9);
    assert!((content.ece.unwrap() - 0.15).abs() < 1e-9);
    let bin = content.bins.iter().find(|bin| bin.count > 0).unwrap();
    assert_eq!((bin.count, bin.accuracy), (20, 1.0));
    let svg = reliability_svg(&content, "a <b> & \"c\"\u{1}");
    assert!(
        svg.contains("a &lt;b&gt; &amp; &quot;c&quot;\u{fffd}, comparisons: 20</title>"),
        "{svg}"
    );
    assert!(svg.contains("20 comparisons, confidence 0.850, right 1.000"));
    assert_eq!(Tally::default().figures().brier, None);
}

#[test]
fn a_plots_heading_is_no_wider_than_the_plot() {
    let figures = Tally::default().figures();
    // The default model's name stands there in full.
    for (model, heading) in [
        (
            "Smollm2 135M 8k Lc100K Mix1 Ep2 Q4_1".to_owned(),
            "Smollm2 135M 8k Lc100K Mix1 Ep2 Q4_1".to_owned(),
        ),
        ("&".repeat(50), format!("{}…", "&amp;".repeat(41))),
    ] {
        let svg = reliability_svg(&figures, &model);
        assert!(svg.contains(&format!(">{heading}</text>")), "{svg}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn judging_the_pair_the_other_way_round_gives_exactly_one_minus(
        first in "[a-z]{1,8}", second in "[A-Z]{1,8}", cot in any::<bool>(), ensemble in 1usize..4,
    ) {
        let judge = judge(if cot { Mode::Cot } else { Mode::Choice }, ensemble);
        let p = |texts: [&str; 2]| {
            let (results, _) = judged(&oracle(None), &judge, PairKind::FirstLast, &chain(&texts));
            results[0].as_ref().unwrap().clone()
        };
        let (one, other) = (p([&first, &second]), p([&second, &first]));
        prop_assert_eq!(one.p, 1.0 - other.p);
        prop_assert_eq!(other.p, 1.0 - one.p);
        prop_assert_eq!(one.preference, other.preference.swapped());
        prop_assert_eq!(one.margin(), -other.margin());
    }
}
