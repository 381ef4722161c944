use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::store::{
    BulkAction, Facets, Labels, ListRow, NameCount, Overview, PageRequest, PrincipleCount,
    RoundCount, Sort, SortKey,
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
        Just("\"in spring\""),
        Just("text:..."),
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
fn sets_statements_and_every_order_agree() {
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
            // By one statement, which is what other commands ask.
            let mut expected = matching(&store, &source);
            expected.sort();
            let filter = Filter::parse(&source).unwrap();
            let facets = store.facets(&filter, None).unwrap();
            prop_assert_eq!(facets.chains, expected.len() as u64);
            let of_run = store.facets(&filter, Some("run1")).unwrap();
            prop_assert_eq!(&facets, &of_run);
            prop_assert_eq!(store.facets(&filter, Some("none")).unwrap().chains, 0);
            for key in SortKey::ALL {
                let (total, rows) = page(&store, &source, by(key), 0, 10);
                let mut found: Vec<_> = rows.iter().map(|row| row.prompt_id.clone()).collect();
                prop_assert_eq!(total, found.len() as u64);
                found.sort();
                prop_assert_eq!(&found, &expected);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn pages_follow_each_other_and_neighbours_stand_beside() {
    let place = place();
    let mut writer = place.writer("run1");
    // More than are looked up one by one.
    for position in 0..2100 {
        let id = format!("q{position}");
        let script = Script {
            start: start("run1", position, prompt(&id, "What is rain?"), 0),
            steps: vec![Step {
                flags: match position % 3 {
                    0 => vec![Flag::Preamble, Flag::Preamble],
                    _ => Vec::new(),
                },
                ..text_step(0, 0, StepKind::Draft, &format!("Reply {}", position % 7))
            }],
            end: Some(ChainEnd {
                rounds: position as u32 % 5,
                ..end(StopReason::Clean, "Water", "Water", 1)
            }),
        };
        record(&mut writer, &script);
    }
    let store = place.store();
    for (filter, expected) in [("", 2100), ("rain", 2100), ("flag:preamble", 700)] {
        let parsed = Filter::parse(filter).unwrap();
        for key in [SortKey::Prompt, SortKey::Rounds, SortKey::Stop] {
            for descending in [false, true] {
                let sort = Sort { key, descending };
                let (total, all) = page(&store, filter, sort, 0, 5000);
                assert_eq!((total, all.len()), (expected, expected as usize));
                let ids: Vec<_> = all.iter().map(|row| row.chain_id.as_str()).collect();
                let order = |row: &ListRow| match key {
                    SortKey::Rounds => (u64::from(row.rounds), row.position),
                    _ => (0, row.position),
                };
                let in_order = |pair: &[ListRow]| (order(&pair[0]) < order(&pair[1])) != descending;
                assert!(all.windows(2).all(in_order), "{filter} {sort:?}");
                for (offset, limit) in
                    [(0, 3), (1, 1), (350, 50), (expected - 2, 50), (expected, 9)]
                {
                    let (total, rows) = page(&store, filter, sort, offset, limit);
                    let found: Vec<_> = rows.iter().map(|row| row.chain_id.as_str()).collect();
                    let end = ids.len().min((offset + u64::from(limit)) as usize);
                    assert_eq!(
                        found,
                        ids[offset as usize..end],
                        "{filter} {sort:?} {offset}"
                    );
                    assert_eq!(total, expected);
                }
                for index in [0, 1, 349, ids.len() - 1] {
                    let id = ChainId(ids[index].to_owned());
                    let near = store.place(&parsed, None, sort, &id).unwrap();
                    assert_eq!((near.index, near.listed), (index as u64, true));
                    let beside = |at: Option<usize>| {
                        at.and_then(|at| ids.get(at)).map(|id| (*id).to_owned())
                    };
                    assert_eq!(near.previous, beside(index.checked_sub(1)));
                    assert_eq!(near.next, beside(Some(index + 1)));
                }
            }
        }
    }
    assert_eq!(page(&store, "reply", Sort::default(), 0, 0).0, 2100);
    // Of what is not there, nothing; of what is, each chain once.
    assert_eq!(page(&store, "\"rain reply\"", Sort::default(), 0, 9).0, 0);
    assert_eq!(page(&store, "\"reply 3\"", Sort::default(), 0, 9).0, 300);
    let flagged = store
        .facets(&Filter::parse("not 3").unwrap(), None)
        .unwrap();
    assert_eq!(
        (flagged.chains, counts(&flagged.flags).as_str()),
        (1800, "preamble 600")
    );
}

#[test]
fn what_is_written_meanwhile_is_counted_with_what_was_known() {
    let place = place();
    let mut writer = place.writer("run1");
    let overview: Arc<Overview> = Arc::default();
    let open = || Store::open_sharing(&place.path, Arc::clone(&overview)).unwrap();
    let (store, beside) = (open(), open());
    let facets = |store: &Store| store.facets(&Filter::all(), None).unwrap();
    assert_eq!(
        facets(&store),
        Facets {
            lengths: facets(&store).lengths,
            ..Facets::default()
        }
    );
    let scripts = scripts("run1");
    for (n, script) in scripts.iter().enumerate() {
        writer.begin_chain(&script.start).unwrap();
        writer.commit().unwrap();
        assert_eq!(facets(&store).chains, n as u64 + 1);
        for step in &script.steps {
            writer.record_step(&script.start.id, step).unwrap();
            writer.commit().unwrap();
            // One connection reads on, and the other finds what it has read.
            let (first, second) = if n % 2 == 0 {
                (&store, &beside)
            } else {
                (&beside, &store)
            };
            assert_eq!(facets(first), facets(second));
        }
        if let Some(end) = &script.end {
            writer.end_chain(&script.start.id, end).unwrap();
            writer.commit().unwrap();
        }
    }
    let fresh = |place: &Place| facets(&place.store());
    assert_eq!(facets(&store), fresh(&place));
    assert_eq!(page(&store, "spring", Sort::default(), 0, 9).0, 1);
    // A failed chain is begun again, and ends otherwise.
    let letter = &scripts[3];
    writer.begin_chain(&letter.start).unwrap();
    writer.commit().unwrap();
    assert_eq!(counts(&facets(&store).statuses), "done 3, running 2");
    assert_eq!(facets(&store), fresh(&place));
    let draft = text_step(0, 0, StepKind::Draft, "Dear reader of spring");
    writer.record_step(&letter.start.id, &draft).unwrap();
    let clean = end(
        StopReason::Clean,
        "Dear reader of spring",
        "Dear reader of spring",
        1,
    );
    writer.end_chain(&letter.start.id, &clean).unwrap();
    writer.commit().unwrap();
    for store in [&store, &beside] {
        assert_eq!(counts(&facets(store).statuses), "done 4, running 1");
        assert_eq!(facets(store), fresh(&place));
        assert_eq!(page(store, "spring", Sort::default(), 0, 9).0, 2);
    }
    // Labels are never remembered.
    let mut labels = Labels::open(&place.path).unwrap();
    labels
        .label_all(&Filter::all(), None, "a", &BulkAction::Reject, Some(4))
        .unwrap();
    assert_eq!(counts(&facets(&store).labels), "none 1, reject 4");
}

#[test]
fn what_one_connection_still_looks_up_holds_up_no_other() {
    let place = place();
    let mut writer = place.writer("run1");
    let scripts = scripts("run1");
    record(&mut writer, &scripts[0]);
    let overview: Arc<Overview> = Arc::default();
    let open = || Store::open_sharing(&place.path, Arc::clone(&overview)).unwrap();
    let (slow, other) = (open(), open());
    slow.snapshot(|conn| {
        let seen = slow.overview().now(conn)?;
        record(&mut writer, &scripts[1]);
        // It reads on meanwhile, and waits for nobody.
        let facets = other.facets(&Filter::all(), None).unwrap();
        assert_eq!((facets.chains, seen.all().count()), (2, 1));
        Ok(())
    })
    .unwrap();
}

#[test]
fn the_first_page_of_all_chains_waits_for_nothing_that_is_read_of_every_chain() {
    let place = filled();
    let store = place.store();
    let nothing = format!("{:?}", Overview::default());
    let read = || format!("{:?}", store.overview()) != nothing;
    let (total, rows) = page(&store, "", down(SortKey::Prompt), 1, 2);
    assert_eq!((total, names(&rows).as_str()), (5, "letter garden"));
    assert!(!read());
    assert_eq!(page(&store, "status:done", Sort::default(), 0, 2).0, 3);
    assert!(read());
}
