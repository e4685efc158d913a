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

/** Sets the twin's faults; an empty list ends them. */
export async function faults(rules) {
  const reply = await fetch(`${twin}/control/faults`, { method: "PUT", body: JSON.stringify(rules) });
  if (!reply.ok) throw new Error(await reply.text());
}

/** Prints what a test shows. */
export function show(what, value) {
  console.log(`${what}: ${typeof value === "string" ? value : JSON.stringify(value)}`);
}
