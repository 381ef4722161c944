// The exact messages that a model saw, and what it wrote.

import { count, duration, fixed, plural } from "./format.js";
import { h, put } from "./dom.js";
import { block, nodes } from "./text.js";

/** A conversation, message by message; `cut` is its place among the `cuts` of the page. */
export function conversation(messages, cut) {
  return h("div", { class: "conversation" }, messages.map((message, i) => h("div", { class: "message" },
    h("h3", {}, message.role), block(message.content, cut.of(i)))));
}

/**
 * Fills `place` with the model calls of a step, which are asked for once; `cut` is their place among the `cuts` of the
 * page.
 */
export async function messagesOf(app, chain, step, place, kept, cut) {
  put(place, h("p", { class: "soft", role: "status" }, "Reading …"));
  const key = `${chain} ${step.ordinal} ${step.cost.calls}`;
  try {
    if (!kept.has(key)) kept.set(key, await app.source.calls(chain, step.ordinal));
    const answer = kept.get(key);
    put(place, answer === null
      ? h("p", { class: "soft" }, "This report was made without the messages; the store has them.")
      : answer.calls.map((call, i) => callBlock(call, i, answer.calls.length, cut.of(`c${i}`))));
  } catch (error) {
    put(place, h("p", { class: "problem", role: "alert" }, error.message));
  }
}

function callBlock(call, i, all, cut) {
  const { usage } = call;
  const probabilities = call.decisions.map((d) => `P(${d.field}) ${d.probability === null ? "unknown" : fixed(d.probability, 4)}`);
  const facts = [
    plural(usage.prompt_tokens, "prompt token"), `${count(usage.cached_tokens)} cached`, `${count(usage.completion_tokens)} written`,
    duration(usage.duration_ms), call.finish, call.seed !== null && `seed ${call.seed}`,
    call.reused && "answered from the store", call.invalid_utf8 && "bytes were replaced", ...probabilities,
  ].filter(Boolean);
  return h("section", { class: "call", "aria-label": all > 1 ? `Call ${i + 1} of ${all}` : "Call" },
    all > 1 && h("h3", { class: "call-title" }, `Call ${i + 1} of ${all}`),
    conversation(call.messages, cut.of("m")),
    call.thinking && h("div", { class: "message reply" }, h("h3", {}, "thought"), block(call.thinking, cut.of("t"))),
    h("div", { class: "message reply" }, h("h3", {}, "reply, as it was written"), block(call.raw, cut.of("r"))),
    h("p", { class: "cost" }, facts.map((fact, at) => [at > 0 && " · ", fact])),
    call.sampling && h("p", { class: "cost" }, nodes(`sampling ${JSON.stringify(call.sampling)}`)),
    call.shape && h("p", { class: "cost" }, nodes(`form ${JSON.stringify(call.shape)}`)),
    h("p", { class: "cost" }, "content key ", h("code", {}, call.key)));
}
