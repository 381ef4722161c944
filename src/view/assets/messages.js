// The exact messages that a model saw, and what it wrote.

import { count, duration, fixed, plural } from "./format.js";
import { h, put } from "./dom.js";
import { block, nodes } from "./text.js";

/** A conversation, message by message. */
export function conversation(messages) {
  return h("div", { class: "conversation" }, messages.map((message) => h("div", { class: "message" },
    h("h3", {}, message.role), block(message.content))));
}

/** Fills `place` with the model calls of a step, which are asked for once. */
export async function messagesOf(app, chain, step, place, kept) {
  put(place, h("p", { class: "soft", role: "status" }, "Reading …"));
  const key = `${chain} ${step.ordinal} ${step.cost.calls}`;
  try {
    if (!kept.has(key)) kept.set(key, await app.source.calls(chain, step.ordinal));
    const answer = kept.get(key);
    put(place, answer === null
      ? h("p", { class: "soft" }, "This report was made without the messages; the store has them.")
      : answer.calls.map((call, i) => callBlock(call, i, answer.calls.length)));
  } catch (error) {
    put(place, h("p", { class: "problem", role: "alert" }, error.message));
  }
}

function callBlock(call, i, all) {
  const { usage } = call;
  const probabilities = call.decisions.map((d) => `P(${d.field}) ${d.probability === null ? "unknown" : fixed(d.probability, 4)}`);
  const facts = [
    plural(usage.prompt_tokens, "prompt token"), `${count(usage.cached_tokens)} cached`, `${count(usage.completion_tokens)} written`,
    duration(usage.duration_ms), call.finish, call.seed !== null && `seed ${call.seed}`,
    call.reused && "answered from the store", call.invalid_utf8 && "bytes were replaced", ...probabilities,
  ].filter(Boolean);
  return h("section", { class: "call", "aria-label": all > 1 ? `Call ${i + 1} of ${all}` : "Call" },
    all > 1 && h("h3", { class: "call-title" }, `Call ${i + 1} of ${all}`),
    conversation(call.messages),
    call.thinking && h("div", { class: "message reply" }, h("h3", {}, "thought"), block(call.thinking)),
    h("div", { class: "message reply" }, h("h3", {}, "reply, as it was written"), block(call.raw)),
    h("p", { class: "cost" }, facts.map((fact, at) => [at > 0 && " · ", fact])),
    call.sampling && h("p", { class: "cost" }, nodes(`sampling ${JSON.stringify(call.sampling)}`)),
    call.shape && h("p", { class: "cost" }, nodes(`form ${JSON.stringify(call.shape)}`)),
    h("p", { class: "cost" }, "content key ", h("code", {}, call.key)));
}
