//! Refusals as a model sees them.

use super::*;
use crate::backend::scripted::ScriptedBackend;

#[test]
fn a_reply_is_asked_about_once_and_those_that_came_since_are_asked_about_later() {
    let benign = |number| Script {
        metadata: json!({"benign": true}).as_object().cloned().unwrap(),
        ..own(number)
    };
    let place = Place::new(&[benign(0), own(1), benign(2)]);
    let id = |number: usize| place.chains()[number].row.chain_id.clone();
    let backend = ScriptedBackend::from_yaml("", 2).unwrap();
    let mut asked = Asked::from([(id(0), [0.9, 0.1])]);
    ask_refusals(&place.store(), &Filter::all(), None, &backend, &mut asked).unwrap();
    // A script prefers neither answer.
    let expected = Asked::from([(id(0), [0.9, 0.1]), (id(2), [0.5, 0.5])]);
    assert_eq!(asked.len(), 2);
    for (chain, [draft, last]) in expected {
        let found = asked[&chain];
        assert!((found[0] - draft).abs() < 1e-9 && (found[1] - last).abs() < 1e-9);
    }
}
