//! Where the default model is.

use std::path::{Path, PathBuf};

/// The default model, which `make test` fetches. A test without it fails and says how to get it.
pub fn default_model() -> PathBuf {
    let cache = std::env::var_os("AMEND_CACHE")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            std::env::var_os("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cache"))
                .join("amend")
        });
    let path = cache.join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(
        path.exists(),
        "{} is missing; run scripts/fetch-model",
        path.display()
    );
    path
}
