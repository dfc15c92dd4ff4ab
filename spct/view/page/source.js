/* Where the page's data come from: a server that pages through SQLite, or JSON inside this file.
   Both answer list, example, figures, compare and mark with the same shapes (spct/view/api.py). */

class HttpSource {
  constructor(boot) {
    this.boot = boot;
    this.live = true;
    this.canMark = boot.runs.map((run) => !run.read_only);
  }
  async get(path, query = {}) {
    const given = Object.entries(query).filter(([, v]) => v !== "" && v != null && v !== false);
    const reply = await fetch(`/api/${path}?${new URLSearchParams(given)}`);
    return this.read(reply);
  }
  async read(reply) {
    const body = await reply.json().catch(() => ({}));
    if (!reply.ok) throw new Error(body.error ?? `the server answered ${reply.status}`);
    return body;
  }
  runs() { return this.get("runs"); }
  list(run, filter) { return this.get("list", { run, ...filter }); }
  example(run, id) { return this.get("example", { run, id }); }
  figures(run) { return this.get("figures", { run }); }
  compare(a, b) { return this.get("compare", { a, b }); }
  async mark(run, id, mark, note) {
    const body = JSON.stringify({ run, id, mark, note });
    const headers = { "Content-Type": "application/json", "X-Spct-Token": this.boot.token };
    return this.read(await fetch("/api/mark", { method: "POST", headers, body }));
  }
}

/* The export: the same answers from inlined data; verdicts of a person stay in this tab. */
class InlineSource {
  constructor(data) {
    this.data = data;
    this.boot = data.boot;
    this.live = false;
    this.canMark = data.boot.runs.map(() => false);
  }
  async runs() { return { runs: this.data.boot.runs }; }
  async list(run, f) {
    const words = (f.q ?? "").toLowerCase();
    const rows = this.data.rows[run].filter((row) =>
      (!f.outcome || row.outcome === f.outcome) && (!f.reason || row.reason === f.reason) &&
      (!f.subset || row.subset === f.subset) && (!f.n || row.n === Number(f.n)) &&
      (!f.agreement || (row.agreement != null && row.agreement <= Number(f.agreement))) &&
      (!f.flips || row.flips) && (!words || this.searched(run, row).includes(words)));
    const key = f.sort || "position";
    const sign = f.order === "desc" ? -1 : 1;
    const last = (v) => v == null;
    rows.sort((a, b) => last(a[key]) - last(b[key]) ||
      sign * (a[key] < b[key] ? -1 : a[key] > b[key] ? 1 : 0) || a.position - b.position);
    const offset = Number(f.offset ?? 0);
    const limit = Number(f.limit ?? 50);
    return { total: rows.length, rows: rows.slice(offset, offset + limit),
             indexed: this.data.rows[run].length, stored: this.data.rows[run].length };
  }
  searched(run, row) {
    const example = this.data.examples[run][row.id].example ?? { query: [], responses: [] };
    const texts = [...example.query.map((turn) => turn.content), ...example.responses, row.id];
    return texts.join("\n").toLowerCase();
  }
  async example(run, id) {
    const found = this.data.examples[run][id];
    if (!found) throw new Error(`this page holds no example ${id}`);
    // a prompt is kept as numbers of pieces: template text is the same in every prompt
    const text = (pieces) =>
      pieces.map((p) => (typeof p === "number" ? this.data.pieces[p] : this.quoted(found, p))).join("");
    const prompts = found.prompts.map((prompt) => ({ ...prompt, messages: prompt.messages.map(
      (message) => ({ role: message.role, content: text(message.pieces) })) }));
    return { ...found, prompts };
  }
  quoted(found, [kind, i]) {
    return kind === "response" ? found.example.responses[i] : found.example.query[i].content;
  }
  async figures(run) { return this.data.figures[run]; }
  async compare(a, b) { return this.data.compare[`${a},${b}`] ?? this.data.compare[`${b},${a}`]; }
  async mark() { throw new Error("this page is a copy: open the run with spct view to mark it"); }
}

function openSource() {
  const inlined = document.getElementById("data");
  if (inlined) return new InlineSource(JSON.parse(inlined.textContent));
  return new HttpSource(JSON.parse(document.getElementById("boot").textContent));
}

/* The address holds the whole state, so every screen can be linked to and gone back to. */
function readAddress() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").map(decodeURIComponent);
  return { parts, filter: Object.fromEntries(new URLSearchParams(query)) };
}

function address(parts, filter = {}) {
  const given = Object.entries(filter).filter(([, v]) => v !== "" && v != null && v !== false);
  const query = new URLSearchParams(given).toString();
  return `#/${parts.map((part) => encodeURIComponent(part)).join("/")}${query && `?${query}`}`;
}
