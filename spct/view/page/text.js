/* Texts of strangers become text nodes and nothing else: no markup of theirs is ever parsed. */
"use strict";
const { html, render, useState, useEffect, useLayoutEffect, useRef } = htmPreact;

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]/g;
const PAIRS = /[\ud800-\udbff][\udc00-\udfff]/g;

/* Controls, bidi marks and lone surrogates would reorder or vanish: they are shown by number. */
function visible(text) {
  const kept = [];
  const masked = text.replace(PAIRS, (pair) => (kept.push(pair), "\ue000"));
  let next = 0;
  return masked
    .replace(HIDDEN, (c) => `⟨U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`)
    .replace(/\ue000/g, () => kept[next++] ?? "\ue000");
}

const CLIP = 6000;

/* "Response 2" in a critique means the second one shown; where that is another, its number is added. */
const SHOWN = /\bresponse\s+#?(\d+)\b/gi;

function Told({ text, order }) {
  if (!order) return visible(text);
  const parts = [];
  let at = 0;
  for (const match of text.matchAll(SHOWN)) {
    const original = order[Number(match[1]) - 1];
    if (original === undefined || original + 1 === Number(match[1])) continue;
    const end = match.index + match[0].length;
    parts.push(visible(text.slice(at, end)), html`<small class="dim"> (${original + 1} above)</small>`);
    at = end;
  }
  return [...parts, visible(text.slice(at))];
}

/* A text, cut where it is very long, with the quotations `marks` [{start, end, kind}] marked. */
function Prose({ text, marks = [], label, order }) {
  const [whole, setWhole] = useState(false);
  const isLong = text.length > CLIP && !whole;
  const end = isLong ? CLIP : text.length;
  const parts = [];
  let at = 0;
  for (const mark of marks) {
    if (mark.start < at || mark.end > end) continue;
    parts.push(html`<${Told} text=${text.slice(at, mark.start)} order=${order} />`);
    const words = visible(text.slice(mark.start, mark.end));
    const title = mark.kind === "found" ? "stands in a response" : "stands in no response";
    parts.push(html`<mark class=${mark.kind} title=${title}>${words}</mark>`);
    at = mark.end;
  }
  parts.push(html`<${Told} text=${text.slice(at, end)} order=${order} />`);
  const more = `show all ${text.length.toLocaleString("en")} characters`;
  return html`<div class="prose" dir="auto" aria-label=${label}>${parts}${isLong &&
    html`<button class="link" onClick=${() => setWhole(true)}>… ${more}</button>`}</div>`;
}

const QUOTES = /"([^"\n]{3,400})"|“([^”\n]{3,400})”|'([^'\n]{8,400})'|«([^»\n]{3,400})»/g;
const folded = (text) => text.toLowerCase().replace(/\s+/g, " ").trim();

/* What a critique puts in quotation marks, and whether a response or the query really says it. */
function quotations(critique, sources) {
  const held = sources.map(folded);
  return [...critique.matchAll(QUOTES)].map((match) => {
    const words = match.slice(1).find((group) => group !== undefined);
    const start = match.index + 1;
    const found = held.some((source) => source.includes(folded(words)));
    return { start, end: start + words.length, words, kind: found ? "found" : "missing" };
  });
}

/* Where in a response the quotations of all critiques stand. */
function quotedIn(response, quoted) {
  const lower = response.toLowerCase();
  const marks = [];
  for (const words of new Set(quoted.map((text) => text.toLowerCase()))) {
    const start = lower.length === response.length ? lower.indexOf(words) : -1;
    if (start >= 0) marks.push({ start, end: start + words.length, kind: "found" });
  }
  return marks.sort((a, b) => a.start - b.start);
}

const percent = (share, digits = 1) => (share == null ? "–" : `${(100 * share).toFixed(digits)}%`);
const number = (value) => (value == null ? "–" : String(Math.round(value * 1000) / 1000));
const interval = (f) =>
  f == null || f.point == null ? "–"
    : f.low == null ? percent(f.point) : `${percent(f.point)} [${percent(f.low)}, ${percent(f.high)}]`;

function onScale(reward, scale) {
  if (reward == null) return "–";
  return scale ? `${number(reward)} of ${number(scale[1])}` : number(reward);
}

function Copy({ name, text }) {
  const [done, setDone] = useState(false);
  async function copy() {
    const value = typeof text === "function" ? text() : text;
    try {
      await navigator.clipboard.writeText(value);
    } catch {
      // a page from file:// may have no clipboard; a selected field can always be copied
      const area = document.createElement("textarea");
      area.value = value;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  }
  return html`<button onClick=${copy}>${done ? "copied" : `copy ${name}`}</button>`;
}
