use super::*;
use crate::store::ChainState;
use std::ops::ControlFlow;

#[test]
fn a_run_comes_back_whole() {
    let place = filled();
    let store = place.store();
    let detail = store.run("run1").unwrap();
    let run = new_run("run1");
    assert_eq!(detail.fingerprint, run.fingerprint);
    assert_eq!(detail.config, run.config);
    assert_eq!(detail.constitution, run.constitution);
    assert_eq!(detail.model, run.model);
    assert_eq!(detail.pack_text, run.pack_text);
    assert_eq!(detail.versions, run.versions);
    assert_eq!(
        detail.row.constitution_digest,
        run.constitution.digest().as_str()
    );
    assert_eq!(detail.row.pack_digest, run.pack_digest.as_str());
    let counts = (detail.row.running, detail.row.done, detail.row.failed);
    assert_eq!(counts, (1, 3, 1));
    assert_eq!(store.runs().unwrap(), [detail.row]);
}

#[test]
fn a_chain_comes_back_whole() {
    let place = filled();
    let store = place.store();
    for script in scripts("run1") {
        let detail = store.chain(&script.start.id).unwrap();
        assert_eq!(detail.prompt_messages, script.start.prompt.messages);
        assert_eq!(detail.prompt_metadata, script.start.prompt.metadata);
        assert_eq!(detail.row.position, script.start.position);
        assert_eq!(detail.row.sample, script.start.sample);
        assert_eq!(detail.row.prompt, script.start.prompt.text());
        assert_eq!(detail.steps.len(), script.steps.len());
        for (found, step) in detail.steps.iter().zip(&script.steps) {
            assert_eq!(found.ordinal, step.ordinal);
            assert_eq!(found.round, step.round);
            assert_eq!(found.kind, step.kind);
            assert_eq!(found.principle_id, step.principle);
            assert_eq!(found.output, step.output);
            assert_eq!(found.flags, step.flags);
            assert_eq!(found.adopted, step.adopted);
            assert_eq!(found.verdict, step.verdict);
            for (found, call) in found.calls.iter().zip(&step.calls) {
                assert_eq!(found.key, call.key);
                assert_eq!(found.messages, call.request.messages());
                assert_eq!(found.text, call.generation.text);
                assert_eq!(found.raw, call.generation.raw);
                assert_eq!(found.thinking, call.generation.thinking);
                assert_eq!(found.seed, Some(7));
                assert_eq!(found.sampling, Some(SamplingParams::default()));
                let shape = step.verdict.as_ref().map(|_| verdict::shape(0.5, 64));
                assert_eq!(found.shape, shape);
                assert_eq!(found.finish, call.generation.finish);
                assert_eq!(found.usage, call.generation.usage);
                assert_eq!(found.decisions, call.generation.decisions);
                assert_eq!(found.reused, call.reused);
            }
            assert_eq!(found.calls.len(), step.calls.len());
        }
        let Some(end) = script.end else {
            assert_eq!(detail.row.status, ChainState::Running);
            assert_eq!(detail.row.last, None);
            continue;
        };
        assert_eq!(detail.row.stop_reason, Some(end.stop));
        assert_eq!(detail.row.draft, end.draft);
        assert_eq!(detail.row.last, end.last);
        assert_eq!(detail.row.revised, end.revised);
        assert_eq!(detail.row.rounds, end.rounds);
        assert_eq!(detail.row.regressed, end.regressions);
        assert_eq!(detail.row.regressions as usize, end.regressions.len());
        assert_eq!(detail.row.error, end.error);
    }
}

#[test]
fn rows_carry_what_was_measured() {
    let place = filled();
    let store = place.store();
    let row = |id: &str, sample| {
        let id = ChainId::new("run1", &PromptId(id.to_owned()), sample);
        store.chain(&id).unwrap().row
    };
    let bridge = row("bridge", 1);
    assert_eq!(bridge.violated, ["honest"]);
    assert_eq!(bridge.flags, [Flag::Preamble, Flag::Truncated]);
    assert_eq!((bridge.steps, bridge.tokens), (4, 80));
    assert_eq!((bridge.prompt_tokens, bridge.cached_tokens), (400, 240));
    // No word in common: 2 removed, 7 added.
    assert_eq!(bridge.changed, Some(1.0));
    assert_eq!(bridge.length_ratio, Some(26.0 / 12.0));
    let garden = row("garden", 0);
    // One of four words on each side, and the white space does not count.
    assert_eq!(garden.changed, Some(0.25));
    assert_eq!(garden.violated, ["kind"]);
    assert_eq!(row("kettle", 0).changed, Some(0.0));
    assert_eq!(row("letter", 0).changed, None);
}

#[test]
fn ids_may_be_shortened_as_far_as_they_are_clear() {
    let place = filled();
    let mut writer = place.writer("run2");
    for script in &scripts("run2") {
        record(&mut writer, script);
    }
    let store = place.store();
    assert_eq!(store.resolve_run("run2").unwrap(), "run2");
    let error = store.resolve_run("ru").unwrap_err().to_string();
    assert!(
        error.contains("ambiguous") && error.contains("run1, run2"),
        "{error}"
    );
    let error = store.resolve_run("x").unwrap_err().to_string();
    assert!(error.contains("there are run1, run2"), "{error}");
    let id = scripts("run1")[0].start.id.clone();
    assert_eq!(store.resolve_chain(&id.0).unwrap(), id);
    assert_eq!(store.resolve_chain(&id.0[..9]).unwrap(), id);
    let error = store.resolve_chain("").unwrap_err().to_string();
    assert!(error.ends_with(", …"), "{error}");
    for hostile in ["'", "%", "_", "\"", "\0", "ü", "\u{10ffff}"] {
        assert!(store.resolve_chain(hostile).is_err(), "{hostile}");
        assert!(store.resolve_run(hostile).is_err(), "{hostile}");
    }
    // A whole id is clear even where others begin with it.
    writer.begin_run(&new_run("run")).unwrap();
    assert_eq!(store.resolve_run("run").unwrap(), "run");
}

#[test]
fn chains_come_in_the_order_of_the_prompts_whenever_they_were_written() {
    let place = place();
    for run in ["run2", "run1"] {
        let mut writer = place.writer(run);
        for script in scripts(run).iter().rev() {
            record(&mut writer, script);
        }
    }
    let store = place.store();
    let mut seen = Vec::new();
    let all = store
        .for_each_chain(&Filter::all(), None, |chain| {
            // Other reads may be made meanwhile.
            let detail = store.chain(&ChainId(chain.chain_id.clone())).unwrap();
            assert_eq!(detail.row, chain);
            seen.push((chain.run_id, chain.position));
            ControlFlow::<()>::Continue(())
        })
        .unwrap();
    assert_eq!(all, ControlFlow::Continue(()));
    let mut sorted = seen.clone();
    sorted.sort();
    assert_eq!(seen, sorted);
    assert_eq!(seen.len(), 10);
    let broken = store
        .for_each_chain(&Filter::all(), Some("run2"), |chain| {
            assert_eq!(chain.run_id, "run2");
            ControlFlow::Break("enough")
        })
        .unwrap();
    assert_eq!(broken, ControlFlow::Break("enough"));
    // The read is over, and what is written after it is seen.
    record(&mut place.writer("run3"), &scripts("run3")[0]);
    assert_eq!(store.count(&Filter::all(), None).unwrap(), 11);
}

#[test]
fn whole_chains_differ_by_their_calls_alone() {
    let place = filled();
    let store = place.store();
    for depth in [Depth::Texts, Depth::Calls] {
        let mut seen = 0;
        let _ = store
            .for_each_whole_chain(&Filter::all(), None, depth, |chain| {
                let id = ChainId(chain.row.chain_id.clone());
                let mut expected = store.chain(&id).unwrap();
                if depth == Depth::Texts {
                    expected.steps.iter_mut().for_each(|s| s.calls.clear());
                }
                assert_eq!(chain, expected);
                seen += 1;
                ControlFlow::<()>::Continue(())
            })
            .unwrap();
        assert_eq!(seen, 5);
    }
}

#[test]
fn responses_are_the_adopted_steps_with_their_flags() {
    let place = filled();
    let store = place.store();
    let mut seen = 0;
    let _ = store
        .for_each_whole_chain(&Filter::all(), None, Depth::Responses, |chain| {
            let id = ChainId(chain.row.chain_id.clone());
            let whole = store.chain(&id).unwrap();
            let mut expected = whole.steps;
            expected.retain(|step| {
                step.adopted && matches!(step.kind, StepKind::Draft | StepKind::Revision)
            });
            for step in &mut expected {
                step.calls.clear();
            }
            assert_eq!(chain.steps, expected);
            assert_eq!(chain.prompt_messages, whole.prompt_messages);
            assert_eq!(chain.row.draft, whole.row.draft);
            assert_eq!(chain.row.last, whole.row.last);
            for step in expected.iter().skip(1) {
                let both = store.text_and_draft(&id, Some(step.ordinal)).unwrap();
                let draft = whole.row.draft.clone().unwrap_or_default();
                assert_eq!(both, Some([step.output.clone(), draft]));
            }
            assert_eq!(store.text_and_draft(&id, Some(99)).unwrap(), None);
            assert_eq!(store.text_and_draft(&id, None).unwrap(), None);
            seen += 1;
            ControlFlow::<()>::Continue(())
        })
        .unwrap();
    assert_eq!(seen, 5);
}

#[test]
fn runs_with_matching_chains_are_named() {
    let place = filled();
    let store = place.store();
    let stats = store.run_stats(&Filter::all(), None).unwrap();
    let expected: Vec<String> = stats.into_iter().map(|stats| stats.run_id).collect();
    assert_eq!(store.runs_with(&Filter::all(), None).unwrap(), expected);
    assert_eq!(
        store.runs_with(&Filter::all(), Some("run1")).unwrap(),
        ["run1"]
    );
    let none = Filter::parse("len>900").unwrap();
    assert_eq!(store.runs_with(&none, None).unwrap(), Vec::<String>::new());
}

#[test]
fn figures_per_principle() {
    let place = filled();
    let store = place.store();
    let stats = store.principle_stats(&Filter::all(), None).unwrap();
    let [honest, kind] = stats.as_slice() else {
        panic!("{stats:?}");
    };
    assert_eq!(honest.principle_id, "honest");
    assert_eq!((honest.asked, honest.violated, honest.revised), (2, 1, 1));
    assert_eq!(honest.mean_probability, Some((0.75 + 0.0625) / 2.0));
    assert_eq!(honest.unverified_quotes, 1);
    assert_eq!((kind.asked, kind.violated, kind.revised), (3, 1, 1));
    // A check quotes no model.
    assert_eq!(kind.unverified_quotes, 0);
    assert_eq!((kind.rechecked, kind.regressed), (1, 1));
    let clean = Filter::parse("stop:clean").unwrap();
    let stats = store.principle_stats(&clean, Some("run1")).unwrap();
    assert_eq!(stats.len(), 1);
    assert_eq!((stats[0].asked, stats[0].violated), (1, 0));
    assert!(
        store
            .principle_stats(&clean, Some("none"))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn figures_per_run() {
    let place = filled();
    let mut writer = place.writer("run2");
    // Every reply of this run was found in the store.
    for mut script in scripts("run2") {
        for call in script.steps.iter_mut().flat_map(|step| &mut step.calls) {
            call.reused = true;
        }
        record(&mut writer, &script);
    }
    let store = place.store();
    let stats = store.run_stats(&Filter::all(), None).unwrap();
    let [first, second] = stats.as_slice() else {
        panic!("{stats:?}");
    };
    let pairs = |counts: &[crate::store::NameCount]| {
        counts
            .iter()
            .map(|c| format!("{} {}", c.name, c.count))
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(pairs(&first.statuses), "done 3, failed 1, running 1");
    assert_eq!(
        pairs(&first.stop_reasons),
        "clean 1, context-full 1, failed 1, rounds-done 1"
    );
    assert_eq!(pairs(&first.flags), "preamble 2, truncated 1");
    assert_eq!((first.chains, first.revised, first.regressed), (5, 2, 1));
    assert_eq!(first.mean_changed, Some(0.625));
    assert_eq!((first.steps, first.calls, first.reused_calls), (12, 10, 0));
    assert_eq!((first.prompt_tokens, first.completion_tokens), (1000, 200));
    assert_eq!(first.cached_share, Some(0.6));
    let each = first.tokens_per_second_each.unwrap();
    assert!((each - 200.0 / 0.505).abs() < 1e-9, "{each}");
    assert!(first.active_seconds > 0.0);
    assert!(first.tokens_per_second.is_some());
    assert_eq!((second.calls, second.reused_calls), (0, 10));
    assert_eq!(second.cached_share, None);
    assert_eq!(second.tokens_per_second_each, None);

    let failed = Filter::parse("run:run1 status:failed").unwrap();
    let stats = store.run_stats(&failed, None).unwrap();
    assert_eq!(stats.len(), 1);
    assert_eq!((stats[0].chains, stats[0].steps), (1, 0));
    assert_eq!(stats[0].tokens_per_second, None);
}

/// The columns of the views are a contract with other tools.
#[test]
fn the_views_have_the_columns_that_are_documented() {
    let place = filled();
    let conn = rusqlite::Connection::open(&place.path).unwrap();
    let query = |sql: &str| -> Vec<rusqlite::types::Value> {
        let mut statement = conn.prepare(sql).unwrap();
        let columns = statement.column_count();
        statement
            .query_row([], |row| (0..columns).map(|c| row.get(c)).collect())
            .unwrap()
    };
    let id = ChainId::new("run1", &PromptId("bridge".to_owned()), 1).0;
    let chain = query(
        "SELECT chain_id, run_id, prompt_id, prompt, sample, position, status, stop_reason, rounds, draft,
             final, revised, changed, length_ratio, regressions, regressed_principles, violated_principles,
             flags, steps, prompt_tokens, cached_tokens, tokens, error, label, chosen, note
         FROM v_chains WHERE prompt_id = 'bridge'",
    );
    assert_eq!(chain[0], id.clone().into());
    assert_eq!(chain[3], "Who built the \"old\" bridge?".to_owned().into());
    assert_eq!(chain[11], 1.into());
    assert_eq!(chain[17], "preamble,truncated".to_owned().into());
    let step = query(
        "SELECT step_id, chain_id, run_id, ordinal, round, kind, principle_id, output, raw_output, thinking,
             prompt_tokens, completion_tokens, cached_tokens, duration_ms, finish_reason, seed, flags,
             attempts, reused, adopted
         FROM v_steps WHERE prompt_tokens > 0 AND kind = 'revision' ORDER BY chain_id LIMIT 1",
    );
    assert_eq!(
        step[8],
        format!("<think>hm</think>{}", as_text(&step[7])).into()
    );
    assert_eq!(step[10..13], [100.into(), 20.into(), 60.into()]);
    assert_eq!(step[15], 7.into());
    let check = query("SELECT seed, attempts, thinking FROM v_steps WHERE kind = 'recheck'");
    assert_eq!(check[0], rusqlite::types::Value::Null);
    assert_eq!(check[1], 0.into());
    let verdict = query(
        "SELECT step_id, chain_id, run_id, round, kind, principle_id, violated, probability, severity,
             quote, quote_verified, critique, source, agreed FROM v_verdicts WHERE violated AND source = 'model'",
    );
    assert_eq!(verdict[0], format!("{id}:1").into());
    assert_eq!(verdict[11], "It claims too much.".to_owned().into());
    let run = query(
        "SELECT run_id, created_at, updated_at, active_seconds, state, fingerprint, constitution,
             constitution_version, constitution_digest, constitution_json, pack, pack_digest, pack_text,
             model, model_digest, model_settings_digest, model_json, prompts_path, prompts_digest, config,
             versions, execution, chains, running, done, failed FROM v_runs",
    );
    assert_eq!(run[22..], [5.into(), 1.into(), 3.into(), 1.into()]);
}

fn as_text(value: &rusqlite::types::Value) -> &str {
    match value {
        rusqlite::types::Value::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_that_were_changed_by_hand_are_an_error() {
    let place = filled();
    rusqlite::Connection::open(&place.path)
        .unwrap()
        .execute_batch("UPDATE step_flags SET flag = 'no such flag'; UPDATE runs SET config = '{';")
        .unwrap();
    let store = place.store();
    let id = ChainId::new("run1", &PromptId("bridge".to_owned()), 1);
    let error = store.chain(&id).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    let error = store.run("run1").unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn many_chains_are_found_counted_and_walked() {
    let place = place();
    let mut writer = place.writer("run1");
    for position in 0..20_000 {
        let id = format!("p{position}");
        let start = start(
            "run1",
            position,
            prompt(&id, &format!("question {position}")),
            0,
        );
        let draft = text_step(0, 0, StepKind::Draft, &format!("answer {position}"));
        writer.begin_chain(&start).unwrap();
        writer.record_step(&start.id, &draft).unwrap();
        let done = end(StopReason::Clean, &draft.output, &draft.output, 0);
        writer.end_chain(&start.id, &done).unwrap();
        if position % 256 == 0 {
            writer.commit().unwrap();
        }
    }
    writer.commit().unwrap();
    let store = place.store();
    assert_eq!(store.count(&Filter::all(), None).unwrap(), 20_000);
    assert_eq!(matching(&store, "text:\"answer 12345\""), ["p12345"]);
    assert_eq!(matching(&store, "\"question 777\" status:done"), ["p777"]);
    let mut next = 0;
    let _ = store
        .for_each_chain(&Filter::all(), Some("run1"), |chain| {
            assert_eq!(chain.position, next);
            next += 1;
            ControlFlow::<()>::Continue(())
        })
        .unwrap();
    assert_eq!(next, 20_000);
}
