use super::*;

fn sizing() -> Sizing {
    Sizing {
        kv: KvChoice::Auto,
        parallel: None,
        context: 4096,
        cells: None,
        cell_bytes: 1000,
        room: None,
        gpu: false,
        can_share: true,
        window: false,
        gathers: false,
        workload: Workload {
            shared_prefix: 10,
            fan_out: 1,
            prompt: 50,
            goes_on: false,
            reply: 256,
            chains: None,
        },
    }
}

#[test]
fn chains_that_share_nothing_get_streams_and_a_whole_context_each() {
    let sized = size(&sizing());
    assert_eq!((sized.parallel, sized.unified), (16, false));
    let said = "16 sequences at a time, of up to 4096 tokens each; KV cache";
    assert!(sized.to_string().starts_with(said), "{sized}");
    assert_eq!(sized.cells, 16 * 4096);
}

#[test]
fn a_long_shared_prefix_makes_one_pool_that_is_smaller() {
    let mut given = sizing();
    given.workload.shared_prefix = 2000;
    let sized = size(&given);
    assert!(sized.unified && sized.reason.contains("2000"));
    assert!(sized.cells >= 4096 && sized.cells < 16 * 4096, "{sized:?}");
}

#[test]
fn samples_of_one_long_prompt_make_one_pool() {
    let mut given = sizing();
    given.workload.fan_out = 8;
    // Short prompts cost less than having every token look at the cells of all.
    assert!(!size(&given).unified);
    given.workload.prompt = 1000;
    assert!(size(&given).unified);
}

#[test]
fn a_pool_costs_nothing_where_attention_gathers_what_a_token_sees() {
    let mut given = sizing();
    given.gathers = true;
    assert!(size(&given).unified);
    given.kv = KvChoice::Streams;
    assert!(!size(&given).unified);
}

#[test]
fn a_gpu_gets_one_pool_unless_streams_are_asked_for() {
    let mut given = sizing();
    given.gpu = true;
    let sized = size(&given);
    assert!(sized.unified && sized.reason.contains("GPU"), "{sized:?}");
    // Finished sequences leave little behind there: every token looks at all cells.
    assert!(!sized.gathers);
    given.kv = KvChoice::Streams;
    assert!(!size(&given).unified);
}

#[test]
fn a_pool_is_as_large_as_was_asked_for_and_holds_one_context() {
    let mut given = sizing();
    (given.kv, given.cells) = (KvChoice::Unified, Some(10_000));
    assert_eq!(size(&given).cells, 10_240);
    given.cells = Some(100);
    assert_eq!(size(&given).cells, 4096);
    // Streams are no pool, and say so.
    given.kv = KvChoice::Streams;
    assert!(size(&given).reason.contains("--kv-cells"));
    given.cells = None;
    assert!(!size(&given).reason.contains("--kv-cells"));
}

#[test]
fn a_model_with_a_window_gets_streams_whatever_is_asked_for() {
    let mut given = sizing();
    (given.kv, given.window) = (KvChoice::Unified, true);
    given.workload.shared_prefix = 2000;
    let sized = size(&given);
    assert!(!sized.unified && sized.reason.contains("last tokens"));
}

#[test]
fn few_chains_need_few_places() {
    let mut given = sizing();
    given.workload.chains = Some(3);
    assert_eq!(size(&given).parallel, 3);
    given.parallel = Some(200);
    assert_eq!(size(&given).parallel, 3);
    given.workload.chains = Some(1);
    let said = "1 sequence at a time, of up to 4096 tokens; KV cache";
    assert!(size(&given).to_string().starts_with(said));
}

#[test]
fn little_memory_makes_fewer_sequences_unless_they_were_asked_for() {
    let mut given = sizing();
    given.room = Some(room_in(1000 * 4096 * 2 * 4));
    assert_eq!(size(&given).parallel, 4);
    given.parallel = Some(8);
    assert_eq!(size(&given).parallel, 8);
}

#[test]
fn keys_may_be_longer_than_the_width_of_a_head() {
    let mut cell = Cell {
        layers: 30,
        heads: 3,
        lengths: (64, 64),
    };
    let half = (KvCacheType::F16, KvCacheType::F16);
    assert_eq!(cell.bytes(half), 30 * 3 * 2 * 64 * 2);
    cell.lengths.0 = 128;
    assert_eq!(cell.bytes(half), 30 * 3 * (128 + 64) * 2);
    let short = (KvCacheType::Q8_0, KvCacheType::F16);
    assert_eq!(cell.bytes(short), 30 * 3 * (128 * 9 + 64 * 16) / 8);
}

#[test]
fn the_choice_of_the_person_stands_where_the_model_allows_it() {
    let mut given = sizing();
    given.kv = KvChoice::Unified;
    assert!(size(&given).unified);
    given.can_share = false;
    assert!(!size(&given).unified);
}
