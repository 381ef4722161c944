//! What the environment says about caches and the Hub.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Where the Hub and its cache are.
#[derive(Clone)]
pub struct HubConfig {
    /// Address of the Hub, without a slash at its end.
    pub endpoint: String,
    /// The folder that holds `models--owner--repo` folders.
    pub cache: PathBuf,
    /// Access token.
    pub token: Option<String>,
    /// `HF_HUB_OFFLINE` is set.
    pub offline: bool,
    /// Attempts without progress after which a request is given up; at least one is made.
    pub attempts: u32,
    /// Time before the second attempt; doubles with each one.
    pub backoff: Duration,
}

impl HubConfig {
    /// Reads `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`, `HF_TOKEN` (else the `token` file
    /// in `HF_HOME`) and `HF_HUB_OFFLINE`.
    pub fn from_env() -> Self {
        Self::from_vars(|name| env::var_os(name), env::home_dir())
    }

    fn from_vars(get: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Self {
        let text = |name: &str| {
            let value = get(name)?.to_string_lossy().trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        let hf_home = path(&get, "HF_HOME").unwrap_or_else(|| {
            user_cache(&get, home)
                // Without a home folder there is no better place than a shared one.
                .unwrap_or_else(env::temp_dir)
                .join("huggingface")
        });
        let token = text("HF_TOKEN").or_else(|| {
            let file = fs::read_to_string(hf_home.join("token")).ok()?;
            let token = file.trim();
            (!token.is_empty()).then(|| token.to_owned())
        });
        Self {
            endpoint: text("HF_ENDPOINT")
                .unwrap_or_else(|| "https://huggingface.co".to_owned())
                .trim_end_matches('/')
                .to_owned(),
            cache: path(&get, "HF_HUB_CACHE").unwrap_or_else(|| hf_home.join("hub")),
            token,
            offline: text("HF_HUB_OFFLINE").is_some_and(|value| {
                matches!(
                    value.to_ascii_lowercase().as_str(),
                    "1" | "true" | "yes" | "on"
                )
            }),
            attempts: 5,
            backoff: Duration::from_millis(500),
        }
    }
}

impl fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret.
        f.debug_struct("HubConfig")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

/// Amend's own cache folder: `AMEND_CACHE`, else `amend` in `XDG_CACHE_HOME` or `~/.cache`. `None` when
/// none of them is known.
pub fn cache_dir() -> Option<PathBuf> {
    cache_dir_from(|name| env::var_os(name), env::home_dir())
}

fn cache_dir_from(
    get: impl Fn(&str) -> Option<OsString>,
    home: Option<PathBuf>,
) -> Option<PathBuf> {
    path(&get, "AMEND_CACHE").or_else(|| Some(user_cache(&get, home)?.join("amend")))
}

fn user_cache(get: &impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    path(get, "XDG_CACHE_HOME")
        // The XDG specification wants relative paths ignored.
        .filter(|path| path.is_absolute())
        .or_else(|| {
            Some(
                home.filter(|home| !home.as_os_str().is_empty())?
                    .join(".cache"),
            )
        })
}

fn path(get: &impl Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    let value = get(name)?;
    (!value.is_empty()).then(|| PathBuf::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        |name| {
            let pair = pairs.iter().find(|(key, _)| *key == name)?;
            Some(pair.1.into())
        }
    }

    fn config(pairs: &'static [(&str, &str)]) -> HubConfig {
        HubConfig::from_vars(vars(pairs), Some("/home/me".into()))
    }

    #[test]
    fn the_cache_follows_the_hubs_order_of_variables() {
        let cache = |pairs| config(pairs).cache;
        assert_eq!(cache(&[]), PathBuf::from("/home/me/.cache/huggingface/hub"));
        assert_eq!(
            cache(&[("XDG_CACHE_HOME", "/x")]),
            PathBuf::from("/x/huggingface/hub")
        );
        assert_eq!(
            cache(&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/h")]),
            PathBuf::from("/h/hub")
        );
        assert_eq!(
            cache(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")]),
            PathBuf::from("/c")
        );
        assert_eq!(
            cache(&[("HF_HOME", ""), ("XDG_CACHE_HOME", "relative")]),
            PathBuf::from("/home/me/.cache/huggingface/hub")
        );
    }

    #[test]
    fn the_token_comes_from_the_variable_or_the_file_and_is_not_shown() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("token"), "hf_file\n").unwrap();
        let hf_home = home.path().as_os_str().to_owned();
        let from_file =
            HubConfig::from_vars(|name| (name == "HF_HOME").then(|| hf_home.clone()), None);
        assert_eq!(from_file.token.as_deref(), Some("hf_file"));
        let from_variable = HubConfig::from_vars(
            |name| match name {
                "HF_HOME" => Some(hf_home.clone()),
                "HF_TOKEN" => Some(" hf_variable ".into()),
                _ => None,
            },
            None,
        );
        assert_eq!(from_variable.token.as_deref(), Some("hf_variable"));
        assert!(!format!("{from_variable:?}").contains("hf_variable"));
    }

    #[test]
    fn endpoint_and_offline_are_read() {
        let config = config(&[
            ("HF_ENDPOINT", "http://mirror.example/"),
            ("HF_HUB_OFFLINE", "1"),
        ]);
        assert_eq!(config.endpoint, "http://mirror.example");
        assert!(config.offline);
    }

    #[test]
    fn amends_own_cache_has_its_own_variable() {
        let dir = |pairs, home: Option<&str>| cache_dir_from(vars(pairs), home.map(PathBuf::from));
        assert_eq!(dir(&[("AMEND_CACHE", "/a")], None), Some("/a".into()));
        assert_eq!(
            dir(&[("XDG_CACHE_HOME", "/x")], Some("/home/me")),
            Some("/x/amend".into())
        );
        assert_eq!(
            dir(&[], Some("/home/me")),
            Some("/home/me/.cache/amend".into())
        );
        assert_eq!(dir(&[], None), None);
    }
}
