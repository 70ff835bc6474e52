// Keeps the page in step with its campaign: the server's clock, the phase, and what is left.
const main = document.querySelector("main");
const { slug } = main.dataset;
const large = "large" in main.dataset;
const url = `/api/v1/campaigns/${slug}`;
const at = id => document.getElementById(id);
const text = name => at("texts").content.querySelector(`[data-text="${name}"]`).textContent;

const ANSWER_MS = 10000;      // A state that takes longer is out of date when it comes.
const BACKOFF_MS = 2000;      // Doubled with every failure in a row …
const BACKOFF_MAX_MS = 60000; // … up to this.
const SLOW_MS = 1000;         // A longer round trip sets the clock only until a better one comes.
const STEP_MS = 2000;         // The server's own clock was moved.

let state = { phase: main.dataset.phase, opens_at: main.dataset.opensAt, closes_at: main.dataset.closesAt };
let offset = null, rough = true, failures = 0, timer, ticker, warned = false;

const jittered = ms => ms * (1 + Math.random() / 2);
const now = () => performance.now() + offset;

// performance.now() can't be set by anybody, so only the server decides what time it is.
function learn(serverTime, sent, received) {
  const sample = serverTime - (sent + received) / 2, slow = received - sent > SLOW_MS;
  // What comes through a cache tells an earlier time, never a later one: the largest sample is the truest.
  if (offset === null || rough || (sample > offset && !slow) || offset - sample > STEP_MS) {
    offset = sample;
    rough = slow;
  }
}

function phase() {
  if (offset === null) return state.phase;
  if (now() >= Date.parse(state.closes_at)) return "closed";
  return state.phase === "scheduled" && now() >= Date.parse(state.opens_at) ? "open" : state.phase;
}

function announce(message) {
  at("live").textContent = message;
}

function show() {
  const current = phase(), changed = current !== main.dataset.phase;
  main.dataset.phase = current;
  for (const part of document.querySelectorAll("[data-when]")) part.hidden = !part.dataset.when.split(" ").includes(current);
  if (changed) {
    announce([...document.querySelectorAll(".phase span, .lead[data-when]")].filter(part => !part.hidden).map(part => part.textContent).join(". "));
    if (current === "open") at("refusal").hidden = true;
  }
  clearTimeout(ticker);
  if (current === "scheduled" && offset !== null) count();
  else if (offset !== null && current !== "closed") ticker = setTimeout(show, Math.min(Date.parse(state.closes_at) - now(), 3600000));
}

function count() {
  const left = Math.max(0, Math.ceil((Date.parse(state.opens_at) - now()) / 1000));
  if (!at("timer")) at("countdown").replaceChildren(at("clock").content);
  const parts = [Math.floor(left / 86400), Math.floor(left / 3600) % 24, Math.floor(left / 60) % 60, left % 60];
  document.querySelectorAll("#timer b").forEach((part, place) => (part.textContent = String(parts[place]).padStart(2, "0")));
  at("days").hidden = !parts[0];
  if (left <= 60 && left > 50 && !warned) {
    warned = true;
    announce(text("countdown.soon"));
  }
  const next = (Date.parse(state.opens_at) - now()) % 1000;
  ticker = setTimeout(show, next > 0 ? next : 1000 + next);
}

function mark(pools) {
  document.dispatchEvent(new CustomEvent("headgate:left", { detail: pools }));
  for (const { id, state: left } of pools) {
    const input = document.querySelector(`#pools input[value="${CSS.escape(id)}"]`), gone = left === "sold_out";
    if (!input || input.disabled === gone) continue;
    if (gone && input.checked) {
      input.checked = false;
      announce(text("choose.chosen_gone"));
    }
    input.disabled = gone;
    input.closest("label").querySelector("em").hidden = !gone;
  }
}

// Of a big campaign only the pools that matter here are asked for; a small one has one address for all, which caches well.
async function ask(ids) {
  const sent = performance.now();
  const response = await fetch(large ? `${url}?pools=${ids.map(encodeURIComponent)}` : url, { signal: AbortSignal.timeout?.(ANSWER_MS) });
  if (!response.ok) throw response;
  const body = await response.json();
  learn(Date.parse(body.server_time) || Date.parse(response.headers.get("date")), sent, performance.now());
  if (!(Date.parse(body.server_time) < Date.parse(state.server_time))) state = body;
  mark(body.pools);
  show();
}

const chosen = () => [...document.querySelectorAll("#pools :checked")].map(input => input.value);

async function poll() {
  clearTimeout(timer);
  if (document.hidden || "done" in main.dataset) return;
  let wait;
  try {
    await ask(chosen());
    failures = 0;
    wait = state.poll_after_ms;
  } catch (problem) {
    const asked = Number(problem.headers?.get("retry-after")) * 1000 || 0;
    wait = Math.max(asked, Math.min(BACKOFF_MS * 2 ** failures++, BACKOFF_MAX_MS));
  }
  if (phase() !== "closed") timer = setTimeout(poll, jittered(wait));
}

document.addEventListener("visibilitychange", poll);
document.addEventListener("headgate:shown", ({ detail }) => ask(detail).catch(() => {}));
poll();
