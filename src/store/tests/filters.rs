use super::*;

#[test]
fn every_key_selects_what_it_says() {
    let place = filled();
    let store = place.store();
    for (filter, expected) in [
        ("", "kettle bridge garden letter window"),
        ("principle:honest", "bridge garden"),
        ("principle!=honest", "kettle bridge garden"),
        ("violated:true", "bridge garden"),
        ("violated:false", "kettle bridge garden"),
        ("p>0.7", "bridge garden"),
        ("p=0.0625", "garden"),
        ("p<0.2", "kettle garden"),
        ("severity:critical", "garden"),
        ("source:check", "garden"),
        ("human:agree", ""),
        ("label:none", "kettle bridge garden letter window"),
        ("label!=none", ""),
        ("label:accept", ""),
        ("source:model", "kettle bridge garden"),
        ("kind:draft", "kettle bridge garden window"),
        ("kind:recheck", "garden"),
        ("kind:revision", "bridge garden"),
        ("status:running", "window"),
        ("status:failed", "letter"),
        ("status!=done", "letter window"),
        ("stop:clean", "kettle"),
        ("stop:rounds-done", "bridge"),
        ("stop!=clean", "bridge garden letter window"),
        ("flag:preamble", "bridge garden"),
        ("flag:truncated", "bridge"),
        ("flag!=preamble", "kettle letter window"),
        ("revised:true", "bridge garden"),
        ("revised:no", "kettle letter window"),
        ("regressed:true", "garden"),
        ("round>=2", "bridge garden"),
        ("round:1", "kettle"),
        ("revised-in:1", "bridge garden"),
        ("revised-in>1", ""),
        ("tokens>60", "bridge"),
        ("tokens<=20", "letter window"),
        ("changed>0.5", "bridge"),
        ("changed:0", "kettle"),
        ("changed<2", "kettle bridge garden"),
        ("len>2.0", "bridge"),
        ("len<1.5", "kettle garden"),
        ("prompt:garden", "garden"),
        ("prompt:gard", ""),
        ("prompt!=garden", "kettle bridge letter window"),
        ("run:ru", "kettle bridge garden letter window"),
        ("run:x", ""),
        ("run!=x", "kettle bridge garden letter window"),
        ("sample:1", "bridge"),
        ("text:vinegar", "kettle"),
        ("text:\"clean a window\"", "window"),
        ("rude", "garden"),
    ] {
        let found = matching(&store, filter).join(" ");
        assert_eq!(found, expected, "{filter}");
    }
    let id = ChainId::new("run1", &PromptId("garden".to_owned()), 0).0;
    assert_eq!(matching(&store, &format!("chain:{}", &id[..8])), ["garden"]);
}

#[test]
fn conditions_combine() {
    let place = filled();
    let store = place.store();
    for (filter, expected) in [
        ("stop:clean or status:failed", "kettle letter"),
        ("flag:preamble flag:truncated", "bridge"),
        ("flag:preamble and not flag:truncated", "garden"),
        ("not (stop:clean or revised:true)", "letter window"),
        ("not not stop:clean", "kettle"),
        ("not changed>0.5", "kettle garden letter window"),
        ("not principle:honest", "kettle letter window"),
        (
            "(status:done or status:failed) not revised:true",
            "kettle letter",
        ),
        ("reader or vinegar kind:draft", "kettle garden"),
    ] {
        let found = matching(&store, filter).join(" ");
        assert_eq!(found, expected, "{filter}");
    }
}

#[test]
fn conditions_about_a_step_that_stand_together_speak_of_one_step() {
    let place = filled();
    let store = place.store();
    // Only in `bridge` is it `honest` that was violated; in `garden` another principle was.
    assert_eq!(
        matching(&store, "principle:honest violated:true"),
        ["bridge"]
    );
    assert_eq!(
        matching(&store, "(principle:honest) (violated:true)"),
        ["bridge", "garden"]
    );
    assert_eq!(
        matching(
            &store,
            "principle:kind stop:context-full violated:true p>0.9"
        ),
        ["garden"]
    );
    assert_eq!(
        matching(
            &store,
            "(principle:honest violated:false) (principle:kind violated:true)"
        ),
        ["garden"]
    );
    assert_eq!(
        matching(&store, "kind:recheck violated:true principle:kind"),
        ["garden"]
    );
    assert!(matching(&store, "kind:revision violated:true").is_empty());
    // Two filters that are joined keep their steps apart.
    let parse = |source| Filter::parse(source).unwrap();
    let both = parse("principle:honest").and(parse("violated:true"));
    assert_eq!(store.count(&both, None).unwrap(), 2);
}

#[test]
fn hostile_values_are_values() {
    let place = filled();
    let store = place.store();
    let before = dump(&place.path);
    for filter in [
        "prompt:\"'; DROP TABLE chains; --\"",
        "principle:\"x' OR '1'='1\"",
        "run:\"%\"",
        "run:\"' OR 1=1 --\"",
        "chain:\"_\"",
        "text:\"'; DROP TABLE runs; --\"",
        "text:\"nothing\\\" OR body:reader\"",
        "text:\"body:reader\"",
        "text:\"NEAR(spring reader)\"",
        "text:\"reader NOT spring\"",
        "text:\"rea*\"",
        "text:\"!!! ()\"",
        "text:\"\"",
        "prompt:\"\"",
    ] {
        assert!(matching(&store, filter).is_empty(), "{filter}");
    }
    assert_eq!(matching(&store, "text:\"O'Hara; DROP TABLE\""), ["garden"]);
    assert_eq!(matching(&store, "text:'O (\"Hara; DROP\")"), ["garden"]);
    assert_eq!(
        matching(&store, "text:\"the \\\"old\\\" bridge\""),
        ["bridge"]
    );
    assert_eq!(
        matching(&store, "text:\"descale\0 a\u{1}kettle\""),
        ["kettle"]
    );
    assert_eq!(matching(&store, "text:NAIVE"), ["garden"]);
    // Signs are no words: `^` does not ask for the beginning.
    assert_eq!(matching(&store, "text:\"^spring\""), ["garden"]);
    assert_eq!(dump(&place.path), before);
}

#[test]
fn the_largest_filters_that_are_read_are_also_run() {
    let place = filled();
    let store = place.store();
    assert_eq!(
        matching(&store, &format!("{}x", "kind:draft or ".repeat(199))).len(),
        4
    );
    assert_eq!(matching(&store, &"reader ".repeat(200)), ["garden"]);
    let deep = format!("{}kettle{}", "(not ".repeat(16), ")".repeat(16));
    assert_eq!(matching(&store, &deep), ["kettle"]);
}
