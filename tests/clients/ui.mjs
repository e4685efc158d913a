// The AI SDK: its own transport and reader of the stream, and its chat, against POST /api/chat.
import assert from "node:assert/strict";
import {
  AbstractChat, DefaultChatTransport, lastAssistantMessageIsCompleteWithToolCalls, readUIMessageStream, validateUIMessages,
} from "ai";
import { asked, dictate, faults, key, QUESTION, script, show, url } from "./setup.mjs";

const headers = { authorization: `Bearer ${key}` };
const transport = new DefaultChatTransport({ api: `${url}/api/chat`, headers, body: { top_k: 3 } });
const user = (text) => ({ id: `u-${text.length}`, role: "user", parts: [{ type: "text", text }] });
const send = (messages, options = {}) =>
  transport.sendMessages({ chatId: "c1", messages, trigger: "submit-message", messageId: undefined, ...options });

async function read(stream) {
  const errors = [];
  const states = [];
  for await (const state of readUIMessageStream({ stream, onError: (error) => errors.push(error.message) }))
    states.push(state);
  return { errors, states, message: states.at(-1) };
}

const text = (message) => message.parts.filter((part) => part.type === "text").map((part) => part.text).join("");

// A model that cites rightly, wrongly, and with an emoji before: JavaScript counts that as two.
await dictate("💡 The signal sounds every ninety seconds [S1]. It never rests [S9].");
const { errors, states, message } = await read(await send([user(QUESTION)]));
assert.deepEqual(errors, []);
assert.equal(message.role, "assistant");
assert.match(message.id, /^msg-/);
assert.match(text(message), /^💡 The signal sounds every ninety seconds \[S1\]\. It never rests ?\.$/);
assert.ok(states.length > 3, "the text comes in pieces");
const sources = message.parts.filter((part) => part.type === "source-document");
assert.ok(sources.length >= 1 && sources.length <= 3);
assert.equal(sources[0].sourceId, "S1");
assert.equal(sources[0].title, "lighthouse.md");
assert.ok(sources[0].providerMetadata.ragflare.text.length > 0);
const web = message.parts.filter((part) => part.type === "source-url");
show("sources", [...sources, ...web].map((part) => `${part.sourceId} ${part.title}`));
const citations = message.parts.filter((part) => part.type === "data-citation");
assert.equal(citations.length, 1);
assert.equal(citations[0].data.document_id, "lighthouse.md");
assert.equal(citations[0].data.marker, "[S1]");
const part = message.parts.find((part) => part.type === "text");
assert.equal(part.state, "done");
assert.equal(part.citations.length, 1);
assert.equal(part.text.slice(part.citations[0].startIndex, part.citations[0].endIndex), "[S1]");
assert.equal(part.citations[0].source.id, "S1");
assert.ok(message.metadata.usage.total_tokens > 0);
assert.ok(message.metadata.usage.neurons > message.metadata.usage.search.neurons);
assert.deepEqual(message.metadata.done.cited, [1]);
assert.equal(message.metadata.done.outcome, "answered");
await validateUIMessages({ messages: [user(QUESTION), message] });
show("metadata", message.metadata.done);

// The answer goes back as history, with all its parts.
const next = await read(await send([user(QUESTION), message, user("And at night?")]));
assert.deepEqual(next.errors, []);
assert.ok(text(next.message).length > 0);

// The chat that `useChat` holds, on the real model.
await faults([]);
class Chat extends AbstractChat {
  constructor(options = { transport }) {
    const state = {
      status: "ready", error: undefined, messages: [],
      pushMessage(message) { this.messages = [...this.messages, message]; },
      popMessage() { this.messages = this.messages.slice(0, -1); },
      replaceMessage(index, message) { this.messages = this.messages.with(index, message); },
      snapshot: structuredClone,
    };
    super({ state, ...options });
  }
}
const chat = new Chat();
await chat.sendMessage({ text: "Which oil does the lamp burn?" }, { body: { max_tokens: 24 } });
assert.equal(chat.status, "ready", chat.error?.message);
assert.equal(chat.messages.length, 2);
show("the model", text(chat.messages[1]));

// Tools of the page's own: called by it, and answered in the same message.
const parameters = { type: "object", properties: { signal: { type: "string" } }, required: ["signal"] };
const tools = [{ type: "function", function: { name: "report_outage", description: "Reports.", parameters } }];
const calling = { name: "report_outage", arguments: { signal: "fog 💡" } };
await script({ text: "One moment [S1].", tool_calls: [calling, calling] }, "It is reported [S1].");
const reported = [];
class Caller extends Chat {
  constructor() {
    super({
      transport: new DefaultChatTransport({ api: `${url}/api/chat`, headers, body: { tools } }),
      sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
      onToolCall: ({ toolCall }) => {
        assert.equal(toolCall.dynamic, true);
        reported.push(toolCall.input);
        const { toolName: tool, toolCallId } = toolCall;
        // The second fails.
        const given = reported.length === 1 ? { output: { case: 4711 } } : { state: "output-error", errorText: "broken" };
        this.addToolOutput({ tool, toolCallId, ...given });
      },
    });
  }
}
const caller = new Caller();
await caller.sendMessage({ text: QUESTION });
while (!text(caller.messages.at(-1)).includes("reported")) {
  assert.notEqual(caller.status, "error", caller.error?.message);
  await new Promise((resolve) => setTimeout(resolve, 20));
}
assert.deepEqual(reported, [calling.arguments, calling.arguments]);
assert.equal(caller.messages.length, 2, "one message, gone on with");
const parts = caller.messages[1].parts;
assert.deepEqual(parts.filter((part) => part.type === "dynamic-tool").map((part) => part.state), ["output-available", "output-error"]);
assert.equal(parts.filter((part) => part.type === "step-start").length, 2);
const ids = parts.filter((part) => part.type.startsWith("source-")).map((part) => part.sourceId);
assert.equal(new Set(ids).size, ids.length, "sources are told once");
const told = await asked();
assert.match(JSON.stringify(told.messages), /4711/);
assert.match(JSON.stringify(told.messages), /error: broken/);
assert.equal(caller.messages[1].metadata.done.finish_reason, "stop");
show("tools", parts.map((part) => part.type));
// A structured answer.
await script(JSON.stringify({ any: "Every ninety seconds [S1]" }));
const object = await read(await send([user(QUESTION)], { body: { response_format: { type: "json_object" } } }));
assert.deepEqual(JSON.parse(text(object.message)), { any: "Every ninety seconds [S1]" });
await faults([]);

// Errors: refused before the stream, by the page's own words; and in the stream.
await assert.rejects(send([]), (error) => error.statusCode === 400 && /messages/.test(error.message));
await assert.rejects(send([user(QUESTION)], { headers: { authorization: "Bearer wrong" } }), { statusCode: 401 });
await assert.rejects(
  send([{ id: "f", role: "user", parts: [{ type: "file", mediaType: "image/png", url: "data:," }] }]),
  { statusCode: 400 },
);
await faults([{ match: { service: "ai", op: "chat" }, action: { error: { code: 5007 } } }]);
const quoted = await read(await send([user(QUESTION)]));
assert.deepEqual(quoted.errors, []);
assert.equal(quoted.message.metadata.done.outcome, "quoted");
const failed = await read(await send([user(QUESTION)], { body: { response_format: { type: "json_object" } } }));
assert.equal(failed.errors.length, 1);
assert.match(failed.errors[0], /generator/);
show("error part", failed.errors[0]);
await faults([]);

// There is never a stream to resume.
assert.equal(await transport.reconnectToStream({ chatId: "c1" }), null);
