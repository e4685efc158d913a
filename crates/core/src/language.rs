//! Recognising a question that an English embedder does not understand.

/// A share of letters of another script from which a text is not English.
const OTHER_SCRIPT: f32 = 0.3;

/// Words that nearly every English question has some of.
const ENGLISH: &str = "\
    a about also am an and are as associated at be been being between but by called can could decrease did \
    do does effect effects first following for from give given had has have having he her him his how i if \
    in increase increases into is it its many may me might most much must my name no not of on one or our \
    result results shall she should show shows such than that the their them then there these they this to \
    two type us use used using was we were what when where which who whom whose why will with within would \
    you your";

/// The same of other languages in Latin letters; none of them is among those of [`ENGLISH`], an English word, or a name or
/// an abbreviation that English texts have ("ai", "per", "red hat").
const OTHERS: [&str; 12] = [
    // German
    "\
    der das den dem des ein eine einen einem einer und oder nicht ist sind waren wurde wurden wird \
    werden wie wer wo wann warum welche welcher welches welchen welchem wen wem wessen wieviel mit \
    für von auf im zu zur zum bei nach aus um über durch haben hatte als auch es er sie sich dass \
    kann",
    // Spanish
    "\
    el la los las un una unos unas y que qué de del en por para es fue fueron ser está como cómo \
    cuál cuáles quién quiénes dónde cuándo cuánto cuántos cuántas se su sus al lo más",
    // French
    "\
    le la les un une des du de et ou que qui est sont était dans par pour avec sur au aux ce cette \
    ces il elle ils ne pas quel quelle quels quelles comment pourquoi où quand combien en sa ses",
    // Italian
    "\
    il lo la gli le un uno una che di del della dei delle su è sono nel nella al alla quale quali \
    dove quando quanto perché si",
    // Portuguese
    "\
    os um uma ou que quem de da das em na nos nas por para é são foi foram ao à como qual quais \
    onde quando quanto não se seu sua",
    // Dutch
    "\
    de het een en op te zijn waren werd worden voor aan bij naar uit door niet dat wie wat waar \
    wanneer waarom hoe welke welk heeft hebben er",
    // Turkish
    "\
    ve bir bu da de ne mi mı için ile olan kim nerede hangi kaç nasıl neden olarak çok en",
    // Vietnamese
    "\
    là của và các những một có không được cho trong với người này khi ở đã nào gì đâu bao nhiêu",
    // Romanian
    "\
    și în de la cu pe ce cine este sunt fost un din pentru al ale lui unde când cum câte câți nu se",
    // Polish
    "\
    w na nie jest się że jak kto gdzie kiedy który która które dla przez od po czy",
    // Swedish
    "\
    och att det som en på är av för med den till inte om hur vad vem när ett",
    // Indonesian
    "\
    yang di dari untuk dengan ini itu pada adalah tidak apa siapa mana kapan",
];

/// Whether a text seems to be in another language than English: it is in another script, or two of its words at least are
/// common ones of another language and fewer are English ones. Accents count as one of the two: they are in names as well,
/// and a question of a few words is mostly names. docs/evaluation.md says how often that is right.
pub fn is_foreign(text: &str) -> bool {
    let (mut letters, mut other) = (0_usize, 0_usize);
    for letter in text.chars().filter(|letter| letter.is_alphabetic()) {
        letters += 1;
        other += usize::from(!is_latin(letter));
    }
    if other as f32 > OTHER_SCRIPT * letters as f32 {
        return true;
    }
    let words: Vec<String> = text
        .split(|letter: char| !letter.is_alphabetic())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let is_listed = |list: &str, word: &str| list.split(' ').any(|listed| listed == word);
    let english = words.iter().filter(|word| is_listed(ENGLISH, word)).count();
    let has_accent = |word: &str| word.chars().any(|letter| !letter.is_ascii() && is_latin(letter));
    OTHERS.iter().any(|others| {
        let common = words.iter().filter(|word| is_listed(others, word)).count();
        let accented = words.iter().any(|word| has_accent(word) && !is_listed(others, word));
        let signs = common + usize::from(accented);
        common > 0 && signs >= 2 && signs > english
    })
}

fn is_latin(letter: char) -> bool {
    matches!(letter, '\0'..='\u{24f}' | '\u{1e00}'..='\u{1eff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_in_other_languages_are_recognised() {
        for foreign in [
            "Wie viele Lampen stehen im Hafen?",
            "¿Cuándo se construyó el faro?",
            "Où est le phare de la ville ?",
            "Wie hoch ist der Turm?",
            "Höhe der Türme",
            "灯塔是什么时候建成的？",
            "متى بني البرج؟",
            "Когда построили маяк?",
        ] {
            assert!(is_foreign(foreign), "{foreign}");
        }
    }

    #[test]
    fn english_and_what_is_no_language_is_not() {
        for own in [
            "When was the lighthouse built?",
            "getUserById",
            "wrangler d1 execute",
            "0-dimensional biomaterials lack inductive properties.",
            "The naïve café in São Paulo",
            "naïve bayes",
            "Workers AI pricing",
            "red hat linux",
            "requests per second",
            "e coli",
            "dos attack",
            "Vietnam war casualties",
            "TGF-β signalling in HeLa cells",
            "",
            "42 + 1",
        ] {
            assert!(!is_foreign(own), "{own}");
        }
    }
}
