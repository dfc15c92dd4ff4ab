/* One example: its responses beside each other, the votes, and the k judgements that cast them. */

function Turn({ turn, marks }) {
  return html`<div class="turn"><span class="role">${visible(turn.role)}</span><${Prose} text=${turn.content} marks=${marks} /></div>`;
}

function Conversation({ example }) {
  const reference = example.reference != null &&
    html`<div class="turn"><span class="role">reference</span><${Prose} text=${example.reference} /></div>`;
  return html`<div class="card">${example.query.map((turn) => html`<${Turn} turn=${turn} />`)}${reference}</div>`;
}

function Responses({ found, scale, quoted }) {
  const { example, rewards, best, winner } = found;
  const top = example.gold && Math.max(...example.gold);
  return html`<div class="responses" style=${{ "--n": example.responses.length }}>${example.responses.map((text, i) => {
    const isBest = best.includes(i);
    const isGold = example.gold && example.responses.length > 1 && example.gold[i] === top;
    return html`<article class="card response ${isBest ? "best" : ""}" key=${i} aria-label="response ${i + 1}">
      <h3>Response ${i + 1}
        ${winner === i && html` <span class="tag win">wins</span>`}${isBest && winner == null && example.responses.length > 1 && html` <span class="tag">tied</span>`}
        ${isGold && html` <span class="tag gold">gold</span>`}${found.by_criteria?.totals[i]?.gates.length > 0 && html` <span class="tag gate">gated</span>`}</h3>
      <p class="reward"><b>${rewards ? onScale(rewards[i], scale) : "no reward"}</b>${
        example.gold && html` <span class="dim">gold ${number(example.gold[i])}</span>`}</p>
      <${Prose} text=${text} marks=${quotedIn(text, quoted)} />
    </article>`;
  })}</div>`;
}

/* One cell a sample: who it votes for, whether it counts, and who leads after it. */
function Votes({ found }) {
  const { trajectories, votes } = found;
  const name = (tops) => (tops.length ? tops.map((i) => i + 1).join("=") : "∅");
  return html`<section aria-label="votes"><h2>Votes</h2>
    <p class="dim">${found.k_counted} of ${found.k_drawn} drawn judgements count${
      found.k_drawn < found.k_asked ? `; stopped before ${found.k_asked}` : ""}${
      found.agreement != null && found.k_counted > 1 && found.example.responses.length > 1 ? `; ${percent(found.agreement, 0)} agree with the verdict` : ""}.
      ${Object.entries(votes.stops).map(([rule, at]) =>
        html` <span class="tag">${rule} ${at == null ? "would not have stopped" : `would have stopped after ${at}`}</span>`)}</p>
    <div class="scroll" tabindex="0" role="region" aria-label="votes"><table class="strip"><tbody>
      <tr><th scope="row">sample</th>${trajectories.map((t) => html`<td><a href="#sample-${t.index}" onClick=${(e) => { e.preventDefault(); document.getElementById(`sample-${t.index}`)?.scrollIntoView(); }}>${t.index + 1}</a></td>`)}</tr>
      <tr><th scope="row">votes for</th>${votes.each.map((v) => html`<td class=${v.counts ? "" : "dropped"}>${name(v.best)}</td>`)}</tr>
      <tr><th scope="row">weight</th>${votes.each.map((v) => html`<td>${v.counts ? number(v.weight) : "0"}</td>`)}</tr>
      ${votes.each.some((v) => v.meta != null) && html`<tr><th scope="row">meta RM</th>${votes.each.map((v) => html`<td>${percent(v.meta, 0)}</td>`)}</tr>`}
      <tr><th scope="row">leader so far</th>${votes.each.map((v) => html`<td>${name(v.running)}</td>`)}</tr>
    </tbody></table></div></section>`;
}

function Orders({ found, scale }) {
  const { orders } = found.votes;
  if (orders.length < 2) return null;
  return html`<section aria-label="orders"><h2>By the order shown</h2>
    <div class="scroll" tabindex="0" role="region" aria-label="orders"><table><thead><tr><th scope="col">shown order</th><th scope="col">samples</th>${
      found.example.responses.map((_, i) => html`<th scope="col">response ${i + 1}</th>`)}<th scope="col">wins</th></tr></thead>
    <tbody>${orders.map((o) => html`<tr><th scope="row">${o.order.map((i) => i + 1).join(", ")}</th><td>${o.counted} of ${o.drawn}</td>${
      found.example.responses.map((_, i) => html`<td>${o.means ? onScale(o.means[i], scale) : "–"}</td>`)}
      <td>${o.best.map((i) => i + 1).join(" = ") || "–"}${o.flips ? html` <span class="flip">⇄ differs</span>` : ""}</td></tr>`)}</tbody></table></div></section>`;
}

function Lane({ found, trajectory: t, scale, model }) {
  const { example } = found;
  const sources = [...example.responses, ...example.query.map((turn) => turn.content), example.reference ?? ""];
  const vote = found.votes.each.find((v) => v.index === t.index);
  return html`<article class="card lane ${vote?.counts ? "" : "dropped"}" id="sample-${t.index}" aria-label="sample ${t.index + 1}">
    <h3>Sample ${t.index + 1} ${vote && !vote.counts && html`<span class="tag">does not vote</span>`}
      ${t.order.length > 1 && !t.parts && html` <span class="dim">shown as ${t.order.map((i) => i + 1).join(", ")}</span>`}</h3>
    ${t.unscored
      ? html`<p class="error">unscored: ${t.unscored.reason}${t.unscored.detail && html`. <span dir="auto">${visible(t.unscored.detail)}</span>`}</p>`
      : html`${t.principles.length > 0 && html`<ol class="principles">${t.principles.map((p) =>
            html`<li><b dir="auto">${visible(p.name || "criterion")}</b>${p.weight && html` <span class="tag">${visible(p.weight)}</span>`} <span dir="auto">${visible(p.text)}</span></li>`)}</ol>`}
          <${Prose} text=${t.critique} marks=${quotations(t.critique, sources)} order=${t.order} label="critique" />
          <p class="scores">${t.scores.map((s, i) => html`<span class=${s === Math.max(...t.scores) ? "top" : ""}>${i + 1}: ${onScale(s, scale)}</span> `)}</p>`}
    <details><summary>${t.parts ? "prompts and raw replies" : "prompt and raw reply"}</summary>
      ${(t.parts ?? [t]).map((reply) => html`<${Raw} found=${found} reply=${reply} model=${model} />`)}
      <p class="dim">${visible(t.fingerprint)}</p>
    </details></article>`;
}

/* What the judge model read and wrote, word for word; a judgement by criteria has several of these. */
function Raw({ found, reply, model }) {
  const prompt = found.prompts[reply.prompt];
  const shown = (prompt.criteria ?? []).map((i) => found.criteria.items[i].name).join(", ");
  const curl = () => curlOf(prompt, reply, model, found.sampling);
  return html`<div class="raw">${prompt.order.length === 1 && shown && html`<h4>response ${prompt.order[0] + 1}: <span dir="auto">${visible(shown)}</span></h4>`}
    ${prompt.messages.map((m) => html`<span class="role">${m.role}</span><pre dir="auto">${visible(m.content)}</pre>`)}
    <span class="role">reply</span><pre dir="auto">${visible(reply.text)}</pre>
    <p class="dim">ended: ${reply.finish_reason}; seed ${reply.seed}; ${reply.usage.completion_tokens} tokens written</p>
    <p><${Copy} name="as curl" text=${curl} /> <${Copy} name="reply" text=${reply.text} /></p></div>`;
}

function curlOf(prompt, t, model, sampling) {
  const body = JSON.stringify({ model: model ?? "MODEL", messages: prompt.messages, seed: t.seed, ...sampling });
  const quoted = `'${body.replace(/'/g, "'\\''")}'`;
  return `curl "$OPENAI_BASE_URL/chat/completions" -H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" -d ${quoted}`;
}

/* A person's own verdict: one key each, kept in the run, shown beside the judge's. */
function Human({ source, index, found, reload }) {
  const [note, setNote] = useState(found.human?.note ?? "");
  const [error, setError] = useState(null);
  const n = found.example.responses.length;
  async function mark(value) {
    try {
      await source.mark(index, found.key, value, note);
      setError(null);
      reload();
    } catch (e) { setError(e.message); }
  }
  const keys = { t: () => mark("tie"), s: () => mark("skip") };
  for (let i = 1; i <= Math.min(n, 9); i++) keys[String(i)] = () => mark(i - 1);
  useKeys(source.live ? keys : {});
  if (!source.live) {
    return found.human && html`<p class="human">a person's verdict: ${describe(found.human.mark)} <span dir="auto">${visible(found.human.note)}</span></p>`;
  }
  const current = found.human?.mark;
  const option = (value, label) =>
    html`<button class=${current === value ? "on" : ""} aria-pressed=${current === value} onClick=${() => mark(value)}>${label}</button>`;
  return html`<section class="human card" aria-label="your verdict"><h2>Your verdict</h2>
    <p>${found.example.responses.map((_, i) => option(i, `${i + 1}`))} ${option("tie", "tie (t)")} ${option("skip", "skip (s)")}
      <label class="field inline"><span>note</span><input value=${note} onInput=${(e) => setNote(e.target.value)}
        onChange=${() => current != null && mark(current)} /></label></p>
    ${error && html`<p class="error" role="alert">${visible(error)}</p>`}</section>`;
}

const describe = (mark) => (typeof mark === "number" ? `response ${mark + 1}` : mark);

function ExampleScreen({ source, run, index, id, filter }) {
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  const load = () => source.example(index, id).then((f) => (setFound(f), setError(null)), (e) => setError(e.message));
  useEffect(() => { setFound(null); load(); }, [index, id]);
  const step = (by) => neighbour(source, index, filter, id, by).then((next) => next && (location.hash = address(["run", index, next], filter)));
  useKeys({ j: () => step(1), k: () => step(-1), Escape: () => (location.hash = address(["run", index], filter)) });
  if (error) return html`<p class="error" role="alert">${visible(error)}</p>`;
  if (!found) return html`<p role="status">reading …</p>`;
  if (!found.example) return html`<p class="error">This run keeps no texts beside its verdicts: rewards ${JSON.stringify(found.rewards)}.</p>`;
  const scale = run.scale;
  const critiques = found.trajectories.map((t) => t.critique ?? "");
  const quoted = critiques.flatMap((c) => quotations(c, found.example.responses)).filter((q) => q.kind === "found").map((q) => q.words);
  return html`<section>
    <p class="pages"><a href=${address(["run", index], filter)}>list (Esc)</a> <button onClick=${() => step(-1)}>previous (k)</button> <button onClick=${() => step(1)}>next (j)</button></p>
    <h1 dir="auto">${visible(found.id)} <${Outcome} kind=${found.outcome} /></h1>
    <${Conversation} example=${found.example} />
    <${Responses} found=${found} scale=${scale} quoted=${quoted} />
    ${found.by_criteria && html`<${Criteria} found=${found} />`}
    <${Human} key=${`${id} ${found.human?.mark}`} source=${source} index=${index} found=${found} reload=${load} />
    ${found.trajectories.length > 0 && html`<${Votes} found=${found} /><${Orders} found=${found} scale=${scale} />
      <h2>Judgements</h2><p class="dim"><mark class="found">quoted</mark> stands in a response or the query, <mark class="missing">quoted</mark> in none of them. Scores are in the order above.</p>
      <div class="lanes">${found.trajectories.map((t) => html`<${Lane} key=${t.index} found=${found} trajectory=${t} scale=${scale} model=${run.model} />`)}</div>`}
    <p class="dim">${found.usage.prompt_tokens} + ${found.usage.completion_tokens} tokens in ${found.usage.calls} calls${found.price && html`; ${found.price}`}${" "}
      <${Copy} name="JSON" text=${() => JSON.stringify(found, null, 1)} /> <${Copy} name="Example row" text=${() => JSON.stringify(found.example)} /></p>
  </section>`;
}

/* The example before or after this one in the filtered list: beside where it was seen, else searched for. */
async function neighbour(source, index, filter, id, by) {
  async function look(start, limit) {
    const { rows, total } = await source.list(index, { ...filter, offset: start, limit });
    remember(index, filter, rows, start);
    return { rows, total, at: rows.findIndex((row) => row.id === id) };
  }
  const place = places.get(placeKey(index, filter, id));
  if (place != null) {
    const { rows, at } = await look(Math.max(0, place - 1), 3);
    if (at >= 0) return rows[at + by]?.id ?? null;
  }
  for (let offset = 0; ; offset += 500) {
    const start = Math.max(0, offset - (offset ? 1 : 0));
    const { rows, total, at } = await look(start, 502);
    if (at >= 0 && rows[at + by]) return rows[at + by].id;
    if (start + rows.length >= total) return null;
  }
}
