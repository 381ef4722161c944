//! Judgements: kept once, read back, filtered, and open to other programs.

use super::*;
use crate::engine::testing::constitution;
use crate::generation::Choose;
use crate::judgement::{Judgement, Mode, Order, PairKind, Preference, Vote};
use crate::store::{JudgementRow, NewJudge};

fn judge(mode: Mode) -> NewJudge {
    let base = new_run("x");
    NewJudge {
        mode,
        model: base.model,
        constitution: constitution(&["kind", "honest"]),
        pack_name: base.pack_name,
        pack_text: base.pack_text,
        pack_digest: base.pack_digest,
        config: json!({"seed": 0, "ensemble": 1}),
        versions: base.versions,
    }
}

fn chain(name: &str, sample: u32) -> ChainId {
    ChainId::new("run1", &PromptId(name.to_owned()), sample)
}

fn scored(ask: &str, a: f64) -> Call {
    let request = Request::Choose(Choose {
        messages: vec![Message::user(ask)],
        options: vec!["(A".to_owned(), "(B".to_owned()],
        adapter: None,
    });
    Call {
        key: Digest::of(&request),
        request,
        generation: Generation {
            decisions: vec![
                Decision {
                    field: "(A".to_owned(),
                    probability: a,
                },
                Decision {
                    field: "(B".to_owned(),
                    probability: 1.0 - a,
                },
            ],
            ..call(ask, "", None).generation
        },
        reused: false,
    }
}

/// P(A) in both orders, for two principles.
fn judgement(kind: PairKind, a_ab: f64, a_ba: f64) -> Judgement {
    let votes = ["kind", "honest"].map(|principle| Vote {
        principle: principle.to_owned(),
        preference: Preference::from_letters(a_ab, a_ba).unwrap(),
        calls: vec![
            (Order::Ab, scored(&format!("{principle} ab"), a_ab)),
            (Order::Ba, scored(&format!("{principle} ba"), a_ba)),
        ],
    });
    Judgement::new(kind, (0, 2), Mode::Choice, votes.to_vec()).unwrap()
}

/// `bridge` was judged twice, by different judges; `garden` once, without agreement.
fn judged() -> Place {
    let place = filled();
    let mut writer = Writer::open(&place.path).unwrap();
    let first = writer.begin_judge(&judge(Mode::Choice)).unwrap();
    let other = writer.begin_judge(&judge(Mode::Cot)).unwrap();
    let (bridge, garden) = (chain("bridge", 1), chain("garden", 0));
    let kind = PairKind::FirstLast;
    for _ in 0..2 {
        writer
            .record_judgement(first, &bridge, &judgement(kind, 0.25, 0.75))
            .unwrap();
        writer
            .record_judgement(other, &bridge, &judgement(kind, 0.75, 0.125))
            .unwrap();
        writer
            .record_judgement(first, &garden, &judgement(kind, 0.875, 0.75))
            .unwrap();
    }
    writer.keep().unwrap();
    place
}

#[test]
fn a_judgement_is_kept_once_and_the_latest_about_a_pair_counts() {
    let place = judged();
    let store = place.store();
    let all = store.judgements(&chain("bridge", 1)).unwrap();
    let figures: Vec<_> = all
        .iter()
        .map(|row| (row.p, row.agree, row.margin))
        .collect();
    assert_eq!(figures, [(0.75, true, 0.5), (0.1875, true, -0.625)]);
    assert_eq!(all[0].principles, ["kind", "honest"]);
    assert_eq!((all[0].p_ab, all[0].p_ba), (0.75, 0.75));
    assert_ne!(all[0].judge_id, all[1].judge_id);
    let latest = JudgementRow::of_pair(&all, 0, 2).unwrap();
    assert_eq!(latest, all[1]);
    let other_way = JudgementRow::of_pair(&all, 2, 0).unwrap();
    assert_eq!((other_way.first, other_way.p), (2, 0.8125));
    assert_eq!(other_way.swapped(), all[1]);
    assert_eq!(JudgementRow::of_pair(&all, 0, 1), None);
    assert!(store.judgements(&chain("kettle", 0)).unwrap().is_empty());
    let short: Vec<_> = store
        .preferences(&chain("bridge", 1))
        .unwrap()
        .iter()
        .map(|row| (row.first, row.second, row.p, row.agree, row.even))
        .collect();
    assert_eq!(
        short,
        [(0, 2, 0.75, true, false), (0, 2, 0.1875, true, false)]
    );
}

#[test]
fn replies_of_judges_are_found_again() {
    let place = filled();
    let mut writer = Writer::open(&place.path).unwrap();
    let mut call = scored("which", 0.3);
    writer.keep_reply(&mut call).unwrap();
    writer.keep().unwrap();
    let mut second = scored("which", 0.9);
    writer.keep_reply(&mut second).unwrap();
    assert_eq!(second.generation, call.generation);
    assert_eq!(writer.find_reply(&call.key).unwrap(), Some(call.generation));
}

#[test]
fn chains_with_a_revision_are_there_to_be_judged() {
    let place = filled();
    let store = place.store();
    let chains = store.chains_to_judge(&Filter::all(), Some("run1")).unwrap();
    assert_eq!(chains, [chain("bridge", 1), chain("garden", 0)]);
    let kind = Filter::parse("principle:kind violated:true").unwrap();
    assert_eq!(store.chains_to_judge(&kind, None).unwrap().len(), 1);
    let bridge = store.responses(&chains[0]).unwrap();
    assert_eq!((bridge.prompt_id.as_str(), bridge.sample), ("bridge", 1));
    assert_eq!(bridge.messages.len(), 2);
    let texts: Vec<_> = bridge
        .responses
        .iter()
        .map(|r| (r.ordinal, r.text.as_str()))
        .collect();
    assert_eq!(texts, [(0, "Nobody knows"), (2, "I do not know who")]);
    assert!(store.responses(&ChainId("none".to_owned())).is_err());
}

#[test]
fn filters_ask_for_judgements() {
    let place = judged();
    let store = place.store();
    for (filter, expected) in [
        ("judged:true", "bridge garden"),
        ("judged:false", "kettle letter window"),
        ("agree:true", "bridge"),
        ("agree:false", "garden"),
        ("preference>0.7", "bridge"),
        ("p_chosen>0.7", "bridge"),
        ("margin<0", "bridge garden"),
        // One and the same judgement.
        ("margin<0 agree:false", "garden"),
        ("(preference>0.7) (preference<0.2)", "bridge"),
        ("not margin>0", "kettle garden letter window"),
    ] {
        assert_eq!(matching(&store, filter).join(" "), expected, "{filter}");
    }
}

#[test]
fn judgements_are_open_to_other_programs() {
    let place = judged();
    let conn = rusqlite::Connection::open(&place.path).unwrap();
    let names = |view: &str| {
        let statement = conn.prepare(&format!("SELECT * FROM {view}")).unwrap();
        statement.column_names().join(" ")
    };
    assert_eq!(
        names("v_judgements"),
        "chain_id run_id kind first_step second_step first_text second_text principles p_ab p_ba p agree \
         margin judge_id created_at mode model model_digest same_model constitution constitution_digest \
         pack pack_digest config"
    );
    assert_eq!(
        names("v_votes"),
        "chain_id judge_id kind first_step second_step ordinal principle_id p_ab p_ba calls"
    );
    let row: (String, String, String, bool, f64) = conn
        .query_row(
            "SELECT first_text, second_text, principles, same_model, margin FROM v_judgements
             WHERE mode = 'choice' AND agree",
            [],
            |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                ))
            },
        )
        .unwrap();
    let text = |text: &str| text.to_owned();
    let first = (text("Nobody knows"), text("I do not know who"));
    assert_eq!(row, (first.0, first.1, text("kind,honest"), true, 0.5));
    let votes: (i64, i64) = conn
        .query_row("SELECT count(*), sum(calls) FROM v_votes", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(votes, (6, 12));
}
