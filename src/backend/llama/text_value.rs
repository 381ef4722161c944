//! The inside of a JSON string, byte by byte: which tokens may come next, and where it closes.

/// An unfinished JSON string value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextValue {
    state: State,
    /// Bytes since the start of an unfinished escape.
    escape: usize,
    tokens: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Behind a backslash.
    Escape,
    /// Behind `\u` and this many hexadecimal digits. The first digit is kept, since `\ud8…` to `\udf…`
    /// are halves of a pair and cannot stand alone.
    Unicode {
        digits: u8,
        first_is_d: bool,
    },
}

/// What a byte does to a string.
enum Effect {
    Goes(State),
    Closes,
    Refused,
}

impl State {
    fn take(self, byte: u8) -> Effect {
        match (self, byte) {
            (State::Open, b'"') => Effect::Closes,
            (State::Open, b'\\') => Effect::Goes(State::Escape),
            (State::Open, 0..0x20) => Effect::Refused,
            (State::Open, _) => Effect::Goes(State::Open),
            (State::Escape, b'u') => Effect::Goes(State::Unicode {
                digits: 0,
                first_is_d: false,
            }),
            (State::Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                Effect::Goes(State::Open)
            }
            (State::Escape, _) => Effect::Refused,
            (State::Unicode { digits, first_is_d }, _) => {
                let lone_half = digits == 1 && first_is_d && !(b'0'..=b'7').contains(&byte);
                if !byte.is_ascii_hexdigit() || lone_half {
                    Effect::Refused
                } else if digits == 3 {
                    Effect::Goes(State::Open)
                } else {
                    let first_is_d = if digits == 0 {
                        matches!(byte, b'd' | b'D')
                    } else {
                        first_is_d
                    };
                    Effect::Goes(State::Unicode {
                        digits: digits + 1,
                        first_is_d,
                    })
                }
            }
        }
    }
}

impl Default for TextValue {
    fn default() -> Self {
        Self::new()
    }
}

impl TextValue {
    /// An empty string behind its opening quotation mark.
    pub fn new() -> Self {
        Self {
            state: State::Open,
            escape: 0,
            tokens: 0,
        }
    }

    /// Tokens taken so far.
    pub fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Whether no escape is unfinished.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// How many bytes at the end belong to an unfinished escape.
    pub fn dangling(&self) -> usize {
        self.escape
    }

    /// Whether a token may come next. Where it closes the string, what it holds beyond the quotation
    /// mark must begin `tail`, the text that follows the string.
    pub fn accepts(&self, piece: &[u8], tail: &[u8]) -> bool {
        let mut state = self.state;
        for (index, &byte) in piece.iter().enumerate() {
            match state.take(byte) {
                Effect::Goes(next) => state = next,
                Effect::Closes => return tail.starts_with(&piece[index + 1..]),
                Effect::Refused => return false,
            }
        }
        !piece.is_empty()
    }

    /// Takes an accepted token. `Err` holds how many bytes of it lie beyond the closing quotation mark.
    pub fn push(mut self, piece: &[u8]) -> Result<Self, usize> {
        self.tokens += 1;
        for (index, &byte) in piece.iter().enumerate() {
            match self.state.take(byte) {
                Effect::Goes(State::Open) => {
                    self.state = State::Open;
                    self.escape = 0;
                }
                Effect::Goes(next) => {
                    self.state = next;
                    self.escape += 1;
                }
                Effect::Closes => return Err(piece.len() - index - 1),
                // `accepts` was asked before.
                Effect::Refused => break,
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_and_escapes_are_accepted() {
        let value = TextValue::new();
        assert!(value.accepts(b"hello", b""));
        assert!(value.accepts(br#"a\nb\u00e9"#, b""));
        assert!(!value.accepts(b"a\nb", b""));
        assert!(!value.accepts(br"\x", b""));
        assert!(!value.accepts(b"", b""));
    }

    #[test]
    fn a_lone_half_of_a_pair_is_refused() {
        assert!(!TextValue::new().accepts(br"\ud83d", b""));
        assert!(TextValue::new().accepts(br"\ud7ff", b""));
    }

    #[test]
    fn a_token_may_run_on_into_what_follows() {
        let value = TextValue::new();
        assert!(value.accepts(br#"x", "#, br#", "critique""#));
        assert!(!value.accepts(br#"x"y"#, br#", "critique""#));
        assert_eq!(value.push(br#"x", "#), Err(2));
    }

    #[test]
    fn an_unfinished_escape_is_counted() {
        let value = TextValue::new().push(b"a\\u0").unwrap();
        assert_eq!(value.dangling(), 3);
        assert!(!value.is_open());
        assert_eq!(value.push(b"041b").unwrap().dangling(), 0);
    }
}
