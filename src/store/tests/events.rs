use super::*;
use crate::store::EventKind;

#[test]
fn a_run_tells_what_happened_in_order() {
    let place = filled();
    let store = place.store();
    let all = store.events(Some("run1"), 0, 1000).unwrap();
    let said: Vec<_> = all
        .iter()
        .map(|event| match event.what {
            EventKind::Step => format!(
                "{} {}",
                event.kind.unwrap().as_str(),
                event.principle_id.as_deref().unwrap_or("-")
            ),
            EventKind::End => format!("end {}", event.stop_reason.unwrap().as_str()),
            what => what.as_str().to_owned(),
        })
        .collect();
    assert_eq!(
        said.join(", "),
        "running, draft -, critique kind, end clean, draft -, critique honest, revision honest, \
         critique kind, end rounds-done, draft -, critique kind, revision kind, critique honest, \
         recheck kind, end context-full, end failed, draft -"
    );
    assert!(all.iter().all(|event| event.at.is_some()));
    assert_eq!(
        (all[5].violated, all[5].probability),
        (Some(true), Some(0.75))
    );
    assert_eq!((all[6].adopted, all[6].round), (Some(true), Some(1)));
    // Piece by piece it is the same.
    let mut after = 0;
    let mut pieces = Vec::new();
    while let Some(last) = store.events(None, after, 4).unwrap().last() {
        pieces.extend(store.events(None, after, 4).unwrap());
        after = last.event;
    }
    assert_eq!(pieces, all);
    assert_eq!(store.last_event(Some("run1")).unwrap(), after);
    assert_eq!(store.last_event(Some("other")).unwrap(), 0);
    assert_eq!(
        store.event_before("run1", 3).unwrap(),
        all[all.len() - 4].event
    );
    assert_eq!(store.event_before("run1", 1000).unwrap(), 0);
    assert!(store.events(Some("other"), 0, 10).unwrap().is_empty());
}

#[test]
fn runs_come_in_the_order_in_which_they_were_begun() {
    let place = place();
    // All within a second, most likely.
    for run in ["second", "first", "third"] {
        drop(place.writer(run));
    }
    let runs = place.store().runs().unwrap();
    let ids: Vec<_> = runs.iter().map(|run| run.run_id.as_str()).collect();
    assert_eq!(ids, ["second", "first", "third"]);
}

#[test]
fn what_is_recorded_again_happened_once() {
    let place = filled();
    let before = place.store().events(None, 0, 1000).unwrap();
    let mut writer = place.writer("run1");
    for script in &scripts("run1")[..3] {
        record(&mut writer, script);
    }
    writer.set_run_state(RunState::Done).unwrap();
    let store = place.store();
    let after = store.events(None, 0, 1000).unwrap();
    let new: Vec<_> = after[before.len()..].iter().map(|e| e.what).collect();
    assert_eq!(new, [EventKind::Running, EventKind::Done]);
}

#[test]
fn a_chain_that_is_begun_again_has_failed_before() {
    let place = filled();
    let mut writer = place.writer("run1");
    let scripts = scripts("run1");
    let letter = &scripts[3];
    let ends = || {
        let events = place.store().events(None, 0, 1000).unwrap().into_iter();
        let ends = events.filter(|e| e.what == EventKind::End);
        let of_letter = ends.filter(|e| e.chain_id.as_ref() == Some(&letter.start.id.0));
        of_letter.map(|e| e.stop_reason).collect::<Vec<_>>()
    };
    writer.begin_chain(&letter.start).unwrap();
    writer.commit().unwrap();
    assert_eq!(ends(), [Some(StopReason::Failed)]);
    let clean = end(StopReason::Clean, "Dear reader", "Dear reader", 1);
    writer.end_chain(&letter.start.id, &clean).unwrap();
    writer.commit().unwrap();
    assert_eq!(ends(), [Some(StopReason::Failed), Some(StopReason::Clean)]);
}
