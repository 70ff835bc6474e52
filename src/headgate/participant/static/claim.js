// Sends a reservation: one intent, one key, however often the network or the server asks us to try again.
const main = document.querySelector("main");
const { slug } = main.dataset;
const single = "single" in main.dataset;
const url = `/api/v1/campaigns/${slug}`;
const at = id => document.getElementById(id);
const text = name => at("texts").content.querySelector(`[data-text="${name}"]`)?.textContent;
const form = at("claim"), button = form.querySelector(".go button");

const ANSWER_MS = 15000;  // After this nobody knows what became of a request, so we ask.
const WAIT_MAX_S = 30;    // Whoever shall wait longer is told so, not kept guessing.
const LOOK_MAX_S = 5;     // How often whoever waits for a decision looks, in the end.
const KNOWN_MAX = 100;
// Answers after which the same request may still succeed, and how often it is made at most.
const TRIES = { not_open: 3, rate_limited: 6, overloaded: 6, unknown: 6 };

const sleep = ms => new Promise(done => setTimeout(done, ms));
const digits = () => crypto.randomUUID?.() ?? Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, "0")).join("");

// Storage may be forbidden or full; then we only forget sooner.
function stored(area, value) {
  const key = `headgate:${slug}`;
  try {
    if (value !== undefined) area().setItem(key, JSON.stringify(value));
    return JSON.parse(area().getItem(key));
  } catch {
    return null;
  }
}
const local = () => localStorage, tab = () => sessionStorage;

let busy = false, session = null;
let intent = stored(tab);            // Survives a reload, because the request that it names may have arrived.
let known = stored(local) ?? [];     // Ids of claims that were shown here before.

async function call(method, path, { body, key } = {}) {
  const headers = {};
  if (body) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  try {
    const response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout?.(ANSWER_MS) });
    const answer = await response.json().catch(() => ({}));
    const outcome = answer.outcome ?? (response.status >= 500 ? "unknown" : "unexpected");
    return { ...answer, outcome, status: response.status, ok: response.ok, wait: Number(response.headers.get("retry-after")) || 0 };
  } catch {
    return { outcome: "unknown", ok: false, wait: 0 };
  }
}

async function signIn() {
  session ??= call("POST", "/api/v1/sessions");
  const answer = await session;
  if (!answer.ok) session = null;
  return answer;
}

const alive = claim => !["cancelled", "expired"].includes(claim.status);

// A request whose answer got lost may have been recorded: then its claim is there, and new to us.
async function recorded() {
  const { claims = [] } = await call("GET", `${url}/claims/mine`);
  return claims.find(claim => alive(claim) && claim.pool === intent.pool && !known.includes(claim.id));
}

// The request waits: its decision is read where one's claims are.
async function decision() {
  for (let wait = 1, asked = 0; ; wait = Math.min(wait * 1.5, LOOK_MAX_S)) {
    await sleep(Math.max(wait, asked) * 1000 * (1 + Math.random() / 2));
    const mine = await call("GET", `${url}/claims/mine`);
    asked = mine.wait;
    if (mine.pending || (!mine.ok && mine.outcome in TRIES)) continue;
    const here = (mine.claims ?? []).filter(claim => alive(claim) && claim.pool === intent.pool);
    const claim = here.find(claim => !known.includes(claim.id)) ?? (single ? here[0] : undefined);
    if (claim) return { claim, status: known.includes(claim.id) ? 200 : 201 };
    // Neither a claim nor a refusal of this request: it was lost, and is sent again.
    return mine.ok && mine.pool !== intent.pool ? { ...mine, outcome: "unknown" } : mine;
  }
}

async function reserve() {
  let anonymous = 0;
  for (let tries = 1; ; tries++) {
    let answer = await signIn();
    if (answer.ok) answer = await call("POST", `${url}/claims`, { body: { pool: intent.pool }, key: intent.key });
    if (answer.outcome === "pending") {
      say("progress", text("reserve.pending"));
      answer = await decision();
    }
    if (answer.claim) return answer;
    if (answer.outcome === "no_session" && !anonymous++) {
      session = null;
      continue;
    }
    if (tries >= (TRIES[answer.outcome] ?? 0) || answer.wait > WAIT_MAX_S) return answer;
    const wait = Math.min(Math.max(answer.wait, 2 ** (tries - 1)), WAIT_MAX_S) * (1 + Math.random() / 2);
    const message = { unknown: "reserve.checking", not_open: "reserve.sending" }[answer.outcome] ?? "reserve.waiting";
    say("progress", text(message).replace("{seconds}", Math.ceil(wait)));
    await sleep(wait * 1000);
    if (answer.outcome === "unknown") {
      const claim = await recorded();
      if (claim) return { claim, status: 201 };
    }
  }
}

function say(id, message) {
  at(id).textContent = message;
  at(id).hidden = !message;
}

function refuse({ outcome, reason }) {
  say("refusal", text(`refusal.${outcome}.${reason}`) ?? text(`refusal.${outcome}`) ?? text("refusal.unexpected"));
  at("refusal").scrollIntoView({ block: "nearest" });
  if (outcome === "limit_reached") at("held").hidden = false;
}

function celebrate({ claim, status }) {
  known = stored(local, [claim.id, ...known.filter(id => id !== claim.id)].slice(0, KNOWN_MAX)) ?? [claim.id];
  const name = document.querySelector(`#pools input[value="${CSS.escape(claim.pool)}"] + .name bdi`);
  at("place").replaceChildren(name?.cloneNode(true) ?? claim.pool);
  at("code").textContent = claim.code;
  at("outcome").textContent = text(status === 200 ? "result.repeated" : "result.done");
  at("result").hidden = false;
  at("held").hidden = true;
  if (single) {
    main.dataset.done = "";
    for (const part of [form, at("search"), document.querySelector(".lead[data-when=sold_out]")]) part?.remove();
  } else {
    button.textContent = text("reserve.another");
    form.reset();
  }
  at("outcome").focus();
  at("result").scrollIntoView({ block: "nearest" });
}

async function settle(pool) {
  if (intent && intent.pool !== pool) {
    // Another choice than the one whose fate is unknown: that one comes first.
    const claim = await recorded();
    if (claim) return { claim, status: 201 };
    intent = null;
  }
  intent ??= { pool, key: digits() };
  stored(tab, intent);
  return reserve();
}

form.addEventListener("submit", async event => {
  event.preventDefault();
  if (busy) return;
  const pool = new FormData(form).get("pool");
  if (!pool) return say("refusal", text("choose.first"));
  busy = true;
  button.setAttribute("aria-disabled", "true");
  say("refusal", "");
  say("progress", text("reserve.sending"));
  const answer = await settle(pool);
  // Only an answer that is certain ends an intent: until then another click must mean the same request.
  if (!(answer.outcome in TRIES)) intent = stored(tab, null);
  busy = false;
  button.removeAttribute("aria-disabled");
  say("progress", "");
  if (answer.claim) celebrate(answer);
  else refuse(answer);
});

// Signing in as soon as somebody chooses keeps that request out of the busiest second.
form.addEventListener("change", signIn);

if (known.length) {
  call("GET", `${url}/claims/mine`).then(({ claims }) => {
    if (!claims) return;
    const mine = claims.filter(alive).map(claim => claim.id);
    at("held").hidden = !mine.length || !at("result").hidden;
    if (!mine.length) known = stored(local, []) ?? [];
  });
}
