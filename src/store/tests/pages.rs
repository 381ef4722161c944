use proptest::prelude::*;

use super::*;
use crate::store::{
    BulkAction, Labels, ListRow, NameCount, PageRequest, PrincipleCount, RoundCount, Sort, SortKey,
};

fn page(store: &Store, filter: &str, sort: Sort, offset: u64, limit: u32) -> (u64, Vec<ListRow>) {
    let filter = Filter::parse(filter).unwrap();
    let page = store
        .page(&PageRequest {
            filter: &filter,
            run: None,
            sort,
            offset,
            limit,
        })
        .unwrap();
    (page.total, page.rows)
}

fn names(rows: &[ListRow]) -> String {
    let names: Vec<_> = rows.iter().map(|row| row.prompt_id.as_str()).collect();
    names.join(" ")
}

fn by(key: SortKey) -> Sort {
    Sort {
        key,
        descending: false,
    }
}

fn down(key: SortKey) -> Sort {
    Sort {
        key,
        descending: true,
    }
}

#[test]
fn pages_are_sorted_and_counted() {
    let place = filled();
    let mut labels = Labels::open(&place.path).unwrap();
    let accept = Filter::parse("stop:clean").unwrap();
    labels
        .label_all(&accept, None, "a", &BulkAction::Accept, Some(1))
        .unwrap();
    let store = place.store();
    for (filter, sort, expected) in [
        (
            "",
            by(SortKey::Prompt),
            "kettle bridge garden letter window",
        ),
        (
            "",
            down(SortKey::Prompt),
            "window letter garden bridge kettle",
        ),
        (
            "",
            by(SortKey::Changed),
            "letter window kettle garden bridge",
        ),
        ("", down(SortKey::Len), "bridge kettle garden window letter"),
        ("", by(SortKey::Stop), "window kettle garden letter bridge"),
        (
            "",
            down(SortKey::Rounds),
            "garden bridge kettle window letter",
        ),
        (
            "",
            down(SortKey::Label),
            "kettle window letter garden bridge",
        ),
        ("violated:true", down(SortKey::Tokens), "bridge garden"),
        ("status:failed", by(SortKey::Len), "letter"),
        ("run:none", by(SortKey::Len), ""),
    ] {
        let (total, rows) = page(&store, filter, sort, 0, 100);
        assert_eq!(names(&rows), expected, "{filter} {sort:?}");
        assert_eq!(total, rows.len() as u64);
    }
    let (total, rows) = page(&store, "", by(SortKey::Prompt), 1, 2);
    assert_eq!((total, names(&rows).as_str()), (5, "bridge garden"));
    for sort in [by(SortKey::Prompt), by(SortKey::Changed)] {
        assert_eq!(page(&store, "", sort, 9, 2).0, 5, "also of an empty page");
    }
}

#[test]
fn a_row_says_what_a_list_shows() {
    let place = filled();
    let store = place.store();
    let (_, rows) = page(&store, "prompt:bridge", Sort::default(), 0, 1);
    let ListRow {
        prompt: excerpt,
        violated,
        flags,
        changed,
        label,
        ..
    } = &rows[0];
    assert_eq!(excerpt, "Who built the \"old\" bridge?");
    assert_eq!(violated, &["honest"]);
    assert_eq!(flags, &[Flag::Preamble, Flag::Truncated]);
    assert!(changed.is_some_and(|changed| changed > 0.5));
    assert_eq!(*label, None);
    // A long prompt is cut to what a list shows.
    let mut writer = place.writer("run2");
    let start = start("run2", 0, prompt("long", &"é".repeat(100_000)), 0);
    writer.begin_chain(&start).unwrap();
    writer.commit().unwrap();
    let (_, rows) = page(&store, "prompt:long", Sort::default(), 0, 1);
    assert_eq!(rows[0].prompt.chars().count(), 240);
}

#[test]
fn a_chain_has_its_place_in_a_list() {
    let place = filled();
    let store = place.store();
    let id = |prompt: &str, sample| ChainId::new("run1", &PromptId(prompt.to_owned()), sample);
    let filter = Filter::parse("status:done").unwrap();
    let found = |chain: &ChainId, sort| store.place(&filter, Some("run1"), sort, chain).unwrap();
    let bridge = found(&id("bridge", 1), Sort::default());
    assert_eq!((bridge.index, bridge.total, bridge.listed), (1, 3, true));
    assert_eq!(bridge.previous, Some(id("kettle", 0).0));
    assert_eq!(bridge.next, Some(id("garden", 0).0));
    let last = found(&id("bridge", 1), by(SortKey::Changed));
    assert_eq!((last.index, last.next.as_deref()), (2, None));
    let first = found(&id("bridge", 1), down(SortKey::Changed));
    assert_eq!((first.index, first.previous.as_deref()), (0, None));
    // A chain that is not in the list still has neighbours there.
    let letter = found(&id("letter", 0), Sort::default());
    assert_eq!((letter.index, letter.listed), (3, false));
    assert_eq!(letter.previous, Some(id("garden", 0).0));
    let none = ChainId("none".to_owned());
    assert!(store.place(&filter, None, Sort::default(), &none).is_err());
}

fn counts(counts: &[NameCount]) -> String {
    let counts: Vec<_> = counts
        .iter()
        .map(|c| format!("{} {}", c.name, c.count))
        .collect();
    counts.join(", ")
}

#[test]
fn facets_count_what_a_filter_selects() {
    let place = filled();
    let store = place.store();
    let all = store.facets(&Filter::all(), None).unwrap();
    assert_eq!((all.chains, all.revised, all.regressed), (5, 2, 1));
    assert_eq!(counts(&all.statuses), "done 3, failed 1, running 1");
    assert_eq!(
        counts(&all.stop_reasons),
        "clean 1, context-full 1, failed 1, rounds-done 1"
    );
    assert_eq!(counts(&all.labels), "none 5");
    assert_eq!(counts(&all.flags), "preamble 2, truncated 1");
    let principle = |id: &str, asked, violated| PrincipleCount {
        principle_id: id.to_owned(),
        asked,
        violated,
    };
    let both = [principle("honest", 2, 1), principle("kind", 3, 1)];
    assert_eq!(all.principles, both);
    let rounds = [RoundCount {
        round: 1,
        chains: 2,
    }];
    assert_eq!(all.rounds, rounds);
    assert_eq!(all.lengths.iter().map(|bar| bar.count).sum::<u64>(), 3);
    // However much of the store is selected.
    for filter in ["prompt:bridge", "prompt:bridge or status:failed"] {
        let some = Filter::parse(filter).unwrap();
        let some = store.facets(&some, Some("run1")).unwrap();
        let both = [principle("honest", 1, 1), principle("kind", 1, 0)];
        assert_eq!(some.principles, both, "{filter}");
        assert_eq!(counts(&some.flags), "preamble 1, truncated 1");
        assert_eq!(some.rounds[0].chains, 1);
    }
}

#[test]
fn a_small_part_of_a_large_store_is_counted_alike() {
    let place = place();
    let mut writer = place.writer("run1");
    for position in 0..40 {
        for mut script in scripts("run1") {
            let id = format!("{}{position}", script.start.prompt.id.0);
            let text = script.start.prompt.text().to_owned();
            let sample = script.start.sample;
            script.start = start("run1", position, prompt(&id, &text), sample);
            record(&mut writer, &script);
        }
    }
    let store = place.store();
    let one = Filter::parse("prompt:garden7").unwrap();
    let facets = store.facets(&one, None).unwrap();
    assert_eq!(facets.chains, 1);
    assert_eq!(counts(&facets.flags), "preamble 1");
    assert_eq!(facets.principles.len(), 2);
    assert_eq!(facets.rounds[0].chains, 1);
}

#[test]
fn a_filter_is_explained_as_sql_that_runs() {
    let place = filled();
    let conn = rusqlite::Connection::open(&place.path).unwrap();
    for (filter, run, expected) in [
        (
            "prompt:\"o'hara\" or principle:kind violated:true p>=0.5",
            None,
            1,
        ),
        ("not flag:preamble label:none len<2", Some("run1"), 1),
        ("reader or round>=2 or run:run1", None, 5),
        ("", None, 5),
    ] {
        let explained = Filter::parse(filter).unwrap().explain(run);
        let mut sql = explained.sql.clone();
        for (n, value) in explained.params.iter().enumerate().rev() {
            sql = sql.replace(&format!("?{}", n + 1), value);
        }
        let found: i64 = conn
            .query_row(&format!("SELECT count(*) FROM ({sql})"), [], |row| {
                row.get(0)
            })
            .unwrap_or_else(|error| panic!("{error}: {sql}"));
        assert_eq!(found, expected, "{sql}");
        assert!(!explained.sql.contains("hara"), "values are parameters");
    }
}

/// A filter over everything that can be asked.
fn any_filter() -> impl Strategy<Value = String> {
    let term = prop_oneof![
        Just("principle:kind"),
        Just("principle:honest violated:true"),
        Just("violated:true"),
        Just("p>0.2"),
        Just("severity!=major"),
        Just("kind:revision"),
        Just("flag:preamble"),
        Just("flag!=truncated"),
        Just("stop:clean"),
        Just("changed>0.1"),
        Just("label:none"),
        Just("label:accept"),
        Just("reader"),
        Just("run:run1"),
        Just("tokens>20"),
    ];
    let leaf = term.prop_map(str::to_owned);
    leaf.prop_recursive(3, 12, 3, |inside| {
        prop_oneof![
            inside.clone().prop_map(|a| format!("not ({a})")),
            (inside.clone(), inside.clone()).prop_map(|(a, b)| format!("({a}) or ({b})")),
            (inside.clone(), inside).prop_map(|(a, b)| format!("({a}) ({b})")),
        ]
    })
}

#[test]
fn both_ways_of_asking_and_every_order_agree() {
    let place = filled();
    let mut labels = Labels::open(&place.path).unwrap();
    let some = Filter::parse("principle:honest").unwrap();
    labels
        .label_all(&some, None, "a", &BulkAction::Accept, None)
        .unwrap();
    let store = place.store();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    runner
        .run(&any_filter(), |source| {
            let filter = Filter::parse(&source).unwrap();
            let count = |ask| {
                let condition = crate::store::filter_sql::asking(&filter, None, ask);
                store
                    .read(|conn| {
                        let sql = format!(
                            "SELECT count(*) FROM v_filter_chains c WHERE {}",
                            condition.sql
                        );
                        let params = rusqlite::params_from_iter(&condition.params);
                        conn.query_row(&sql, params, |row| row.get::<_, i64>(0))
                    })
                    .unwrap()
            };
            let expected = matching(&store, &source);
            prop_assert_eq!(
                count(crate::store::filter_sql::Ask::All),
                expected.len() as i64
            );
            prop_assert_eq!(
                count(crate::store::filter_sql::Ask::Each),
                expected.len() as i64
            );
            for key in SortKey::ALL {
                let (total, rows) = page(&store, &source, by(key), 0, 10);
                let mut found: Vec<_> = rows.iter().map(|row| row.prompt_id.clone()).collect();
                prop_assert_eq!(total, found.len() as u64);
                let mut expected = expected.clone();
                found.sort();
                expected.sort();
                prop_assert_eq!(found, expected);
            }
            Ok(())
        })
        .unwrap();
}
