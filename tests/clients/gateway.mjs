// Where the gateway is and what its models are called; `python -m tests.clients` sets it.
export const { TANDEM_URL: url, TANDEM_KEY: key, CHAT, EMBEDDER, GREETER, GREETING, SPEAKER } = process.env;
export const { THINKER, THOUGHT, CONCLUSION } = process.env;
export const { openai_messages: talk, openai_tool: tool, schema, cities } = JSON.parse(process.env.CONVERSATION);
