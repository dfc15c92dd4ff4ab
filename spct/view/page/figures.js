/* Plots and comparisons: every number comes from spct.measure, nothing is computed here. */

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/* A line plot with its table beside it, for people who cannot see the canvas. */
function Plot({ title, xLabel, yLabel, xs, series, log }) {
  const holder = useRef();
  useEffect(() => {
    const lines = series.map((s, i) => ({ label: s.label, stroke: color(`--line-${(i % 4) + 1}`), width: 2,
      dash: s.dashed ? [6, 4] : undefined, points: { show: true, size: 6 } }));
    const axis = { stroke: color("--text"), grid: { stroke: color("--edge") }, ticks: { stroke: color("--edge") } };
    const width = Math.min(640, holder.current.clientWidth || 320);
    const plot = new uPlot({ width, height: 260, scales: { x: { time: false, distr: log ? 3 : 1, log: 2 } },
      legend: { live: false }, cursor: { drag: { x: false, y: false } },
      axes: [{ ...axis, label: xLabel, splits: log ? () => xs : undefined, values: log ? (u, v) => v.map(String) : undefined },
             { ...axis, label: yLabel }],
      series: [{ label: xLabel }, ...lines] }, [xs, ...series.map((s) => s.ys)], holder.current);
    return () => plot.destroy();
  }, [JSON.stringify([xs, series])]);
  return html`<figure><figcaption>${title}</figcaption><div ref=${holder} aria-hidden="true"></div>
    <details><summary>as a table</summary><table><thead><tr><th scope="col">${xLabel}</th>${series.map((s) => html`<th scope="col">${s.label}</th>`)}</tr></thead>
    <tbody>${xs.map((x, i) => html`<tr><th scope="row">${number(x)}</th>${series.map((s) => html`<td>${number(s.ys[i])}</td>`)}</tr>`)}</tbody></table></details></figure>`;
}

function FiguresScreen({ source, index, run }) {
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  useEffect(() => { source.figures(index).then(setFound, (e) => setError(e.message)); }, [index]);
  if (error) return html`<p class="error" role="alert">${visible(error)}</p>`;
  if (!found) return html`<p role="status">counting …</p>`;
  const hundred = (share) => (share == null ? null : 100 * share);
  const { curve, calibration, length, rows } = found;
  return html`<section><h1>Figures</h1>
    <div class="scroll" tabindex="0" role="region" aria-label="figures"><table><tbody>${rows.map(([name, value]) => html`<tr><th scope="row">${name}</th><td>${visible(value)}</td></tr>`)}</tbody></table></div>
    ${curve && curve.k.length > 1 && html`<${Plot} title="Accuracy against k" xLabel="k" yLabel="accuracy, %" log=${true} xs=${curve.k}
      series=${[{ label: curve.estimator, ys: curve.point.map(hundred) }, { label: "low", ys: curve.low.map(hundred), dashed: true }, { label: "high", ys: curve.high.map(hundred), dashed: true }]} />`}
    ${calibration && html`<${Plot} title="Calibration: vote share against accuracy (ECE ${percent(calibration.ece)})" xLabel="vote share, %" yLabel="accuracy, %" xs=${calibration.confidence.map(hundred)}
      series=${[{ label: "right", ys: calibration.accuracy.map(hundred) }, { label: "as sure as right", ys: calibration.confidence.map(hundred), dashed: true }]} />`}
    ${length && html`<${Plot} title="Length: how often the longer response wins" xLabel="longer by up to, characters" yLabel="%" xs=${length.edges}
      series=${[{ label: "judge", ys: length.judge.map(hundred) }, { label: "gold", ys: length.gold.map(hundred), dashed: true }]} />`}
  </section>`;
}

function CompareScreen({ source, runs, a, b }) {
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  useEffect(() => { setFound(null); source.compare(a, b).then(setFound, (e) => setError(e.message)); }, [a, b]);
  const name = (i) => visible(runs[i].name);
  const pick = (which) => (e) => { location.hash = address(which === "a" ? ["compare", e.target.value, b] : ["compare", a, e.target.value]); };
  const options = runs.map((run, i) => html`<option value=${i}>${visible(run.name)}</option>`);
  return html`<section><h1>Two runs</h1>
    <p class="filters"><${Field} label="before"><select value=${a} onChange=${pick("a")}>${options}</select><//>
      <${Field} label="after"><select value=${b} onChange=${pick("b")}>${options}</select><//></p>
    ${error && html`<p class="error" role="alert">${visible(error)}</p>`}
    ${found && html`<p>${found.n_both === 1 ? "1 example is" : `${found.n_both.toLocaleString("en")} examples are`} in both; ${found.n_changed.toLocaleString("en")} verdict${found.n_changed === 1 ? " differs" : "s differ"}${found.n_changed > found.changed.length ? `, the first ${found.changed.length} below` : ""}.
      ${found.difference && html` Accuracy ${name(b)} − ${name(a)}: <b>${interval(found.difference)}</b> (paired, 95%).`}</p>
      <div class="scroll" tabindex="0" role="region" aria-label="changed verdicts"><table class="list"><thead><tr><th scope="col">query</th><th scope="col">${name(a)}</th><th scope="col">${name(b)}</th></tr></thead>
      <tbody>${found.changed.map((row) => html`<tr key=${row.id}><td class="wide" dir="auto">${visible(row.head)}</td>
        ${[[a, row.before], [b, row.after]].map(([run, side]) => html`<td><a href=${address(["run", run, row.id])}><${Outcome} kind=${side.outcome} /> ${side.best.map((i) => i + 1).join(" = ") || "–"}</a></td>`)}</tr>`)}</tbody></table></div>`}
  </section>`;
}

function RankScreen({ boot }) {
  const { systems, n_queries: queries } = boot.ranking;
  return html`<section><h1>Systems</h1><p class="dim">${queries} queries; win rate against the others, ties count one half; Bradley-Terry on the same wins.
    Length-controlled: the win rate were all answers equally long.</p>
    <div class="scroll" tabindex="0" role="region" aria-label="ranking"><table><thead><tr>${["system", "win rate", "Bradley-Terry", "length-controlled", "answers"].map((t) => html`<th scope="col">${t}</th>`)}</tr></thead>
    <tbody>${systems.map((s) => html`<tr><th scope="row">${visible(s.name)}</th><td>${interval(s.win_rate)}</td><td>${number(s.strength.point)} [${number(s.strength.low)}, ${number(s.strength.high)}]</td><td>${interval(s.length_controlled)}</td><td>${s.n}</td></tr>`)}</tbody></table></div></section>`;
}
