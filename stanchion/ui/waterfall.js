// The rows of the waterfall. Everything that comes from a run is set as text, never as HTML.

const WORDS = {
  "queued": "queued",
  "running": "at work",
  "calling": "asking a model",
  "failed call": "a request that failed",
  "backing off": "waiting to ask again",
  "waiting": "waiting for a person",
};

function made(tag, className, text) {
  const element = document.createElement(tag);
  element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function bar(one) {
  const element = made("span", "bar " + one.doing.replaceAll(" ", "-") + (one.open ? " open" : ""));
  element.style.left = `min(${one.left}%, calc(100% - 3px))`;
  element.style.width = `${one.width}%`;
  element.title = one.said;
  return element;
}

function cut(one) {
  const element = made("span", "cut");
  element.style.left = `${one.at}%`;
  return element;
}

function row(one, cuts, isChosen, choose) {
  const element = made("button", isChosen ? "row chosen" : "row");
  element.type = "button";
  element.setAttribute("aria-label", one.said);
  if (isChosen) element.setAttribute("aria-current", "step");
  const lane = made("span", "lane");
  lane.append(...cuts.map(cut), ...one.bars.map(bar));
  const node = made("span", "node", one.again ? `${one.node} ${one.again}` : one.node);
  node.title = one.said;
  element.append(made("span", "number", one.position), node, made("span", "word", one.word), lane,
    made("span", "time", one.time));
  element.addEventListener("click", () => choose(one.position));
  return element;
}

function foot(rows, cuts) {
  const element = made("div", "foot");
  const doing = new Set(rows.flatMap((one) => one.bars.map((each) => each.doing)));
  for (const [name, word] of Object.entries(WORDS)) {
    if (!doing.has(name)) continue;
    const key = made("span", "key");
    const swatch = made("span", "swatch");
    swatch.append(made("span", "bar " + name.replaceAll(" ", "-")));
    key.append(swatch, made("span", "", word));
    element.append(key);
  }
  if (cuts.length) element.append(made("span", "key", `┊ cut short: nobody worked for ${cuts.map((one) => one.text).slice(0, 4).join(", ")}`));
  return element;
}

// --- Choosing: by a click, or with Left and Right  ---

const PATIENCE = 3000; // milliseconds in which what was chosen here counts for more than an older page that arrives

function chosenNow(home, data) {
  const wanted = home.wanted;
  const isNewer = wanted && wanted.run === data.run && wanted.position !== data.chosen && Date.now() - wanted.at < PATIENCE;
  if (!isNewer) home.wanted = null;
  return isNewer ? wanted.position : data.chosen;
}

function isWriting(element) {
  return element.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(element.tagName);
}

// Arrow keys belong to whatever somebody reached with the Tab key, such as tabs; after a click they step.
function listen(home, step) {
  let reachedByKey = false;
  const pointed = () => { reachedByKey = false; };
  const pressed = (event) => {
    if (event.key === "Tab") reachedByKey = true;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    const target = event.composedPath()[0];
    const isOurs = home.getRootNode() === target.getRootNode() && home.contains(target);
    if (isWriting(target) || (reachedByKey && !isOurs && target !== document.body)) return;
    event.preventDefault();
    event.stopPropagation();
    step(by);
  };
  document.addEventListener("pointerdown", pointed, true);
  document.addEventListener("keydown", pressed, true);
  return () => {
    document.removeEventListener("pointerdown", pointed, true);
    document.removeEventListener("keydown", pressed, true);
  };
}

export default function ({ data, parentElement, setTriggerValue }) {
  const home = parentElement.querySelector(".waterfall");
  const choose = (position) => {
    home.wanted = { run: home.data.run, position, at: Date.now() };
    show();
    setTriggerValue("chosen", position);
  };
  const show = () => {
    const scrolled = home.firstChild ? home.firstChild.scrollTop : 0;
    const at = chosenNow(home, home.data);
    const rows = made("div", "rows");
    rows.append(...home.data.rows.map((one) => row(one, home.data.cuts, one.position === at, choose)));
    home.replaceChildren(rows, foot(home.data.rows, home.data.cuts));
    rows.scrollTop = scrolled;
    const chosen = rows.querySelector(".chosen");
    if (chosen && (chosen.offsetTop < rows.scrollTop || chosen.offsetTop > rows.scrollTop + rows.clientHeight - 30)) {
      rows.scrollTop = chosen.offsetTop - rows.clientHeight / 2;
    }
  };
  home.data = data;
  show();
  home.deafen?.();
  home.deafen = listen(home, (by) => {
    const position = chosenNow(home, home.data) + by;
    if (position >= 1 && position <= home.data.number) choose(position);
  });
  return () => home.deafen?.();
}
