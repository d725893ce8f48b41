// Keeps the gauges fresh while the page is looked at. The server draws; whoever is signed out stays with the last picture.
const EVERY_MS = 2000;

async function refresh(place) {
  const answer = await fetch(place.dataset.source, { credentials: "same-origin", headers: { Accept: "application/json" } });
  if (!answer.ok || answer.redirected) return;
  place.innerHTML = (await answer.json()).html;
}

async function follow(place) {
  if (!document.hidden) await refresh(place).catch(() => {});
  setTimeout(follow, EVERY_MS, place);
}

const place = document.getElementById("gauges");
if (place) setTimeout(follow, EVERY_MS, place);
