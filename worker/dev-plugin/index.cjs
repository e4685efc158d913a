"use strict";
// A wrangler plugin (miniflare 5 API): gives a worker the genuine `Ai` and `VectorizeIndexImpl` bindings, with
// the service behind them being the offline twin. Which process that is comes from the environment of wrangler:
//   RAGFLARE_TWIN=http://127.0.0.1:PORT
// Only a development configuration names this plugin:
//   unsafe.bindings: [{ name, type: "ai" | "vectorize",
//     dev: { plugin: { package, name }, options: { index_name } } }]   (wrangler passes on nothing but `dev`)

const PLUGIN = "ragflare-twin";
const AI_SERVICE = `${PLUGIN}:ai`;
// The Vectorize binding does not send its index's name: one service per index adds it.
const INDEX_HEADER = "x-ragflare-index";

const indexService = (index) => `${PLUGIN}:vectorize:${index}`;

/** The bindings of one worker that are ours: `[name, binding]`. */
function ours(options) {
  return Object.entries(options.config.env ?? {}).filter(
    ([, binding]) => binding?.dev?.plugin?.name === PLUGIN,
  );
}

function indexName(name, binding) {
  const index = binding.dev.options?.index_name;
  if (typeof index !== "string" || index === "") {
    throw new Error(`${PLUGIN}: the vectorize binding ${name} has no dev.options.index_name`);
  }
  return index;
}

/** `host:port` of the twin. */
function twinAddress() {
  const url = process.env.RAGFLARE_TWIN;
  if (!url) {
    throw new Error(`${PLUGIN}: RAGFLARE_TWIN is not set; start the workers with \`cargo xtask up\``);
  }
  return new URL(url).host;
}

/** The same shape wrangler gives a deployed binding, with our service as its inner fetcher. */
function designator(name, binding) {
  switch (binding.type) {
    case "unsafe:ai":
      return {
        name,
        wrapped: {
          moduleName: "cloudflare-internal:ai-api",
          innerBindings: [{ name: "fetcher", service: { name: AI_SERVICE } }],
        },
      };
    case "unsafe:vectorize": {
      const index = indexName(name, binding);
      return {
        name,
        wrapped: {
          moduleName: "cloudflare-internal:vectorize-api",
          innerBindings: [
            { name: "fetcher", service: { name: indexService(index) } },
            { name: "indexId", text: index },
            { name: "indexVersion", text: "v2" },
            { name: "useNdJson", json: "true" },
          ],
        },
      };
    }
    default:
      throw new Error(`${PLUGIN}: the binding ${name} has type ${binding.type}, expected ai or vectorize`);
  }
}

/** An external server; the Host header keeps the name the binding asked for. */
function twinService(name, headers) {
  return {
    name,
    external: { address: twinAddress(), http: { injectRequestHeaders: headers } },
  };
}

exports.plugins = {
  [PLUGIN]: {
    bindingTypeDescription: PLUGIN,
    async getBindings(options) {
      return ours(options).map(([name, binding]) => designator(name, binding));
    },
    getNodeBindings(options) {
      return Object.fromEntries(ours(options).map(([name]) => [name, {}]));
    },
    async getServices({ options }) {
      const services = new Map();
      for (const [name, binding] of ours(options)) {
        if (binding.type === "unsafe:vectorize") {
          const index = indexName(name, binding);
          services.set(index, twinService(indexService(index), [{ name: INDEX_HEADER, value: index }]));
        } else {
          services.set(AI_SERVICE, twinService(AI_SERVICE, []));
        }
      }
      return [...services.values()];
    },
  },
};
