/* The shell: which screen the address asks for, the runs in the head, the keys. */

const layers = new Set();

/* Keys of what is shown; typing in a field is left alone. */
function useKeys(keys) {
  const layer = useRef({});
  layer.current.keys = keys;
  // before the screen is painted: a key pressed the moment it is seen must not be lost
  useLayoutEffect(() => {
    const own = layer.current;
    layers.add(own);
    return () => layers.delete(own);
  }, []);
}

document.addEventListener("keydown", (event) => {
  const isTyping = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox";
  if (event.key === "Escape" && isTyping) return event.target.blur();
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  // Enter on a link or button means that link or button
  if (event.key === "Enter" && /^(A|BUTTON|SUMMARY)$/.test(event.target.tagName)) return;
  for (const { keys } of layers) {
    if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  }
});

function RunHead({ run, index, screen }) {
  const link = (name, parts) => html`<a href=${address(parts)} aria-current=${screen === name ? "page" : undefined}>${name}</a>`;
  return html`<div class="facts">
    <span>accuracy <b>${interval(run.accuracy)}</b></span> <span>${run.ties} ${run.ties === 1 ? "tie" : "ties"}</span> <span>${run.unscored} unscored</span>
    <span>${run.n.toLocaleString("en")} ${run.n === 1 ? "example" : "examples"}</span> <span>${run.tokens.toLocaleString("en")} tokens in ${run.calls.toLocaleString("en")} calls</span>
    ${run.seconds != null && html`<span title="from the first reply to the last verdict">within ${run.seconds < 10 ? run.seconds.toFixed(1) : Math.round(run.seconds).toLocaleString("en")} s</span>`} ${run.price && html`<span>${run.price}</span>`}
    ${run.human && html`<span>you agree in <b>${percent(run.human.agreement, 0)}</b> of ${run.human.n}${run.human.kappa != null ? `, kappa ${number(run.human.kappa)}` : ""}</span>`}
    <nav aria-label="screens">${link("list", ["run", index])} ${link("figures", ["figures", index])}</nav></div>`;
}

function App({ source }) {
  const [place, setPlace] = useState(readAddress());
  const [runs, setRuns] = useState(source.boot.runs);
  useEffect(() => {
    const move = () => setPlace(readAddress());
    addEventListener("hashchange", move);
    return () => removeEventListener("hashchange", move);
  }, []);
  useEffect(() => {
    const again = () => document.hidden || source.runs().then((reply) => setRuns(reply.runs), () => {});
    const timer = source.live && setInterval(again, 5000);
    return () => clearInterval(timer);
  }, []);
  // before the paint too: later it would take the focus from a field that was just chosen
  useLayoutEffect(() => { document.getElementById("main")?.focus({ preventScroll: true }); scrollTo(0, 0); }, [place.parts.join("/")]);
  const [screen = "run", first = "0", second] = place.parts[0] ? place.parts : ["run", "0"];
  const index = Number(first);
  const run = runs[index] ?? runs[0];
  const boot = source.boot;
  const body = screen === "compare" ? html`<${CompareScreen} source=${source} runs=${runs} a=${first} b=${second} />`
    : screen === "rank" && boot.ranking ? html`<${RankScreen} boot=${boot} />`
    : screen === "figures" ? html`<${FiguresScreen} source=${source} index=${index} run=${run} />`
    : second != null ? html`<${ExampleScreen} source=${source} run=${run} index=${index} id=${second} filter=${place.filter} />`
    : html`<${ListScreen} source=${source} run=${run} index=${index} filter=${place.filter} />`;
  return html`<header><a class="name" href=${address(["run", 0])}>spct view</a>
      ${runs.length > 1 && html`<label class="field inline"><span>run</span><select value=${index} onChange=${(e) => { location.hash = address(["run", e.target.value]); }}>
        ${runs.map((r, i) => html`<option value=${i}>${visible(r.name)}</option>`)}</select></label>
        <a href=${address(["compare", 0, 1])}>compare</a>`}
      ${boot.ranking && html`<a href=${address(["rank"])}>systems</a>`}
      ${runs.length === 1 && html`<span dir="auto">${visible(run.name)}</span>`}</header>
    <main id="main" tabindex="-1">${screen !== "compare" && screen !== "rank" && html`<${RunHead} run=${run} index=${index} screen=${screen === "figures" ? "figures" : second == null ? "list" : ""} />`}
      ${boot.problem && html`<p class="error">${visible(boot.problem)}</p>`}${run.note && html`<p class="note">${visible(run.note)}</p>`}${body}</main>
    <footer class="dim">Keys: j and k move, Enter opens, Esc goes back, / searches, 1 to 9, t and s give your verdict.</footer>`;
}

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} source=${openSource()} />`, root);
