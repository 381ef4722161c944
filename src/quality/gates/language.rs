//! Responses in another language than their prompt.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use whatlang::{Info, Lang, Script, detect, detect_script};

/// The fewest letters of a text from which its language is told.
const FEWEST_LETTERS: usize = 24;

/// How many letters a character is worth that stands for a syllable or a word: Han, kana and Hangul.
const WORTH: usize = 4;

/// How many characters of a text are looked at.
const LOOKED_AT: usize = 600;

/// Two languages, and how sure it is that they differ.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Differs {
    /// Of the prompt: its ISO 639-3 code, or its letters where no more is sure.
    pub prompt: String,
    /// Of the response.
    pub response: String,
    /// 0 to 1: the lesser of the two confidences, the greater where the letters differ too.
    pub confidence: f64,
    /// What the response may be in.
    meant: Vec<Lang>,
}

impl Differs {
    /// Whether a text asks for such a response, as earlier messages may.
    pub fn is_asked_for(&self, text: &str) -> bool {
        wanted(text, &self.meant)
    }
}

/// Whether a response is in another language than its prompt, and that is at least so sure. `None` where either
/// cannot be told, and where the prompt asks for a translation or names the language.
///
/// Languages that share their letters are often not told from each other, such as Russian and Bulgarian. Neither is
/// English, so where the letters differ it is enough that one of the two is told.
pub(super) fn differs(prompt: &str, response: &str, least: f64) -> Option<Differs> {
    let prose = [prompt, response].map(prose);
    let (whole, prompt, response) = (prompt, &*prose[0], &*prose[1]);
    let sure = |info: &Info| info.confidence() >= least;
    // Telling a language takes longer than all other gates together, and most texts need no telling.
    let may_differ = |told: &Info, other: &str| {
        let letters = || detect_script(beginning(other)).map(shared);
        sure(told) || letters().is_some_and(|letters| letters != shared(told.script()))
    };
    let (asked, given) = match (plainly_english(prompt), plainly_english(response)) {
        (true, true) => return None,
        (true, false) => {
            let given = language(response)?;
            if given.lang() == Lang::Eng || !may_differ(&given, prompt) {
                return None;
            }
            (language(prompt)?, given)
        }
        (false, english) => {
            let asked = language(prompt)?;
            if (english && asked.lang() == Lang::Eng) || !may_differ(&asked, response) {
                return None;
            }
            (asked, language(response)?)
        }
    };
    let (one, other) = (asked.confidence(), given.confidence());
    let same_letters = shared(asked.script()) == shared(given.script());
    // Chinese and Japanese share characters, so that a few of them do not tell.
    let few = |text: &str| letters(beginning(text)).count() < FEWEST_LETTERS;
    if same_letters && (few(prompt) || few(response)) {
        return None;
    }
    let confidence = match same_letters {
        true => one.min(other),
        false => one.max(other),
    };
    let named = |info: &Info| match sure(info) {
        true => info.lang().code().to_owned(),
        false => format!("{} letters", info.script().name()),
    };
    if confidence < least || asked.lang() == given.lang() {
        return None;
    }
    // Of a language that is not sure, every other in its letters may be meant.
    let script = given.script();
    let meant = match sure(&given) {
        true => vec![given.lang()],
        false => script.langs().to_vec(),
    };
    (!wanted(whole, &meant)).then(|| Differs {
        prompt: named(&asked),
        response: named(&given),
        confidence,
        meant,
    })
}

/// A script for all that one language mixes, as Japanese does.
fn shared(script: Script) -> Script {
    match script {
        Script::Hiragana | Script::Katakana => Script::Mandarin,
        script => script,
    }
}

/// Whether a word, in small letters, is an English one and no common word of another language in these letters.
#[rustfmt::skip]
fn is_english(word: &[u8]) -> bool {
    matches!(
        word,
        b"about" | b"after" | b"and" | b"another" | b"because" | b"been" | b"before" | b"being"
            | b"between" | b"both" | b"could" | b"describe" | b"does" | b"each" | b"every" | b"explain" | b"few"
            | b"from" | b"have" | b"here" | b"how" | b"if" | b"it" | b"its" | b"know" | b"make" | b"many" | b"much"
            | b"must" | b"never" | b"only" | b"other" | b"our" | b"people" | b"please" | b"she" | b"should" | b"than"
            | b"that" | b"the" | b"their" | b"them" | b"there" | b"these" | b"they" | b"things" | b"think" | b"this"
            | b"those" | b"through" | b"two" | b"very" | b"well" | b"were" | b"what" | b"when" | b"where" | b"which"
            | b"while" | b"who" | b"why" | b"with" | b"without" | b"would" | b"write" | b"you" | b"your"
    )
}

/// Letters of the longest of them.
const LONGEST: usize = 8;

/// Whether one word of eight, and at least two, are English ones.
fn plainly_english(text: &str) -> bool {
    let (mut words, mut english) = (0, 0);
    let each = beginning(text).split(|c: char| !c.is_alphabetic());
    for word in each.filter(|word| !word.is_empty()) {
        words += 1;
        let mut letters = [0; LONGEST];
        if let Some(letters) = letters.get_mut(..word.len()) {
            letters.copy_from_slice(word.as_bytes());
            letters.make_ascii_lowercase();
            english += usize::from(is_english(letters));
        }
    }
    english >= 2 && english * 8 >= words
}

/// A text without its fenced code, which is in no language.
fn prose(text: &str) -> Cow<'_, str> {
    const FENCE: &str = "```";
    match text.contains(FENCE) {
        true => text
            .split(FENCE)
            .step_by(2)
            .collect::<Vec<_>>()
            .join(" ")
            .into(),
        false => text.into(),
    }
}

fn beginning(text: &str) -> &str {
    match text.char_indices().nth(LOOKED_AT) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

fn language(text: &str) -> Option<Info> {
    let text = beginning(text);
    let worth = |c: char| match u32::from(c) {
        0x3040..=0x30ff | 0x3400..=0x9fff | 0xac00..=0xd7a3 | 0xf900..=0xfaff => WORTH,
        _ => 1,
    };
    let worth: usize = letters(text).map(worth).sum();
    (worth >= FEWEST_LETTERS).then(|| detect(text)).flatten()
}

fn letters(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().filter(|c| c.is_alphabetic())
}

/// Whether the prompt asks for another language than its own: for a translation, or for one of these.
fn wanted(prompt: &str, languages: &[Lang]) -> bool {
    let lower = prompt.to_lowercase();
    let mut names = languages
        .iter()
        .flat_map(|lang| [lang.eng_name(), lang.name()]);
    let mut others = ALSO_CALLED
        .iter()
        .filter(|(lang, _)| languages.contains(lang))
        .flat_map(|(_, names)| *names);
    TRANSLATION.is_match(&lower)
        || names.any(|name| lower.contains(&name.to_lowercase()))
        || others.any(|name| lower.contains(*name))
}

/// What else languages are called: in English, and the most common ones in other languages.
#[rustfmt::skip]
const ALSO_CALLED: [(Lang, &[&str]); 15] = [
    (Lang::Eng, &["anglais", "englisch", "inglés", "inglese", "inglês", "engels", "angielsk", "anglick", "ingilizce",
        "английск", "англійськ", "英語", "英语", "英文", "영어", "الإنجليزية", "अंग्रेज़ी", "अंग्रेजी"]),
    (Lang::Cmn, &["chinese", "cantonese", "chinesisch", "chinois", "chino", "cinese", "chinês", "китайск",
        "中文", "汉语", "漢語", "中国語", "중국어"]),
    (Lang::Deu, &["allemand", "alemán", "tedesco", "alemão", "niemieck", "немецк", "德语", "ドイツ語", "독일어"]),
    (Lang::Fra, &["französisch", "francés", "francese", "francês", "французск", "法语", "フランス語", "프랑스어"]),
    (Lang::Spa, &["castilian", "spanisch", "espagnol", "spagnolo", "espanhol", "испанск", "西班牙语", "スペイン語",
        "스페인어"]),
    (Lang::Ita, &["italienisch", "italien", "итальянск", "意大利语", "イタリア語"]),
    (Lang::Por, &["portugiesisch", "portugais", "portugués", "portoghese", "португальск", "葡萄牙语"]),
    (Lang::Rus, &["russisch", "russe", "ruso", "russo", "俄语", "ロシア語"]),
    (Lang::Jpn, &["japanisch", "japonais", "japonés", "giapponese", "japonês", "японск", "日语", "일본어"]),
    (Lang::Nob, &["norwegian", "norsk"]),
    (Lang::Nld, &["flemish", "niederländisch", "néerlandais"]),
    (Lang::Slv, &["slovenian"]),
    (Lang::Pes, &["farsi"]),
    (Lang::Tgl, &["filipino"]),
    (Lang::Ori, &["odia"]),
];

// The pattern is a constant that the tests compile, so `expect` cannot fail.
static TRANSLATION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"translat|übersetz|tradui|tradu[cz]|vertaal|översätt|oversett|oversæt|перев[ео]|翻译|翻訳|languages?\b")
        .expect("a constant pattern")
});

#[cfg(test)]
mod tests {
    use super::*;

    const ENGLISH: &str = "Could you tell me when the next train to the coast leaves the station?";
    const GERMAN: &str =
        "Der nächste Zug an die Küste fährt morgen früh um sieben Uhr vom zweiten Gleis ab.";

    #[test]
    fn another_language_is_noticed() {
        assert_eq!(super::differs(ENGLISH, GERMAN, 1.1), None);
        let differs = differs(ENGLISH, GERMAN, 0.9).unwrap();
        assert_eq!((&*differs.prompt, &*differs.response), ("eng", "deu"));
        assert!(differs.confidence > 0.9, "{}", differs.confidence);
    }

    #[test]
    fn other_letters_are_another_language_also_where_that_is_not_sure() {
        let russian = "Расскажи мне, пожалуйста, подробно, как испечь хлеб дома без дрожжей.";
        assert!(language(russian).unwrap().confidence() < 0.9);
        let told = |prompt, response| {
            let differs = differs(prompt, response, 0.9)?;
            assert!(differs.confidence > 0.9, "{}", differs.confidence);
            Some((differs.prompt, differs.response))
        };
        let both = |one: &str, other: &str| Some((one.to_owned(), other.to_owned()));
        assert_eq!(told(russian, ENGLISH), both("Cyrillic letters", "eng"));
        assert_eq!(told(ENGLISH, russian), both("eng", "Cyrillic letters"));
        assert_eq!(told(russian, GERMAN), both("Cyrillic letters", "deu"));
        assert_eq!(told(GERMAN, russian), both("deu", "Cyrillic letters"));
        // What it is taken for is not what it is.
        let asks = "Could you tell me in Russian how people bake bread without yeast when they are at home?";
        assert_eq!(told(asks, russian), None);
        let bulgarian = "Кажи ми, моля, как се пече хляб у дома без мая и колко време отнема това.";
        assert_eq!(told(russian, bulgarian), None);
    }

    #[test]
    fn plain_english_needs_no_telling() {
        assert!(plainly_english("What does the dog do when it rains?"));
        for text in [
            GERMAN,
            "The end",
            "Les animaux de la ferme sont là-bas.",
            "De hond ligt in de tuin en the kat ook",
            "Ea are un frate care are doi copii mici.",
            "",
        ] {
            assert!(!plainly_english(text), "{text}");
        }
        assert_eq!(
            differs(ENGLISH, "Why, this is what you and they would have.", 0.0),
            None
        );
    }

    #[test]
    fn the_same_language_a_short_text_and_a_wish_are_not() {
        assert_eq!(
            differs(
                ENGLISH,
                "It leaves at seven in the morning from platform two.",
                0.0
            ),
            None
        );
        assert_eq!(differs("When?", GERMAN, 0.0), None);
        assert_eq!(differs(ENGLISH, "Um sieben.", 0.0), None);
        for prompt in [
            "Please translate this for me: the next train leaves at seven in the morning.",
            "Answer in German, please: when does the next train to the coast leave?",
        ] {
            assert_eq!(differs(prompt, GERMAN, 0.0), None, "{prompt}");
        }
    }

    #[test]
    fn languages_have_several_names() {
        let chinese =
            "下一班开往海岸的火车明天早上七点从二号站台出发，请提前十分钟到达并准备好车票。";
        assert!(differs(ENGLISH, chinese, 0.9).is_some());
        for (prompt, response) in [
            (
                "Please say in Chinese when the next train to the coast leaves.",
                chinese,
            ),
            (
                "Kannst du mir auf Englisch sagen, wann der nächste Zug an die Küste fährt?",
                ENGLISH,
            ),
            (
                "Peux-tu me dire en anglais quand part le prochain train pour la côte ?",
                ENGLISH,
            ),
            (
                "请用英语告诉我下一班开往海岸的火车什么时候出发，谢谢你的帮助和耐心。",
                ENGLISH,
            ),
        ] {
            assert_eq!(differs(prompt, response, 0.9), None, "{prompt}");
        }
    }

    #[test]
    fn a_few_characters_tell_where_they_stand_for_words() {
        let told = |prompt, response| {
            let differs = differs(prompt, response, 0.9)?;
            Some((differs.prompt, differs.response))
        };
        assert_eq!(told("请解释光合作用。", ENGLISH).unwrap().0, "cmn");
        assert_eq!(told(ENGLISH, "火车早上七点出发。").unwrap().1, "cmn");
        assert_eq!(told("광합성을 설명해 주세요", ENGLISH).unwrap().0, "kor");
        assert_eq!(told("解释", ENGLISH), None);
        let code = "```python\ndef quicksort(items): return sorted(items)\n```";
        assert_eq!(told("请写一个快速排序的函数。", code), None);
        // It may be Japanese without kana.
        let japanese = "光合成は、植物が光を使って水と二酸化炭素から糖をつくるはたらきです。";
        assert_eq!(told("光合成説明希望", japanese), None);
    }

    #[test]
    fn an_english_text_is_not_told_where_the_other_one_is_english_too() {
        // The first is told, since it has too few of the words that are known.
        let prompt =
            "Summarise photosynthesis for schoolchildren aged ten, using simple vocabulary.";
        let answer = "Plants take in light, and with it they make sugar from water and air.";
        assert!(!plainly_english(prompt) && plainly_english(answer));
        assert_eq!(differs(prompt, answer, 0.9), None);
        let turned = differs(GERMAN, ENGLISH, 0.9).unwrap();
        assert_eq!((&*turned.prompt, &*turned.response), ("deu", "eng"));
    }

    #[test]
    fn every_known_word_is_short_enough_to_be_looked_up() {
        assert!(plainly_english(
            "Describe things through another, without letters"
        ));
    }
}
