// LangChain.js as its documentation says to count tokens with another tokenizer: by `lengthFunction`.
import { RecursiveCharacterTextSplitter } from "@langchain/textsplitters";
import { clearMergeCache, countTokens } from "gpt-tokenizer/encoding/cl100k_base";
import { serve } from "./serve.js";

const count = (text) => countTokens(text, { disallowedSpecial: new Set() });
const settings = { chunkSize: 256, chunkOverlap: 0, lengthFunction: count };

export default serve((text) => text, {
  async chunk(markdown, text) {
    // Or it would remember all of the text from the time before.
    clearMergeCache();
    const splitter = markdown
      ? RecursiveCharacterTextSplitter.fromLanguage("markdown", settings)
      : new RecursiveCharacterTextSplitter(settings);
    return (await splitter.splitText(text)).length;
  },
  cl100k(_, text) {
    clearMergeCache();
    return count(text);
  },
});
