/* The list of examples: what was judged right and wrong, sorted and filtered. */

const OUTCOMES = ["right", "wrong", "tie", "unscored", "no gold"];
const SIGNS = { right: "✓", wrong: "✗", tie: "=", unscored: "∅", "no gold": "·" };
const PAGE = 50;

function Outcome({ kind }) {
  return html`<span class="outcome ${kind.replace(" ", "-")}"><span aria-hidden="true">${SIGNS[kind]}</span> ${kind}</span>`;
}

function Field({ label, children }) {
  return html`<label class="field"><span>${label}</span>${children}</label>`;
}

function Choice({ label, value, options, onPick }) {
  return html`<${Field} label=${label}><select value=${value ?? ""} onChange=${(e) => onPick(e.target.value)}>
    <option value="">all</option>
    ${options.map((o) => html`<option value=${o}>${visible(String(o))}</option>`)}
  </select><//>`;
}

function Filters({ run, filter, go }) {
  const set = (key) => (value) => go({ ...filter, [key]: value, offset: "" });
  // what is being typed is kept here: a reply that draws the list anew would take it away
  const [text, setText] = useState(filter.q ?? "");
  useLayoutEffect(() => setText(filter.q ?? ""), [filter.q]);
  return html`<form class="filters" role="search" aria-label="filters" onSubmit=${(e) => e.preventDefault()}>
    <${Field} label="text"><input type="search" id="search" value=${text} placeholder="press /"
      onInput=${(e) => setText(e.target.value)} onChange=${(e) => set("q")(e.target.value)} /><//>
    <${Choice} label="verdict" value=${filter.outcome} options=${OUTCOMES} onPick=${set("outcome")} />
    <${Choice} label="unscored because" value=${filter.reason} options=${run.reasons} onPick=${set("reason")} />
    <${Choice} label="subset" value=${filter.subset} options=${run.subsets} onPick=${set("subset")} />
    <${Choice} label="responses" value=${filter.n} options=${run.ns} onPick=${set("n")} />
    <${Choice} label="agreement at most" value=${filter.agreement} options=${["0.5", "0.75", "0.9"]}
      onPick=${set("agreement")} />
    <label class="field inline"><input type="checkbox" checked=${!!filter.flips}
      onChange=${(e) => set("flips")(e.target.checked ? "1" : "")} /><span>orders disagree</span></label>
    <button type="button" onClick=${() => go({})}>clear</button>
  </form>`;
}

const COLUMNS = [["position", "#"], ["outcome", "verdict"], ["head", "query"], ["n", "n"],
  ["winner", "winner"], ["gold_best", "gold"], ["margin", "margin"], ["agreement", "agreement"], ["counted", "counted"], ["tokens", "tokens"]];

function SortHead({ name, title, filter, go }) {
  const isSorted = (filter.sort || "position") === name;
  const isDown = filter.order === "desc";
  const flip = () => go({ ...filter, sort: name, order: isSorted && !isDown ? "desc" : "", offset: "" });
  const state = isSorted ? (isDown ? "descending" : "ascending") : "none";
  return html`<th scope="col" aria-sort=${state}><button class="link" onClick=${flip}>${title}${isSorted ? (isDown ? " ▾" : " ▴") : ""}</button></th>`;
}

function Row({ row, run, filter, isChosen }) {
  const link = address(["run", run, row.id], filter);
  return html`<tr class=${isChosen ? "chosen" : ""}>
    <td>${row.position + 1}</td>
    <td><${Outcome} kind=${row.outcome} />${row.reason && html` <span class="dim">${row.reason}</span>`}${
      row.flips ? html` <span class="flip" title="the winner depends on the order shown">⇄</span>` : ""}</td>
    <td class="wide"><a href=${link} dir="auto">${visible(row.head) || html`<i>empty</i>`}</a>${
      row.subset && html` <span class="dim">${visible(row.subset)}</span>`}</td>
    <td>${row.n}</td>
    <td>${row.winner == null ? "–" : row.winner + 1}${JSON.parse(row.rewards) && html` <span class="dim rewards">(${JSON.parse(row.rewards).map(number).join(", ")})</span>`}</td>
    <td>${row.gold_best == null ? "–" : row.gold_best + 1}</td>
    <td>${number(row.margin)}</td>
    <td>${percent(row.agreement, 0)}</td>
    <td>${row.counted} of ${row.drawn}</td>
    <td>${row.tokens}</td>
  </tr>`;
}

/* Where in a filtered list its rows were seen: stepping to the next one then reads three rows. */
const places = new Map();

function placeKey(index, filter, id) {
  return JSON.stringify([index, { ...filter, offset: undefined }, id]);
}

function remember(index, filter, rows, start) {
  rows.forEach((row, i) => places.set(placeKey(index, filter, row.id), start + i));
}

function ListScreen({ source, run, index, filter }) {
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  const [chosen, setChosen] = useState(0);
  const [round, setRound] = useState(0);
  const go = (next) => { location.hash = address(["run", index], next); };
  const key = JSON.stringify(filter);
  useEffect(() => {
    let isCurrent = true;
    source.list(index, { ...filter, limit: PAGE }).then(
      (reply) => isCurrent && (remember(index, filter, reply.rows, Number(filter.offset ?? 0)), setFound(reply), setError(null)), (e) => isCurrent && setError(e.message));
    return () => { isCurrent = false; };
  }, [index, key, round]);
  // a run that is being written, or still indexed, is asked again
  useEffect(() => {
    if (!source.live) return undefined;
    const timer = setInterval(() => document.hidden || setRound((n) => n + 1), 5000);
    return () => clearInterval(timer);
  }, []);
  const rows = found?.rows ?? [];
  useKeys({
    j: () => setChosen((i) => Math.min(i + 1, rows.length - 1)),
    k: () => setChosen((i) => Math.max(i - 1, 0)),
    Enter: () => rows[chosen] && (location.hash = address(["run", index, rows[chosen].id], filter)),
    "/": () => document.getElementById("search")?.focus(),
  });
  const offset = Number(filter.offset ?? 0);
  const turn = (by) => go({ ...filter, offset: offset + by || "" });
  return html`<section>
    <${Filters} run=${run} filter=${filter} go=${go} />
    ${error && html`<p class="error" role="alert">${visible(error)}</p>`}
    <p class="dim" role="status">${found ? `${found.total.toLocaleString("en")} of ${found.indexed.toLocaleString("en")} examples` : "reading …"}${
      found?.damaged ? `; ${found.damaged} damaged rows are left out` : ""}${
      found && found.indexed + (found.damaged ?? 0) < found.stored ? `; ${found.stored.toLocaleString("en")} are stored, the index is being built` : ""}</p>
    <div class="scroll" tabindex="0" role="region" aria-label="examples"><table class="list">
      <thead><tr>${COLUMNS.map(([name, title]) => html`<${SortHead} key=${name} name=${name} title=${title} filter=${filter} go=${go} />`)}</tr></thead>
      <tbody>${rows.map((row, i) => html`<${Row} key=${row.id} row=${row} run=${index} filter=${filter} isChosen=${i === chosen} />`)}</tbody>
    </table></div>
    ${found && rows.length === 0 && html`<p>No example fits these filters.</p>`}
    <p class="pages"><button disabled=${offset === 0} onClick=${() => turn(-PAGE)}>earlier</button>
      <button disabled=${!found || offset + PAGE >= found.total} onClick=${() => turn(PAGE)}>later</button></p>
  </section>`;
}
