use super::*;
use crate::engine::ChainStatus;

#[test]
fn a_replay_changes_nothing() {
    let place = filled();
    let once = dump(&place.path);
    let mut writer = place.writer("run1");
    for script in &scripts("run1") {
        // A failed chain would begin again; the others are recorded once more as a whole.
        if script.end.as_ref().is_none_or(|end| end.error.is_none()) {
            record(&mut writer, script);
        }
    }
    drop(writer);
    assert!(dump(&place.path) == once, "the replay left traces");
}

#[test]
fn what_was_not_committed_is_gone_and_what_was_stays() {
    let place = place();
    let scripts = scripts("run1");
    let mut writer = place.writer("run1");
    writer.begin_chain(&scripts[0].start).unwrap();
    let [first, second] = scripts[0].steps.as_slice() else {
        panic!("two steps");
    };
    writer.record_call(&mut first.calls[0].clone()).unwrap();
    writer.record_step(&scripts[0].start.id, first).unwrap();
    writer.commit().unwrap();
    writer.record_call(&mut second.calls[0].clone()).unwrap();
    writer.record_step(&scripts[0].start.id, second).unwrap();
    writer.begin_chain(&scripts[1].start).unwrap();
    drop(writer);

    let store = place.store();
    let detail = store.chain(&scripts[0].start.id).unwrap();
    assert_eq!(detail.steps.len(), 1);
    assert_eq!(detail.row.draft.as_deref(), Some("Boil vinegar & water."));
    assert!(store.chain(&scripts[1].start.id).is_err());

    // Taken up again, it ends like a run that was never interrupted.
    let mut writer = place.writer("run1");
    for script in &scripts {
        record(&mut writer, script);
    }
    drop(writer);
    let undisturbed = filled();
    assert!(
        dump(&place.path) == dump(&undisturbed.path),
        "the stores differ"
    );
}

#[test]
fn chains_stand_where_they_were_left_and_failed_ones_begin_again() {
    let place = filled();
    let scripts = scripts("run1");
    let mut writer = place.writer("run1");
    let mut status = |index: usize| writer.status(&scripts[index].start.id).unwrap();
    assert_eq!(status(0), Some(ChainStatus::Done));
    assert_eq!(status(3), Some(ChainStatus::Failed));
    assert_eq!(status(4), Some(ChainStatus::Running));
    let unknown = ChainId("nothing".to_owned());
    assert_eq!(writer.status(&unknown).unwrap(), None);

    writer.begin_chain(&scripts[0].start).unwrap();
    writer.begin_chain(&scripts[3].start).unwrap();
    writer.commit().unwrap();
    assert_eq!(
        writer.status(&scripts[0].start.id).unwrap(),
        Some(ChainStatus::Done)
    );
    assert_eq!(
        writer.status(&scripts[3].start.id).unwrap(),
        Some(ChainStatus::Running)
    );
    let row = place.store().chain(&scripts[3].start.id).unwrap().row;
    assert_eq!((row.error, row.stop_reason), (None, None));
}

#[test]
fn a_reply_comes_back_bit_for_bit() {
    let place = place();
    let mut writer = place.writer("run1");
    // A probability whose shortest decimal form has 17 digits, and a text with everything in it.
    let text = "a\0b\u{1b}[31m \u{feff}\r\n\t\"' 漢字 🦀 é";
    let mut odd = call("odd", text, Some(0.123_456_789_012_345_68));
    odd.generation.usage.duration_ms = 1.0 / 3.0;
    odd.generation.thinking = None;
    odd.generation.finish = FinishReason::Length;
    writer.record_call(&mut odd.clone()).unwrap();
    writer.commit().unwrap();
    let found = writer.find_generation(&odd.key).unwrap();
    assert_eq!(found.as_ref(), Some(&odd.generation));
    // A key keeps its first reply.
    let mut other = odd.clone();
    other.generation.text = "other".to_owned();
    writer.record_call(&mut other.clone()).unwrap();
    assert_eq!(writer.find_generation(&odd.key).unwrap(), found);
    assert_eq!(
        writer.find_generation(&Digest::of_bytes(b"none")).unwrap(),
        None
    );
}

#[test]
fn numbers_that_are_none_are_stored() {
    let place = place();
    let mut writer = place.writer("run1");
    let mut odd = call("nan", "text", Some(f64::NAN));
    odd.generation.usage.duration_ms = f64::NAN;
    writer.record_call(&mut odd.clone()).unwrap();
    let found = writer.find_generation(&odd.key).unwrap().unwrap();
    assert!(found.decisions[0].probability.is_nan());
    assert_eq!(found.usage.duration_ms, 0.0);
}

#[test]
fn content_that_repeats_is_stored_once() {
    let place = filled();
    let conn = rusqlite::Connection::open(&place.path).unwrap();
    let count = |sql: &str| -> i64 { conn.query_row(sql, [], |row| row.get(0)).unwrap() };
    for text in [
        "You are a careful critic.",
        "A worked example, the same for every step.",
        "Boil vinegar & water.",
        "hm",
    ] {
        let copies: i64 = conn
            .query_row(
                "SELECT count(*) FROM texts WHERE body = ?1",
                [text],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(copies, 1, "{text}");
    }
    // The few-shot prefix of three messages and the system prompt of the prompts are one branch each,
    // however many requests they begin.
    assert_eq!(
        count("SELECT count(*) FROM conversations WHERE parent IS NULL"),
        2
    );
    assert!(count("SELECT count(*) FROM generations") > 5);
    let shared = "SELECT count(*) FROM conversations c JOIN texts t ON t.id = c.content
                  WHERE t.body = 'And its answer.'";
    assert_eq!(count(shared), 1);
    // A second run over the same prompts adds chains and no content.
    let texts = count("SELECT count(*) FROM texts");
    let mut writer = place.writer("run2");
    for script in &scripts("run2") {
        record(&mut writer, script);
    }
    drop(writer);
    assert_eq!(count("SELECT count(*) FROM texts"), texts);
    assert_eq!(count("SELECT count(*) FROM models"), 1);
    assert_eq!(count("SELECT count(*) FROM prompts"), 5);
    assert_eq!(count("SELECT count(*) FROM chains"), 10);
    assert_eq!(count("SELECT count(*) FROM pragma_foreign_key_check"), 0);
}

#[test]
fn the_search_index_agrees_with_the_texts() {
    let place = filled();
    let conn = rusqlite::Connection::open(&place.path).unwrap();
    conn.execute_batch("INSERT INTO search (search, rank) VALUES ('integrity-check', 1)")
        .unwrap();
    let hits = |word: &str| -> i64 {
        conn.query_row(
            "SELECT count(*) FROM search WHERE search MATCH ?1",
            [word],
            |row| row.get(0),
        )
        .unwrap()
    };
    assert_eq!(hits("vinegar"), 1);
    // The messages of requests are not searched.
    assert_eq!(hits("careful"), 0);
    conn.execute_batch("DELETE FROM searchable").unwrap();
    assert_eq!(hits("vinegar"), 0);
}

#[test]
fn recording_out_of_order_is_an_error() {
    let place = place();
    let scripts = scripts("run1");
    let mut writer = Writer::open(&place.path).unwrap();
    let error = writer
        .begin_chain(&scripts[0].start)
        .unwrap_err()
        .to_string();
    assert!(error.contains("no run was begun"), "{error}");
    writer.begin_run(&new_run("run1")).unwrap();
    let error = writer
        .record_step(&scripts[0].start.id, &scripts[0].steps[0])
        .unwrap_err()
        .to_string();
    assert!(error.contains("was not begun"), "{error}");
}

#[test]
fn a_run_is_begun_once_and_keeps_its_configuration() {
    let place = place();
    let mut writer = place.writer("run1");
    writer.set_run_state(RunState::Interrupted).unwrap();
    let mut again = new_run("run1");
    again.execution = json!({"parallel": 2});
    writer.begin_run(&again).unwrap();
    writer.set_run_state(RunState::Done).unwrap();
    let detail = place.store().run("run1").unwrap();
    assert_eq!(detail.row.state, RunState::Done);
    assert_eq!(detail.execution, json!({"parallel": 2}));
    assert_eq!(place.store().runs().unwrap().len(), 1);
    again.fingerprint = Digest::of_bytes(b"other");
    let error = writer.begin_run(&again).unwrap_err();
    assert!(matches!(error, StoreError::RunDiffers { .. }), "{error}");
}

#[test]
fn two_writers_share_a_file() {
    let place = place();
    drop(Writer::open(&place.path).unwrap());
    std::thread::scope(|scope| {
        for run in ["run1", "run2", "run3"] {
            let place = &place;
            scope.spawn(move || {
                let mut writer = place.writer(run);
                for script in &scripts(run) {
                    record(&mut writer, script);
                }
            });
        }
    });
    assert_eq!(place.store().count(&Filter::all(), None).unwrap(), 15);
}

#[test]
fn what_fails_half_way_is_undone_whole() {
    let place = place();
    let scripts = scripts("run1");
    let mut writer = place.writer("run1");
    record(&mut writer, &scripts[0]);
    let before = dump(&place.path);
    // The search index refuses, as it does when the disk is full, after everything else was written.
    writer
        .conn
        .execute_batch(
            "CREATE TEMP TRIGGER refuse BEFORE INSERT ON main.searchable
             BEGIN SELECT raise(FAIL, 'refused'); END",
        )
        .unwrap();
    let (chain, step) = (&scripts[1].start, &scripts[1].steps[0]);
    writer.begin_chain(chain).unwrap();
    writer.record_step(&chain.id, step).unwrap();
    assert!(writer.commit().is_err());
    writer.conn.execute_batch("DROP TRIGGER refuse").unwrap();
    // What the run says of itself afterwards must not bring half a step with it.
    writer.set_run_state(RunState::Interrupted).unwrap();
    assert_eq!(writer.status(&chain.id).unwrap(), None);
    writer.set_run_state(RunState::Running).unwrap();
    assert_eq!(dump(&place.path), before);
    // And it can be done again.
    record(&mut writer, &scripts[1]);
    assert_eq!(place.store().count(&Filter::all(), None).unwrap(), 2);
}

#[test]
fn a_full_disk_is_said_and_loses_nothing_that_was_committed() {
    let place = place();
    let scripts = scripts("run1");
    let mut writer = place.writer("run1");
    record(&mut writer, &scripts[0]);
    let pages: i64 = writer
        .conn
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    writer
        .conn
        .pragma_update(None, "max_page_count", pages)
        .unwrap();
    let large = text_step(0, 0, StepKind::Draft, &"long ".repeat(100_000));
    writer.begin_chain(&scripts[1].start).unwrap();
    let error = writer
        .record_step(&scripts[1].start.id, &large)
        .unwrap_err()
        .to_string();
    assert!(error.contains("no room left"), "{error}");
    assert!(error.contains("amend resume"), "{error}");
    drop(writer);
    let detail = place.store().chain(&scripts[0].start.id).unwrap();
    assert_eq!(detail.steps.len(), 2);
}

#[test]
fn no_statistics_are_gathered_that_a_store_would_outgrow() {
    let place = filled();
    let mut writer = place.writer("run1");
    for script in &scripts("run1") {
        record(&mut writer, script);
    }
    writer.set_run_state(RunState::Done).unwrap();
    drop(writer);
    let conn = rusqlite::Connection::open(&place.path).unwrap();
    let kept: i64 = conn
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'sqlite_stat%'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(kept, 0);
}
