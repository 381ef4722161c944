use proptest::prelude::*;

use super::super::words::{hash, mix};
use super::tokens::spell;
use super::*;

/// A row: its chosen text and its draft where they differ, and its priority.
#[derive(Clone)]
struct Row {
    texts: Option<Box<[Tokens; 2]>>,
    priority: u64,
}

fn row(number: usize, chosen: &str, draft: &str) -> Row {
    Row {
        texts: (chosen != draft).then(|| Box::new([Tokens::of(chosen), Tokens::of(draft)])),
        priority: mix(number as u64),
    }
}

/// What was found, and for each row the number of the wording for which it is left out.
#[derive(Debug, Default, PartialEq)]
struct Looked {
    found: Vec<Found>,
    dropped: Vec<Option<usize>>,
}

/// Looks at rows that have kept their texts.
fn find(rows: &[Row], cap: f64) -> Looked {
    look(rows, cap, |_| true)
}

/// The same where some texts were not kept.
fn find_again(rows: &[Row], cap: f64) -> Looked {
    look(rows, cap, |number| number % 3 != 1)
}

fn look(rows: &[Row], cap: f64, keeps: impl Fn(u32) -> bool) -> Looked {
    let texts = |number: u32| rows[number as usize].texts.as_deref();
    let numbers = 0..rows.len() as u32;
    let kept = numbers.clone().filter(|number| keeps(*number));
    let kept = kept
        .filter_map(|number| Some((number, Box::new(texts(number)?.clone()))))
        .collect();
    let all = Rows {
        count: rows.len() as u32,
        compared: &|_| true,
        differs: &|number| texts(number).is_some(),
        priority: &|number| rows[number as usize].priority,
        kept: &kept,
        again: &|wanted, each| {
            for number in wanted {
                assert!(!keeps(number));
                each(number, texts(number).unwrap().clone());
            }
            Ok(())
        },
    };
    let outcome = super::find(&all, cap, &Scratch::begin().unwrap()).unwrap();
    let mut dropped = vec![None; rows.len()];
    for (row, wording) in outcome.dropped() {
        dropped[row as usize] = Some(wording);
    }
    Looked {
        found: outcome.found,
        dropped,
    }
}

/// Words that repeat nowhere.
fn own(number: usize, words: usize) -> String {
    (0..words)
        .map(|word| format!("w{:x} ", hash(&format!("{number}/{word}")) >> 40))
        .collect()
}

#[test]
fn words_and_emojis_are_spelt() {
    let spelt: Vec<_> = spell("I’m happy, you're too 😊!")
        .map(|(_, word)| word)
        .collect();
    assert_eq!(spelt, ["I’m", "happy", "you're", "too", "😊"]);
    assert_eq!(Tokens::of("It’s SO"), Tokens::of("it's so"));
    assert_ne!(Tokens::of("😊"), Tokens::of("🎉"));
    assert_eq!(words_at("One, two; three four", 1, 2), "two three");
    assert_eq!(words_at("See 请注意。安全 ok", 1, 6), "请注意安全 ok");
    assert_eq!(spell("⏰⌛ 5!").count(), 3);
}

#[test]
fn the_score_is_the_published_one() {
    // By hand: prior 10 · 22/200 = 1.1 and 8.9; (21.1/88.9) and (3.1/106.9).
    let expected = ((21.1_f64 / 88.9).ln() - (3.1_f64 / 106.9).ln())
        / (1.0 / 21.1 + 1.0 / 88.9 + 1.0 / 3.1 + 1.0 / 106.9_f64).sqrt();
    assert!((z_score(20.0, 2.0, 100.0) - expected).abs() < 1e-12);
    assert!(z_score(5.0, 5.0, 100.0).abs() < 1e-12);
    assert!(z_score(2.0, 20.0, 100.0) < 0.0);
}

#[test]
fn a_closing_that_revisions_repeat_is_found_and_capped() {
    let closing = "You are valid, valued and cared for. 💛";
    let rows: Vec<Row> = (0..200)
        .map(|number| {
            let (draft, text) = (own(number, 30), own(number + 1000, 30));
            match number % 2 {
                0 => row(number, &format!("{text} {closing}"), &draft),
                _ => row(number, &text, &draft),
            }
        })
        .collect();
    let outcome = find(&rows, 0.05);
    assert_eq!(find_again(&rows, 0.05), outcome);
    // The whole sentence is told once, and as what it is.
    assert_eq!(outcome.found.len(), 1, "{:?}", outcome.found);
    assert_eq!(outcome.found[0].kind, WordingKind::Closing);
    assert!(
        outcome
            .found
            .iter()
            .all(|found| found.chosen == 100 && found.drafts == 0)
    );
    let held = (0..200)
        .filter(|n| n % 2 == 0 && outcome.dropped[*n].is_none())
        .count();
    let left = outcome
        .dropped
        .iter()
        .filter(|dropped| dropped.is_none())
        .count();
    assert!(held as f64 <= 0.05 * left as f64, "{held} of {left}");
    assert_eq!(left - held, 100, "rows without it stay");
    let (example, start, length) = outcome.found[0].example;
    assert_eq!(example % 2, 0);
    assert_eq!((start, length), (30, 8));
}

#[test]
fn a_sentence_without_spaces_is_as_many_words_as_it_has_characters() {
    let rows: Vec<Row> = (0..100)
        .map(|number| {
            let (draft, text) = (own(number, 20), own(number + 1000, 20));
            match number % 2 {
                0 => row(number, &format!("{text}请注意安全并寻求帮助。"), &draft),
                _ => row(number, &text, &draft),
            }
        })
        .collect();
    let outcome = find(&rows, 0.05);
    assert_eq!(find_again(&rows, 0.05), outcome);
    assert_eq!(outcome.found.len(), 1, "{:?}", outcome.found);
    let found = &outcome.found[0];
    assert_eq!((found.kind, found.chosen), (WordingKind::Closing, 50));
    let (_, start, length) = found.example;
    assert_eq!((start, length), (20, 10));
}

#[test]
fn wordings_of_one_pass_are_capped_each_by_itself() {
    const WORDINGS: usize = 8;
    let rows: Vec<Row> = (0..WORDINGS * 50)
        .map(|number| {
            let text = own(number + 100_000, 6);
            let phrase = own(200_000 + number % WORDINGS, 3);
            row(number, &format!("{text} {phrase} {text}"), &own(number, 6))
        })
        .collect();
    let outcome = find(&rows, 0.02);
    assert_eq!(find_again(&rows, 0.02), outcome);
    // Of each 50, those stay that are one in fifty beside the 350 others; then there are too few to tell.
    let told: Vec<_> = outcome
        .found
        .iter()
        .map(|f| (f.chosen, f.dropped))
        .collect();
    assert_eq!(told, [(50, 43); WORDINGS]);
    for wording in 0..WORDINGS {
        let held = outcome.dropped.iter().skip(wording).step_by(WORDINGS);
        let gone: Vec<usize> = held.copied().flatten().collect();
        assert_eq!(
            gone, [gone[0]; 43],
            "one reason for all that hold one wording"
        );
    }
}

#[test]
fn what_drafts_say_as_well_is_no_collapse() {
    let rows: Vec<Row> = (0..100)
        .map(|number| {
            let text = |n| format!("Thank you for asking. {} I hope this helps.", own(n, 20));
            row(number, &text(number), &text(number + 1000))
        })
        .collect();
    let outcome = find(&rows, 0.05);
    assert_eq!(outcome.found, []);
    assert!(outcome.dropped.iter().all(Option::is_none));
}

#[test]
fn a_few_rows_prove_nothing() {
    let rows: Vec<Row> = (0..8)
        .map(|number| row(number, "It is important to note that.", &own(number, 6)))
        .collect();
    assert_eq!(find(&rows, 0.05).found, []);
    assert_eq!(find(&[], 0.05), Looked::default());
}

#[test]
fn large_sets_are_looked_at_through_a_sample() {
    let rows: Vec<Row> = (0..LOOKED_IN * 2)
        .map(|number| {
            let text = own(number, 8);
            match number % 8 {
                0 => row(number, &format!("I understand your concern {text}"), &text),
                _ => row(number, &own(number + 100_000, 8), &text),
            }
        })
        .collect();
    let outcome = find(&rows, 0.05);
    assert_eq!(find_again(&rows, 0.05), outcome);
    assert_eq!(outcome.found[0].chosen as usize, LOOKED_IN / 4);
    let dropped = outcome.dropped.iter().flatten().count();
    assert!(
        dropped > LOOKED_IN / 8 && dropped < LOOKED_IN / 4,
        "{dropped}"
    );
}

/// Rows of a small vocabulary, so that much repeats.
fn some_rows() -> impl Strategy<Value = Vec<(String, String)>> {
    let word = prop::sample::select(vec![
        "kind", "help", "safe", "note", "care", "that", "is", "💛",
    ]);
    let text = prop::collection::vec(word, 0..9).prop_map(|words| words.join(" "));
    prop::collection::vec((text.clone(), text), 0..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_kept_is_kept_again(texts in some_rows(), cap in 0.02..0.3f64) {
        let rows: Vec<Row> = (0..).zip(&texts).map(|(n, (a, b))| row(n, a, b)).collect();
        let outcome = find(&rows, cap);
        prop_assert_eq!(&find_again(&rows, cap), &outcome);
        let kept: Vec<Row> = rows
            .iter()
            .zip(&outcome.dropped)
            .filter(|(_, dropped)| dropped.is_none())
            .map(|(row, _)| row.clone())
            .collect();
        prop_assert!(find(&kept, cap).dropped.iter().all(Option::is_none));
    }

    #[test]
    fn order_changes_nothing(texts in some_rows(), shift in 0usize..150) {
        let rows: Vec<Row> = (0..).zip(&texts).map(|(n, (a, b))| row(n, a, b)).collect();
        let mut turned = rows.clone();
        let shift = shift % rows.len().max(1);
        turned.rotate_left(shift);
        let (one, mut two) = (find(&rows, 0.05), find(&turned, 0.05));
        two.dropped.rotate_right(shift);
        let gone = |outcome: &Looked| outcome.dropped.iter().map(Option::is_some).collect::<Vec<_>>();
        prop_assert_eq!(gone(&one), gone(&two));
        let told = |outcome: &Looked| -> Vec<_> {
            outcome.found.iter().map(|f| (f.kind, f.key, f.chosen, f.drafts, f.dropped)).collect()
        };
        prop_assert_eq!(told(&one), told(&two));
    }
}
