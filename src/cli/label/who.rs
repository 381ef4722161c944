//! The name of the person who labels.

use std::os::unix::fs::MetadataExt;

/// The given name, or that of the user on this system; `unknown` where the system does not tell.
pub fn name(given: Option<&str>) -> String {
    let known = || {
        let variables = ["USER", "LOGNAME"].into_iter();
        let mut names = variables.filter_map(|name| std::env::var(name).ok());
        names.find(|name| !name.trim().is_empty())
    };
    given
        .map(str::to_owned)
        .or_else(known)
        .or_else(account)
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The name of the account that this process runs under.
fn account() -> Option<String> {
    let uid = std::fs::metadata("/proc/self").ok()?.uid().to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut lines = accounts.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_always_labels() {
        assert_eq!(name(Some("ada")), "ada");
        assert!(!name(None).trim().is_empty());
    }
}
