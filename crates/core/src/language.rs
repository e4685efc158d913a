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

/// The same of other languages in Latin letters; none of them is among those of [`ENGLISH`].
const OTHERS: [&str; 12] = [
    // German
    "\
    der die das den dem des ein eine einen einem einer und oder nicht ist sind war waren wurde wurden wird \
    werden wie wer wo wann warum welche welcher welches welchen welchem wen wem wessen wieviel mit für von \
    auf im zu zur zum bei nach aus um über durch hat haben hatte als auch es er sie sich dass kann",
    // Spanish
    "\
    el la los las un una unos unas y o que qué de del en por para con es son era fue fueron ser está como \
    cómo cuál cuáles quién quiénes dónde cuándo cuánto cuántos cuántas se su sus al lo más",
    // French
    "\
    le la les un une des du de et ou que qui est sont était dans par pour avec sur au aux ce cette ces il \
    elle ils ne pas plus quel quelle quels quelles comment pourquoi où quand combien en son sa ses",
    // Italian
    "\
    il lo la gli le un uno una e o che chi di del della dei delle per con su è sono era nel nella al alla \
    come quale quali dove quando quanto perché non si",
    // Portuguese
    "\
    o os um uma e ou que quem de da dos das em na nos nas por para com é são era foi foram ao à como qual \
    quais onde quando quanto não se seu sua",
    // Dutch
    "\
    de het een en van op te zijn waren werd worden met voor aan bij naar uit door over niet dat die wie wat \
    waar wanneer waarom hoe welke welk heeft hebben er",
    // Turkish
    "\
    ve bir bu da de ne mi mı için ile olan kim nerede hangi kaç nasıl neden olarak çok en",
    // Vietnamese
    "\
    là của và các những một có không được cho trong với người này khi ở đã nào gì ai đâu bao nhiêu",
    // Romanian
    "\
    și în de la cu pe care ce cine este sunt fost un o din pentru al ale lui unde când cum câte câți nu se",
    // Polish
    "\
    w na z nie jest się że jak co kto gdzie kiedy który która które dla przez od po czy",
    // Swedish
    "\
    och att det som en på är av för med den till inte om var hur vad vem när ett",
    // Indonesian
    "\
    yang dan di dari untuk dengan ini itu pada adalah tidak ke apa siapa mana kapan",
];

/// Whether a text seems to be in another language than English: it is in another script, has more common words of
/// another language than English ones, or no English one and a letter that English does not have. docs/evaluation.md says how often that is right.
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
    let count =
        |known: &str| words.iter().filter(|word| known.split(' ').any(|known| known == *word)).count();
    let english = count(ENGLISH);
    let has_other_letters = words.len() > 1 && words.iter().any(|word| !word.is_ascii());
    english == 0 && has_other_letters || OTHERS.iter().any(|known| count(known) > english)
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
            "灯塔是什么时候建成的？",
            "متى بني البرج؟",
            "Когда построили маяк?",
            "Höhe Leuchtturm Skerry",
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
            "naïve",
            "",
            "42 + 1",
        ] {
            assert!(!is_foreign(own), "{own}");
        }
    }
}
