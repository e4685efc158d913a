//! The reference tokenizer of BGE v1.5.

use tokenizers::Tokenizer;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

/// As the model's `tokenizer.json` configures it, without special tokens.
pub(crate) fn tokenizer() -> Tokenizer {
    let vocabulary = include_bytes!("../../core/data/bge_vocab.txt");
    let model = WordPiece::builder()
        .vocab(WordPiece::read_bytes(vocabulary).expect("the vocabulary is part of the checkout"))
        .unk_token("[UNK]".into())
        .max_input_chars_per_word(100)
        .continuing_subword_prefix("##".into())
        .build()
        .expect("these settings are the model's");
    let mut tokenizer = Tokenizer::new(model);
    let _ = tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, None, true)));
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer
}
