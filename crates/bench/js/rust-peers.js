import { bge, chunk_tiktoken, chunk_tokenizers, cl100k, hold, initSync } from "./rust_peers_bindings.js";
import module from "./rust_peers.wasm";
import { serve } from "./serve.js";

initSync({ module });

export default serve(hold, { chunk_tiktoken, chunk_tokenizers, bge, cl100k });
