// Conversations, stored only in this browser.

const KEY = "tandem.conversations";
const KEPT = 100;

export function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(kept) ? kept.filter(usable) : [];
  } catch {
    return [];
  }
}

/** Returns whether the browser had room. */
export function save(all) {
  try {
    localStorage.setItem(KEY, JSON.stringify(all.filter((one) => one.messages.length).slice(0, KEPT)));
    return true;
  } catch {
    return false;
  }
}

export function fresh() {
  return { id: crypto.randomUUID?.() ?? String(Date.now() + Math.random()), at: Date.now(), messages: [] };
}

export function titleOf(conversation) {
  const first = conversation.messages.find((message) => message.role === "user");
  return first ? first.text.slice(0, 60) || "Attachment" : "New conversation";
}

/** The conversations of an exported file. Throws an Error with a message. */
export function imported(text) {
  let given;
  try {
    given = JSON.parse(text);
  } catch {
    throw new Error("This file is not JSON.");
  }
  const found = (Array.isArray(given) ? given : [given]).filter(usable);
  if (!found.length) throw new Error("This file has no conversations that this page has exported.");
  return found.map((one) => ({ ...fresh(), at: one.at ?? Date.now(), messages: one.messages }));
}

function usable(one) {
  return Array.isArray(one?.messages) && one.messages.every((message) =>
    ["user", "assistant"].includes(message?.role) && typeof message.text === "string");
}
