//! Personal data: addresses, telephone numbers, cards and accounts, told by their form and their check digits.

use std::sync::LazyLock;

use regex::Regex;

/// What was found; never the data itself.
pub(super) fn find(text: &str) -> Option<&'static str> {
    if text.contains('@') && emails(text) {
        return Some("an e-mail address");
    }
    let Digits { in_a_row, account } = Digits::of(text);
    let number = in_a_row >= FEWEST_DIGITS;
    if number && cards(text) {
        Some("a payment card number")
    } else if account && accounts(text) {
        Some("a bank account number (IBAN)")
    } else if number && social_security(text) {
        Some("a social security number")
    } else if number && telephones(text) {
        Some("a telephone number")
    } else {
        None
    }
}

/// The fewest digits that any number has which is looked for, bank accounts aside.
const FEWEST_DIGITS: usize = 7;

/// What a text holds of digits, so that no pattern is tried where it cannot match.
#[derive(Debug, Default, PartialEq)]
struct Digits {
    /// The most digits with at most two marks between one and the next, as in `(212) 736-5000`.
    in_a_row: usize,
    /// Whether a word begins with a country's letters and a digit, as bank accounts do.
    account: bool,
}

impl Digits {
    fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut found = Self::default();
        let (mut row, mut between) = (0, 0);
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'0'..=b'9' => {
                    (row, between) = (row + 1, 0);
                    found.in_a_row = found.in_a_row.max(row);
                    found.account |= row == 1 && after_country(&bytes[..at]);
                }
                b' ' | b'-' | b'.' | b'/' | b'(' | b')' if between < 2 => between += 1,
                // May be a part of a digit of another script.
                0x80.. => between = 0,
                _ => row = 0,
            }
        }
        found
    }
}

/// Whether these are the letters of a country at the beginning of a word.
fn after_country(before: &[u8]) -> bool {
    let Some((word, code)) = before.split_last_chunk::<2>() else {
        return false;
    };
    let begins = word
        .last()
        .is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
    let known = |(country, _): &(&str, usize)| code.eq_ignore_ascii_case(country.as_bytes());
    begins && IBAN_LENGTHS.iter().any(known)
}

// The patterns are constants that the tests compile, so `expect` cannot fail.
fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("a constant pattern")
}

static EMAIL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)([a-z0-9][a-z0-9._%+-]{0,63})@((?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+([a-z]{2,18}))\b",
    )
});

/// Local parts that stand for an address instead of being one, at domains that nobody has (RFC 2606).
const STAND_INS: [&str; 16] = [
    "user",
    "username",
    "name",
    "you",
    "your",
    "your.name",
    "your-name",
    "yourname",
    "your_name",
    "email",
    "you.email",
    "someone",
    "somebody",
    "example",
    "test",
    "info",
];

fn emails(text: &str) -> bool {
    EMAIL.captures_iter(text).any(|found| {
        let part = |n| found.get(n).map_or("", |part| part.as_str()).to_lowercase();
        let (local, domain, top) = (part(1), part(2), part(3));
        let nobodys = ["example", "invalid", "test", "localhost"].contains(&top.as_str())
            || ["example.com", "example.org", "example.net"]
                .iter()
                .any(|known| domain == *known || domain.ends_with(&format!(".{known}")));
        // A file name such as logo@2x.png is no address, nor is where a repository lies.
        let file = ["png", "jpg", "jpeg", "gif", "svg", "webp"].contains(&top.as_str());
        !(file || local == "git" || nobodys && STAND_INS.contains(&local.as_str()))
    })
}

static CARD: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d(?:[ -]?\d){12,18}"));

fn cards(text: &str) -> bool {
    CARD.find_iter(text).any(|found| {
        // A date may follow the number, so that it ends at any place where its digits do.
        let ends = found
            .as_str()
            .char_indices()
            .filter(|(_, c)| c.is_ascii_digit())
            .map(|(at, _)| found.start() + at + 1)
            .skip(12);
        starts_alone(text, found.start())
            && ends.into_iter().any(|end| {
                let digits = digits(&text[found.start()..end]);
                let varied = digits.windows(2).any(|two| two[0] != two[1]);
                varied && ends_alone(text, end) && issued(&digits) && luhn(&digits)
            })
    })
}

/// Whether a card's first digits and length belong to an issuer (ISO/IEC 7812).
fn issued(digits: &[u8]) -> bool {
    let prefix = |n: usize| {
        digits[..n]
            .iter()
            .fold(0_u32, |all, d| all * 10 + u32::from(*d))
    };
    match digits.len() {
        13 | 19 => digits[0] == 4 || prefix(2) == 62,
        14 => matches!(prefix(2), 36 | 38 | 39) || matches!(prefix(3), 300..=305),
        15 => matches!(prefix(2), 34 | 37),
        16 => {
            digits[0] == 4
                || matches!(prefix(2), 51..=55 | 62 | 65)
                || matches!(prefix(3), 644..=649)
                || matches!(prefix(4), 2221..=2720 | 3528..=3589 | 6011)
        }
        17 | 18 => prefix(2) == 62,
        _ => false,
    }
}

/// Luhn's check digit (ISO/IEC 7812-1, annex B).
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &digit)| match (place % 2, u32::from(digit) * 2) {
            (0, _) => u32::from(digit),
            (_, double) if double > 9 => double - 9,
            (_, double) => double,
        })
        .sum();
    sum.is_multiple_of(10)
}

static IBAN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)\b[a-z]{2}\d{2}(?:[ -]?[a-z0-9]{2,4}){2,8}(?:[ -]?[a-z0-9]{1,3})?\b")
});

/// Lengths of account numbers by country, from the registry of ISO 13616.
const IBAN_LENGTHS: [(&str, usize); 79] = [
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NL", 18),
    ("NO", 15),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("SA", 24),
    ("SC", 31),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("VG", 24),
    ("XK", 20),
    ("SD", 18),
];

fn accounts(text: &str) -> bool {
    IBAN.find_iter(text).any(|found| {
        let compact: Vec<u8> = found
            .as_str()
            .bytes()
            .filter(u8::is_ascii_alphanumeric)
            .map(|byte| byte.to_ascii_uppercase())
            .collect();
        let country = IBAN_LENGTHS
            .iter()
            .find(|(code, _)| compact.starts_with(code.as_bytes()));
        // A word may follow the number without anything that ends it.
        country.is_some_and(|(_, length)| {
            compact
                .get(..*length)
                .is_some_and(|account| remainder(account) == 1)
        })
    })
}

/// The remainder of an account number by 97 (ISO 7064).
fn remainder(account: &[u8]) -> u32 {
    let (head, tail) = account.split_at(4);
    tail.iter().chain(head).fold(0, |all, byte| match byte {
        b'0'..=b'9' => (all * 10 + u32::from(byte - b'0')) % 97,
        _ => (all * 100 + u32::from(byte - b'A') + 10) % 97,
    })
}

static SOCIAL: LazyLock<Regex> = LazyLock::new(|| pattern(r"(\d{3})-(\d{2})-(\d{4})"));

/// A number as the United States write it, in the ranges that are given out.
fn social_security(text: &str) -> bool {
    SOCIAL.captures_iter(text).any(|found| {
        let part = |n| found.get(n).map_or("", |part| part.as_str());
        let whole = found.get_match();
        stands_alone(text, whole.start(), whole.end())
            && !matches!(part(1), "000" | "666")
            && !part(1).starts_with('9')
            && part(2) != "00"
            && part(3) != "0000"
    })
}

static INTERNATIONAL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"\+[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4}")
});

static AMERICAN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-.])\d{3}[-.]\d{4}"));

/// Digits that are called a telephone number.
static CALLED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:phone|telephone|tel|mobile|cell|whatsapp|call|fax|telefon|handy|téléphone|teléfono|telefono)\b[^\d\n]{0,20}(\(?0?\d{2,5}\)?(?:[ ./-]?\d{2,5}){1,4})",
    )
});

/// A date or an address of a machine at the beginning of a number.
static NO_TELEPHONE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:(?:19|20)\d{2}[./-]\d{1,2}[./-]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-](?:19|20)\d{2}|\d{1,3}(?:\.\d{1,3}){3})(?:[^\d]|$)",
    )
});

fn telephones(text: &str) -> bool {
    let long_enough = |found: &str, least: usize| (least..=15).contains(&digits(found).len());
    INTERNATIONAL.find_iter(text).any(|found| {
        stands_alone(text, found.start(), found.end()) && long_enough(found.as_str(), 9)
    }) || AMERICAN
        .find_iter(text)
        .any(|found| stands_alone(text, found.start(), found.end()))
        || CALLED.captures_iter(text).any(|found| {
            let number = found.get(1).map_or("", |number| number.as_str());
            long_enough(number, 7) && !NO_TELEPHONE.is_match(number)
        })
}

fn digits(text: &str) -> Vec<u8> {
    text.bytes()
        .filter(u8::is_ascii_digit)
        .map(|byte| byte - b'0')
        .collect()
}

/// Whether no letter or digit, nor a part of a longer number, touches the place.
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    starts_alone(text, start) && ends_alone(text, end)
}

fn starts_alone(text: &str, start: usize) -> bool {
    let mut before = text[..start].chars().rev();
    match before.next() {
        Some('.' | ',') => !before.next().is_some_and(|c| c.is_ascii_digit()),
        Some(c) => !c.is_alphanumeric() && !matches!(c, '-' | '_' | '/' | '+' | '#' | '='),
        None => true,
    }
}

fn ends_alone(text: &str, end: usize) -> bool {
    let mut after = text[end..].chars();
    match after.next() {
        Some('.' | '-' | ',') => !after.next().is_some_and(|c| c.is_ascii_digit()),
        Some(c) => !c.is_alphanumeric() && c != '_',
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn personal_data_is_found() {
        for (text, what) in [
            ("Write to anna.kowalska@uni-bremen.de today.", "e-mail"),
            ("Ask jane.doe@example.com.", "e-mail"),
            ("Card: 4111 1111 1111 1111, thanks", "card"),
            ("5500-0055-5555-5559", "card"),
            ("4111111111111111 12/28", "card"),
            ("Amex 378282246310005.", "card"),
            ("DE89 3704 0044 0532 0130 00", "IBAN"),
            ("Pay to GB82WEST12345698765432 now", "IBAN"),
            ("NO93 8601 1117 947", "IBAN"),
            ("SSN 536-90-4399.", "social"),
            ("Ring +49 30 901820 or", "telephone"),
            ("+1 (212) 555-0187", "telephone"),
            ("(212) 736-5000", "telephone"),
            ("212-736-5000", "telephone"),
            ("My mobile: 0171 2345678", "telephone"),
            ("Call 02 12 20 26 55 today.", "telephone"),
        ] {
            assert!(
                find(text).is_some_and(|found| found.contains(what)),
                "{text}: {:?}",
                find(text)
            );
        }
    }

    #[test]
    fn other_numbers_are_left_alone() {
        for text in [
            "Pi is 3.14159265358979323846.",
            "In 2019-2020 there were 1,234,567 of them, 98.6 % of 7000000000.",
            "The order 4111 1111 1111 1112 was lost.",
            "ISBN 978-3-16-148410-0",
            "192.168.100.200:8080 and 10.0.0.1",
            "2026-11-25T09:43:20Z",
            "DE89 3704 0044 0532 0130 01",
            "fe80::1234:5678:9abc:def0",
            "commit 4a52f78da6ef4437, build 20260101-1200",
            "0000-0000-0000-0000 and 9999999999999999",
            "user@example.com and logo@2x.png, @mentions",
            "1-2-3, 100-200-3000000",
            "Part 000-12-3456 and 666-12-3456",
            "Call me at 5.",
            "Please call on 2026-11-25, the call of 25/11/2026 or call on 10.15.2024 14:30.",
            "The call to 192.168.100.200 failed.",
            "git clone git@github.com:owner/name.git",
            "f(x) = 123-45-67890123",
            "",
        ] {
            assert_eq!(find(text), None, "{text}");
        }
    }

    #[test]
    fn digits_are_counted_across_marks_between_them() {
        for (text, in_a_row, account) in [
            ("", 0, false),
            ("Call 212 736", 6, false),
            ("+1 (212) 555-0187", 11, false),
            ("1. one 2. two", 1, false),
            ("12 - - 34", 2, false),
            ("12 é 34", 4, false),
            ("de89 3704", 6, true),
            ("an 89, be8", 2, true),
            ("made89", 2, false),
            ("_DE89", 2, false),
            ("DE 89", 2, false),
        ] {
            let expected = Digits { in_a_row, account };
            assert_eq!(Digits::of(text), expected, "{text}");
        }
    }

    #[test]
    fn check_digits_are_checked() {
        // From ISO/IEC 7812 and ISO 13616.
        assert!(luhn(&digits("79927398713")));
        assert!(!luhn(&digits("79927398710")));
        assert_eq!(remainder(b"GB82WEST12345698765432"), 1);
        assert_ne!(remainder(b"GB82WEST12345698765431"), 1);
    }
}
