/** The conversation as a value: turns folded from events, kept in this tab so that a reload shows and resumes them. */

const TURNS_KEPT = 100;

/** These carry no place of their own in the session's sequence, so they are never old. */
const UNSTORED = new Set(["session.ready", "heartbeat", "gap", "error"]);

export const TurnState = Object.freeze({
  UNSENT: "unsent",
  ASKED: "asked",
  STARTED: "started",
  STREAMING: "streaming",
  COMPLETED: "completed",
  FAILED: "failed",
  STOPPED: "stopped",
  REFUSED: "refused",
});

/** The code of a turn that this page closed because nothing told whether its question arrived. */
export const UNHEARD = "unheard";

const ENDED = new Set([TurnState.COMPLETED, TurnState.FAILED, TurnState.STOPPED, TurnState.REFUSED]);

/** What a fold did to a turn's text; its other facts may have changed in every case. */
export const Change = Object.freeze({ FACTS: "facts", GREW: "grew", REWRITTEN: "rewritten" });

export const hasEnded = (turn) => ENDED.has(turn.state);

export class Transcript {
  constructor(endpoint, { session = null, seq = 0, turns = [] } = {}) {
    this.kept = `gearbox.chat.${endpoint}`;
    Object.assign(this, { session, seq, turns, earlier: new Map() });
  }

  /** Return what this tab kept of the endpoint's conversation, or an empty one. */
  static restore(endpoint) {
    const kept = sessionStorage.getItem(`gearbox.chat.${endpoint}`);
    return new Transcript(endpoint, kept ? JSON.parse(kept) : {});
  }

  /** Text and seq are written together: what is restored is what that seq had shown. */
  keep() {
    const { session, seq, turns } = this;
    try {
      sessionStorage.setItem(this.kept, JSON.stringify({ session, seq, turns: turns.slice(-TURNS_KEPT) }));
    } catch {
      // A full store costs the reload its history, never the conversation.
    }
  }

  /** Begin again; the turns stay to be read when `turns` says so. */
  forget({ turns = [] } = {}) {
    Object.assign(this, { session: null, seq: 0, turns });
    this.keep();
  }

  /** Begin an earlier conversation from its first event; `earlier` are its turns as the server lists them. */
  revisit(session, earlier) {
    Object.assign(this, { session, seq: 0, turns: [], earlier: new Map(earlier.map((turn) => [turn.id, turn])) });
    this.keep();
  }

  ask(text) {
    const turn = blankTurn(text);
    this.turns.push(turn);
    return turn;
  }

  /** The turn under way, or null. */
  get open() {
    const last = this.turns.at(-1);
    return last && !hasEnded(last) ? last : null;
  }

  /** Fold one event in. Returns {turn, change}, or null when it was seen before or concerns no turn. */
  fold(event) {
    if (!UNSTORED.has(event.type)) {
      if (event.seq <= this.seq) return null;
      this.seq = event.seq;
    }
    const rule = RULES[event.type];
    return rule ? rule(this, event.data, event) : null;
  }
}

const blankTurn = (asked) => ({
  local: crypto.randomUUID?.() ?? String(Math.random()).slice(2),
  id: null,
  asked,
  state: TurnState.UNSENT,
  attempt: 0,
  text: "",
  plan: null,
  progress: null,
  waitedMs: 0,
  withdrawn: [],
  isMended: false,
  isStopping: false,
  result: null,
  trouble: null,
  job: null,
});

const RULES = {
  "session.ready"(transcript, { session, seq }) {
    if (transcript.session !== session) Object.assign(transcript, { session, seq: seq ?? 0 });
    return null;
  },

  // A later attempt keeps what was shown: it either had shown nothing, or ends the turn there.
  "turn.started": onTurn((turn, { attempt }) => {
    Object.assign(turn, { attempt, state: turn.text ? TurnState.STREAMING : TurnState.STARTED, trouble: null });
    return Change.FACTS;
  }),

  "plan.ready": onOpen((turn, plan) => {
    turn.plan = plan;
    return Change.FACTS;
  }),

  delta: onOpen((turn, { text }) => {
    turn.text += text;
    turn.state = TurnState.STREAMING;
    return Change.GREW;
  }),

  heartbeat: onOpen((turn, { waited_ms: waitedMs }) => {
    turn.waitedMs = waitedMs;
    return Change.FACTS;
  }),

  progress: onOpen((turn, progress) => {
    turn.progress = progress;
    return Change.FACTS;
  }),

  retracted: onOpen((turn, { reason }) => {
    // What was taken back is not kept either: neither on the page nor in the tab's store.
    turn.withdrawn.push({ reason });
    turn.text = "";
    turn.state = TurnState.STARTED;
    return Change.REWRITTEN;
  }),

  gap: onTurn((turn, { text }, { transcript, seq }) => {
    transcript.seq = Math.max(transcript.seq, seq);
    Object.assign(turn, { text, isMended: true });
    if (!hasEnded(turn)) turn.state = text ? TurnState.STREAMING : TurnState.STARTED;
    return Change.REWRITTEN;
  }),

  "turn.completed": onTurn((turn, facts) => {
    const isOther = typeof facts.text === "string" && facts.text.trim() !== turn.text.trim();
    // The stored answer is the truth; that the stream differed is said, not hidden.
    if (isOther) Object.assign(turn, { text: facts.text, isMended: true });
    Object.assign(turn, { state: TurnState.COMPLETED, result: facts });
    return isOther ? Change.REWRITTEN : Change.FACTS;
  }),

  "turn.failed": onTurn((turn, trouble) => {
    const wasStopped = turn.isStopping || /cancelled$/.test(trouble.code);
    Object.assign(turn, { state: wasStopped ? TurnState.STOPPED : TurnState.FAILED, trouble, result: trouble.duration_ms ? trouble : null });
    return Change.FACTS;
  }),

  error(transcript, refusal) {
    const turn = transcript.open;
    const isItsOwn = turn && turn.state === TurnState.ASKED;
    if (!isItsOwn) return null;
    const trouble = { code: refusal.code, sentence: refusal.title, remedy: refusal.detail, retryAfterS: refusal.retry_after_s ?? null };
    Object.assign(turn, { state: TurnState.REFUSED, trouble });
    return { turn, change: Change.FACTS };
  },
};

/** A rule for the turn under way; without one the event tells nothing. */
function onOpen(rule) {
  return (transcript, facts) => {
    const turn = transcript.open;
    return turn && { turn, change: rule(turn, facts) };
  };
}

/** A rule for the turn that the event names, which may be one that this page has not met under its name. */
function onTurn(rule) {
  return (transcript, facts, { seq }) => {
    const turn = turnNamed(facts.turn, transcript);
    return { turn, change: rule(turn, facts, { transcript, seq }) };
  };
}

function turnNamed(id, transcript) {
  const { open, turns } = transcript;
  if (!id && open) return open;
  const unnamed = () => (open?.id === null ? open : turns.findLast((turn) => turn.id === null && turn.trouble?.code === UNHEARD));
  const turn = turns.find((each) => each.id === id) ?? unnamed() ?? transcript.ask(transcript.earlier.get(id)?.input?.text ?? "");
  return Object.assign(turn, { id });
}
