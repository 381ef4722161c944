//! Secrets: keys and tokens whose form is known, private keys, passwords in addresses.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

/// What was found; never the secret itself.
pub(super) fn find(text: &str) -> Option<&'static str> {
    // Few texts hold a mark, and to look for all forms at once takes long.
    if MARKED.is_match(text) {
        let known = SHAPES.matches(text).into_iter().next();
        if let Some((what, _)) = known.and_then(|index| FORMS.get(index)) {
            return Some(what);
        }
    }
    let password = text.contains("://")
        && ADDRESS.captures_iter(text).any(|found| {
            let password = found.get(1).map_or("", |password| password.as_str());
            !stand_in(password)
        });
    password.then_some("a password in an address")
}

/// Forms of secrets, by the names of those who give them out.
const FORMS: [(&str, &str); 18] = [
    (
        "a private key",
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----",
    ),
    (
        "an AWS access key",
        r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b",
    ),
    ("a GitHub token", r"\bgh[pousr]_[A-Za-z0-9]{36,255}\b"),
    ("a GitHub token", r"\bgithub_pat_[A-Za-z0-9_]{40,255}\b"),
    ("a GitLab token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    ("a Slack token", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    (
        "a Slack address with a secret",
        r"hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,}",
    ),
    (
        "an API key that begins with sk-",
        r"\bsk-(?:[A-Za-z]+-){0,3}[A-Za-z0-9_-]*[0-9][A-Za-z0-9_-]{19,}",
    ),
    (
        "a Hugging Face token",
        r"\bhf_[A-Za-z]{30,40}\b|\bhf_[A-Za-z0-9]{34}\b",
    ),
    ("a Google API key", r"\bAIza[0-9A-Za-z_-]{35}"),
    ("a Google OAuth secret", r"\bGOCSPX-[A-Za-z0-9_-]{28}"),
    ("a Stripe key", r"\b[rs]k_(?:live|test)_[0-9A-Za-z]{16,}"),
    ("an npm token", r"\bnpm_[A-Za-z0-9]{36}\b"),
    ("a PyPI token", r"\bpypi-AgE[A-Za-z0-9_-]{50,}"),
    (
        "a SendGrid key",
        r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",
    ),
    (
        "a Telegram bot token",
        r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}\b",
    ),
    (
        "a JSON web token",
        r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}",
    ),
    ("an age secret key", r"\bAGE-SECRET-KEY-1[A-Z0-9]{58}\b"),
];

/// What every form holds one of.
const MARKS: [&str; 28] = [
    "-----BEGIN",
    "AKIA",
    "ASIA",
    "ABIA",
    "ACCA",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xox",
    "hooks.slack.com",
    "sk-",
    "hf_",
    "AIza",
    "GOCSPX-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "rk_test_",
    "npm_",
    "pypi-AgE",
    "SG.",
    ":AA",
    "eyJ",
    "AGE-SECRET-KEY-1",
];

// The patterns are constants that the tests compile, so `expect` cannot fail.
static MARKED: LazyLock<Regex> = LazyLock::new(|| {
    let marks = MARKS.map(regex::escape).join("|");
    Regex::new(&marks).expect("a constant pattern")
});

static SHAPES: LazyLock<RegexSet> =
    LazyLock::new(|| RegexSet::new(FORMS.map(|(_, form)| form)).expect("constant patterns"));

static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\b[a-z][a-z0-9+.-]{1,15}://[^\s:/@]{0,64}:([^\s:/@]{3,64})@[A-Za-z0-9.-]+")
        .expect("a constant pattern")
});

/// Whether a password only shows where one would stand.
fn stand_in(password: &str) -> bool {
    let lower = password.to_lowercase();
    password.starts_with(['<', '$', '{', '[', '*', '%'])
        || [
            "pass",
            "passwd",
            "password",
            "secret",
            "token",
            "yourpassword",
            "your_password",
            "xxx",
            "pwd",
        ]
        .contains(&lower.as_str())
        || lower.chars().all(|c| c == 'x' || c == '*' || c == '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written apart, so that no scanner of this repository takes them for secrets.
    fn put_together(parts: &[&str]) -> String {
        parts.concat()
    }

    #[test]
    fn secrets_are_found() {
        for (parts, what) in [
            (&["AKIA", "IOSFODNN7EXAMPLE"][..], "AWS"),
            (
                &["ghp", "_", "0123456789abcdefghijABCDEFGHIJ012345"],
                "GitHub",
            ),
            (&["xox", "b-123456789012-abcdefghij"], "Slack"),
            (&["sk", "-proj-", "a1b2c3d4e5f6g7h8i9j0k1l2m3n4"], "sk-"),
            (
                &["hf", "_", "abcdefghijklmnopqrstuvwxyzABCDEFGH"],
                "Hugging Face",
            ),
            (&["AIza", "SyA1234567890abcdefghijklmnopqrstuv"], "Google"),
            (&["sk", "_live_", "4eC39HqLyjWDarjtT1zdp7dc"], "Stripe"),
            (
                &[
                    "eyJ",
                    "hbGciOiJIUzI1NiJ9",
                    ".eyJ",
                    "zdWIiOiIxMjM0NTY3ODkwIn0.",
                    "dozjgNryP4J3jVmNHl0w5N",
                ],
                "web token",
            ),
            (&["glpat", "-0123456789abcdefghij"], "GitLab"),
            (
                &[
                    "github",
                    "_pat_",
                    "0123456789abcdefghij0123456789abcdefghij",
                ],
                "GitHub",
            ),
            (
                &[
                    "hooks.slack",
                    ".com/services/T0A1B2C3/B0A1B2C3/",
                    "0123456789abcdefghij",
                ],
                "Slack address",
            ),
            (&["GOCSPX", "-0123456789abcdefghijABCDEFGH"], "OAuth"),
            (&["npm", "_0123456789abcdefghijABCDEFGHIJ012345"], "npm"),
            (
                &[
                    "pypi-",
                    "AgEIcHlwaS5vcmcC",
                    "0123456789abcdefghij0123456789abcdefghij",
                ],
                "PyPI",
            ),
            (
                &[
                    "SG.",
                    "0123456789abcdefghijAB",
                    ".0123456789abcdefghijABCDEFGHIJ0123456789abc",
                ],
                "SendGrid",
            ),
            (
                &["123456789:", "AA", "0123456789abcdefghijABCDEFGHIJ012"],
                "Telegram",
            ),
            (
                &[
                    "AGE-SECRET",
                    "-KEY-1",
                    "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7LQPZRY9X8GF2TVDW0S3JN54KHCE",
                ],
                "age",
            ),
            (
                &["-----BEGIN ", "OPENSSH PRIVATE KEY", "-----"],
                "private key",
            ),
            (&["-----BEGIN ", "PRIVATE KEY", "-----"], "private key"),
            (
                &["postgres://", "anna:", "kJ8s.dd2", "@db.internal/x"],
                "password",
            ),
            // Servers that know one user only.
            (&["redis://", ":", "kJ8s.dd2", "@cache:6379/0"], "password"),
        ] {
            let text = format!("Use {} here.", put_together(parts));
            assert!(
                find(&text).is_some_and(|found| found.contains(what)),
                "{text}: {:?}",
                find(&text)
            );
        }
    }

    #[test]
    fn what_only_looks_like_one_is_left_alone() {
        for text in [
            "-----BEGIN PUBLIC KEY-----",
            "postgres://user:password@localhost/db and https://user:<token>@host",
            "Set sk-your-key-here and hf_token in the file.",
            "git@github.com:owner/name.git, http://host:8080/a@b, http://:8080/a@b",
            "b3:4a52f78da6ef44374a52f78da6ef44374a52f78da6ef44374a52f78da6ef4437",
            "task-oriented risk-management-and-compliance-for-everyone",
        ] {
            assert_eq!(find(text), None, "{text}");
        }
    }
}
