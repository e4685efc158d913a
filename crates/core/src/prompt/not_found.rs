//! "Not in the documents", in the language of the question.

use crate::language;

const ENGLISH: &str = "I could not find anything about this in the documents.";

/// Whether a letter is one of a script.
type IsOwn = fn(char) -> bool;

/// Languages told by their script. Kana stand before Han, since Japanese has both; Persian and Ukrainian have letters that
/// Arabic and Russian have not.
const SCRIPTS: [(IsOwn, &str); 12] = [
    (|c| matches!(c, '\u{3040}'..='\u{30FF}'), "文書の中に、これに関する情報は見つかりませんでした。"),
    (
        |c| matches!(c, '\u{1100}'..='\u{11FF}' | '\u{AC00}'..='\u{D7AF}'),
        "문서에서 이에 대한 내용을 찾지 못했습니다.",
    ),
    (|c| matches!(c, '\u{3400}'..='\u{9FFF}'), "在文档中没有找到与此相关的内容。"),
    (|c| matches!(c, 'і' | 'ї' | 'є' | 'ґ'), "Я не знайшов нічого про це в документах."),
    (|c| matches!(c, '\u{400}'..='\u{4FF}'), "Я не нашёл ничего об этом в документах."),
    (|c| matches!(c, 'پ' | 'چ' | 'ژ' | 'گ' | 'ی' | 'ک'), "در اسناد چیزی در این باره پیدا نکردم."),
    (|c| matches!(c, '\u{600}'..='\u{6FF}'), "لم أجد شيئًا عن هذا في المستندات."),
    (|c| matches!(c, '\u{590}'..='\u{5FF}'), "לא מצאתי על כך דבר במסמכים."),
    (|c| matches!(c, '\u{900}'..='\u{97F}'), "मुझे दस्तावेज़ों में इसके बारे में कुछ नहीं मिला।"),
    (|c| matches!(c, '\u{980}'..='\u{9FF}'), "নথিতে এ সম্পর্কে কিছু পাইনি।"),
    (|c| matches!(c, '\u{E00}'..='\u{E7F}'), "ไม่พบข้อมูลเรื่องนี้ในเอกสาร"),
    (|c| matches!(c, '\u{370}'..='\u{3FF}'), "Δεν βρήκα τίποτα σχετικό στα έγγραφα."),
];

/// Languages in Latin letters, told by words and letters that questions in them have and the others have not.
const WORDS: [(&str, &str); 12] = [
    (
        "der die das den dem ist sind war wurde wer wie wo wann warum welche welcher welches und nicht mit für von ein eine ß",
        "Dazu habe ich in den Dokumenten nichts gefunden.",
    ),
    (
        "el los las qué cómo cuál cuándo dónde quién cuánto cuántos fue está y del ¿ ñ",
        "No he encontrado nada sobre esto en los documentos.",
    ),
    (
        "le les des est sont où quand comment pourquoi quel quelle quels combien qui dans et du aux ce c qu ù",
        "Je n'ai rien trouvé à ce sujet dans les documents.",
    ),
    (
        "il gli che è sono della dei delle nella chi perché dove quando quale quali come di quanto ò",
        "Non ho trovato nulla al riguardo nei documenti.",
    ),
    (
        "os um uma do da dos das não são foi onde quando qual quais como quem quanto em no ã õ",
        "Não encontrei nada sobre isto nos documentos.",
    ),
    (
        "het een van zijn wat waar wanneer hoe welke niet met voor wie waarom de heeft",
        "Ik heb hierover niets in de documenten gevonden.",
    ),
    (
        "ve bir bu nedir kim nerede hangi kaç nasıl neden ne için ile ı ğ ş",
        "Belgelerde bununla ilgili bir şey bulamadım.",
    ),
    (
        "là của và những không được cho gì ai đâu nào bao khi ở ơ ư ạ ế ộ",
        "Tôi không tìm thấy gì về điều này trong tài liệu.",
    ),
    (
        "și în este care cine când unde cum câte pentru din cu nu ă ț ș",
        "Nu am găsit nimic despre acest lucru în documente.",
    ),
    (
        "jest się jak kto gdzie kiedy który która dlaczego czy na nie z w ł ś ż ć",
        "Nie znalazłem nic na ten temat w dokumentach.",
    ),
    (
        "och att är det som hur vad vem när var inte på av för med å",
        "Jag hittade inget om detta i dokumenten.",
    ),
    (
        "yang dan adalah apa siapa mana kapan di dari untuk dengan bagaimana mengapa",
        "Saya tidak menemukan apa pun tentang ini di dokumen.",
    ),
];

/// Letters of languages that are not here, and would be taken for a neighbour: Danish and Norwegian, Serbian and Macedonian,
/// Urdu.
const OTHERS: [char; 15] = ['æ', 'ø', 'ђ', 'ј', 'љ', 'њ', 'ћ', 'ѓ', 'ќ', 'џ', 'ٹ', 'ڈ', 'ڑ', 'ں', 'ے'];
/// Chinese characters that are written otherwise where characters are simplified.
const TRADITIONAL: [char; 20] = [
    '這', '們', '個', '國', '說', '與', '為', '嗎', '麼', '還', '時', '會', '來', '後', '從', '點', '臺',
    '誰', '裡', '關',
];

/// What is said when nothing was found and no model is asked; in English where the question's language is not known.
pub fn nothing_found(question: &str) -> &'static str {
    let letters = question.chars().filter(|c| c.is_alphabetic()).count();
    if !language::is_foreign(question) {
        return ENGLISH;
    }
    let latin = question
        .chars()
        .filter(|c| matches!(c, '\0'..='\u{24F}' | '\u{1E00}'..='\u{1EFF}') && c.is_alphabetic())
        .count();
    if question.chars().any(|letter| OTHERS.contains(&letter.to_lowercase().next().unwrap_or(letter))) {
        return ENGLISH;
    }
    if question.contains(|letter| TRADITIONAL.contains(&letter)) {
        return "在文件中找不到與此相關的內容。";
    }
    // Bulgarian has this letter where Russian has the other two.
    if question.contains('ъ') && !question.contains(['ы', 'э']) {
        return ENGLISH;
    }
    // A name in another script does not make a question another language's.
    if 2 * latin < letters {
        let told = SCRIPTS.iter().find(|(is_own, _)| question.contains(is_own));
        return told.map_or(ENGLISH, |(_, sentence)| sentence);
    }
    let question = question.to_lowercase();
    let words: Vec<&str> =
        question.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).collect();
    let score = |known: &str| {
        let letter = |entry: &&str| !entry.is_ascii() && entry.chars().count() == 1;
        let said = words.iter().filter(|word| known.split(' ').any(|entry| entry == **word)).count();
        let spelt = known.split(' ').filter(letter).filter(|letter| question.contains(*letter)).count();
        said + spelt
    };
    let best = WORDS.iter().rev().max_by_key(|(known, _)| score(known));
    best.filter(|(known, _)| score(known) > 0).map_or(ENGLISH, |(_, sentence)| sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_in_the_language_of_the_question() {
        for (question, beginning) in [
            ("When was the lighthouse built?", "I could not"),
            ("Anything?", "I could not"),
            ("xyzzy 42", "I could not"),
            ("Who painted the 富嶽三十六景 series of woodblock prints?", "I could not"),
            ("Wie viele Lampen stehen im Hafen?", "Dazu"),
            ("Was ist die Wellenlänge λ des Lichts im Hafen von Athen?", "Dazu"),
            ("¿Cuándo se construyó el faro?", "No he"),
            ("Où est le phare de la ville ?", "Je n'ai"),
            ("Quando è stato costruito il faro della città?", "Non ho"),
            ("Quando foi construído o farol e quem não o viu?", "Não"),
            ("Wanneer is het gebouw van de haven gebouwd?", "Ik heb"),
            ("Deniz feneri ne zaman inşa edildi ve kim yaptı?", "Belgelerde"),
            ("Ngọn hải đăng được xây khi nào?", "Tôi"),
            ("Kiedy zbudowano latarnię i kto ją zbudował?", "Nie"),
            ("När byggdes fyren och vem var det?", "Jag"),
            ("Kapan mercusuar itu dibangun dan siapa yang membangunnya?", "Saya"),
            ("Când a fost construit farul și cine este?", "Nu am"),
            ("灯塔是什么时候建成的？", "在文档"),
            ("灯台はいつ建てられましたか？", "文書"),
            ("등대는 언제 지어졌나요?", "문서"),
            ("Когда построили маяк?", "Я не нашёл"),
            ("Коли збудували маяк і хто його збудував?", "Я не знайшов"),
            ("متى بني البرج؟", "لم أجد"),
            ("مجدول کی ساخته شد و چه کسی؟", "در اسناد"),
            ("מתי נבנה המגדלור?", "לא"),
            ("लाइटहाउस कब बना था?", "मुझे"),
            ("Πότε χτίστηκε ο φάρος;", "Δεν"),
            ("燈塔是什麼時候建造的？", "在文件中"),
            ("Hvornår blev fyrtårnet bygget, og hvorfor er det rødt?", "I could not"),
            ("Када је изграђен светионик?", "I could not"),
            ("Кога е построен фарът?", "I could not"),
            ("لائٹ ہاؤس کب بنایا گیا تھا؟", "I could not"),
        ] {
            assert!(
                nothing_found(question).starts_with(beginning),
                "{question}: {}",
                nothing_found(question)
            );
        }
    }
}
