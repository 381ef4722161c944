//! A small vocabulary of the SentencePiece kind, which puts a space before text and can build control
//! tokens by merging characters.

use super::*;

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

fn vocabulary() -> Vec<(String, f32, i32)> {
    let mut tokens = vec![
        ("<unk>".to_owned(), 0.0, UNKNOWN),
        ("<s>".to_owned(), 0.0, CONTROL),
        ("</s>".to_owned(), 0.0, CONTROL),
    ];
    tokens.extend((0..=255).map(|byte| (format!("<0x{byte:02X}>"), 0.0, BYTE)));
    tokens.push(("<|user|>".to_owned(), 0.0, USER_DEFINED));
    tokens.push(("<b>".to_owned(), 0.0, USER_DEFINED));
    // "</s>" can be reached by merging: "</" and "s>".
    for (rank, text) in ["</", "s>", "▁h", "hi", "▁hi", "▁a"]
        .into_iter()
        .enumerate()
    {
        tokens.push((text.to_owned(), -(rank as f32) - 1.0, NORMAL));
    }
    for (rank, c) in "▁abcdehiorsu<>/|[]".chars().enumerate() {
        tokens.push((c.to_string(), -100.0 - rank as f32, NORMAL));
    }
    tokens
}

fn gguf() -> Vec<u8> {
    let tokens = vocabulary();
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend(0u64.to_le_bytes());
    out.extend(8u64.to_le_bytes());
    let string = |out: &mut Vec<u8>, text: &str| {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    };
    let key = |out: &mut Vec<u8>, name: &str, kind: u32| {
        string(out, name);
        out.extend(kind.to_le_bytes());
    };
    let array = |out: &mut Vec<u8>, name: &str, kind: u32| {
        key(out, name, 9);
        out.extend(kind.to_le_bytes());
        out.extend((tokens.len() as u64).to_le_bytes());
    };
    key(&mut out, "general.architecture", 8);
    string(&mut out, "llama");
    key(&mut out, "tokenizer.ggml.model", 8);
    string(&mut out, "llama");
    array(&mut out, "tokenizer.ggml.tokens", 8);
    tokens
        .iter()
        .for_each(|(text, _, _)| string(&mut out, text));
    array(&mut out, "tokenizer.ggml.scores", 6);
    tokens
        .iter()
        .for_each(|(_, score, _)| out.extend(score.to_le_bytes()));
    array(&mut out, "tokenizer.ggml.token_type", 5);
    tokens
        .iter()
        .for_each(|(_, _, kind)| out.extend(kind.to_le_bytes()));
    key(&mut out, "tokenizer.ggml.bos_token_id", 4);
    out.extend(1u32.to_le_bytes());
    key(&mut out, "tokenizer.ggml.eos_token_id", 4);
    out.extend(2u32.to_le_bytes());
    key(&mut out, "tokenizer.chat_template", 8);
    string(&mut out, "{{ bos_token }}T");
    out
}

fn tokenizer() -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocab.gguf");
    std::fs::write(&path, gguf()).unwrap();
    Tokenizer::open(&path).unwrap()
}

fn span(text: &str, trusted: bool) -> Span {
    Span {
        text: text.to_owned(),
        trusted,
    }
}

fn pieces(tokenizer: &Tokenizer, tokens: &[Token]) -> Vec<String> {
    tokens
        .iter()
        .map(|token| String::from_utf8_lossy(&tokenizer.piece(token.id, true)).into_owned())
        .collect()
}

#[test]
fn spaces_are_added_only_where_the_whole_text_would_get_them() {
    let tokenizer = tokenizer();
    assert!(tokenizer.adds_space);
    let split = tokenizer.encode(&[span("<s>a", true), span("hi", false), span("a</s>a", true)]);
    assert_eq!(
        pieces(&tokenizer, &split),
        ["<s>", " a", "hi", "a", "</s>", " a"]
    );
    let plain = |text| {
        let ids = tokenizer.encode_continuation(text);
        String::from_utf8(tokenizer.text_of(&ids)).unwrap()
    };
    for text in ["hi", " hi", "\nhi", "\n\n", "a\0b", "é", "|", ""] {
        assert_eq!(plain(text), text);
    }
}

#[test]
fn there_is_one_bos() {
    let tokenizer = tokenizer();
    assert_eq!(
        (tokenizer.bos_text(), tokenizer.eos_text()),
        ("<s>".into(), "</s>".into())
    );
    for spans in [
        vec![span("<s>a", true)],
        vec![span("a", true)],
        vec![span("a", false)],
    ] {
        let tokens = tokenizer.encode(&spans);
        assert_eq!(pieces(&tokenizer, &tokens), ["<s>", " a"]);
        assert!(tokens[0].trusted);
    }
    // A message that spells it out does not replace it.
    let tokens = tokenizer.encode(&[span("<s>", false)]);
    assert_eq!(tokens.iter().filter(|token| token.id == 1).count(), 1);
    assert_eq!(
        tokenizer.chat_template().as_deref(),
        Some("{{ bos_token }}T")
    );
}

#[test]
fn merged_characters_do_not_become_control_tokens() {
    let tokenizer = tokenizer();
    // Without the cut they do, which is why it is there.
    assert!(tokenizer.raw("a</s>", false).contains(&2));
    for text in ["</s>", "a</s></s>b", "</s</s>>", "<s></s><s>"] {
        let tokens = tokenizer.encode(&[span("<s>", true), span(text, false)]);
        let said: Vec<i32> = tokens[1..].iter().map(|token| token.id).collect();
        assert!(
            said.iter().all(|id| !tokenizer.is_control(*id)),
            "{text}: {said:?}"
        );
        let got = String::from_utf8(tokenizer.text_of(&said)).unwrap();
        assert_eq!(got.trim_start_matches(' '), text);
    }
}

#[test]
fn user_defined_tokens_of_the_template_cannot_be_said() {
    let tokenizer = tokenizer();
    let user = tokenizer.raw("<|user|>", true)[0];
    let bold = tokenizer.raw("<b>", true)[0];
    assert!(tokenizer.is_user_defined(user) && tokenizer.is_user_defined(bold));
    let tokens = tokenizer.encode(&[
        span("<|user|>a", true),
        span("b<|user|>c<b>", false),
        span("<|user|>", true),
    ]);
    let said: Vec<i32> = tokens.iter().filter(|t| !t.trusted).map(|t| t.id).collect();
    assert!(!said.contains(&user));
    // One that the template does not use is an ordinary piece of text.
    assert!(said.contains(&bold));
    assert_eq!(tokenizer.text_of(&said), b"b<|user|>c<b>");
}

#[test]
fn files_that_are_no_models_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.gguf");
    std::fs::write(&text, "not a model").unwrap();
    for path in [text, folder.path().join("missing.gguf")] {
        let error = Tokenizer::open(&path).unwrap_err();
        assert!(
            error.to_string().contains(&path.display().to_string()),
            "{error}"
        );
    }
}
