//! The driver of a browser: a process with a port, and commands that fantoccini has no name for.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::outside::Outside;

/// The driver's process.
pub struct Driver {
    child: Child,
    port: u16,
    /// The session that it drives.
    pub session: Option<String>,
}

impl Driver {
    /// Starts it.
    pub fn start() -> Self {
        let mut child = Command::new(program("CHROMEDRIVER", &["chromedriver"]))
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let rest = line.split_once("started successfully on port ")?.1;
                rest.trim_end_matches('.').parse().ok()
            })
            .expect("chromedriver does not say its port");
        // Read on, so that it is never held up.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            port,
            session: None,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A command that fantoccini has no name for.
    pub fn post(&self, command: &str, body: &Value) -> Value {
        let session = self.session.as_deref().unwrap();
        let url = format!("{}/session/{session}/{command}", self.address());
        let answer: Value = ureq::post(&url)
            .header("content-type", "application/json")
            .send(body.to_string())
            .and_then(|mut response| {
                response
                    .body_mut()
                    .with_config()
                    .limit(1 << 28)
                    .read_to_string()
            })
            .map(|text| serde_json::from_str(&text).unwrap())
            .unwrap_or_else(|error| panic!("{command}: {error}"));
        answer["value"].clone()
    }

    /// Ends Chromium.
    pub fn end_session(&mut self) {
        if let Some(session) = self.session.take() {
            let url = format!("{}/session/{session}", self.address());
            let _ = ureq::delete(&url).call();
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.end_session();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How Chromium is started.
pub fn capabilities(outside: &Outside, profile: &TempDir) -> Value {
    let proxy = format!("--proxy-server=http://127.0.0.1:{}", outside.port);
    let data = format!("--user-data-dir={}", profile.path().display());
    let mut options = json!({
        "args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-default-apps", "--disable-extensions", "--disable-dev-shm-usage",
            "--disable-domain-reliability", "--disable-client-side-phishing-detection",
            "--disable-features=OptimizationHints,MediaRouter,Translate,AutofillServerCommunication",
            "--no-default-browser-check", "--no-pings", "--window-size=1280,900", "--lang=en",
            proxy, data,
        ],
    });
    options["binary"] = json!(program(
        "CHROMIUM",
        &["chromium", "chromium-browser", "google-chrome"]
    ));
    json!({
        "browserName": "chrome",
        "pageLoadStrategy": "normal",
        "unhandledPromptBehavior": "ignore",
        "timeouts": {"script": 120_000, "pageLoad": 120_000},
        "goog:chromeOptions": options,
        "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
    })
}

/// The path of a program: what the environment names, or the first of `names` that is installed.
fn program(variable: &str, names: &[&str]) -> String {
    if let Ok(path) = std::env::var(variable) {
        return path;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    for folder in std::env::split_paths(&path) {
        for name in names {
            let file = folder.join(name);
            if file.is_file() {
                return file.to_string_lossy().into_owned();
            }
        }
    }
    panic!(
        "{} is not installed; run `scripts/setup test` (Debian: apt-get install chromium chromium-driver), \
         or set {variable} to its path",
        names[0]
    );
}
