//! Decisions of gates: kept, replaced, filtered, and open to other programs.

use super::*;
use crate::store::{GateFinding, GateRecord, GatedChain, NewGating};

fn gated(prompt: &str, sample: u32, dropped: Option<(&str, bool)>) -> GatedChain {
    let pair_only = dropped.is_some_and(|(_, pair_only)| pair_only);
    GatedChain {
        chain_id: ChainId::new("run1", &PromptId(prompt.to_owned()), sample).0,
        kept: dropped.is_none() || pair_only,
        pair: dropped.is_none(),
        chosen: "revision:2".to_owned(),
        rejected: Some("draft".to_owned()),
        why: "judge".to_owned(),
        p: Some(0.75),
        margin: Some(0.5),
        edit_distance: 0.25,
        length_ratio: Some(1.5),
        findings: dropped
            .map(|(gate, pair_only)| GateFinding {
                gate: gate.to_owned(),
                action: "drop".to_owned(),
                pair_only,
                reason: "for a reason".to_owned(),
                value: Some(7.0),
            })
            .into_iter()
            .collect(),
    }
}

fn gating() -> NewGating {
    NewGating {
        filter: "revised:true".to_owned(),
        run: None,
        settings: json!({"length-ratio": [0.2, 5.0], "tokens": 1024}),
        figures: json!({"kept": 1}),
    }
}

fn decided(chains: impl IntoIterator<Item = GatedChain>) -> Vec<Result<GateRecord, StoreError>> {
    let record = |chain| Ok(GateRecord::Decided(chain));
    chains.into_iter().map(record).collect()
}

fn prompts(place: &Place, filter: &str) -> Vec<String> {
    let filter = Filter::parse(filter).unwrap();
    let mut found = Vec::new();
    let flow = place.store().for_each_chain(&filter, None, |chain| {
        found.push(chain.prompt_id);
        std::ops::ControlFlow::<()>::Continue(())
    });
    assert!(flow.unwrap().is_continue());
    found
}

#[test]
fn decisions_are_found_by_filters_and_views() {
    let place = filled();
    let mut writer = Writer::open(&place.path).unwrap();
    let chains = [
        gated("kettle", 0, None),
        gated("bridge", 1, Some(("length-ratio", true))),
        gated("garden", 0, Some(("tokens", false))),
        gated("nobody", 0, None),
    ];
    writer
        .record_gating(&gating(), decided(chains.clone()))
        .unwrap();
    for (filter, expected) in [
        ("kept:true", "kettle bridge"),
        ("kept:false", "garden"),
        ("kept!=true", "garden"),
        ("not kept:true", "garden letter window"),
        ("pair:true", "kettle"),
        ("pair:false", "bridge garden"),
        ("gate:length-ratio", "bridge"),
        ("gate:tokens or gate:secrets", "garden"),
        ("gate!=tokens", "kettle bridge letter window"),
    ] {
        assert_eq!(prompts(&place, filter).join(" "), expected, "{filter}");
    }
    let id = ChainId(chains[1].chain_id.clone());
    assert_eq!(
        place.store().gates_of(&id).unwrap(),
        Some(chains[1].clone())
    );
    let other = ChainId::new("run1", &PromptId("letter".to_owned()), 0);
    assert_eq!(place.store().gates_of(&other).unwrap(), None);
    let conn = rusqlite::Connection::open(&place.path).unwrap();
    let row: (String, String, i64, String, String) = conn
        .query_row(
            "SELECT g.reason, g.threshold, g.pair_only, p.why, p.gated_at FROM v_gates g
             JOIN v_pairs p USING (chain_id, run_id, gated_at)
             WHERE g.gate = 'length-ratio' AND g.ordinal = 0 AND g.action = 'drop' AND g.value = 7
                 AND p.kept AND NOT p.pair AND p.chosen = 'revision:2' AND p.rejected = 'draft'
                 AND p.p = 0.75 AND p.margin = 0.5 AND p.edit_distance = 0.25 AND p.length_ratio = 1.5",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
        )
        .unwrap();
    assert_eq!(
        (row.0.as_str(), row.1.as_str(), row.2, row.3.as_str()),
        ("for a reason", "[0.2,5.0]", 1, "judge")
    );
}

#[test]
fn a_later_gating_replaces_what_it_looks_at() {
    let place = filled();
    let mut writer = Writer::open(&place.path).unwrap();
    let first = [
        gated("kettle", 0, Some(("tokens", false))),
        gated("garden", 0, Some(("tokens", false))),
    ];
    writer.record_gating(&gating(), decided(first)).unwrap();
    writer
        .record_gating(&gating(), decided([gated("kettle", 0, None)]))
        .unwrap();
    assert_eq!(prompts(&place, "kept:true"), ["kettle"]);
    assert_eq!(prompts(&place, "gate:tokens"), ["garden"]);
    writer
        .record_gating(&gating(), decided([gated("garden", 0, None)]))
        .unwrap();
    let conn = rusqlite::Connection::open(&place.path).unwrap();
    let count = |table: &str| -> i64 {
        conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
            row.get(0)
        })
        .unwrap()
    };
    // The first gating decides about nothing any more.
    assert_eq!(
        (
            count("gatings"),
            count("gated_chains"),
            count("gate_findings")
        ),
        (2, 2, 0)
    );
}

#[test]
fn a_chain_that_has_no_text_any_more_keeps_no_decision() {
    let place = filled();
    let mut writer = Writer::open(&place.path).unwrap();
    let first = [
        gated("kettle", 0, None),
        gated("garden", 0, Some(("tokens", false))),
        gated("letter", 0, None),
    ];
    writer
        .record_gating(&gating(), decided(first.clone()))
        .unwrap();
    let without = [&first[0], &first[1], &gated("nobody", 0, None)];
    let without = without.map(|chain| Ok(GateRecord::Without(chain.chain_id.clone())));
    writer.record_gating(&gating(), without).unwrap();
    assert_eq!(prompts(&place, "kept:true"), ["letter"]);
    assert!(prompts(&place, "kept:false").is_empty());
    assert!(prompts(&place, "gate:tokens").is_empty());
    let id = ChainId(first[0].chain_id.clone());
    assert_eq!(place.store().gates_of(&id).unwrap(), None);
}

#[test]
fn where_a_record_cannot_be_had_nothing_is_recorded() {
    let place = filled();
    let mut writer = Writer::open(&place.path).unwrap();
    let first = decided([gated("kettle", 0, None)]);
    writer.record_gating(&gating(), first).unwrap();
    let mut second = decided([gated("kettle", 0, Some(("tokens", false)))]);
    second.push(Err(StoreError::Scratch("full".to_owned())));
    let error = writer.record_gating(&gating(), second).unwrap_err();
    assert!(
        error.to_string().contains("temporary file: full"),
        "{error}"
    );
    assert_eq!(prompts(&place, "kept:true"), ["kettle"]);
}
