//! What the model saw and wrote, word by word.

use std::fmt::Write;

use crate::cli::text::sanitize;
use crate::store::{CallDetail, ChainDetail, StepDetail};

/// The messages of every request, everything that was written, and the tokens of both.
pub fn render(chain: &ChainDetail, step: Option<u32>) -> String {
    let mut out = String::new();
    let steps = chain.steps.iter();
    for step in steps.filter(|s| step.is_none_or(|step| s.ordinal == step)) {
        write_step(&mut out, &chain.row.chain_id, step);
    }
    out
}

fn write_step(out: &mut String, chain_id: &str, step: &StepDetail) {
    let about = step.principle_id.as_deref();
    let about = about.map_or_else(String::new, |id| format!(", {}", sanitize(id)));
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "=== step {} of {chain_id}: {}{about}",
        step.ordinal,
        step.kind.as_str()
    );
    if step.calls.is_empty() {
        let _ = writeln!(out, "--- no model was asked\n{}", sanitize(&step.output));
    }
    for (number, call) in (1..).zip(&step.calls) {
        write_call(out, number, step.calls.len(), call);
    }
}

fn write_call(out: &mut String, number: usize, of: usize, call: &CallDetail) {
    let attempt = match of {
        1 => String::new(),
        of => format!(" of call {number} of {of}"),
    };
    for message in &call.messages {
        let role = message.role.as_str();
        let _ = writeln!(out, "--- {role}{attempt}\n{}", sanitize(&message.content));
    }
    let usage = &call.usage;
    let _ = writeln!(out, "--- reply{attempt}\n{}", sanitize(&call.raw));
    let _ = writeln!(
        out,
        "--- {} tokens read ({} of them from the cache), {} written, key {}",
        usage.prompt_tokens,
        usage.cached_tokens,
        usage.completion_tokens,
        call.key.as_str()
    );
}
