// What the scripts share: where the product is, and what the tenant of the test holds: the fixture `lighthouse.md`.
export const url = process.env.RAGFLARE_URL;
export const key = process.env.RAGFLARE_KEY;
export const twin = process.env.RAGFLARE_TWIN;
export const QUESTION = "How often does the fog signal sound?";

/** What the model says next, whatever it is asked. */
export async function dictate(answer) {
  const rule = { match: { service: "ai", op: "chat" }, action: { answer } };
  await faults([rule]);
}

/** What the model that answers says next, once each: texts, or `{text, tool_calls: [{name, arguments}]}`. */
export async function script(...answers) {
  const match = { service: "ai", op: "chat", model: "@cf/meta/llama-3.3-70b-instruct-fp8-fast" };
  await faults(answers.map((answer) => ({ match, times: 1, action: { answer } })));
}

/** What the model was asked last: the conversation, and the rest of the request. */
export async function asked() {
  const { prompts, requests } = await (await fetch(`${twin}/control/prompts`)).json();
  return { messages: prompts.at(-1), inputs: requests.at(-1).inputs };
}

/** Sets the twin's faults; an empty list ends them. */
export async function faults(rules) {
  const reply = await fetch(`${twin}/control/faults`, { method: "PUT", body: JSON.stringify(rules) });
  if (!reply.ok) throw new Error(await reply.text());
}

/** Prints what a test shows. */
export function show(what, value) {
  console.log(`${what}: ${typeof value === "string" ? value : JSON.stringify(value)}`);
}
