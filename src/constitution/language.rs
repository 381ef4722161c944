//! Telling the language of a response.

use unicode_segmentation::UnicodeSegmentation;
use whatlang::Lang;

/// The fewest letters from which a language is told. Below, a guess would be chance.
const FEWEST_LETTERS: usize = 40;
/// How many letters are looked at; more would not change the answer.
const MOST_LETTERS: usize = 4_000;

/// The languages that can be told, by ISO 639-1 code.
pub const LANGUAGES: &[(&str, Lang)] = &[
    ("af", Lang::Afr),
    ("ak", Lang::Aka),
    ("am", Lang::Amh),
    ("ar", Lang::Ara),
    ("az", Lang::Aze),
    ("be", Lang::Bel),
    ("bg", Lang::Bul),
    ("bn", Lang::Ben),
    ("ca", Lang::Cat),
    ("cs", Lang::Ces),
    ("cy", Lang::Cym),
    ("da", Lang::Dan),
    ("de", Lang::Deu),
    ("el", Lang::Ell),
    ("en", Lang::Eng),
    ("eo", Lang::Epo),
    ("es", Lang::Spa),
    ("et", Lang::Est),
    ("fa", Lang::Pes),
    ("fi", Lang::Fin),
    ("fr", Lang::Fra),
    ("gu", Lang::Guj),
    ("he", Lang::Heb),
    ("hi", Lang::Hin),
    ("hr", Lang::Hrv),
    ("hu", Lang::Hun),
    ("hy", Lang::Hye),
    ("id", Lang::Ind),
    ("it", Lang::Ita),
    ("ja", Lang::Jpn),
    ("jv", Lang::Jav),
    ("ka", Lang::Kat),
    ("km", Lang::Khm),
    ("kn", Lang::Kan),
    ("ko", Lang::Kor),
    ("la", Lang::Lat),
    ("lt", Lang::Lit),
    ("lv", Lang::Lav),
    ("mk", Lang::Mkd),
    ("ml", Lang::Mal),
    ("mr", Lang::Mar),
    ("my", Lang::Mya),
    ("nb", Lang::Nob),
    ("ne", Lang::Nep),
    ("nl", Lang::Nld),
    ("or", Lang::Ori),
    ("pa", Lang::Pan),
    ("pl", Lang::Pol),
    ("pt", Lang::Por),
    ("ro", Lang::Ron),
    ("ru", Lang::Rus),
    ("si", Lang::Sin),
    ("sk", Lang::Slk),
    ("sl", Lang::Slv),
    ("sn", Lang::Sna),
    ("sr", Lang::Srp),
    ("sv", Lang::Swe),
    ("ta", Lang::Tam),
    ("te", Lang::Tel),
    ("th", Lang::Tha),
    ("tk", Lang::Tuk),
    ("tl", Lang::Tgl),
    ("tr", Lang::Tur),
    ("uk", Lang::Ukr),
    ("ur", Lang::Urd),
    ("uz", Lang::Uzb),
    ("vi", Lang::Vie),
    ("yi", Lang::Yid),
    ("zh", Lang::Cmn),
    ("zu", Lang::Zul),
];

/// The ISO 639-1 code of the language of a text, where there is enough text to be sure of it.
pub fn detect(text: &str) -> Option<&'static str> {
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    if letters < FEWEST_LETTERS {
        return None;
    }
    let end = text
        .grapheme_indices(true)
        .nth(MOST_LETTERS)
        .map_or(text.len(), |(at, _)| at);
    let info = whatlang::detect(&text[..end]).filter(whatlang::Info::is_reliable)?;
    LANGUAGES
        .iter()
        .find(|(_, language)| *language == info.lang())
        .map(|(code, _)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_that_can_be_told_has_one_code() {
        assert_eq!(LANGUAGES.len(), Lang::all().len());
        for language in Lang::all() {
            let count = LANGUAGES.iter().filter(|(_, l)| l == language).count();
            assert_eq!(count, 1, "{language:?}");
        }
        assert!(LANGUAGES.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn a_language_is_told_from_enough_text_only() {
        let english = "The train to the coast leaves every morning from the second platform.";
        let german = "Der Zug an die Küste fährt jeden Morgen vom zweiten Gleis ab, wie immer.";
        assert_eq!(detect(english), Some("en"));
        assert_eq!(detect(german), Some("de"));
        assert_eq!(detect("Oui."), None);
        let names = "Ludwig van Beethoven, Wolfgang Amadeus Mozart, Johann Sebastian Bach";
        assert_eq!(detect(names), None);
        assert_eq!(detect(""), None);
    }
}
