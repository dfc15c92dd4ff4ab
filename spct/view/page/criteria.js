/* Criteria as rows, responses as columns: what every vote says of each cell, and the totals. */

const MET = (vote) => (vote == null ? "∅" : vote >= 0.75 ? "●" : vote > 0.25 ? "◐" : "○");

function Cell({ item, cell, isGate }) {
  const helps = cell.p == null ? "" : (item.kind === "pitfall") === (cell.p < 0.5) ? "good" : "bad";
  const told = `votes: ${cell.votes.map((v) => (v == null ? "not scored" : number(v))).join(", ")}`;
  return html`<td class="cell ${helps}"><b>${cell.p == null ? "not scored" : number(cell.p)}</b>
    ${" "}<span class="ballots" role="img" aria-label=${told} title=${told}>${cell.votes.map(MET).join("")}</span>
    ${isGate && html` <span class="tag gate">gate failed</span>`}</td>`;
}

function CriterionHead({ item }) {
  return html`<th scope="row"><span dir="auto">${visible(item.name)}</span> <span class="tag">${number(item.weight)}</span>
    ${item.kind !== "met" && html` <span class="tag ${item.kind}">${item.kind}</span>`}${item.required && html` <span class="tag gate">required</span>`}
    <div class="statement" dir="auto">${visible(item.text)}</div></th>`;
}

function Criteria({ found }) {
  const { cells, totals } = found.by_criteria;
  const items = found.criteria.items;
  const gates = (i) => totals[i]?.gates ?? [];
  const row = (name, value) => html`<tr><th scope="row">${name}</th>${cells.map((_, i) => html`<td>${value(i)}</td>`)}</tr>`;
  return html`<section aria-label="criteria"><h2>Criteria</h2>
    <p class="dim">${cells.length === 0 ? "This format scores a response as a whole, with all criteria in view."
      : "Share of the votes that say a statement holds, and each vote: ● holds, ○ does not, ◐ between, ∅ not scored. A pitfall that holds costs its weight."}</p>
    <div class="scroll" tabindex="0" role="region" aria-label="criteria"><table class="criteria">
      <thead><tr><th scope="col">criterion, weight</th>${cells.map((_, i) => html`<th scope="col">response ${i + 1}</th>`)}</tr></thead>
      <tbody>${items.map((item, j) => html`<tr key=${j}><${CriterionHead} item=${item} />${cells.map((line, i) =>
        html`<${Cell} item=${item} cell=${line[j]} isGate=${gates(i).includes(j)} />`)}</tr>`)}
        ${cells.length > 0 && html`${row("total, gates apart", (i) => (totals[i] ? number(totals[i].total) : "not scored"))}
          ${row("reward", (i) => html`<b>${found.rewards ? number(found.rewards[i]) : "–"}</b>${gates(i).length > 0 && html` <span class="tag gate">below all that pass</span>`}`)}`}
      </tbody></table></div></section>`;
}
