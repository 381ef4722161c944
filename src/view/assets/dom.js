// Elements. Text always becomes text nodes; no markup is ever made of text.

const SVG = "http://www.w3.org/2000/svg";

/** An element: properties, then children (nodes, texts, lists of them; null and false are left out). */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** An element of a drawing. */
export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "style") {
      for (const [key, set] of Object.entries(value)) element.style.setProperty(key, set);
    } else if (name === "value") {
      element.value = value;
    } else {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child instanceof Node ? child : String(child));
  }
}

/** Puts children in place of what is there. */
export function put(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

const CONTROLS = "a, button, select, input, summary, [tabindex]";

/**
 * Draws places anew, and gives the focus to what stands where it was: to what carries the same `data-key`, or
 * else has the same place among what can have it.
 */
export function keepFocus(places, draw) {
  const had = document.activeElement;
  const place = places.find((one) => one.contains(had));
  const controls = () => [...place.querySelectorAll(CONTROLS)];
  const key = had?.dataset?.key;
  const at = place ? controls().indexOf(had) : -1;
  draw();
  const lost = !document.activeElement || document.activeElement === document.body;
  if (at < 0 || !lost) return;
  const now = controls();
  const again = (key && now.find((one) => one.dataset.key === key)) ?? now[Math.min(at, now.length - 1)];
  again?.focus({ preventScroll: true });
}

/** A button. */
export function button(label, click, properties = {}) {
  return h("button", { type: "button", ...properties, on: { click, ...properties.on } }, label);
}

/** A small word in a frame. */
export const chip = (text, kind = "", properties = {}) =>
  h("span", { class: `chip ${kind}`.trim(), ...properties }, text);

/** A key of the keyboard. */
export const kbd = (text) => h("kbd", {}, text);

/** Text for screen readers only. */
export const spoken = (text) => h("span", { class: "spoken" }, text);
