// Keeps a batch's page as the server has it, every two seconds, until the batch has ended; a page that nobody sees rests.
const EVERY_MS = 2000;

function put(page, told) {
  for (const [name, html] of Object.entries(told.parts)) {
    const part = page.querySelector(`[data-part="${name}"]`);
    if (part && part.told !== html) part.innerHTML = part.told = html;
  }
  for (const act of page.querySelectorAll("[data-act]")) act.hidden = !told.acts.includes(act.dataset.act);
  putBar(page.querySelector(".gx-across"), told.bar);
  putSquares(page.querySelector(".gx-heat"), told.squares);
}

function putBar(across, bar) {
  const [good, bad] = across.querySelector(".gx-progress").children;
  good.style.width = bar.good;
  bad.style.width = bar.bad;
  across.querySelector("[data-told]").textContent = bar.told;
  across.setAttribute("aria-valuetext", bar.told);
}

function putSquares(heat, squares) {
  while (heat.children.length > squares.length) heat.lastChild.remove();
  squares.forEach(([tone, fill, isHurt, told], index) => {
    const cell = heat.children[index] ?? heat.appendChild(newSquare());
    cell.className = `gx-cell gx-${tone}${isHurt ? " gx-hurt" : ""}`;
    cell.title = told;
    cell.firstChild.style.height = `${fill}%`;
  });
}

function newSquare() {
  const cell = document.createElement("i");
  cell.appendChild(document.createElement("b"));
  return cell;
}

async function look(page) {
  const answer = await fetch(page.dataset.liveAddress, { credentials: "same-origin" });
  if (!answer.ok) return true;
  const told = await answer.json();
  put(page, told);
  return told.is_live;
}

async function follow(page) {
  const isLive = document.hidden ? true : await look(page).catch(() => true);
  if (isLive) setTimeout(follow, EVERY_MS, page);
}

document.addEventListener("DOMContentLoaded", () => {
  const page = document.querySelector("[data-live-address]");
  if (page) setTimeout(follow, EVERY_MS, page);
});
