//! Where people and verdicts agree.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::statistics::{Interval, Kappa, Table, cohen_kappa, wilson};
use crate::verdict::VerdictSource;

/// A verdict that a person judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The principle.
    pub principle: String,
    /// The verdict.
    pub violated: bool,
    /// P(violated), where it is known.
    pub probability: Option<f64>,
    /// Who decided.
    pub source: VerdictSource,
    /// Whether the person finds the verdict right.
    pub agreed: bool,
}

impl Judged {
    /// What the person says: whether the principle is violated.
    fn truth(&self) -> bool {
        self.violated == self.agreed
    }
}

/// Figures of one principle, or of all together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrincipleAgreement {
    /// The principle; `None` for all together.
    pub principle_id: Option<String>,
    /// "Violated" says the verdict (first), the person (second).
    pub table: Table,
    /// The share of verdicts that the person finds right.
    pub agreement: f64,
    /// Its 95 % interval (Wilson 1927).
    pub agreement_interval: Option<Interval>,
    /// Agreement beyond chance; `None` where chance alone gives full agreement.
    pub kappa: Option<Kappa>,
    /// The threshold of P(violated) that would agree best; `None` without probabilities of a model.
    pub best: Option<BestThreshold>,
}

/// A threshold of P(violated), and how well it would have agreed on the same verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BestThreshold {
    /// Verdicts of the model at or above it count as violated.
    pub value: f64,
    /// How many verdicts have a probability.
    pub verdicts: u64,
    /// The share of them on which the person agrees.
    pub agreement: f64,
    /// Agreement beyond chance there.
    pub kappa: Option<f64>,
}

/// Figures per principle, by id, and those of all together last; nothing where nothing was judged.
pub fn agreement(judged: &[Judged]) -> Vec<PrincipleAgreement> {
    let mut groups: BTreeMap<&str, Vec<&Judged>> = BTreeMap::new();
    for verdict in judged {
        groups.entry(&verdict.principle).or_default().push(verdict);
    }
    let each = groups
        .iter()
        .map(|(principle, verdicts)| figures(Some((*principle).to_owned()), verdicts));
    let mut all: Vec<_> = each.collect();
    if !judged.is_empty() {
        all.push(figures(None, &judged.iter().collect::<Vec<_>>()));
    }
    all
}

fn figures(principle_id: Option<String>, verdicts: &[&Judged]) -> PrincipleAgreement {
    let table = table(verdicts.iter().map(|v| (v.violated, v.truth())));
    PrincipleAgreement {
        principle_id,
        table,
        agreement: share(&table),
        agreement_interval: wilson(table.agreed(), table.total()),
        kappa: cohen_kappa(&table),
        best: best_threshold(verdicts),
    }
}

fn table(pairs: impl Iterator<Item = (bool, bool)>) -> Table {
    let mut table = Table::default();
    for pair in pairs {
        *match pair {
            (true, true) => &mut table.both,
            (true, false) => &mut table.only_first,
            (false, true) => &mut table.only_second,
            (false, false) => &mut table.neither,
        } += 1;
    }
    table
}

fn share(table: &Table) -> f64 {
    table.agreed() as f64 / table.total().max(1) as f64
}

/// The roundest number near the middle of two neighbours that is above the lower one and not above the higher one, so
/// that the threshold that people read and give to a run decides as the one that was counted.
fn round_between(low: f64, high: f64, middle: f64) -> f64 {
    let rounded = (2..=15).map(|digits| {
        let scale = 10_f64.powi(digits);
        (middle * scale).round() / scale
    });
    let mut fitting = rounded.filter(|value| low < *value && *value <= high);
    fitting.next().unwrap_or(middle)
}

/// Tries a threshold between every two neighbouring probabilities, at the lowest and above the highest.
fn best_threshold(verdicts: &[&Judged]) -> Option<BestThreshold> {
    let mut known: Vec<(f64, bool)> = verdicts
        .iter()
        .filter(|v| v.source == VerdictSource::Model)
        .filter_map(|v| Some((v.probability.filter(|p| p.is_finite())?, v.truth())))
        .collect();
    known.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut values: Vec<f64> = known.iter().map(|(p, _)| *p).collect();
    values.dedup();
    let (first, last) = (*values.first()?, *values.last()?);
    // Both ends with the room that they have within 0 and 1.
    let inner = values
        .windows(2)
        .map(|pair| (pair[0], pair[1], f64::midpoint(pair[0], pair[1])))
        .map(|(low, high, middle)| (round_between(low, high, middle), high - low));
    let below = round_between(f64::NEG_INFINITY, first, first);
    let above = round_between(last, f64::INFINITY, f64::midpoint(last, 1.0));
    let ends = [(below, first), (above, 1.0 - last)];
    let mut best: Option<(BestThreshold, f64)> = None;
    let mut seen = 0;
    let mut candidates: Vec<(f64, f64)> = inner.chain(ends).collect();
    candidates.sort_by(|a, b| a.0.total_cmp(&b.0));
    let violated = known.iter().filter(|(_, truth)| *truth).count() as u64;
    let (mut missed, mut cleared) = (0, 0);
    for (value, room) in candidates {
        while let Some((_, truth)) = known.get(seen).filter(|(p, _)| *p < value) {
            seen += 1;
            *(if *truth { &mut missed } else { &mut cleared }) += 1;
        }
        let total = known.len() as u64;
        let table = Table {
            both: violated - missed,
            only_first: total - violated - cleared,
            only_second: missed,
            neither: cleared,
        };
        let found = BestThreshold {
            value,
            verdicts: total,
            agreement: share(&table),
            kappa: cohen_kappa(&table).map(|kappa| kappa.value),
        };
        let better = best.is_none_or(|(known, known_room)| {
            // Of thresholds that agree equally, the one that is more than chance, then the one with more room.
            let rank = |t: &BestThreshold, room| (t.agreement, t.kappa.unwrap_or(0.0), room);
            rank(&found, room) > rank(&known, known_room)
        });
        if better {
            best = Some((found, room));
        }
    }
    best.map(|(threshold, _)| threshold)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judged(principle: &str, probability: f64, truth: bool) -> Judged {
        let violated = probability >= 0.5;
        Judged {
            principle: principle.to_owned(),
            violated,
            probability: Some(probability),
            source: VerdictSource::Model,
            agreed: violated == truth,
        }
    }

    #[test]
    fn a_threshold_is_found_where_people_draw_the_line() {
        let verdicts = [
            judged("a", 0.2, false),
            judged("a", 0.3, true),
            judged("a", 0.4, true),
            judged("a", 0.9, true),
            judged("b", 0.1, false),
        ];
        let figures = agreement(&verdicts);
        let names: Vec<_> = figures.iter().map(|f| f.principle_id.as_deref()).collect();
        assert_eq!(names, [Some("a"), Some("b"), None]);
        let a = &figures[0];
        assert_eq!(
            a.table,
            Table {
                both: 1,
                only_first: 0,
                only_second: 2,
                neither: 1
            }
        );
        assert_eq!(a.agreement, 0.5);
        let best = a.best.unwrap();
        assert_eq!(
            (best.value, best.agreement, best.kappa),
            (0.25, 1.0, Some(1.0))
        );
        // One that never was violated: full agreement, and nothing beyond chance.
        assert_eq!((figures[1].agreement, figures[1].kappa), (1.0, None));
        assert!(figures[1].best.unwrap().value > 0.1);
        assert!(agreement(&[]).is_empty());
    }

    #[test]
    fn a_threshold_is_as_round_as_it_can_be() {
        let between = |low: f64, high: f64| {
            let verdicts = [judged("a", low, false), judged("a", high, true)];
            agreement(&verdicts)[0].best.unwrap().value
        };
        assert_eq!(between(0.125, 0.25), 0.19);
        // To two digits it would be the same as the lower one.
        assert_eq!(between(0.3302, 0.3307), 0.3305);
    }

    #[test]
    fn a_check_has_no_threshold() {
        let check = Judged {
            source: VerdictSource::Check,
            ..judged("a", 1.0, true)
        };
        assert_eq!(agreement(&[check])[0].best, None);
    }

    proptest! {
        #[test]
        fn no_threshold_agrees_better(
            verdicts in prop::collection::vec((0.0..=1.0f64, any::<bool>()), 1..30),
            other in 0.0..=1.0f64,
        ) {
            let judged: Vec<_> = verdicts.iter().map(|(p, truth)| judged("a", *p, *truth)).collect();
            let best = agreement(&judged)[0].best.unwrap();
            let at = |threshold: f64| {
                let agreed = verdicts.iter().filter(|(p, truth)| (*p >= threshold) == *truth).count();
                agreed as f64 / verdicts.len() as f64
            };
            prop_assert!((at(best.value) - best.agreement).abs() < 1e-12);
            prop_assert!(at(other) <= best.agreement + 1e-12);
        }
    }
}
