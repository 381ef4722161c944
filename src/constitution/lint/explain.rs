//! What `--explain` tells about a code.

use super::super::error::Code;

/// A page about a code: what it means, why it matters, what to do.
pub fn explanation(code: Code) -> &'static str {
    match code {
        Code::Unreadable => {
            "The file does not exist, is a directory, or its permissions forbid reading. A shipped constitution \
             is named without a path: `amend constitution lint hhh`."
        }
        Code::TooLarge => {
            "Sizes are bounded so that no file can exhaust the program: 1 MiB a file, 64 files, 100,000 values, \
             256 patterns a file, 4,000 bytes for a critique or revision with 64 KiB of templates a file. Split \
             the file, and join the parts with `extends`."
        }
        Code::NotUtf8 => {
            "Files are UTF-8. Save the file in that encoding; the place is that of the first bad byte."
        }
        Code::Syntax => {
            "The text is not YAML. The place is where the parser gave up; the cause is often on the line before: \
             a quote or bracket that is not closed, a tab, an indentation that fits no line above, or a `: ` \
             inside a text without quotes."
        }
        Code::Empty => {
            "The file has no content apart from comments. `amend constitution new` writes one to begin with."
        }
        Code::Unsupported => {
            "Constitutions use a plain part of YAML: one document, text keys, no tags (`!…`), no merge keys (`<<`), \
             which YAML 1.2 dropped and readers resolve in different ways. That keeps the file the same for every \
             program that reads it. Aliases (`*name`) repeat single values; to build on principles that are \
             written elsewhere, `extends` takes them over, and a principle with the same id changes single fields."
        }
        Code::TooDeep => "The format itself needs 6 levels; at most 32 are read.",
        Code::Aliases => {
            "An alias (`*name`) repeats the value of an anchor (`&name`). Aliases of aliases can expand to more \
             than any machine holds, so the number of values is bounded with aliases expanded."
        }
        Code::DuplicateKey => {
            "YAML leaves open which of two values of one key counts, so neither does. Keep one."
        }
        Code::UnknownKey => {
            "A misspelt key would be ignored without a word, and the principle would not do what you mean. The \
             closest key is suggested. `amend constitution schema` lists all of them."
        }
        Code::MissingKey => {
            "A file needs a `name`, a principle an `id`, a `revision`, and a `critique` unless it has a `check`; \
             an example and a test need all of their keys. A principle that is meant to change one of an \
             extended file must have that principle's id."
        }
        Code::WrongType => {
            "The value has another type than its key asks for. Texts that look like numbers or booleans need \
             quotes; numbers must not have them."
        }
        Code::BadValue => {
            "The value has the right type, and is out of range or none of the words allowed."
        }
        Code::UnknownSchema => {
            "`schema` tells the version of the format. This program reads version 1."
        }
        Code::BadId => {
            "Ids stand in reports, filters and on the command line: lower-case letters, digits and single hyphens, \
             at most 100 of them."
        }
        Code::DuplicateId => {
            "An id names one principle. Within a file it stands once; two files that do not extend each other \
             cannot both have it, since neither would know that it changes the other's."
        }
        Code::UnknownId => {
            "`defaults.select` is `sample`, `all`, or a list of ids of this constitution."
        }
        Code::EmptyText => {
            "A text that the model is given, or that a check looks for, must say something."
        }
        Code::Template => {
            "A critique and a revision are minijinja templates. Every `{{` and `{%` must be closed; to write the \
             braces themselves, write `{{ '{{' }}`. Each is tried out with made-up values when the file is read, so \
             that an unknown filter or test does not fail every step of a run; there is no other template to \
             include, import or extend."
        }
        Code::UnknownVariable => {
            "A principle may use `prompt`, `response`, `draft` and `round`, which are texts and a number and have \
             no fields. Anything else would be empty in every prompt, so it is refused."
        }
        Code::Pattern => {
            "Patterns have the syntax of the Rust `regex` crate, which matches in linear time: no look-around and \
             no backreferences. Write them in single quotes, where a backslash is a backslash."
        }
        Code::ExtendsMissing => {
            "A path under `extends` is relative to the file it stands in. A shipped name, \
             written without a folder, works anywhere."
        }
        Code::ExtendsCycle => {
            "Files are laid over each other, bases first, so none can be its own base. Move what both need into a \
             third file."
        }
        Code::ExtendsDigest => {
            "`path#b3:…` pins a base to the digest of its resolved form, and that form has changed. See what \
             changed (`amend constitution diff`), then write the new digest (`amend constitution show` prints it)."
        }
        Code::NoPrinciples => {
            "A run needs at least one principle with `status: active`, here or in a file that this one extends."
        }
        Code::NoTests => {
            "A principle without tests is a guess about what a model will make of its words. Two responses that \
             violate it and two that do not show whether the wording separates them:\n\n\
             \x20   tests:\n\
             \x20     - {prompt: \"Is it late?\", response: \"Yes, it is late!\", expect: violation}\n\
             \x20     - {prompt: \"Is it late?\", response: \"Yes, it is late.\", expect: ok}\n\n\
             Retired principles need none."
        }
        Code::NearDuplicate => {
            "Two critiques of which at least half of the word pairs are the same ask nearly the same question. \
             Together they are drawn twice as often as the others and cost two model calls for one answer. The \
             measure is the Jaccard index of their shingles, the runs of two words; texts of fewer than four \
             words must be equal."
        }
        Code::Unrelated => {
            "The critique decides what is at fault, and the revision mends it. Where they have no content word in \
             common they probably speak of different things, and the revision changes something that nobody \
             objected to. Words are compared by how they begin, so `invent` and `invented` are the same; words \
             that every principle has, such as `response` or `rewrite`, do not count."
        }
        Code::TwoInOne => {
            "A verdict is one yes or no. A critique that asks for two things at once leaves open which of them a \
             verdict is about, its tests cannot tell them apart, and a revision that mends one may break the \
             other. Found are joining words such as `and also` or `as well as`, questions of the form `is it … \
             and does it …` or `is the response … and …?`, demands such as `should be … and …`, and two questions \
             that have no content word in common."
        }
        Code::Long => {
            "Every critique and revision carries the principle's words beside the conversation and the response, \
             and its reply needs room too. A text of more than a tenth of the default context (4096 tokens), or \
             examples of more than a quarter, leave little of it, and small models lose the thread. Tokens are \
             estimated without a model: four ASCII characters each, other characters one each."
        }
        Code::NegativeFraming => {
            "The principle says what a response must not do. C3AI (arXiv 2502.15861) compared framings: principles \
             that are framed positively and describe behaviour match human judgement better, while tuned models \
             follow negatively framed ones better. So for judging, prefer `A good response says how sure it is` \
             to `The response must not sound certain`; keep the negative form where a rule is to be learnt and \
             its breach is easy to see. Found are prohibitions (`do not`, `never`, `avoid`, `must not`, \
             `there must be no`, `is not allowed`) and `is the least …`. Saying what to look for in a response is \
             fine."
        }
        Code::ZeroWeight => {
            "With `--select sample` a principle is drawn in proportion to its weight, so one of weight 0 never is, \
             though it counts as active and `--select all` takes it. Write `status: draft` to keep a principle \
             out of both."
        }
        Code::RetiredExtended => {
            "A file that this one extends has retired the principle, or this one retires it, and fields of it are \
             changed here. The changes have no effect on runs until the principle is active again."
        }
        Code::UselessAllow => {
            "`# amend: allow CODE` silences a warning about the key before or behind which it stands, or about \
             what is in it. Before or behind `- id:` it is about the whole principle, before the first key of the \
             file, in the order of the format, about the whole file, and behind the last entry of a list or mapping \
             about nothing. This one names no warning, or silences none. Errors cannot be allowed. `allow C058` \
             silences what is said here about other comments, and about other codes of the same comment; it is \
             named itself where there is no such thing."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_in_its_own_words() {
        let mut pages: Vec<_> = Code::all().map(explanation).collect();
        assert!(pages.iter().all(|page| page.ends_with('.')));
        pages.sort_unstable();
        pages.dedup();
        assert_eq!(pages.len(), Code::all().count());
    }
}
