//! What the judge decides.

use super::*;

fn judged(p: f64, agree: bool) -> Compared {
    Compared {
        first: Origin::Draft,
        second: Origin::Revision(2),
        p,
        agree,
    }
}

#[test]
fn the_judge_decides_as_the_policy_says() {
    let place = Place::new(&[script(
        "Why?",
        &["Draft text here.", "First revision.", "Last revision."],
    )]);
    let chain = &place.chains()[0];
    let look = |setting: &str, compared: &[Compared]| {
        let mut settings = Settings::default();
        settings.set(setting).unwrap();
        let room = Room::default();
        let (decision, _) = Look::new(&settings, Helpers::default(), &room)
            .at(chain, compared)
            .unwrap();
        let findings: Vec<_> = decision
            .findings
            .iter()
            .map(|f| format!("{} {}", f.gate.as_str(), f.action.as_str()))
            .collect();
        let rejected = decision
            .rejected
            .map(|from| from.to_string())
            .unwrap_or_default();
        format!(
            "{} > {} {} {:?} {}",
            decision.chosen,
            rejected,
            decision.why.as_str(),
            decision.p,
            findings.join(", ")
        )
    };
    let first = Compared {
        first: Origin::Revision(1),
        second: Origin::Draft,
        p: 0.25,
        agree: true,
    };
    assert_eq!(look("secrets", &[]), "revision:2 > draft later None ");
    assert_eq!(
        look("secrets", &[judged(0.75, true)]),
        "revision:2 > draft judge Some(0.75) "
    );
    assert_eq!(
        look("secrets", &[judged(0.52, true)]),
        "revision:2 > draft judge Some(0.52) judge-tie drop"
    );
    // What falls short of the least margin by its rounding alone is no tie.
    assert_eq!(
        look("secrets", &[judged(0.5499999999999998, true)]),
        "revision:2 > draft judge Some(0.5499999999999998) "
    );
    assert_eq!(
        look("secrets", &[judged(0.9, false)]),
        "revision:2 > draft judge Some(0.9) judge-disagrees drop"
    );
    assert_eq!(
        look("secrets", &[judged(0.25, true)]),
        "revision:2 > draft judge Some(0.25) draft-preferred drop"
    );
    assert_eq!(
        look("draft-preferred=flip", &[judged(0.25, true)]),
        "draft > revision:2 flipped Some(0.75) draft-preferred flip"
    );
    assert_eq!(
        look("draft-preferred=best", &[judged(0.25, true), first]),
        "revision:1 > draft best-round Some(0.75) draft-preferred replace"
    );
    assert_eq!(
        look("draft-preferred=best", &[judged(0.25, true)]),
        "revision:2 > draft judge Some(0.25) draft-preferred drop"
    );
    // Where another revision than the last was judged, that one stands.
    assert_eq!(
        look("secrets", &[first]),
        "revision:1 > draft best-round Some(0.75) "
    );
    let worse = Compared { p: 0.75, ..first };
    assert_eq!(
        look("secrets", &[worse]),
        "revision:1 > draft best-round Some(0.25) draft-preferred drop"
    );
    assert_eq!(
        look("draft-preferred=off", &[judged(0.25, true)]),
        "revision:2 > draft judge Some(0.25) "
    );
}
