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

/// What a reply that refuses says that it does not do.
const VERBS: &str = r"(?: help | assist | support | provide | providing | answer | answering | fulfil{1,2} | comply | complete | create | creating | write | writing | generate | generating | produce | share | sharing | offer | give | giving
              | discuss | discussing | engage | engaging | participate | continue | respond | do \s+ (?: that | this | so ) | proceed | accommodate | satisfy | process | supply | advise | helping | assisting ) \b
              | (?: tell | show | teach | explain | describe ) (?: \s+ (?: to \s+ )? you )? \s+ (?: how \s+ to \b | (?: how | that | this ) \s* [.!] )";

// The pattern is a constant that the tests compile, so `expect` cannot fail.
static FORMS: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?ix)
        # I cannot help with that; I'm unable to provide …
        \b i (?: \s* (?: 'm | am ) \s+ (?: (?: really | very | so | truly ) \s+ )? (?: afraid | sorry ) ,? (?: \s+ but )? (?: \s+ that )? \s+ i )?
        (?: \s+ (?: simply | really | just | unfortunately | therefore | respectfully ) ,? )?
        \s* (?: \s can (?: 't | not | \s not ) (?: \s+ and \s+ (?: won't | will \s+ not ) )?
              | \s (?: won't | will \s+ not ) (?: \s+ be \s+ able \s+ to )?
              | \s would (?: n't | \s+ not ) \s+ be \s+ able \s+ to
              | (?: \s am | 'm ) \s+ (?: unable | not \s+ able | not \s+ allowed | not \s+ permitted | not \s+ going ) \s+ to
              | (?: \s am | 'm ) \s+ not \s+ comfortable | \s do (?: n't | \s+ not ) \s+ feel \s+ comfortable
              | \s do (?: n't | \s+ not ) \s+ have \s+ the \s+ ability \s+ to | \s could (?: n't | \s+ not ) \s+ possibly
              | \s (?: refuse | decline ) \s+ to | (?: \s would | 'd ) \s+ rather \s+ not )
        (?: ,? \s+ (?: in \s+ good \s+ conscience | directly | ethically | really | simply ) ,? )?
        \s+ (?: VERBS )
        # I am not comfortable with that
        | \b i (?: \s+ am | 'm ) \s+ not \s+ comfortable \s+ with \s+ (?: this | that | your | such ) \b
        # I must decline
        | \b i (?: 'll | \s+ will )? \s+ (?: (?: must | have \s+ to | need \s+ to | will | would ) \s+ (?: respectfully \s+ | politely \s+ )? )? (?: decline | refuse | refrain )
            (?: \s+ (?: to \s+ (?: VERBS ) | (?: from | this | that | your | such | the \s+ request ) \b ) | \s* [.,!] )
        | \b i (?: \s+ am | 'm ) \s+ (?: going | forced | obliged ) \s+ to \s+ (?: decline | refuse )
        # It would not be right of me
        | \b it (?: \s+ is | 's | \s+ would \s+ be ) \s+ (?: inappropriate | unethical | irresponsible | wrong ) \s+ (?: for | of ) \s+ me \s+ to
        | \b it (?: \s+ is \s+ not | 's \s+ not | \s+ is n't | \s+ would \s+ not \s+ be | \s+ would n't \s+ be ) \s+ (?: appropriate | ethical | responsible | right ) \s+ (?: for | of ) \s+ me \s+ to
        | \b (?: against | violates? | outside (?: \s+ of )? ) \s+ my \s+ (?: guidelines | programming | principles | policy | policies | values | capabilities )
        | \b my \s+ (?: guidelines | programming | principles | policy | policies | values ) \s+ (?: do (?: es )? (?: n't | \s+ not ) \s+ (?: allow | permit | let ) | prevent | prohibit | forbid )
        | \b not \s+ something \s+ (?: that \s+ )? i (?: \s+ can | 'm \s+ able | \s+ am \s+ able | 'm \s+ comfortable | \s+ am \s+ comfortable )
        # As an AI I do not …
        | \b as \s+ an? \s+ (?: ai | a\.i\. | artificial | language | large ) \b [^.!?]{0,60}? , \s+ i \s+ (?: can (?: 't | not ) | do (?: n't | \s+ not ) | am \s+ (?: unable | not ) | must )
            \s+ (?: \w+ \s+ )? (?: provide | help | assist | give | offer | engage | support | answer | able | comfortable | generate | create | write | decline )
        # We, in the voice of a service
        | \A \W* (?: sorry ,? \s+ (?: but \s+ )? )? (?: we | this \s+ assistant ) \s+ (?: can (?: 't | not ) | (?: are | is ) \s+ unable \s+ to ) \s+ (?: help | assist | provide | answer )
        | \A \W* (?: sorry | my \s+ apologies | apologies ) \s* [,.!]? \s* (?: but \s+ )? (?: no | i \s+ can (?: 't | not ) ) \s* [.!]";
    Regex::new(&pattern.replace("VERBS", VERBS)).expect("a constant pattern")
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
            "I'm sorry, but I won't be able to help with that.",
            "I’M SORRY, BUT I CAN’T TELL YOU HOW TO DO THAT.",
            "I cannot explain that.",
            "I cannot, in good conscience, help with this.",
            "I can’t and won’t provide that.",
            "I'm not comfortable with that request.",
            "I don't have the ability to answer that.",
            "I refuse to answer.",
            "I decline.",
            "I'll have to decline this request.",
            "I'd rather not discuss it.",
            "My guidelines do not allow me to say.",
            "I'm sorry, but that request is not something I can support.",
            "It isn't right for me to say.",
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
            "It is appropriate for me to say a word about knives first.",
            "It's right for me to ask how many guests there are.",
            "I would decline the invitation with a short note.",
            "I need to refuse; how do I do it? Say no, and smile.",
            "I refuse to believe that it is hard: mix flour and water.",
            "I can't explain how much I love this dish.",
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
