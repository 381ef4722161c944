//! A real Chromium, driven through its driver, with everything that it asks of a network on record.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fantoccini::actions::{Actions, InputSource, KeyAction, KeyActions};
use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::driver::{Driver, capabilities};
use crate::outside::Outside;

/// How long to wait for anything. Nothing takes so long; a loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(40);

/// One browser at a time: two of them on a small machine make each other time out.
static TURN: Mutex<()> = Mutex::new(());

/// A browser with an empty profile of its own. It takes its driver and itself down when it is dropped.
pub struct Browser {
    runtime: Runtime,
    client: Client,
    driver: Driver,
    outside: Outside,
    _profile: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Browser {
    /// Starts one. A test without a browser fails and says how to get it.
    pub fn start() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut driver = Driver::start();
        let outside = Outside::listen();
        let profile = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let capabilities = capabilities(&outside, &profile);
        let client = runtime
            .block_on(
                ClientBuilder::new(HttpConnector::new())
                    .capabilities(capabilities.as_object().unwrap().clone())
                    .connect(&driver.address()),
            )
            .unwrap_or_else(|error| panic!("Chromium does not start through its driver: {error}"));
        driver.session = runtime.block_on(client.session_id()).unwrap();
        Self {
            runtime,
            client,
            driver,
            outside,
            _profile: profile,
            _turn: turn,
        }
    }

    /// Opens an address.
    pub fn goto(&self, url: &str) -> &Self {
        self.runtime
            .block_on(self.client.goto(url))
            .unwrap_or_else(|error| panic!("{url} does not open: {error}"));
        self
    }

    /// The address of the page that is shown.
    pub fn url(&self) -> String {
        self.runtime
            .block_on(self.client.current_url())
            .unwrap()
            .to_string()
    }

    /// Goes one page back, as with the browser's own button.
    pub fn back(&self) -> &Self {
        self.runtime.block_on(self.client.back()).unwrap();
        self
    }

    /// Loads the page again.
    pub fn reload(&self) -> &Self {
        self.runtime.block_on(self.client.refresh()).unwrap();
        self
    }

    /// The result of a script, which is the body of a function with the arguments `arguments`.
    pub fn script(&self, body: &str, arguments: &[Value]) -> Value {
        self.runtime
            .block_on(self.client.execute(body, arguments.to_vec()))
            .unwrap_or_else(|error| panic!("{body}: {error}"))
    }

    /// The result of a script that calls the last of its arguments when it is done.
    pub fn script_async(&self, body: &str, arguments: &[Value]) -> Value {
        self.runtime
            .block_on(self.client.execute_async(body, arguments.to_vec()))
            .unwrap_or_else(|error| panic!("{body}: {error}"))
    }

    /// Waits until an expression is true, and says `what` was waited for in vain.
    pub fn wait(&self, what: &str, expression: &str) -> &Self {
        let begun = Instant::now();
        let body = format!("return Boolean({expression})");
        // A page that is just being replaced answers with an error.
        while self.try_script(&body) != Ok(json!(true)) {
            assert!(
                begun.elapsed() < PATIENCE,
                "{what}: `{expression}` did not become true. {:?}\nThe page {} says:\n{}\nConsole: {:?}",
                self.try_script(&body),
                self.url(),
                self.body(),
                self.console(),
            );
            std::thread::sleep(LOOK_AGAIN);
        }
        self
    }

    fn try_script(&self, body: &str) -> Result<Value, String> {
        let done = self.client.execute(body, Vec::new());
        self.runtime
            .block_on(done)
            .map_err(|error| error.to_string())
    }

    /// Waits until an element's text holds `text`.
    pub fn sees(&self, css: &str, text: &str) -> &Self {
        let (selector, wanted) = (json!(css), json!(text));
        self.wait(
            &format!("{css} holds “{text}”"),
            &format!(
                "[...document.querySelectorAll({selector})].some(e => e.checkVisibility() && e.innerText.includes({wanted}))"
            ),
        )
    }

    /// Waits until an element is there, and shown.
    pub fn shows(&self, css: &str) -> &Self {
        let selector = json!(css);
        self.wait(
            &format!("{css} is shown"),
            &format!("[...document.querySelectorAll({selector})].some(e => e.checkVisibility())"),
        )
    }

    /// Waits until no such element is shown.
    pub fn hides(&self, css: &str) -> &Self {
        let selector = json!(css);
        self.wait(
            &format!("{css} is not shown"),
            &format!("![...document.querySelectorAll({selector})].some(e => e.checkVisibility())"),
        )
    }

    /// The texts of all such elements.
    pub fn texts(&self, css: &str) -> Vec<String> {
        let body =
            "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText.trim())";
        serde_json::from_value(self.script(body, &[json!(css)])).unwrap()
    }

    /// All text of the page.
    pub fn body(&self) -> String {
        self.try_script("return document.body ? document.body.innerText : ''")
            .map(|text| text.as_str().unwrap_or_default().to_owned())
            .unwrap_or_else(|error| error)
    }

    fn element(&self, css: &str) -> Element {
        self.shows(css);
        self.runtime
            .block_on(self.client.find(Locator::Css(css)))
            .unwrap_or_else(|error| panic!("{css}: {error}"))
    }

    /// Clicks, as a mouse does, on the first such element.
    pub fn click(&self, css: &str) -> &Self {
        self.click_text(css, "")
    }

    /// Clicks on the first such element whose text holds `text`.
    pub fn click_text(&self, css: &str, text: &str) -> &Self {
        let mark = "document.querySelectorAll('[data-test-target]')
                .forEach(e => e.removeAttribute('data-test-target'));
            [...document.querySelectorAll(arguments[0])]
                .find(e => e.checkVisibility() && e.innerText.includes(arguments[1]))
                ?.setAttribute('data-test-target', '')";
        let begun = Instant::now();
        loop {
            self.sees(css, text);
            self.script(mark, &[json!(css), json!(text)]);
            let clicked = self.runtime.block_on(async {
                let target = self.client.find(Locator::Css("[data-test-target]"));
                target.await?.click().await
            });
            match clicked {
                Ok(()) => return self,
                Err(error) if begun.elapsed() > PATIENCE => panic!("{css}: {error}"),
                // The page was drawn anew meanwhile.
                Err(_) => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }

    /// Presses keys one after the other, wherever the focus is.
    pub fn press(&self, keys: &str) -> &Self {
        let actions = keys
            .chars()
            .fold(KeyActions::new("keys".to_owned()), |actions, value| {
                actions
                    .then(KeyAction::Down { value })
                    .then(KeyAction::Up { value })
            });
        self.runtime
            .block_on(self.client.perform_actions(Actions::from(actions)))
            .unwrap();
        self
    }

    /// Replaces the text of a field by typing.
    pub fn fill(&self, css: &str, text: &str) -> &Self {
        self.element(css);
        let select = "const e = document.querySelector(arguments[0]); e.focus(); e.select()";
        self.script(select, &[json!(css)]);
        if text.is_empty() {
            return self.press("\u{e003}"); // Backspace
        }
        self.press(text)
    }

    /// The size of what is seen, in CSS pixels.
    pub fn resize(&self, width: u32, height: u32) -> &Self {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        );
        self
    }

    /// Whether the page is wider than its window.
    pub fn overflows(&self) -> bool {
        self.script(
            "return document.documentElement.scrollWidth > window.innerWidth",
            &[],
        ) == json!(true)
    }

    /// `light` or `dark`.
    pub fn colours(&self, scheme: &str) -> &Self {
        self.devtools(
            "Emulation.setEmulatedMedia",
            json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
        self
    }

    /// A command of the browser's own protocol.
    pub fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({"cmd": command, "params": parameters});
        self.driver.post("goog/cdp/execute", &body)
    }

    /// What the window shows, as PNG.
    pub fn screenshot(&self) -> Vec<u8> {
        self.runtime.block_on(self.client.screenshot()).unwrap()
    }

    /// What went wrong on the pages since this was last asked: errors of scripts, policies and loading.
    pub fn console(&self) -> Vec<String> {
        let entries = self.driver.post("se/log", &json!({"type": "browser"}));
        let texts = entries.as_array().into_iter().flatten();
        texts
            .map(|entry| format!("{} {}", entry["level"], entry["message"]))
            .collect()
    }

    /// Every address that pages asked for since this was last asked.
    pub fn requests(&self) -> Vec<String> {
        let entries = self.driver.post("se/log", &json!({"type": "performance"}));
        let events = entries.as_array().into_iter().flatten().map(|entry| {
            let text = entry["message"].as_str().unwrap();
            serde_json::from_str::<Value>(text).unwrap()["message"].take()
        });
        events
            .filter(|event| event["method"] == "Network.requestWillBeSent")
            .map(|event| {
                event["params"]["request"]["url"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            // The page that Chromium begins with is made of its own files.
            .filter(|url| !url.starts_with("chrome://") && !url.starts_with("chrome-untrusted://"))
            .collect()
    }

    /// Asserts that nothing went wrong on any page, and that none asked for anything beyond this machine.
    pub fn is_clean(&self) {
        assert_eq!(self.console(), Vec::<String>::new(), "on the console");
        for url in self.requests() {
            let local = ["http://127.0.0.1:", "file:///", "data:", "blob:"];
            assert!(local.iter().any(|start| url.starts_with(start)), "{url}");
        }
        assert_eq!(
            self.outside.asked(),
            Vec::<String>::new(),
            "beyond this machine"
        );
    }

    /// What was asked of the network beyond this machine, as the proxy there saw it.
    pub fn asked_outside(&self) -> Vec<String> {
        self.outside.asked()
    }

    /// Asserts that axe-core finds nothing serious or critical on the page as it is.
    pub fn is_accessible(&self, page: &str) {
        let found = self.script_async(
            &format!(
                "{}\nconst done = arguments[arguments.length - 1];
                axe.run(document, {{resultTypes: ['violations']}}).then(
                    result => done(result.violations), error => done(String(error)))",
                axe()
            ),
            &[],
        );
        let violations = found
            .as_array()
            .unwrap_or_else(|| panic!("{page}: {found}"));
        let grave: Vec<String> = violations
            .iter()
            .filter(|v| v["impact"] == "serious" || v["impact"] == "critical")
            .map(|v| {
                let nodes = v["nodes"].as_array().unwrap();
                let nodes: Vec<_> = nodes
                    .iter()
                    .take(5)
                    .map(|n| format!("{} {} {}", n["target"], n["html"], n["failureSummary"]))
                    .collect();
                format!("{}: {}\n  {}", v["id"], v["help"], nodes.join("\n  "))
            })
            .collect();
        assert!(grave.is_empty(), "{page}:\n{}", grave.join("\n"));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends Chromium; then the driver can be killed.
        self.driver.end_session();
    }
}

/// The rules of axe-core.
fn axe() -> String {
    let cache = std::env::var_os("AMEND_CACHE")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
            let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            cache
                .filter(|path| path.is_absolute())
                .unwrap_or_else(home)
                .join("amend")
        });
    let path = cache.join("tests/axe-core-4.12.1.min.js");
    fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; run `scripts/setup test` or scripts/fetch-axe",
            path.display()
        )
    })
}
