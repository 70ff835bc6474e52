// On the page of one's claims while a request waits: looks until it is decided, and shows the page anew then.
const main = document.querySelector("main");
const LOOK_MAX_S = 5;

async function look(wait) {
  let decided = false;
  try {
    const response = await fetch(`/api/v1/campaigns/${main.dataset.slug}/claims/mine`);
    decided = response.ok && (await response.json()).pending === false;
  } catch {
    // The network is away; later, then.
  }
  if (decided) location.reload();
  else setTimeout(look, wait * 1000 * (1 + Math.random() / 2), Math.min(wait * 1.5, LOOK_MAX_S));
}

look(1);
