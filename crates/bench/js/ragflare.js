import { bge, chunk, cl100k, floor, hold, initSync } from "./ragflare_bindings.js";
import module from "./ragflare.wasm";
import { serve } from "./serve.js";

initSync({ module });

export default serve(hold, { chunk, bge, cl100k, floor });
