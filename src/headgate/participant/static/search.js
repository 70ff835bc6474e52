// Searches thousands of pools on the participant's own device; without it, the same form asks the server.
const main = document.querySelector("main");
const { slug, language } = main.dataset;
const at = id => document.getElementById(id);
const text = name => at("texts").content.querySelector(`[data-text="${name}"]`).textContent;
const form = at("search"), input = at("q"), list = at("pools");

const SHOWN_MAX = 30;
const TYPING_MS = 150;   // Between two keys of somebody who goes on writing.
const SETTLED_MS = 700;  // The words stand: now they are worth announcing and asking about.

// Whoever has what they came for searches no more, and the form is gone.
const done = () => "done" in main.dataset;
const plain = words => words.normalize("NFKC").toLowerCase();

let pools = null, byId, loading = null, typing, settling;

function load() {
  loading ??= fetch(`/api/v1/campaigns/${slug}/pools`)
    .then(response => (response.ok ? response.json() : Promise.reject()))
    .then(body => {
      pools = body.pools.map(pool => ({ ...pool, words: plain(`${pool.id} ${Object.values(pool.label).join(" ")}`) }));
      byId = new Map(pools.map(pool => [pool.id, pool]));
      if (input.value.trim()) search();
    })
    .catch(() => (loading = null));
}

function row({ id, label, state }) {
  const element = at("row").content.firstElementChild.cloneNode(true);
  const written = [language, "en", ...Object.keys(label)].find(code => code in label);
  const name = element.querySelector("bdi");
  name.textContent = written ? label[written] : id;
  if (written && written !== language) name.lang = written;
  element.querySelector("small").textContent = id;
  element.querySelector("input").value = id;
  element.querySelector("input").disabled = state === "sold_out";
  element.querySelector("em").hidden = state !== "sold_out";
  return element;
}

function search() {
  clearTimeout(typing);
  if (done()) return;
  const words = plain(input.value).split(/\s+/).filter(Boolean);
  const found = words.length ? pools.filter(pool => words.every(word => pool.words.includes(word))) : [];
  // Those with something left first: thirty rows that are gone help nobody.
  found.sort((one, other) => (one.state === "sold_out") - (other.state === "sold_out"));
  const shown = found.slice(0, SHOWN_MAX);
  const kept = list.querySelector(":checked")?.closest("label");
  const there = new Map([...list.children].map(element => [element.querySelector("input").value, element]));
  const rows = shown.map(pool => there.get(pool.id) ?? row(pool));
  // What was chosen stays chosen and in sight, whatever is searched for next.
  if (kept && !rows.includes(kept)) rows.unshift(kept);
  // A list that stays as it is keeps the keyboard's place in it.
  if (rows.length !== list.children.length || rows.some((element, place) => element !== list.children[place]))
    list.replaceChildren(...rows);
  at("choice").hidden = !rows.length;
  clearTimeout(settling);
  settling = setTimeout(() => {
    if (done()) return;
    const counted = !found.length ? "choose.no_match" : found.length > SHOWN_MAX ? "choose.matches_more" : "choose.matches";
    at("found").textContent = words.length ? text(counted).replace("{count}", found.length).replace("{shown}", SHOWN_MAX) : "";
    if (shown.length) document.dispatchEvent(new CustomEvent("headgate:shown", { detail: shown.map(pool => pool.id) }));
  }, SETTLED_MS);
}

document.addEventListener("headgate:left", ({ detail }) => {
  for (const { id, state } of pools ? detail : []) byId.get(id).state = state;
});
input.addEventListener("focus", load);
input.addEventListener("input", () => {
  load();
  clearTimeout(typing);
  typing = setTimeout(() => {
    if (pools) search();
    else if (!done()) at("found").textContent = text("choose.loading");
  }, TYPING_MS);
});
form.addEventListener("submit", event => {
  // Before the list is here, the server's search answers.
  if (!pools) return;
  event.preventDefault();
  search();
});
