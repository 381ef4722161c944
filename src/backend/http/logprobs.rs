//! Probabilities from the token probabilities that a server lists. Pure.
//!
//! Servers cut text into tokens as they like, so nothing is looked up by token: an alternative counts
//! for an answer when the text so far, continued by it, begins to spell that answer.

use serde_json::Value;

/// One token of a reply, and what the model might have written in its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    /// What was written.
    pub token: String,
    /// Texts and their log-probabilities; the written one is among them or not, as the server likes.
    pub top: Vec<(String, f64)>,
}

/// Why no probability can be told.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NoProbability {
    /// The reply never comes to the answer.
    NotThere,
    /// The answer is there, and the server lists too few alternatives.
    TooFew,
}

/// The tokens of a choice in a chat completion; `None` where the server gives none.
pub(super) fn places(choice: &Value) -> Option<Vec<Place>> {
    let content = choice.pointer("/logprobs/content")?.as_array()?;
    let text = |token: &Value| token.get("token")?.as_str().map(str::to_owned);
    let places = content.iter().map(|token| {
        let alternatives = token.get("top_logprobs").and_then(Value::as_array);
        let alternatives = alternatives.map_or(&[][..], Vec::as_slice);
        let mut top: Vec<(String, f64)> = Vec::with_capacity(alternatives.len() + 1);
        // The written token itself may be missing among the likeliest ones.
        for listed in alternatives.iter().chain([token]) {
            if let (Some(text), Some(logprob)) =
                (text(listed), listed.get("logprob").and_then(Value::as_f64))
                && !top.iter().any(|(known, _)| *known == text)
            {
                top.push((text, logprob));
            }
        }
        Some(Place {
            token: text(token)?,
            top,
        })
    });
    places
        .collect::<Option<Vec<_>>>()
        .filter(|places| !places.is_empty())
}

/// P(true) of the boolean `field` of a JSON object, normalised over the two booleans, read at the token
/// with which its value begins. A boolean that is not listed is less likely than all that are; it counts
/// as impossible unless that could change on which side of `threshold` the probability lies.
pub(super) fn decision(
    field: &str,
    places: &[Place],
    threshold: f64,
) -> Result<f64, NoProbability> {
    let mut before = String::new();
    for place in places {
        if boolean(field, &format!("{before}{}", place.token)).is_none() {
            before.push_str(&place.token);
            continue;
        }
        let mut sums = [0.0, 0.0];
        for (text, logprob) in &place.top {
            if let Some(answer) = boolean(field, &format!("{before}{text}")) {
                sums[usize::from(answer)] += logprob.exp();
            }
        }
        let [no, yes] = sums;
        // A server that lists one alternative says nothing about the other.
        if place.top.len() < 2 {
            return Err(NoProbability::TooFew);
        }
        let listed: f64 = place.top.iter().map(|(_, logprob)| logprob.exp()).sum();
        // Neither more than the least that is listed, nor more than all that is left.
        let unlisted = least(place).min((1.0 - listed).max(0.0));
        let share = |yes: f64, no: f64| yes / (yes + no);
        let bounds = (
            share(yes, if no > 0.0 { no } else { unlisted }),
            share(if yes > 0.0 { yes } else { unlisted }, no),
        );
        let p = share(yes, no);
        // Not a number where nothing is listed at all.
        if !p.is_finite() || (bounds.0 >= threshold) != (bounds.1 >= threshold) {
            return Err(NoProbability::TooFew);
        }
        return Ok(p);
    }
    Err(NoProbability::NotThere)
}

/// Log-probabilities of the options, normalised over them, read at the first token that can tell them apart:
/// what all of them begin with, such as a bracket, may be written before. Options that are not listed there
/// cannot be told.
pub(super) fn choice(options: &[String], places: &[Place]) -> Result<Vec<f64>, NoProbability> {
    let mut before = String::new();
    for place in places {
        let written = format!("{before}{}", place.token);
        let fitting = options.iter().filter(|option| spells(option, &written));
        // The next token tells.
        if written.trim().is_empty() || fitting.count() > 1 {
            before = written;
            continue;
        }
        return choice_at(options, &before, place);
    }
    Err(match before.trim().is_empty() {
        true => NoProbability::NotThere,
        false => NoProbability::TooFew,
    })
}

/// Whether a text begins to spell an option, or spells it and goes on.
fn spells(option: &str, text: &str) -> bool {
    let (option, text) = (option.trim_start(), text.trim_start());
    option.starts_with(text) || text.starts_with(option)
}

fn choice_at(options: &[String], before: &str, place: &Place) -> Result<Vec<f64>, NoProbability> {
    let mut sums = vec![0.0; options.len()];
    for (text, logprob) in &place.top {
        let text = format!("{before}{text}");
        if text.trim().is_empty() {
            continue;
        }
        let mut fits = options.iter().enumerate().filter(|(_, o)| spells(o, &text));
        match (fits.next(), fits.next()) {
            (Some((index, _)), None) => sums[index] += logprob.exp(),
            (Some(_), Some(_)) => return Err(NoProbability::TooFew),
            (None, _) => {}
        }
    }
    let total: f64 = sums.iter().sum();
    if sums.iter().any(|sum| *sum <= 0.0) {
        return Err(NoProbability::TooFew);
    }
    Ok(sums.into_iter().map(|sum| (sum / total).ln()).collect())
}

/// The most tokens that options have in common at their beginning, and one more.
pub(super) fn tokens_of_choice(options: &[String]) -> usize {
    let Some((first, rest)) = options.split_first() else {
        return 1;
    };
    let alike = |other: &String| {
        let both = first.chars().zip(other.chars());
        both.take_while(|(a, b)| a == b).count()
    };
    1 + rest.iter().map(alike).min().unwrap_or(0)
}

/// The probability of the least likely token that is listed.
fn least(place: &Place) -> f64 {
    place
        .top
        .iter()
        .map(|(_, logprob)| logprob.exp())
        .fold(1.0, f64::min)
}

/// Which boolean the value of `field` begins to spell at the end of `text`.
fn boolean(field: &str, text: &str) -> Option<bool> {
    let key = Value::from(field).to_string();
    let behind = &text[text.find(&key)? + key.len()..];
    let value = behind.trim_start().strip_prefix(':')?.trim_start();
    if value.is_empty() {
        return None;
    }
    let spells = |word: &str| word.starts_with(value) || value.starts_with(word);
    match (spells("true"), spells("false")) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn place(token: &str, top: &[(&str, f64)]) -> Place {
        Place {
            token: token.to_owned(),
            top: top.iter().map(|(t, p)| ((*t).to_owned(), p.ln())).collect(),
        }
    }

    fn plain(token: &str) -> Place {
        place(token, &[(token, 1.0)])
    }

    fn close(a: Result<f64, NoProbability>, b: f64) {
        let a = a.unwrap();
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn a_decision_is_normalised_over_all_spellings_of_both_booleans() {
        let places = [
            plain("{\""),
            plain("viol"),
            plain("ated"),
            plain("\":"),
            place(
                " false",
                &[
                    (" false", 0.3),
                    ("false", 0.1),
                    (" true", 0.2),
                    (" tr", 0.1),
                    (" t", 0.1),
                    (" \"", 0.1),
                    (" ", 0.05),
                ],
            ),
            plain("}"),
        ];
        close(decision("violated", &places, 0.5), 0.5);
    }

    #[test]
    fn a_token_may_hold_more_than_the_value() {
        let places = [
            plain("{\"violated\""),
            place(":true}", &[(":true}", 0.6), (":false", 0.2), (": ", 0.2)]),
        ];
        close(decision("violated", &places, 0.5), 0.75);
    }

    #[test]
    fn white_space_before_the_value_is_no_answer() {
        let places = [
            plain("{\"violated\":"),
            place(" ", &[(" ", 0.5), (" true", 0.5)]),
            place("f", &[("f", 0.9), ("t", 0.1)]),
            plain("alse"),
        ];
        close(decision("violated", &places, 0.5), 0.1);
    }

    #[test]
    fn the_word_in_a_text_before_the_object_is_not_taken_for_the_value() {
        let places = [
            plain("true! "),
            plain("{\"violated\": "),
            place("true", &[("true", 0.8), ("false", 0.2)]),
        ];
        close(decision("violated", &places, 0.5), 0.8);
    }

    #[test]
    fn an_unlisted_boolean_counts_as_impossible_unless_it_could_decide() {
        let sure = [
            plain("{\"violated\": "),
            place("true", &[("true", 0.9), ("x", 0.01)]),
        ];
        close(decision("violated", &sure, 0.5), 1.0);
        let unsure = [
            plain("{\"violated\": "),
            place("true", &[("true", 0.02), ("x", 0.9), ("y", 0.02)]),
        ];
        assert_eq!(
            decision("violated", &unsure, 0.6),
            Err(NoProbability::TooFew)
        );
        let nothing = [plain("{\"violated\": "), place("true", &[])];
        assert_eq!(
            decision("violated", &nothing, 0.5),
            Err(NoProbability::TooFew)
        );
        assert_eq!(
            decision("violated", &[plain("Fine.")], 0.5),
            Err(NoProbability::NotThere)
        );
    }

    #[test]
    fn a_choice_is_read_at_the_first_token() {
        let options = ["(A)".to_owned(), "(B)".to_owned()];
        let whole = [place("(A", &[("(A", 0.6), (" (B)", 0.2), ("The", 0.1)])];
        let read = choice(&options, &whole).unwrap();
        assert!((read[0].exp() - 0.75).abs() < 1e-9);
        // The first token is common to both, so it tells nothing, and the next one does.
        let bracket = place("(", &[("(", 0.9), ("(A", 0.1)]);
        assert_eq!(
            choice(&options, std::slice::from_ref(&bracket)),
            Err(NoProbability::TooFew)
        );
        let letter = place("B", &[("A", 0.1), ("B", 0.3), ("C", 0.5)]);
        let read = choice(&options, &[bracket, letter]).unwrap();
        assert!((read[0].exp() - 0.25).abs() < 1e-9);
        assert_eq!(tokens_of_choice(&options), 2);
        assert_eq!(tokens_of_choice(&["A".to_owned(), "B".to_owned()]), 1);
        let mixed = [place("(A", &[("(A", 0.6), ("(B", 0.2), ("(", 0.1)])];
        assert_eq!(choice(&options, &mixed), Err(NoProbability::TooFew));
        let silent = [place(" ", &[(" ", 0.6)])];
        assert_eq!(choice(&options, &silent), Err(NoProbability::NotThere));
        let one = [place("(A", &[("(A", 0.9)])];
        assert_eq!(choice(&options, &one), Err(NoProbability::TooFew));
    }

    #[test]
    fn token_lists_are_read_as_servers_write_them() {
        let given = json!({"logprobs": {"content": [
            {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -3.0}]},
        ]}});
        let read = places(&given).unwrap();
        assert_eq!(
            read[0].top,
            [("b".to_owned(), -3.0), ("a".to_owned(), -0.1)]
        );
        assert_eq!(places(&json!({"logprobs": null})), None);
        assert_eq!(places(&json!({"logprobs": {"content": []}})), None);
        assert_eq!(places(&json!({"logprobs": {"content": [{}]}})), None);
    }
}
