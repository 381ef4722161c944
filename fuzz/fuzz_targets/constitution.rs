//! Any text is refused or taken by the loader, the linter agrees with it, and the layout changes nothing.

#![no_main]

use std::io;
use std::path::Path;

use amend_fuzz::constitution::layout::format;
use amend_fuzz::constitution::lint::lint_text;
use amend_fuzz::constitution::{Level, resolve};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let file = Path::new("c.yaml");
    let mut none = |_: &Path| Err(io::ErrorKind::NotFound.into());
    let digest = |text: &str| {
        let mut none = |_: &Path| Err(io::ErrorKind::NotFound.into());
        resolve(file, text, &mut none)
            .ok()
            .map(|resolved| resolved.digest)
    };
    let before = digest(text);
    let report = lint_text(file, text, &mut none);
    assert_eq!(before.is_some(), report.count(Level::Error) == 0);
    if let Ok(laid_out) = format(file, text) {
        assert_eq!(digest(&laid_out), before);
        let again = format(file, &laid_out);
        assert!(again.is_ok_and(|again| again == laid_out), "{laid_out}");
    }
});
