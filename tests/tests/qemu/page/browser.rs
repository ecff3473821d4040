//! A headless browser, driven over the DevTools protocol: JSON messages, each ended by a zero byte, through two pipes.
//!
//! The crates for this bring a hundred others and most of the protocol as code; these tests need ten of its methods.

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::unistd::geteuid;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;
use xtask::setup::chromium;

/// No answer takes as long, however busy the host is.
const LIMIT: Duration = Duration::from_secs(90);

/// A browser with one page.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Option<String>,
    sent: u64,
    events: Vec<Value>,
    folder: TempDir,
}

/// A key or a button held while the mouse is used.
pub const SHIFT: u32 = 8;

impl Browser {
    /// Starts one, with an empty page of this size.
    pub fn start(width: u32, height: u32, dark: bool) -> Result<Self> {
        let folder = TempDir::new()?;
        // The protocol's pipes are descriptors 3 and 4.
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#]).arg(chromium()?).args([
            "--headless",
            "--remote-debugging-pipe",
            "--no-first-run",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
        ]);
        command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
        // Chromium's sandbox does not work for root.
        if geteuid().is_root() {
            command.arg("--no-sandbox");
        }
        let said = File::create(folder.path().join("said"))?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(said).spawn()?;
        let to = child.stdin.take().context("no pipe")?;
        let answers = BufReader::new(child.stdout.take().context("no pipe")?);
        let (sender, from) = channel();
        thread::spawn(move || {
            for message in answers.split(0).map_while(|message| serde_json::from_slice(&message.ok()?).ok()) {
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser = Browser { child, to, from, session: None, sent: 0, events: vec![], folder };
        browser.attach()?;
        browser.call(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false }),
        )?;
        browser.scheme(dark)?;
        Ok(browser)
    }

    fn attach(&mut self) -> Result<()> {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }))?["targetId"].clone();
        let session = self.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }))?;
        self.session = session["sessionId"].as_str().map(String::from);
        ["Page", "Runtime", "Log", "Network"]
            .iter()
            .try_for_each(|part| self.call(&format!("{part}.enable"), json!({})).map(drop))
    }

    /// Calls a method of the protocol.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes())?;
        loop {
            let mut answer = self.receive().with_context(|| format!("{method} was not answered"))?;
            if answer["id"] == self.sent {
                ensure!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return Ok(answer["result"].take());
            }
            self.events.push(answer);
        }
    }

    fn receive(&mut self) -> Result<Value> {
        self.from.recv_timeout(LIMIT).map_err(|error| {
            anyhow!(
                "{error}; the browser said:\n{}",
                fs::read_to_string(self.folder.path().join("said")).unwrap_or_default()
            )
        })
    }

    /// Opens a page and waits until it has drawn itself.
    pub fn open(&mut self, html: &str, hash: &str) -> Result<()> {
        let path = self.folder.path().join("page.html");
        fs::write(&path, html)?;
        // The empty page has loaded too.
        self.events.clear();
        self.call("Page.navigate", json!({ "url": "about:blank" }))?;
        self.wait("Page.loadEventFired")?;
        self.events.clear();
        self.call("Page.navigate", json!({ "url": format!("file://{}{hash}", path.display()) }))?;
        self.wait("Page.loadEventFired")?;
        self.evaluate::<bool>("ventry.ready.then(() => true)").map(drop)
    }

    fn wait(&mut self, method: &str) -> Result<()> {
        while !self.events.iter().any(|event| event["method"] == method) {
            let event = self.receive().with_context(|| format!("{method} did not come"))?;
            self.events.push(event);
        }
        Ok(())
    }

    /// The value of an expression, once a promise is kept.
    pub fn evaluate<T: DeserializeOwned>(&mut self, expression: &str) -> Result<T> {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", params)?;
        if let Some(details) = answer.get("exceptionDetails") {
            bail!("{expression}: {details}");
        }
        serde_json::from_value(answer["result"]["value"].take()).with_context(|| format!("the value of {expression}"))
    }

    /// Does something on the page.
    pub fn run(&mut self, statements: &str) -> Result<()> {
        self.evaluate::<Value>(&format!("(() => {{ {statements}; return null }})()")).map(drop)
    }

    /// What the page asked the network for, and what it complained of.
    pub fn complaints(&mut self) -> Result<Vec<String>> {
        self.settle()?;
        let level = |event: &Value| match event["method"].as_str() {
            Some("Runtime.consoleAPICalled") => {
                matches!(event["params"]["type"].as_str(), Some("error" | "warning" | "assert"))
            }
            Some("Log.entryAdded") => matches!(event["params"]["entry"]["level"].as_str(), Some("error" | "warning")),
            Some("Runtime.exceptionThrown") => true,
            Some("Network.requestWillBeSent") => {
                let request = &event["params"];
                request["type"] != "Document"
                    && !request["request"]["url"].as_str().is_some_and(|url| url.starts_with("data:"))
            }
            _ => false,
        };
        Ok(self.events.iter().filter(|event| level(event)).map(Value::to_string).collect())
    }

    /// Waits until what was asked for is on the screen.
    pub fn settle(&mut self) -> Result<()> {
        self.evaluate::<bool>(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))",
        )
        .map(drop)
    }

    /// Light or dark, as the system would prefer it.
    pub fn scheme(&mut self, dark: bool) -> Result<()> {
        let value = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.call("Emulation.setEmulatedMedia", features).map(drop)
    }

    /// Presses and releases the left button.
    pub fn click(&mut self, x: f64, y: f64, times: u32) -> Result<()> {
        self.mouse("mouseMoved", x, y, 0)?;
        for count in 1..=times {
            for sort in ["mousePressed", "mouseReleased"] {
                let event = json!({ "type": sort, "x": x, "y": y, "button": "left", "clickCount": count });
                self.call("Input.dispatchMouseEvent", event)?;
            }
        }
        self.settle()
    }

    /// Drags with the left button.
    pub fn drag(&mut self, from: (f64, f64), to: (f64, f64), modifiers: u32) -> Result<()> {
        self.mouse("mouseMoved", from.0, from.1, modifiers)?;
        self.mouse("mousePressed", from.0, from.1, modifiers)?;
        for step in 1..=4 {
            let part = f64::from(step) / 4.0;
            self.mouse("mouseMoved", from.0 + (to.0 - from.0) * part, from.1 + (to.1 - from.1) * part, modifiers)?;
        }
        self.mouse("mouseReleased", to.0, to.1, modifiers)?;
        self.settle()
    }

    /// One event of the mouse.
    pub fn mouse(&mut self, sort: &str, x: f64, y: f64, modifiers: u32) -> Result<()> {
        let button = if sort == "mouseMoved" { "none" } else { "left" };
        let event = json!({ "type": sort, "x": x, "y": y, "button": button, "modifiers": modifiers, "clickCount": 1 });
        self.call("Input.dispatchMouseEvent", event).map(drop)
    }

    /// Turns the wheel; up is negative.
    pub fn wheel(&mut self, x: f64, y: f64, delta: f64, modifiers: u32) -> Result<()> {
        let event =
            json!({ "type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": delta, "modifiers": modifiers });
        self.call("Input.dispatchMouseEvent", event)?;
        self.settle()
    }

    /// Strikes a key: a character, or a key's name.
    pub fn key(&mut self, key: &str) -> Result<()> {
        let mut down = json!({ "type": "keyDown", "key": key });
        if key.chars().count() == 1 {
            down["text"] = json!(key);
        } else if key == "Enter" {
            down["text"] = json!("\r");
            down["windowsVirtualKeyCode"] = json!(13);
        }
        self.call("Input.dispatchKeyEvent", down)?;
        self.call("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key }))?;
        self.settle()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It takes its helpers with it; killed, it would leave them.
        self.session = None;
        let _ = self.call("Browser.close", json!({}));
        let _ = self.child.wait();
    }
}
