/** Elements from values. Text enters as text alone: nothing here reads markup. */

/** Make an element; `facts` are a class, attributes and listeners (`onclick`), `inside` text and elements. */
export function el(tag, facts = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(facts)) place(made, name, value);
  made.append(...inside.filter((each) => each || each === 0));
  return made;
}

function place(element, name, value) {
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "class") element.className = value;
  else if (name === "hidden") element.hidden = value;
  else element.setAttribute(name, value);
}

/** Show `words` in the element, or hide it when there are none. Leaves it alone when nothing changed. */
export function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
  element.hidden = !words;
}

/** Put `inside` in place of what stood there; an empty list hides the element. */
export function fill(element, ...inside) {
  const shown = inside.filter(Boolean);
  element.replaceChildren(...shown);
  element.hidden = shown.length === 0;
}
