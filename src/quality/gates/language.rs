//! Responses in another language than their prompt.

use std::sync::LazyLock;

use regex::Regex;
use whatlang::{Info, Lang, Script, detect, detect_script};

/// The fewest letters of a text from which its language is told.
const FEWEST_LETTERS: usize = 24;

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
}

/// Whether a response is in another language than its prompt, and that is at least so sure. `None` where either
/// cannot be told, and where the prompt asks for a translation or names the language.
///
/// Languages that share their letters are often not told from each other, such as Russian and Bulgarian. Neither is
/// English, so where the letters differ it is enough that one of the two is told.
pub(super) fn differs(prompt: &str, response: &str, least: f64) -> Option<Differs> {
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
    let confidence = match shared(asked.script()) == shared(given.script()) {
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
    (!wanted(prompt, &meant)).then(|| Differs {
        prompt: named(&asked),
        response: named(&given),
        confidence,
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

fn beginning(text: &str) -> &str {
    match text.char_indices().nth(LOOKED_AT) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

fn language(text: &str) -> Option<Info> {
    let text = beginning(text);
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    if letters < FEWEST_LETTERS {
        return None;
    }
    detect(text)
}

/// Whether the prompt asks for another language than its own: for a translation, or for one of these.
fn wanted(prompt: &str, languages: &[Lang]) -> bool {
    let lower = prompt.to_lowercase();
    let mut names = languages
        .iter()
        .flat_map(|lang| [lang.eng_name(), lang.name()]);
    TRANSLATION.is_match(&lower) || names.any(|name| lower.contains(&name.to_lowercase()))
}

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
