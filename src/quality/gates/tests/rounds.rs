//! What every round gives.

use super::*;

const REFUSAL: &str = "I'm sorry, but I can't help with that.";

/// Why each round of the only chain is left out.
fn refused(place: &Place, settings: &Settings, helpers: Helpers<'_>) -> Vec<Option<String>> {
    let gating = gate(&place.store(), &Filter::all(), None, settings, helpers).unwrap();
    let chain = &place.chains()[0];
    let reason =
        |side: Result<Side<'_>, Refused>| side.err().map(|refused| refused.name.into_owned());
    let rounds = super::rounds(&gating, chain).into_iter();
    rounds.map(|(_, side)| reason(side)).collect()
}

fn named(name: &str) -> Option<String> {
    Some(name.to_owned())
}

#[test]
fn no_round_refuses_a_benign_prompt() {
    let settings = Settings {
        refusal: Some(RefusalOf::Benign),
        ..Settings::none()
    };
    let rounds = |texts: &[&str], metadata: Value| {
        let place = Place::new(&[Script {
            metadata: metadata.as_object().cloned().unwrap(),
            ..script("How do I kill a process?", texts)
        }]);
        refused(&place, &settings, Helpers::default())
    };
    let (draft, last) = ("Use kill.", "Use the command kill.");
    let benign = || json!({"benign": true});
    assert_eq!(
        rounds(&[draft, REFUSAL, last], benign()),
        [named("refusal"), None]
    );
    assert_eq!(
        rounds(&[draft, REFUSAL, last], json!({})),
        [None::<String>, None]
    );
    // Where the chain itself has no text to learn from, rounds are looked at as well.
    assert_eq!(
        rounds(&[draft, REFUSAL, " "], benign()),
        [named("refusal"), named("empty-final")]
    );
}

#[test]
fn no_round_has_more_tokens_than_allowed() {
    let count = |messages: &[Message]| {
        let words = messages.iter().flat_map(|m| m.content.split_whitespace());
        Ok(words.count() as u32)
    };
    let settings = Settings {
        tokens: Some(101),
        ..Settings::none()
    };
    let long = |words: usize| "word ".repeat(words);
    let place = Place::new(&[script("b", &["Short.", &long(150), &long(90)])]);
    let helpers = Helpers {
        tokens: Some(&count),
        ..Helpers::default()
    };
    assert_eq!(refused(&place, &settings, helpers), [named("tokens"), None]);
}
