//! Refusals, recognised by their forms.

use std::sync::LazyLock;

use regex::Regex;

/// How far into a text a refusal stands, in bytes.
const BEGINNING: usize = 400;

/// A text with more words than this answers, whatever it says at its beginning.
const ANSWER: usize = 150;

/// Whether a response refuses: it says so at its beginning, and gives no long answer after that. The forms are
/// English.
pub fn refuses(text: &str) -> bool {
    let text = text.trim();
    let end = (0..=BEGINNING.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0);
    let beginning = text[..end].replace('’', "'");
    FORMS.is_match(&beginning) && text.split_whitespace().nth(ANSWER).is_none()
}

// The pattern is a constant that the tests compile, so `expect` cannot fail.
static FORMS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)
        # I cannot help with that; I'm unable to provide …
        \b i (?: \s* (?: 'm | am ) \s+ (?: (?: really | very | so | truly ) \s+ )? (?: afraid | sorry ) ,? (?: \s+ but )? (?: \s+ that )? \s+ i )?
        (?: \s+ (?: simply | really | just | unfortunately | therefore | respectfully ) ,? )?
        \s* (?: \s can (?: 't | not | \s not ) | \s wo n't | \s won't | \s will \s+ not | (?: \s am | 'm ) \s+ (?: unable | not \s+ able | not \s+ allowed | not \s+ permitted | not \s+ going ) \s+ to
              | (?: \s am | 'm ) \s+ not \s+ comfortable | \s do (?: n't | \s+ not ) \s+ feel \s+ comfortable | \s could (?: n't | \s+ not ) \s+ possibly )
        (?: \s+ (?: in \s+ good \s+ conscience | directly | ethically | really | simply ) ,? )?
        \s+ (?: help | assist | support | provide | providing | answer | answering | fulfil{1,2} | comply | complete | create | creating | write | writing | generate | generating | produce | share | sharing | offer | give | giving
              | discuss | discussing | engage | engaging | participate | continue | respond | do \s+ (?: that | this | so ) | proceed | accommodate | satisfy | process | supply | advise | helping | assisting )
            \b
        # I must decline
        | \b i \s+ (?: must | have \s+ to | need \s+ to | will | would | 'd ) \s+ (?: respectfully \s+ | politely \s+ )? (?: decline | refuse | refrain )
        | \b i (?: \s+ am | 'm ) \s+ (?: going | forced | obliged ) \s+ to \s+ (?: decline | refuse )
        # It would not be right of me
        | \b it (?: \s+ is | 's | \s+ would \s+ be | \s+ would \s+ not \s+ be ) \s+ (?: not \s+ )? (?: inappropriate | appropriate | unethical | ethical | irresponsible | right ) \s+ (?: for | of ) \s+ me \s+ to
        | \b (?: against | violates? | outside (?: \s+ of )? ) \s+ my \s+ (?: guidelines | programming | principles | policy | policies | values | capabilities )
        | \b that (?: 's | \s+ is ) \s+ not \s+ something \s+ (?: that \s+ )? i (?: \s+ can | 'm \s+ able | \s+ am \s+ able )
        # As an AI I do not …
        | \b as \s+ an? \s+ (?: ai | a\.i\. | artificial | language | large ) \b [^.!?]{0,60}? , \s+ i \s+ (?: can (?: 't | not ) | do (?: n't | \s+ not ) | am \s+ (?: unable | not ) | must )
            \s+ (?: \w+ \s+ )? (?: provide | help | assist | give | offer | engage | support | answer | able | comfortable | generate | create | write | decline )
        # We, in the voice of a service
        | \A \W* (?: sorry ,? \s+ (?: but \s+ )? )? (?: we | this \s+ assistant ) \s+ (?: can (?: 't | not ) | (?: are | is ) \s+ unable \s+ to ) \s+ (?: help | assist | provide | answer )
        | \A \W* (?: sorry | my \s+ apologies | apologies ) \s* [,.!]? \s* (?: but \s+ )? (?: no | i \s+ can (?: 't | not ) ) \s* [.!] ",
    )
    .expect("a constant pattern")
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_found() {
        for text in [
            "I'm sorry, but I can't help with that.",
            "I’m sorry, but I can’t assist with that request.",
            "I am sorry, I cannot provide instructions for that.",
            "Sorry, I cannot answer this question.",
            "Unfortunately, I am unable to help you with this.",
            "I cannot in good conscience write that letter.",
            "I must respectfully decline to answer.",
            "I won't be able to, since I'm not able to discuss medicine.",
            "As an AI language model, I cannot give medical advice. Please see a doctor.",
            "It would be inappropriate for me to say how to cut onions.",
            "That's not something I can help with.",
            "This request is against my guidelines.",
            "I don't feel comfortable answering that.",
            "I can not fulfill this request.",
        ] {
            assert!(refuses(text), "{text}");
        }
    }

    #[test]
    fn answers_are_none() {
        for text in [
            "To kill a process, use `kill PID`.",
            "I cannot recommend this recipe enough: mix flour and water.",
            "I can't wait to tell you about glaciers!",
            "You cannot help yourself from the fridge without asking, but I can help you ask.",
            "A good way to decline an invitation is to thank the host first.",
            "The doctor said that he was sorry and could not provide a date.",
            "I can help with that. First, cut the onion in half.",
            "",
        ] {
            assert!(!refuses(text), "{text}");
        }
        let long = format!(
            "I can't give legal advice, but here is how it works. {}",
            "word ".repeat(200)
        );
        assert!(!refuses(&long));
    }

    #[test]
    fn the_beginning_ends_between_characters() {
        assert!(!refuses(&"é".repeat(BEGINNING)));
        assert!(!refuses(&format!(
            "{}I cannot help.",
            "ß ".repeat(BEGINNING)
        )));
    }
}
