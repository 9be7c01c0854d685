// Labelling by keyboard: the next frames are fetched ahead, answers are sent one after another while the next
// picture is already there. The page works without this file.
"use strict";
(() => {
  const AHEAD = 4;
  const SMALL = 256; // pictures below so many pixels are enlarged without smoothing
  const data = JSON.parse(document.getElementById("label-data").textContent);
  const form = document.getElementById("answers");
  const address = form.getAttribute("action");
  const next = `/api/v1/models/${encodeURIComponent(data.model)}/labels/next?count=${AHEAD}`;
  const element = (id) => document.getElementById(id);
  const name = (frame) => `${frame.device}\n${frame.item}`;

  let queue = [];
  let current = data.frame && withPicture(data.frame);
  let sending = Promise.resolve();
  let asking = false;
  let waiting = 0; // answers that are on their way
  const answered = new Set();

  function withPicture(frame) {
    const image = new Image();
    image.src = frame.picture;
    return { ...frame, image };
  }

  function problem(text) {
    element("problem").hidden = !text;
    element("problem").textContent = text;
  }

  function why(frame) {
    if (!frame) return data.nothing;
    if (frame.random) return data.random;
    return `Captured because ${data.reasons[frame.reason] ?? frame.reason}. The model decided ${frame.decided}.`;
  }

  function show(frame) {
    current = frame;
    element("labelling").hidden = !frame;
    element("why").textContent = why(frame);
    if (!frame) return;
    element("picture").src = frame.image.src;
    element("where").textContent = [frame.device, frame.item, frame.tag].filter(Boolean).join(", ");
    for (const field of ["device", "item"]) {
      for (const input of document.querySelectorAll(`input[name=${field}]`)) input.value = frame[field];
    }
    element("new").value = "";
  }

  async function fill() {
    if (asking || queue.length >= AHEAD - 1) return;
    asking = true;
    try {
      const answer = await fetch(next, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error((await answer.json()).detail);
      const known = new Set([...queue, ...(current ? [current] : [])].map(name));
      for (const frame of await answer.json()) {
        if (!known.has(name(frame)) && !answered.has(name(frame))) queue.push(withPicture(frame));
      }
      if (!current && queue.length) show(queue.shift());
    } catch (error) {
      problem(`No further frames: ${error.message}`);
    } finally {
      asking = false;
    }
  }

  function tell({ counts, last }) {
    element("today").textContent = `${counts.today}, ${counts.mine} by you`;
    element("pace").textContent = counts.pace ? `${counts.pace} a minute` : "–";
    element("random").textContent = `${counts.random} of ${counts.enough}`;
    element("toward").value = counts.random;
    element("undo").disabled = !last;
    const decided = last && last.version ? `v${last.version} had decided ${last.decided}.` : "";
    element("last").textContent = last ? `You said ${last.truth || "cannot tell"}. ${decided}` : "Nothing to undo.";
    element("last").className = last && last.truth && !last.agrees ? "tone-warn" : "";
  }

  async function post(fields) {
    const answer = await fetch(address, {
      method: "POST",
      headers: { Accept: "application/json" },
      body: new URLSearchParams(fields),
    });
    if (answer.redirected || !answer.headers.get("content-type")?.includes("json")) location.reload();
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.detail);
    tell(told);
    return told;
  }

  // One after another, so that what is undone is what was told last.
  function send(fields, then = () => {}) {
    waiting += 1;
    sending = sending
      .then(() => post(fields))
      .then(then)
      .catch((error) => problem(error.message))
      .finally(() => {
        waiting -= 1;
        fill();
      });
  }

  function count(frame, by) {
    const place = element(frame.random ? "waiting-random" : "waiting-other");
    place.textContent = Math.max(Number(place.textContent) + by, 0);
  }

  function answer(fields) {
    if (!current) return;
    problem("");
    answered.add(name(current));
    if (fields.order !== "skip") {
      element("undo").disabled = false;
      count(current, -1);
    }
    send({ device: current.device, item: current.item, ...fields });
    show(queue.shift() ?? null);
    fill();
  }

  function undo() {
    problem("");
    send({ order: "undo" }, ({ frame }) => {
      if (!frame) return;
      answered.delete(name(frame));
      count(frame, 1);
      if (current) queue.unshift(current);
      show(withPicture(frame));
    });
  }

  document.addEventListener("submit", (event) => {
    event.preventDefault();
    const { submitter } = event;
    const order = submitter?.name === "order" ? submitter.value : "";
    const typed = element("new").value.trim();
    if (event.target.id === "another") {
      answer({ truth: typed });
      offer(typed);
    } else if (order === "undo") undo();
    else answer({ [submitter.name]: submitter.value });
    document.activeElement?.blur();
  });

  // A class that was typed gets a button without a key: keys stay where fingers have learnt them.
  function offer(typed) {
    if ([...form.querySelectorAll("button[name=truth]")].some((b) => b.value === typed)) return;
    const button = document.createElement("button");
    const text = document.createElement("span");
    button.name = "truth";
    button.value = text.textContent = typed;
    button.append(text);
    element("classes").append(button);
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target instanceof HTMLInputElement) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const onButton = event.target instanceof HTMLButtonElement || event.target.tagName === "SUMMARY";
    if (event.key === " " && onButton) return;
    const key = event.key === " " ? "0" : event.key.toLowerCase();
    if (key === "n") {
      event.preventDefault();
      element("new").focus();
      return;
    }
    const button = [...document.querySelectorAll("button[data-key]")].find((b) => b.dataset.key === key);
    if (!button || button.disabled) return;
    event.preventDefault();
    button.classList.add("pressed");
    setTimeout(() => button.classList.remove("pressed"), 120);
    if (button.value === "undo") undo();
    else answer({ [button.name]: button.value });
  });

  addEventListener("beforeunload", (event) => {
    if (waiting) event.preventDefault();
  });
  element("picture").addEventListener("load", (event) => {
    event.target.classList.toggle("smooth", event.target.naturalWidth > SMALL);
  });
  fill();
})();
