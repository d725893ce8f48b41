// Keeps what is marked data-live as the server has it, as long as something of it is marked data-open.
const EVERY_MS = 1000;

function marked(root) {
  return new Map([...root.querySelectorAll("[data-live]")].map((part) => [part.dataset.live, part]));
}

async function refresh() {
  const answer = await fetch(location.href, { credentials: "same-origin" });
  if (!answer.ok) return;
  const fresh = marked(new DOMParser().parseFromString(await answer.text(), "text/html"));
  for (const [name, part] of marked(document)) {
    const now = fresh.get(name);
    if (now && now.outerHTML !== part.outerHTML) part.replaceWith(document.adoptNode(now));
  }
}

async function follow() {
  if (!document.querySelector("[data-live][data-open]")) return;
  if (!document.hidden) await refresh().catch(() => {});
  setTimeout(follow, EVERY_MS);
}

addEventListener("DOMContentLoaded", follow);
