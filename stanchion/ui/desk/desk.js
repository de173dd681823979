// The desk: one case on the screen, answered by keys that are bound to it here, in the browser.
//
// Everything from documents, models and people is written with textContent, never as HTML. What the person sees changes
// only when they do something: news from the server never puts another case under their fingers. Answers wait a few
// seconds, in which they can be undone; then they are told to the server until it says what became of each.

const UNDO_MS = 4000; // how long an answer can be undone
const SETTLE_MS = 700; // a case that came by itself takes no answer before it can have been seen
const LOW = 6; // ask for more cases when so few are left
const MOST_HELD = 24; // of a longer pile, the rest is asked for again when its turn comes
const MOST_TOLD = 500;
const BEAT_MS = 20_000; // how often the server hears of somebody at work, so that their cases stay theirs
const ACTIVE_MS = 90_000; // who did nothing for so long is not at work
const IDLE_BEAT_MS = 15_000; // how often an empty desk looks whether something came
const MARGIN_MS = 5000; // a case is covered so long before it may go to somebody else
const NO_WORD_MS = 10_000; // after so long without a word from the server, that is said

const desks = new WeakMap(); // shadow root to its desk

/** Called by Streamlit when the desk appears, and again with all news. */
export default function mount({ data, parentElement, setStateValue }) {
  let desk = desks.get(parentElement);
  if (!desk) {
    desk = new Desk(parentElement);
    desks.set(parentElement, desk);
  }
  desk.send = (told) => setStateValue("told", told);
  desk.receive(data);
  return () => {
    if (parentElement.isConnected) return; // only news came meanwhile
    desks.delete(parentElement);
    desk.leave();
  };
}

const ACTIONS = [
  { key: "a", label: "Approve", does: "approve", help: "The proposal is right.", answers: true },
  { key: "e", label: "Edit", does: "edit", help: "Correct the fields: Enter saves, Esc leaves.", answers: true },
  { key: "x", label: "Reject", does: "reject", help: "Refuse the document; asks for the reason.", answers: true },
  { key: "n", also: "ArrowRight", label: "Skip", does: "skip", help: "Look at the next case; this one stays open." },
  { key: "p", also: "ArrowLeft", label: "Back", does: "back", help: "Return to the case that was skipped last." },
  { key: "u", label: "Undo", does: "undo", help: "Take back the last answer, until it is sent." },
  { key: "j", also: "ArrowDown", label: "Next field", does: "nextField", help: "Show where the next value stands." },
  { key: "k", also: "ArrowUp", label: "Previous field", does: "previousField", help: "The same for the one before." },
  { key: "g", label: "Go to refused", does: "toRefused", help: "Go to an answer that was not taken.", hidden: true },
  { key: "?", label: "Help", does: "help", help: "Show or hide this list." },
];
const ARROWS = { ArrowRight: "→", ArrowLeft: "←", ArrowDown: "↓", ArrowUp: "↑" };
const DONE = { approve: "Approved", edit: "Edited", reject: "Rejected" };

class Desk {
  constructor(root) {
    this.root = root;
    this.cases = new Map(); // id to its case, as it came
    this.standing = new Map(); // id to its age, due time and lease, on the clock of this browser
    this.pile = []; // ids of what is still to be looked at; the first is on the screen
    this.skipped = []; // ids, the latest last
    this.answers = []; // given here, until the server said what became of them
    this.drafts = new Map(); // id to what was typed: {fields: {name: text}, reason}; kept until an answer was taken
    this.lost = new Map(); // id to why it can not be answered here any more
    this.refused = new Map(); // id to why its answer was not taken
    this.over = []; // what to say of cases that are here no more, until the next answer
    this.mode = "read"; // or edit, or reject
    this.waiting = 0; // cases in all, by the server's word
    this.workflow = undefined;
    this.first = ""; // the last wish to see one case that was followed
    this.nonces = 0;
    this.session = Array.from(crypto.getRandomValues(new Uint32Array(3)), (part) => part.toString(36)).join("");
    this.beat = 0;
    this.toldAt = this.activeAt = this.shownAt = performance.now();
    this.listening = new AbortController();
    this.listen();
    this.makeKeys();
  }

  // --- What comes from the server ---

  receive(news) {
    const before = this.current();
    this.news = news;
    this.waiting = news.waiting;
    if (this.workflow !== undefined && this.workflow !== news.workflow) [this.pile, this.skipped] = [[], []];
    this.workflow = news.workflow;
    this.settle(news.acks, news.gone);
    for (const id of news.gone) this.forgetErased(id);
    this.take(news.cases);
    for (const [id, why] of Object.entries(news.lost)) this.lose(id, why);
    this.follow(news.first);
    const isNew = this.current() !== before;
    if (isNew) this.shownAt = performance.now();
    this.show();
    if (isNew && !this.isTypingElsewhere()) this.part(".case").focus({ preventScroll: true });
    if (news.cases.some(({ id }) => !this.cases.has(id))) this.tell(); // the server thinks that we hold it
  }

  settle(acks, gone) {
    for (const answer of this.answers.filter(({ nonce }) => nonce in acks)) {
      const { taken, say } = acks[answer.nonce];
      this.answers = this.answers.filter((other) => other !== answer);
      if (taken) {
        this.forget(answer.id);
        if (say) this.say(`${answer.title}: ${say}`);
      } else if (gone.includes(answer.id)) {
        this.over = [`Not taken: ${answer.title}. ${say}`];
      } else {
        this.refused.set(answer.id, say);
        this.putBack(answer.id, this.pile.length ? 1 : 0);
        this.say(`Not taken: ${answer.title}. ${say}`);
      }
    }
  }

  take(cases) {
    const now = performance.now();
    for (const { id, age, due, lease, run, whole } of cases) {
      if (whole) this.cases.set(id, whole);
      if (!this.cases.has(id)) continue;
      const over = now + lease * 1000 - MARGIN_MS;
      this.standing.set(id, { asked: now - age * 1000, due: due === null ? null : now + due * 1000, over, run });
      this.lost.delete(id);
      const known = this.pile.includes(id) || this.skipped.includes(id) || this.answers.some((given) => given.id === id);
      if (!known) this.pile.push(id);
    }
  }

  lose(id, why) {
    if (this.answers.some((given) => given.id === id)) return; // its answer will be told what became of it
    this.lost.set(id, why);
    if (id !== this.current() && !this.drafts.has(id)) this.forget(id);
  }

  follow(wish) {
    const [id, name] = wish ?? [];
    if (!this.cases.has(id) || name === this.first) return;
    this.first = name;
    if (this.answers.some((given) => given.id === id)) return;
    this.mode = "read";
    this.putBack(id, 0);
  }

  forget(id) {
    for (const known of [this.cases, this.standing, this.drafts, this.lost, this.refused]) known.delete(id);
    this.pile = this.pile.filter((other) => other !== id);
    this.skipped = this.skipped.filter((other) => other !== id);
  }

  /** Nothing of what an erased run held stays in the browser: neither its document, nor what was typed. */
  forgetErased(id) {
    if (id === this.current()) {
      this.mode = "read";
      this.over = [`${this.cases.get(id).title} was erased meanwhile.`];
    }
    this.forget(id);
  }

  putBack(id, place) {
    this.skipped = this.skipped.filter((other) => other !== id);
    this.pile = this.pile.filter((other) => other !== id);
    this.pile.splice(place, 0, id);
  }

  // --- What goes to the server ---

  tell({ leaving = false } = {}) {
    const now = performance.now();
    this.toldAt = now;
    const sent = this.answers.filter(({ sentAt }) => sentAt).slice(0, MOST_TOLD);
    this.send({
      answers: sent.map(({ nonce, id, action, edits, reason }) => ({ nonce, id, action, edits, reason })),
      pending: this.answers.filter(({ sentAt }) => !sentAt).map(({ id }) => id),
      pile: leaving ? [] : this.pile.filter((id) => !this.lost.has(id)).slice(0, MOST_HELD),
      skipped: this.skipped.slice(-MOST_TOLD),
      left: leaving ? [...this.pile, ...this.skipped].slice(0, MOST_TOLD) : [],
      first: this.first,
      wanted: !leaving && this.isActive(),
      beat: (this.beat += 1),
    });
  }

  /** Send what can no longer be undone; all of it where the person goes away. */
  submit({ all = false, leaving = false } = {}) {
    const now = performance.now();
    const due = this.answers.filter((answer) => !answer.sentAt && (all || answer.due <= now));
    for (const answer of due) answer.sentAt = now;
    if (due.length || leaving) this.tell({ leaving });
    return due.length > 0;
  }

  leave() {
    this.listening.abort();
    clearInterval(this.ticking);
    this.submit({ all: true, leaving: true });
  }

  /** Few cases are left here, and the server has more. */
  isShort() {
    return this.pile.length < LOW && this.news.more;
  }

  isActive() {
    return performance.now() - this.activeAt < ACTIVE_MS && document.visibilityState === "visible";
  }

  tick() {
    const now = performance.now();
    if (this.submit()) this.show();
    else if (this.isShort() && this.isActive() && now - this.toldAt > 1000) this.tell();
    else if (this.isActive() && now - this.toldAt > BEAT_MS) this.tell();
    else if (!this.pile.length && document.visibilityState === "visible" && now - this.toldAt > IDLE_BEAT_MS) this.tell();
    this.showTimes();
  }

  // --- What the person does ---

  current() {
    return this.pile[0];
  }

  approve() {
    this.give("approve", {}, "");
  }

  edit() {
    this.open("edit", "this question takes no edit");
  }

  reject() {
    this.open("reject", "this question cannot be rejected");
  }

  open(mode, otherwise) {
    const id = this.current();
    if (!this.mayAnswer(id)) return;
    if (!this.cases.get(id).actions.includes(mode)) return this.say(`Nothing was answered: ${otherwise}.`);
    const looking = this.root.activeElement?.closest(".field")?.dataset.field;
    this.mode = mode;
    this.show();
    if (mode === "edit") this.focusField(looking);
    else this.part("#reason").focus();
  }

  saveEdit() {
    const id = this.current();
    const { fields } = this.draft(id);
    const changed = this.cases.get(id).fields.filter(({ name, typed }) => name in fields && fields[name] !== typed);
    if (!changed.length) return this.say("Nothing was changed. Press Esc, then a to approve.");
    this.give("edit", Object.fromEntries(changed.map(({ name }) => [name, fields[name]])), "");
  }

  saveReject() {
    const reason = this.draft(this.current()).reason.trim();
    if (!reason) return this.say("A rejection needs a reason.");
    this.give("reject", {}, reason);
  }

  give(action, edits, reason) {
    const id = this.current();
    if (!this.mayAnswer(id)) return;
    const { actions, title, unfit } = this.cases.get(id);
    if (!actions.includes(action)) {
      return this.say(unfit || "Nothing was answered: this question takes an answer of its own. Press e.");
    }
    this.nonces += 1;
    const nonce = `${this.session}-${this.nonces}`;
    this.answers.push({ nonce, id, title, action, edits, reason, due: performance.now() + UNDO_MS, sentAt: 0 });
    this.refused.delete(id);
    this.over = [];
    this.pile.shift();
    this.turnTo(`${DONE[action]}: ${title}.`);
    if (this.isShort()) this.tell();
  }

  mayAnswer(id) {
    if (id === undefined) return false;
    if (!this.isSettled()) return false;
    if (this.lost.has(id)) return this.say("This case cannot be answered here any more. Press n for the next one.");
    if (!this.isMine(id)) return this.tell();
    return true;
  }

  isSettled() {
    return performance.now() - this.shownAt > SETTLE_MS;
  }

  isMine(id) {
    return this.standing.get(id).over > performance.now();
  }

  skip() {
    const id = this.current();
    if (id === undefined) return this.startAgain();
    this.pile.shift();
    if (this.lost.has(id)) this.forget(id);
    else this.skipped.push(id);
    this.turnTo("Skipped.");
    if (this.isShort()) this.tell();
  }

  startAgain() {
    this.pile = this.skipped;
    this.skipped = [];
    this.tell();
    this.turnTo("");
  }

  back() {
    const id = this.skipped.pop();
    if (id === undefined) return this.say("No case was skipped.");
    this.putBack(id, 0);
    this.turnTo("Back.");
    this.tell();
  }

  undo() {
    const answer = this.answers.findLast(({ sentAt }) => !sentAt);
    if (!answer) return this.say("Nothing can be undone: no answer is waiting here.");
    this.answers = this.answers.filter((other) => other !== answer);
    this.putBack(answer.id, 0);
    this.turnTo(`Undone: ${answer.title}.`);
  }

  toRefused() {
    const id = [...this.refused.keys()].find((each) => this.cases.has(each));
    if (id === undefined) return this.say("No answer was refused.");
    this.putBack(id, 0);
    this.turnTo("");
  }

  nextField() {
    this.moveField(1);
  }

  previousField() {
    this.moveField(-1);
  }

  moveField(by) {
    const rows = [...this.part(".fields").querySelectorAll(".field")];
    if (!rows.length) return;
    const here = rows.indexOf(this.root.activeElement?.closest(".field"));
    rows[here < 0 ? (by > 0 ? 0 : rows.length - 1) : (here + by + rows.length) % rows.length].focus();
  }

  help() {
    const dialog = this.part("dialog");
    if (dialog.open) dialog.close();
    else dialog.showModal();
  }

  /** Show the case that is first now, because the person did something. */
  turnTo(said) {
    this.mode = "read";
    this.shownAt = -Infinity;
    this.show();
    const next = this.cases.get(this.current());
    this.say(`${said} ${next ? `Now: ${next.title}.` : ""}`);
    (next ? this.part(".case") : this.part(".empty")).focus({ preventScroll: true });
  }

  // --- Keys, clicks, and going away ---

  listen() {
    const { signal } = this.listening;
    const on = (target, name, does, options = {}) => target.addEventListener(name, does, { signal, ...options });
    on(document, "keydown", (event) => this.onKey(event));
    on(this.root, "keydown", (event) => this.onKeyInside(event));
    on(this.root, "click", (event) => this.onClick(event));
    on(this.root, "input", (event) => this.onInput(event));
    on(this.root, "submit", (event) => this.onSubmit(event));
    on(this.root, "focusin", (event) => this.light(event.target.closest(".field")));
    for (const name of ["pointerdown", "keydown"]) on(document, name, () => this.stir(), { capture: true });
    on(document, "pointerdown", (event) => this.onPointerElsewhere(event), { capture: true });
    on(document, "visibilitychange", () => document.visibilityState === "hidden" && this.submit({ all: true }));
    // before Streamlit hears of it: once the other page is made, it listens to this one no more
    on(window, "popstate", () => this.submit({ all: true }), { capture: true });
    on(window, "beforeunload", (event) => this.onUnload(event));
    this.ticking = setInterval(() => this.tick(), 250);
  }

  onKey(event) {
    const bare = !event.ctrlKey && !event.altKey && !event.metaKey && !event.isComposing;
    if (!bare || event.repeat || event.defaultPrevented || !this.isForTheDesk(event)) return;
    const key = event.shiftKey || event.key.length > 1 ? event.key : event.key.toLowerCase(); // Caps Lock is no Shift
    const action = ACTIONS.find((each) => each.key === key || each.also === key);
    if (key === "Escape" && this.mode !== "read") return this.close();
    if (!action || (this.mode !== "read" && action.does !== "help")) return;
    if (event.composedPath()[0].closest?.("pre") && key.startsWith("Arrow")) return; // scrolls the source
    event.preventDefault();
    this[action.does]();
  }

  /** Keys belong to the desk where it has the focus outside of its inputs, or where nothing else on the page has it. */
  isForTheDesk(event) {
    const [origin] = event.composedPath();
    if (!(origin instanceof Element)) return false;
    if (this.part("dialog").open) return event.key === "?";
    if (this.root.contains(origin)) return !origin.closest("input, textarea, select");
    return origin.contains(this.root.host);
  }

  isTypingElsewhere() {
    return Boolean(document.activeElement?.matches("input, textarea, select, [contenteditable]"));
  }

  /** Keys go to another part of the page, which has the focus. */
  isDeaf() {
    const focused = document.activeElement;
    return Boolean(focused) && focused !== this.root.host && !focused.contains(this.root.host);
  }

  onKeyInside(event) {
    const typing = event.target.closest("input, textarea, select");
    const pressing = event.target.closest("button, a");
    if (pressing && event.repeat) event.preventDefault(); // a key held down presses a button once
    if (!typing) return;
    event.stopPropagation(); // Streamlit has keys of its own, and does not see into the desk
    if (event.key === "Escape") this.close();
    const wants = event.key === "Enter" && !event.isComposing && !event.shiftKey;
    const modified = event.ctrlKey || event.altKey || event.metaKey;
    if (event.key === "Enter" && (event.repeat || modified)) event.preventDefault();
    else if (wants && typing.matches("select")) this.saveEdit();
  }

  close() {
    this.mode = "read";
    this.show();
    this.part(".case").focus({ preventScroll: true });
    if (this.drafts.has(this.current())) this.say("Left. What you typed is kept: press e or x to go on.");
  }

  onSubmit(event) {
    if (event.target.method === "dialog") return;
    event.preventDefault();
    if (event.target.matches(".reason")) this.saveReject();
    else if (this.mode === "edit") this.saveEdit();
  }

  onClick(event) {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.matches(".leave")) return this.close();
    if (button.dataset.rung !== undefined) return this.takeOver(button);
    const action = ACTIONS.find(({ key }) => key === button.dataset.key);
    if (!action) return;
    if (action.answers && event.detail > 1) return this.say("Clicked twice: only the first click counted.");
    this[action.does]();
  }

  /** Put what another rung says into the field, to be saved or changed. */
  takeOver(button) {
    const item = this.cases.get(this.current());
    const field = item.fields[Number(button.dataset.field)];
    if (this.mode !== "edit") this.edit();
    if (this.mode !== "edit") return;
    this.draft(item.id).fields[field.name] = field.others[Number(button.dataset.rung)].typed;
    this.showFields(item);
    this.focusField(Number(button.dataset.field));
  }

  onInput(event) {
    const draft = this.draft(this.current());
    const field = event.target.closest(".field");
    if (field) draft.fields[this.cases.get(this.current()).fields[Number(field.dataset.field)].name] = event.target.value;
    else if (event.target.matches("#reason")) draft.reason = event.target.value;
  }

  draft(id) {
    if (!this.drafts.has(id)) this.drafts.set(id, { fields: {}, reason: "" });
    return this.drafts.get(id);
  }

  stir() {
    const wasAway = !this.isActive();
    this.activeAt = performance.now();
    if (wasAway) this.tell();
  }

  /** Whoever reaches for something else on the page may be about to leave it. */
  onPointerElsewhere(event) {
    if (!event.composedPath().includes(this.root)) this.submit({ all: true });
  }

  onUnload(event) {
    this.submit({ all: true });
    if (this.answers.length) event.preventDefault(); // the browser asks; meanwhile the answers arrive
  }

  // --- What is on the screen ---

  part(selector) {
    return this.root.querySelector(selector);
  }

  say(text) {
    this.part(".said").textContent = text;
  }

  show() {
    const id = this.current();
    const item = this.cases.get(id);
    this.part(".case").hidden = !item;
    this.part(".empty").hidden = Boolean(item);
    if (item && this.shown !== `${id} ${this.mode}`) this.showCase(item);
    this.shown = item ? `${id} ${this.mode}` : "";
    if (!item) this.clear();
    if (!item) this.showEmpty();
    this.showNotices();
    this.showTimes();
  }

  /** What was shown last stays nowhere, also not where nobody sees it. */
  clear() {
    this.shownId = undefined;
    for (const each of ["#title", ".question", ".why", ".source pre", ".fields"]) this.part(each).replaceChildren();
  }

  showCase(item) {
    const isOther = this.shownId !== item.id;
    this.shownId = item.id;
    this.part("#title").textContent = item.title;
    this.part(".place").textContent = `${item.workflow} · ${item.node}`;
    this.part(".run").href = this.standing.get(item.id).run;
    this.part(".question").textContent = item.question;
    this.part(".why").textContent = item.reason ? `Why a person: ${item.reason}` : "";
    setText(this.part(".unfit"), item.unfit);
    this.part(".unfit").hidden = !item.unfit;
    if (isOther) this.showSource(item);
    this.showFields(item);
    this.part(".reason").hidden = this.mode !== "reject";
    this.part("#reason").value = this.drafts.get(item.id)?.reason ?? "";
  }

  showSource({ segments, source_note }) {
    const pre = this.part(".source pre");
    const pieces = segments.map(([text, fields]) => {
      if (!fields.length) return document.createTextNode(text);
      return make("mark", { className: "seen", fields: fields.join(" ") }, text);
    });
    pre.replaceChildren(...(pieces.length ? pieces : ["This question came without a document."]));
    pre.scrollTop = 0;
    this.part(".source .note").textContent = source_note;
  }

  showFields(item) {
    const typed = this.drafts.get(item.id)?.fields ?? {};
    const rows = item.fields.map((field, number) => this.makeField(field, number, typed[field.name]));
    if (this.mode === "edit") {
      rows.push(
        make("div", { className: "save" }, [
          make("button", { type: "submit" }, ["Save ", make("kbd", {}, "Enter")]),
          make("button", { type: "button", className: "leave" }, ["Leave ", make("kbd", {}, "Esc")]),
        ]),
      );
    }
    this.part(".fields").replaceChildren(...(rows.length ? rows : ["There is no proposal."]));
    this.part(".proposal .note").textContent = item.fields_note;
  }

  makeField(field, number, draft) {
    const editing = this.mode === "edit" && field.typed !== null;
    const value = editing ? makeInput(field, number, draft ?? field.typed) : makeValue(field);
    const tooLong = this.mode === "edit" && field.typed === null ? [make("small", {}, "Too long to be edited here.")] : [];
    const kept = !editing && draft !== undefined && draft !== field.typed ? [make("small", {}, `You typed: ${draft}`)] : [];
    const name = editing ? make("label", { htmlFor: `field-${number}` }, field.label) : make("span", { className: "name" }, field.label);
    const agrees = field.others.length > 1 ? "= all rungs agree" : "";
    const mark = make("span", { className: field.differs ? "differs" : "agrees" }, field.differs ? "≠ rungs differ" : agrees);
    const others = field.differs ? [makeOthers(field, number)] : [];
    const row = make("div", { className: "field", role: "group", field: number }, [name, mark, value, ...tooLong, ...kept, ...others]);
    row.setAttribute("aria-label", `${field.label}${field.differs ? ", rungs differ" : ""}`);
    if (!editing) row.tabIndex = 0;
    return row;
  }

  focusField(number) {
    const all = [...this.part(".fields").querySelectorAll("input, textarea, select")];
    const field = all.find((each) => each.id === `field-${number}`) ?? all[0];
    field?.focus();
    field?.select?.();
  }

  /** Mark in the source where the value of a field was seen, and bring it into view without moving the page. */
  light(field) {
    const pre = this.part(".source pre");
    const marks = [...pre.querySelectorAll("mark")];
    const lit = field ? marks.filter((mark) => mark.dataset.fields.split(" ").includes(field.dataset.field)) : [];
    for (const mark of marks) mark.classList.toggle("lit", lit.includes(mark));
    if (lit.length) pre.scrollTop += lit[0].getBoundingClientRect().top - pre.getBoundingClientRect().top - pre.clientHeight / 3;
  }

  showEmpty() {
    const { headline, hint, button } = this.emptiness();
    this.part(".headline").textContent = headline;
    this.part(".hint").textContent = hint;
    this.part(".empty button").textContent = button;
    this.part(".empty button").hidden = !button;
  }

  emptiness() {
    const left = this.waiting - this.answers.length - this.skipped.length;
    if (this.skipped.length && left <= 0)
      return { headline: `You have looked at everything; ${count(this.skipped.length, "case")} skipped.`, hint: "Skipped cases stay open.", button: "Go through them again (n)" };
    if (left > 0)
      return { headline: `${count(left, "case")} wait.`, hint: this.news.hint, button: "Take the next (n)" };
    return { headline: "Nothing waits for you.", hint: "New cases appear here when a run asks a person. Try `stanchion run`, or look at all runs.", button: "" };
  }

  showNotices() {
    const refused = [...this.refused].filter(([id]) => id !== this.current() && this.cases.has(id));
    const texts = refused.map(([id, why]) => `Not taken: ${this.cases.get(id).title}. ${why} `);
    const list = this.part(".notices");
    const others = [...this.over, ...(this.news.notice ? [this.news.notice] : [])];
    const wanted = JSON.stringify([texts, others]);
    if (list.dataset.shown === wanted) return; // told once
    list.dataset.shown = wanted;
    const goTo = () => make("button", { type: "button", key: "g" }, ["Go to it ", make("kbd", {}, "g")]);
    const notices = texts.map((text) => make("p", {}, [text, goTo()]));
    list.replaceChildren(...notices, ...others.map((text) => make("p", {}, text)));
  }

  /** Show what changes with time: ages, the seconds that are left to undo, a case that is no longer ours. */
  showTimes() {
    const now = performance.now();
    const id = this.current();
    if (id !== undefined && this.standing.has(id)) {
      const { asked, due } = this.standing.get(id);
      const facts = [...this.cases.get(id).facts, `Waits ${span(now - asked)}`];
      if (due !== null) facts.push(due > now ? `Due in ${span(due - now)}` : `Overdue by ${span(now - due)}`);
      setList(this.part(".facts"), facts);
      const covered = !this.lost.has(id) && !this.isMine(id);
      setText(this.part(".trouble"), this.lost.get(id) ?? (covered ? "You were away, so this case may go to somebody else. Press any key to take it again." : this.refused.get(id)) ?? "");
      this.part(".trouble").hidden = !this.part(".trouble").textContent;
      this.part(".sides").classList.toggle("covered", covered);
    }
    const left = Math.max(0, this.waiting - this.answers.length);
    setText(this.part(".left"), `${count(left, "case")} to answer${this.skipped.length ? `, ${this.skipped.length} skipped` : ""}`);
    setList(this.part(".pending"), this.answers.slice(-5).map((answer) => standingOf(answer, now)));
    this.part(".deaf").hidden = !this.isDeaf();
    const first = this.cases.get(id)?.unfit ? "e" : "a";
    for (const button of this.part(".keys").children) {
      button.disabled = this.isOff(button.dataset.key);
      button.classList.toggle("primary", button.dataset.key === first);
    }
  }

  isOff(key) {
    const id = this.current();
    const does = ACTIONS.find((action) => action.key === key).does;
    if (key === "u") return !this.answers.some(({ sentAt }) => !sentAt);
    if (key === "p") return !this.skipped.length;
    if (key === "?") return false;
    if (this.mode !== "read" || id === undefined) return true;
    if (!["a", "e", "x"].includes(key)) return false;
    return !this.isSettled() || this.lost.has(id) || !this.cases.get(id).actions.includes(does);
  }

  makeKeys() {
    const buttons = ACTIONS.filter(({ hidden }) => !hidden).map(({ key, label, does, help }) =>
      make("button", { type: "button", key, className: does, title: help }, [`${label} `, make("kbd", {}, key)]),
    );
    this.part(".keys").replaceChildren(...buttons);
    const rows = ACTIONS.flatMap(({ key, also, label, help }) => [
      make("dt", {}, [make("kbd", {}, key), ...(also ? [" ", make("kbd", {}, ARROWS[also])] : [])]),
      make("dd", {}, `${label}: ${help}`),
    ]);
    this.part(".help dl").replaceChildren(...rows);
  }
}

// --- Elements, always made of text ---

const DATA = ["key", "field", "fields", "rung"];

function make(tag, properties, content = []) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (DATA.includes(name)) element.dataset[name] = value;
    else element[name] = value;
  }
  element.append(...(Array.isArray(content) ? content : [content]));
  return element;
}

function makeValue(field) {
  if (!field.table) return make("span", { className: "value" }, shown(field.shown));
  const [heads, ...lines] = field.table;
  const row = (tag, cells) => make("tr", {}, cells.map((cell) => make(tag, {}, cell)));
  return make("table", { className: "value" }, [row("th", heads), ...lines.map((cells) => row("td", cells))]);
}

function makeInput(field, number, text) {
  const id = `field-${number}`;
  if (field.kind === "choice") {
    const texts = [...(field.optional || !field.choices.includes(text) ? [""] : []), ...field.choices];
    const select = make("select", { id }, texts.map((each) => make("option", { value: each }, each || "–")));
    select.value = text;
    return select;
  }
  if (field.kind === "json" || text.includes("\n") || text.length > 120) {
    const rows = Math.min(12, 1 + text.split("\n", 12).length);
    return make("textarea", { id, rows, spellcheck: false, value: text });
  }
  const numeric = ["number", "decimal"].includes(field.kind);
  const placeholder = { date: "YYYY-MM-DD", number: "a number", decimal: "a number" }[field.kind] ?? "";
  return make("input", { id, value: text, inputMode: numeric ? "decimal" : "text", placeholder, spellcheck: false });
}

function makeOthers(field, number) {
  const rows = field.others.map((other, rung) => {
    const take = other.typed === null || other.shown === null || other.same ? [] : [make("button", { type: "button", field: number, rung, title: `Take what ${other.rung} says` }, "take")];
    const said = other.same ? ["the same"] : other.table ? [makeValue(other)] : difference(shown(other.shown), shown(field.shown));
    return make("li", { className: other.same ? "same" : "other" }, [make("b", {}, `${other.rung} `), make("span", {}, said), ...take]);
  });
  return make("ul", { className: "others" }, rows);
}

/** Mark the part of one text that the other does not have. */
function difference(text, other) {
  const shorter = Math.min(text.length, other.length);
  let start = 0;
  while (start < shorter && text[start] === other[start]) start += 1;
  let end = 0;
  while (end < shorter - start && text.at(-1 - end) === other.at(-1 - end)) end += 1;
  const middle = text.slice(start, text.length - end);
  return [text.slice(0, start), ...(middle ? [make("ins", {}, middle)] : []), text.slice(text.length - end)];
}

const shown = (text) => (text === null ? "– nothing –" : text === "" ? "(an empty text)" : text);
const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

function standingOf({ action, title, due, sentAt }, now) {
  const what = `${DONE[action]} ${title}`;
  if (!sentAt) return `${what}: u undoes it for ${Math.max(1, Math.ceil((due - now) / 1000))} s`;
  return now - sentAt < NO_WORD_MS ? `${what}: sending` : `${what}: no word from the server yet; keep this page open`;
}

function span(ms) {
  const minutes = ms / 60_000;
  if (minutes < 1) return "less than a minute";
  if (minutes < 90) return `${Math.floor(minutes)} min`;
  return minutes < 2880 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 1440)} days`;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setList(list, texts) {
  if (list.dataset.shown === JSON.stringify(texts)) return;
  list.dataset.shown = JSON.stringify(texts);
  list.replaceChildren(...texts.map((text) => make("li", {}, text)));
}
