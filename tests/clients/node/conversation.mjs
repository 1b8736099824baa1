// OpenAI's client for Node; it asks what tests/clients/programs/asked.py says.
import OpenAI from "openai";

const [baseURL, model, first, second, prompt, maxTokens, formTokens] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "-", maxRetries: 0 });
const plain = { model, max_tokens: Number(maxTokens), temperature: 0 };
const user = (content) => ({ role: "user", content });
const talk = [user(first)];

const one = (await client.chat.completions.create({ messages: talk, ...plain })).choices[0].message;
let streamed = "";
for await (const chunk of await client.chat.completions.create({ messages: talk, stream: true, ...plain })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
talk.push(one, user(second));
const two = (await client.chat.completions.create({ messages: talk, ...plain })).choices[0].message;

const schema = {
  type: "object",
  properties: { said: { type: "boolean" }, sure: { type: "boolean" } },
  required: ["said", "sure"],
  additionalProperties: false,
};
const formed = await client.chat.completions.parse({
  ...plain,
  messages: talk,
  max_tokens: Number(formTokens),
  response_format: { type: "json_schema", json_schema: { name: "verdict", schema, strict: true } },
});
talk.push(formed.choices[0].message, user(second)); // with what the client read out of it
await client.chat.completions.create({ messages: talk, ...plain });

let refused = null;
try {
  const tools = [{ type: "function", function: { name: "verdict", parameters: schema } }];
  await client.chat.completions.create({ messages: talk, tools, ...plain });
} catch (error) {
  refused = error.param;
}
console.log(JSON.stringify({
  turns: [one.content, two.content],
  streamed,
  completion: (await client.completions.create({ prompt, ...plain })).choices[0].text,
  form: JSON.parse(formed.choices[0].message.content),
  refused,
}));
