//! A real browser without a window: Debian's Chromium, led by its ChromeDriver over the W3C's WebDriver protocol.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// What a page has to keep to, whatever stands on it: a function that gives what breaks it.
const FAULTS: &str = include_str!("browser_faults.js");

/// A browser, which ends with its handle.
pub(crate) struct Browser {
    driver: Child,
    /// Its profile.
    _folder: tempfile::TempDir,
    /// The URL of the session.
    session: String,
    client: reqwest::Client,
    runtime: Runtime,
}

impl Browser {
    pub(crate) fn start() -> Browser {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("chromedriver");
        command.args(["--port=0", "--log-level=SEVERE"]).env("HOME", folder.path());
        let mut driver = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("chromedriver starts");
        let said = BufReader::new(driver.stdout.take().expect("a pipe"));
        let started =
            |line: String| Some(line.split_once("started successfully on port ")?.1.trim_end_matches('.').to_owned());
        let port = said.lines().map(|line| line.expect("text")).find_map(started).expect("chromedriver says its port");
        // Nothing here is encrypted, but a client asks for what could do it.
        let _by_another_test = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().expect("a client");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let session = format!("http://127.0.0.1:{port}/session");
        let mut browser = Browser { driver, session, client, runtime, _folder: folder };
        let profile = format!("--user-data-dir={}", browser._folder.path().join("profile").display());
        let mut args = vec![profile.as_str()];
        // As root, and with nothing that goes to the network by itself.
        args.extend([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
        ]);
        args.extend(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        let options = json!({"args": args});
        let wanted =
            json!({"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}});
        let made = browser.post("", &json!({"capabilities": {"alwaysMatch": wanted}}));
        browser.session = format!("{}/{}", browser.session, made["sessionId"].as_str().expect("a session"));
        browser
    }

    /// One command of the protocol.
    #[track_caller]
    fn post(&self, command: &str, arguments: &Value) -> Value {
        let url = format!("{}{command}", self.session);
        let body = arguments.to_string();
        let asked = async {
            let answer = self.client.post(&url).header("content-type", "application/json").body(body).send().await?;
            answer.bytes().await
        };
        let answer = self.runtime.block_on(asked).unwrap_or_else(|error| panic!("{command}: {error:?}"));
        let mut answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert!(answer["value"]["error"].is_null(), "{command}: {}", answer["value"]);
        answer["value"].take()
    }

    /// A command of Chromium's own protocol.
    fn own(&self, command: &str, parameters: &Value) -> Value {
        self.post("/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    pub(crate) fn open(&self, page: &Path) {
        self.post("/url", &json!({"url": format!("file://{}", page.display())}));
    }

    /// Shows the page in a window of this width, as somebody with this preference sees it: `light` or `dark`, on a `screen` or for `print`.
    pub(crate) fn show(&self, width: u32, scheme: &str, medium: &str) {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.own("Emulation.setDeviceMetricsOverride", &size);
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.own("Emulation.setEmulatedMedia", &json!({"media": medium, "features": features}));
    }

    /// What a script gives that the page does not have itself.
    pub(crate) fn script(&self, body: &str) -> Value {
        self.post("/execute/sync", &json!({"script": body, "args": []}))
    }

    /// Presses what a CSS selector finds.
    pub(crate) fn press(&self, selector: &str) {
        let found = self.post("/element", &json!({"using": "css selector", "value": selector}));
        let element = found.as_object().and_then(|found| found.values().next()?.as_str()).expect("an element");
        self.post(&format!("/element/{element}/click"), &json!({}));
    }

    /// What is wrong with the page as it is shown now.
    pub(crate) fn faults(&self) -> Vec<String> {
        let faults = self.script(FAULTS);
        let mut faults: Vec<String> = serde_json::from_value(faults).expect("texts");
        let logged = self.post("/se/log", &json!({"type": "browser"}));
        faults.extend(
            logged.as_array().expect("entries").iter().map(|entry| format!("the browser says: {}", entry["message"])),
        );
        faults
    }

    /// The page as it is printed on A4: a PDF in base64.
    pub(crate) fn print(&self) -> String {
        let printed = self.post("/print", &json!({"page": {"width": 21.0, "height": 29.7}, "background": false}));
        printed.as_str().expect("a PDF").to_owned()
    }

    /// A picture of the page, in base64, for people: `BROWSER_PICTURES=FOLDER` keeps them.
    pub(crate) fn picture(&self) -> String {
        let picture = self.own("Page.captureScreenshot", &json!({"captureBeyondViewport": true}));
        picture["data"].as_str().expect("a picture").to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its session.
        let _ended_anyway = self.runtime.block_on(async { self.client.delete(&self.session).send().await });
        let _ended_already = self.driver.kill();
        let _reaped = self.driver.wait();
    }
}
