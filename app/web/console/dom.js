// Building elements. Text goes in as text nodes, so that whatever an exchange holds stays a text:
// nothing in this console parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with attributes, listeners (`onclick: …`), custom properties (`--name`), a width in
 * percent (`width%`) and children; null children are left out.
 */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same in the SVG namespace. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export const byId = (id) => document.getElementById(id);

/** Put `children` in the place of what a node holds; leave the keyboard where it was, and open what was. */
export function replace(node, ...children) {
  const focused = node.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const opened = [...node.querySelectorAll("details[open][data-key]")].map((fold) => fold.dataset.key);
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  const find = (key) => node.querySelector(`[data-key="${CSS.escape(key)}"]`);
  for (const key of opened) find(key)?.setAttribute("open", "");
  if (focused) find(focused)?.focus();
}

/** Whether the page is as narrow as a phone's. */
export const isNarrow = () => matchMedia("(max-width: 40rem)").matches;

/** On a phone what is folded behind `words`; elsewhere the nodes as they are. `key` names the fold. */
export const foldIfNarrow = (key, words, ...nodes) => (isNarrow() ? fold(key, words, ...nodes) : nodes);

export const fold = (key, words, ...nodes) =>
  el(
    "details",
    { class: "fold", "data-key": `fold-${key}` },
    el("summary", { "data-key": `summary-${key}` }, words),
    nodes,
  );

/** What an empty part says: what is missing, and what to do about it. */
export const empty = (...words) => el("p", { class: "empty" }, ...words);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (name === "width%") node.style.width = `${value}%`;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}
