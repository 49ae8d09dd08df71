// The chat with one model, or with two side by side.

import { answerView, ask } from "./answer.js";
import { fresh, imported, load, save, titleOf } from "./conversations.js";
import { button, copy, download, fill, h, keyed, options, say, setText } from "./dom.js";
import { markdown } from "./markdown.js";
import { subscribe, state } from "./store.js";

// Kept while other views are shown
let all = load();
let current = all[0] ?? fresh();
const settings = { system: "", temperature: "", top_p: "", max_tokens: "", seed: "" };
let draftText = "";
let chosen = "";
let second = "";

export function show(main, query) {
  if (query.get("model")) chosen = query.get("model");
  if (query.get("beside")) second = query.get("beside");
  const model = h("select", { "aria-label": "Model", onchange: () => { chosen = model.value; drawModels(); } });
  const beside = h("select", { "aria-label": "Compare with", onchange: () => { second = beside.value; } });
  const talk = h("div", { class: "talk", "aria-live": "off", tabindex: 0, role: "region", "aria-label": "Messages" });
  const kept = h("select", { "aria-label": "Conversation", onchange: () => { current = all.find((one) => one.id === kept.value) ?? current; drawTalk(); } });
  const text = h("textarea", { rows: 3, placeholder: "Write a message. Enter sends, Shift+Enter adds a line.", "aria-label": "Message", value: draftText, oninput: () => { draftText = text.value; }, onkeydown: keys });
  const files = h("input", { type: "file", multiple: true, class: "offscreen", "aria-label": "Files to attach", onchange: attach });
  const attachments = h("div", { class: "attachments" });
  const send = button("Send", submit, { class: "first" });
  const stopping = button("Stop", () => running?.abort(), { class: "first" });
  const attachButton = button("Attach", () => files.click());
  let attached = [];
  let running = null;

  main.append(
    h("div", { class: "tools" }, h("h2", {}, "Chat"), h("label", {}, "Model ", model), h("label", {}, "Compare with ", beside)),
    h("div", { class: "tools small" }, kept, button("New", begin), button("Delete", remove), button("Export", () => download("conversations.json", "application/json", JSON.stringify(all, null, 1))), importer(), parameters()),
    talk,
    h("div", { class: "ask" }, attachments, text, h("div", { class: "acts" }, send, stopping, attachButton, files)));

  function drawModels() {
    const names = state.models.filter((row) => (row.capabilities ?? ["completion"]).includes("completion")).map((row) => row.id);
    if (chosen && !names.includes(chosen)) names.unshift(chosen);
    const ready = state.models.find((row) => row.state === "ready")?.id;
    options(model, names, chosen || ready);
    if (chosen && model.value !== chosen) model.value = chosen;
    chosen = model.value;
    const row = state.models.find((each) => each.id === chosen);
    options(beside, names.filter((name) => name !== chosen), second, "none");
    if (beside.value !== second && names.includes(second)) beside.value = second;
    second = beside.value;
    const takes = ["vision", "audio"].filter((word) => row?.capabilities?.includes(word));
    attachButton.hidden = !takes.length;
    files.accept = takes.map((word) => (word === "vision" ? "image/*" : "audio/wav,audio/mpeg")).join(",");
    send.disabled = !chosen;
  }

  function drawTalk() {
    const rows = [current, ...all.filter((one) => one !== current)];
    fill(kept, rows.map((one) => h("option", { value: one.id }, titleOf(one))));
    kept.value = current.id;
    fill(talk, current.messages.length ? current.messages.map((message, i) => messageView(message, i))
      : h("p", { class: "empty" }, chosen ? "Write a message. Conversations stay in this browser." : "No chat model is configured."));
    talk.scrollTop = talk.scrollHeight;
  }

  function messageView(message, i) {
    const last = i === current.messages.length - 1;
    if (message.role === "user") {
      const words = h("div", { class: "markdown" });
      markdown(words, message.text);
      return h("section", { class: "message user", "aria-label": "You" }, words, (message.parts ?? []).map(partView),
        h("div", { class: "acts" }, button("Edit", () => edit(i)), button("Copy", () => copy(message.text))));
    }
    const views = [message, ...(message.beside ? [message.beside] : [])].map((each) => {
      const view = answerView();
      view.finish({ content: each.text, thoughts: each.thoughts ?? "", tools: each.tools ?? [], error: each.error ?? "", figures: each.figures ?? {}, stopped: each.stopped, finish: each.finish });
      return h("div", { class: "side" }, h("h3", {}, each.model), view);
    });
    return h("section", { class: "message assistant", "aria-label": message.model }, h("div", { class: views.length > 1 ? "sides" : "" }, views),
      views.length > 1 ? h("p", { class: "quiet" }, "Drafted tokens are not marked, since llama-server does not report which they are.") : null,
      h("div", { class: "acts" }, last ? button("Retry", () => retry()) : null, button("Copy", () => copy(message.text))));
  }

  function keys(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  }

  function submit() {
    const words = text.value.trim();
    if (running || !chosen || (!words && !attached.length)) return;
    current.messages.push({ role: "user", text: words, parts: attached });
    attached = [];
    text.value = draftText = "";
    drawAttachments();
    answerNow();
  }

  function retry() {
    if (running) return;
    current.messages.pop();
    answerNow();
  }

  function edit(i) {
    if (running) return;
    const message = current.messages[i];
    current.messages.length = i;
    attached = message.parts ?? [];
    text.value = draftText = message.text;
    drawTalk();
    drawAttachments();
    text.focus();
  }

  async function answerNow() {
    running = new AbortController();
    const messages = payload();
    const names = second ? [chosen, second] : [chosen];
    drawTalk();
    const views = names.map(() => answerView());
    views.forEach((view) => view.wait("Waiting for the first token …"));
    const section = h("section", { class: "message assistant", "aria-busy": "true" },
      h("div", { class: names.length > 1 ? "sides" : "" }, names.map((name, i) => h("div", { class: "side" }, h("h3", {}, name), views[i]))));
    talk.append(section);
    drawRunning();
    const own = current;
    const grow = (view) => (answer) => { view.draw(answer); if (nearEnd()) talk.scrollTop = talk.scrollHeight; };
    const { signal } = running;
    const answers = await Promise.all(names.map((name, i) => ask({ model: name, messages, ...numbers() }, signal, grow(views[i]))));
    running = null;
    const replies = answers.map((answer, i) => stored(names[i], answer));
    own.messages.push({ ...replies[0], beside: replies[1] });
    keep(own);
    drawRunning();
    if (own === current) drawTalk();
    const failed = answers.some((answer) => answer.error);
    say(failed ? "The answer failed." : "The answer is complete.", failed, true);
  }

  function nearEnd() {
    return talk.scrollHeight - talk.scrollTop - talk.clientHeight < 160;
  }

  function payload() {
    const messages = current.messages.filter((message) => message.role === "user" || (message.text && !message.error)).map((message) => ({
      role: message.role,
      content: message.parts?.length ? [{ type: "text", text: message.text }, ...message.parts] : message.text,
    }));
    return settings.system.trim() ? [{ role: "system", content: settings.system }, ...messages] : messages;
  }

  function keep(conversation) {
    all = [conversation, ...all.filter((one) => one !== conversation)];
    if (!save(all)) say("The storage of this browser is full. Export this conversation, or delete others.", true);
  }

  function drawRunning() {
    send.hidden = running !== null;
    stopping.hidden = running === null;
    kept.disabled = running !== null;
    if (running) stopping.focus();
    else if (document.activeElement === document.body) text.focus();
  }

  function begin() {
    if (running) return;
    current = fresh();
    drawTalk();
    text.focus();
  }

  function remove() {
    if (running) return;
    all = all.filter((one) => one !== current);
    save(all);
    current = all[0] ?? fresh();
    drawTalk();
  }

  function importer() {
    const field = h("input", { type: "file", accept: "application/json", class: "offscreen", "aria-label": "File to import", onchange: take });
    async function take() {
      try {
        all = [...imported(await field.files[0].text()), ...all];
        current = all[0];
        save(all);
        drawTalk();
      } catch (error) {
        say(error.message, true);
      }
      field.value = "";
    }
    return [button("Import", () => field.click()), field];
  }

  async function attach() {
    for (const file of files.files) attached.push(await part(file));
    files.value = "";
    drawAttachments();
  }

  function drawAttachments() {
    fill(attachments, attached.map((each) => h("span", { class: "tag" }, partView(each), button("Remove", () => { attached = attached.filter((other) => other !== each); drawAttachments(); }))));
  }

  drawModels();
  drawTalk();
  drawRunning();
  text.focus();
  const leave = subscribe(drawModels);
  return () => { leave(); running?.abort(); };
}

function stored(model, answer) {
  return { role: "assistant", model, text: answer.content, thoughts: answer.thoughts, tools: answer.tools, error: answer.error, stopped: answer.stopped, finish: answer.finish, figures: answer.figures };
}

const NUMBERS = [["temperature", "Temperature", 0, 5, 0.1], ["top_p", "Top p", 0, 1, 0.05], ["max_tokens", "Max tokens", 1, 1000000, 1], ["seed", "Seed", 0, 4294967295, 1]];

function numbers() {
  return Object.fromEntries(NUMBERS.map(([name]) => [name, settings[name]]).filter(([, value]) => value !== "").map(([name, value]) => [name, Number(value)]));
}

function parameters() {
  const system = h("textarea", { id: "system", rows: 3, value: settings.system, oninput: () => { settings.system = system.value; } });
  return h("details", { class: "parameters" }, h("summary", {}, "System prompt and parameters"), h("label", { for: "system" }, "System prompt"), system,
    h("div", { class: "numbers" }, NUMBERS.map(([name, title, min, max, step]) => {
      const field = h("input", { type: "number", min, max, step, value: settings[name], placeholder: "default", oninput: () => { settings[name] = field.value; } });
      return h("label", {}, `${title} `, field);
    })));
}

async function part(file) {
  const address = await new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(file);
  });
  if (!file.type.startsWith("audio/")) return { type: "image_url", image_url: { url: address } };
  return { type: "input_audio", input_audio: { data: address.slice(address.indexOf(",") + 1), format: file.type.includes("wav") ? "wav" : "mp3" } };
}

function partView(each) {
  if (each.type === "image_url" && each.image_url.url.startsWith("data:image/")) return h("img", { src: each.image_url.url, alt: "An attached image" });
  return h("span", { class: "tag" }, "audio");
}
