/** The chat page's composition: the key opens the link, events fold into the transcript, and the log shows it. */

import { keepKey, keyOfThisTab } from "./access.js";
import { Announcer } from "./announcer.js";
import { Composer } from "./composer.js";
import { Follow } from "./follow.js";
import { Gate } from "./gate.js";
import { History } from "./history.js";
import { blankJob, continueAsJob, isOver, stopJob } from "./job.js";
import { LogView } from "./log.js";
import { Status } from "./status.js";
import { Link, LinkState } from "./stream.js";
import { Change, Transcript, TurnState, UNHEARD } from "./transcript.js";
import { listSessions, readSession, ticket } from "./wire.js";

const KEEP_EVERY_MS = 400;
/** A question put on a socket that then dropped is asked again only by the person: here is how long to wait for its turn. */
const UNHEARD_MS = 6000;

const at = (id) => document.getElementById(id);
const endpoint = at("endpoint").value;
const path = `/ws/chat/${encodeURIComponent(endpoint).replace("%40", "@")}`;
const transcript = Transcript.restore(endpoint);
let key = keyOfThisTab();
let keeping = 0;

const follow = new Follow(at("latest"));
const gate = new Gate({ dialog: at("gate"), form: at("gate-form"), key: at("key"), problem: at("gate-problem") }, useKey);
const status = new Status({ words: at("link-words"), banner: at("banner"), bannerWords: at("banner-words"), act: at("banner-act") });
const announcer = new Announcer(at("announcer"));
const history = new History(
  { dialog: at("history"), list: at("history-list"), more: at("history-more"), note: at("history-note"), close: at("history-close") },
  { load: (cursor) => listSessions(key, { endpoint, cursor }), chosen: revisit, current: () => transcript.session },
);
const log = new LogView(at("log"), { acts: { again, offer, stopJob: (turn) => stopJob(turn.job, () => key) }, grew: () => follow.grew() });
const composer = new Composer(
  { form: at("composer"), question: at("question"), send: at("send"), stop: at("stop") },
  { asked: ask, stopped: stop, canAsk: () => transcript.open === null },
);
const link = new Link({ address, ticket: () => ticket(key), onEvent: heard, onState: linked, isExpecting: () => transcript.open !== null });

function address(bought) {
  const { session, seq } = transcript;
  const query = new URLSearchParams({ ticket: bought, ...(session && { session, after: seq }) });
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  return `${scheme}//${location.host}${path}?${query}`;
}

function heard(event) {
  const folded = transcript.fold(event);
  if (folded?.change === Change.GREW) log.append(folded.turn, event.data.text);
  else if (folded) log.show(folded.turn, folded.change);
  if (folded) announcer.tell(folded.turn, event.type);
  if (event.type === "turn.failed" && folded) resumeJob(folded.turn);
  if (event.type === "session.ready") deliver();
  if (event.type !== "delta") composer.refresh();
  keepSoon();
}

function linked(state, { problem, waitMs }) {
  if (state === LinkState.REFUSED && isOfSession(problem)) return beginAnew();
  status.show(state, { problem, waitMs, again: problem?.status === 401 ? () => gate.ask() : () => link.open() });
  if (problem?.status === 401) gate.ask(problem);
}

/** A session that the server no longer knows is over; its turns stay on the page. */
const isOfSession = (problem) => problem.status === 404 && transcript.session !== null;

function beginAnew() {
  if (transcript.open) closeUnheard(transcript.open, "This conversation is no longer kept by the server.");
  transcript.forget({ turns: transcript.turns });
  link.reset();
  link.open();
}

function ask(text) {
  const turn = transcript.ask(text);
  announcer.expect(turn);
  log.show(turn);
  showWelcome();
  follow.pin();
  deliver();
  keepSoon();
}

/** Put the question on the socket, once; what was there already is waited for. */
function deliver() {
  const turn = transcript.open;
  if (turn?.isStopping) link.send({ type: "cancel" });
  if (turn?.state === TurnState.ASKED) setTimeout(() => doubt(turn), UNHEARD_MS);
  if (turn?.state !== TurnState.UNSENT) return;
  if (!link.send({ type: "turn", input: { text: turn.asked } })) return;
  turn.state = TurnState.ASKED;
  log.show(turn);
}

function doubt(turn) {
  if (turn.state === TurnState.ASKED && link.isOpen) closeUnheard(turn, "The question may not have reached the server.");
}

function closeUnheard(turn, sentence) {
  Object.assign(turn, { state: TurnState.REFUSED, trouble: { code: UNHEARD, sentence, remedy: "" } });
  log.show(turn);
  composer.refresh();
  keepSoon();
}

function again(turn) {
  if (transcript.open === null) ask(turn.asked);
  composer.refresh();
}

function stop() {
  const turn = transcript.open;
  if (!turn) return;
  if (turn.state === TurnState.UNSENT) return closeUnheard(turn, "Not sent.");
  turn.isStopping = true;
  link.send({ type: "cancel" });
}

function offer(turn, name) {
  turn.job = blankJob(name);
  log.show(turn);
  followJob(turn);
}

/** A turn of an earlier conversation whose offer was accepted: its job is shown with it. */
function resumeJob(turn) {
  const known = transcript.earlier.get(turn.id)?.job;
  if (!known || turn.job) return;
  turn.job = blankJob(turn.trouble.escape?.offer ?? "job", known);
  followJob(turn);
}

function followJob(turn) {
  let last = turn.job.state;
  const changed = () => {
    log.show(turn);
    keepSoon();
    if (turn.job.state !== last && isOver(turn.job)) announcer.say(turn.job.text || `The job is over: ${turn.job.state}.`);
    if (turn.job.text || turn.job.trouble) last = turn.job.state;
  };
  continueAsJob(turn, { key: () => key, changed });
}

function useKey(given) {
  keepKey(given);
  key = given;
  link.reset();
  link.open();
  composer.focus();
}

function startFresh() {
  if (transcript.open) link.send({ type: "cancel" });
  transcript.forget();
  turnOver();
  composer.focus();
}

/** Open an earlier conversation: its questions from the server's list, all that followed them from its stream. */
async function revisit(id) {
  try {
    const { turns } = await readSession(key, id);
    transcript.revisit(id, turns);
    turnOver();
    follow.pin();
  } catch (problem) {
    announcer.say(problem.title ?? "The server cannot be reached.");
  }
}

/** The page shows another conversation from here on. */
function turnOver() {
  log.clear();
  showWelcome();
  link.reset();
  if (key) link.open();
  composer.refresh();
}

function showWelcome() {
  at("welcome").hidden = transcript.session !== null || transcript.turns.length > 0;
}

function keepSoon() {
  keeping ||= setTimeout(keepNow, KEEP_EVERY_MS);
}

function keepNow() {
  clearTimeout(keeping);
  keeping = 0;
  transcript.keep();
}

function listen() {
  document.addEventListener("keydown", (event) => event.key === "Escape" && !document.querySelector("dialog[open]") && stop());
  window.addEventListener("pagehide", keepNow);
  at("fresh").addEventListener("click", startFresh);
  at("past").addEventListener("click", () => (key ? history.open() : gate.ask()));
  at("rekey").addEventListener("click", () => gate.ask());
  at("endpoint").addEventListener("change", ({ target }) => location.assign(`?endpoint=${encodeURIComponent(target.value)}`));
  for (const button of document.querySelectorAll("#suggestions button")) {
    button.addEventListener("click", () => composer.take(button.lastElementChild.textContent));
  }
}

function start() {
  listen();
  for (const turn of transcript.turns) log.show(turn);
  showWelcome();
  if (transcript.turns.length > 0) follow.pin();
  composer.refresh();
  for (const turn of transcript.turns) if (turn.job && !isOver(turn.job)) followJob(turn);
  if (!key) return gate.ask();
  link.open();
  composer.focus();
}

start();
