//! The page of the admin port in a real browser: what it shows is what the test itself caused.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;

use crate::admin::{Server, shop};
use crate::support::{PATIENCE, programs};

/// Wide as a desk's screen, and narrow as a telephone's.
const SIZES: [(u32, u32); 2] = [(1400, 900), (390, 844)];

/// A headless Chromium.
struct Browser {
    _driver: Driver,
    client: Client,
}

/// What starts and ends it.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Browser {
    async fn start((width, height): (u32, u32), scheme: &str) -> Self {
        let found = programs(&["chromium", "chromedriver"]);
        let (chromium, driver) = (&found[0], &found[1]);
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut start = Command::new(driver);
        start.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = Driver(start.spawn().unwrap());
        let mut capabilities = Capabilities::new();
        let options = json!({
            "binary": chromium,
            "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                     format!("--blink-settings=preferredColorScheme={}", u8::from(scheme != "dark"))],
            // A window narrower than 500 pixels is refused without this.
            "mobileEmulation": {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 1.0, "touch": false}},
        });
        capabilities.insert("goog:chromeOptions".to_owned(), options);
        capabilities.insert("goog:loggingPrefs".to_owned(), json!({"browser": "ALL"}));
        let address = format!("http://127.0.0.1:{port}");
        let mut tries = tokio::time::interval(Duration::from_millis(100));
        for _ in 0..100 {
            tries.tick().await;
            let mut builder = ClientBuilder::new(HttpConnector::new());
            if let Ok(client) = builder.capabilities(capabilities.clone()).connect(&address).await {
                return Self { _driver: driver, client };
            }
        }
        panic!("no session with {address}");
    }

    async fn open(&self, server: &Server, view: &str) {
        self.client.goto(&format!("http://{}/#{view}", server.admin)).await.unwrap();
    }

    /// Waits until the text of the page has `text` in it.
    async fn reads(&self, text: &str) {
        let waited = self.client.wait().at_most(PATIENCE).every(Duration::from_millis(50));
        let xpath = format!("//body[contains(normalize-space(.), \"{text}\")]");
        if waited.for_element(Locator::XPath(&xpath)).await.is_err() {
            let body = self.client.find(Locator::Css("body")).await.unwrap().text().await.unwrap();
            panic!("there is no `{text}` in:\n{body}");
        }
    }

    async fn click(&self, text: &str) {
        let xpath = format!("//*[self::a or self::button][contains(normalize-space(.), \"{text}\")]");
        self.client.find(Locator::XPath(&xpath)).await.unwrap().click().await.unwrap();
    }

    async fn script(&self, script: &str) -> serde_json::Value {
        self.client.execute(script, vec![]).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_finds_out_why_a_customer_is_refused_and_resets_their_count() {
    let server = Server::start();
    for _ in 0..5 {
        assert_eq!(server.limited(&[("api_key", "key_acme_1")]).await, Code::Ok);
    }
    let browser = Browser::start(SIZES[0], "light").await;
    browser.open(&server, "overview").await;
    browser.reads("serving").await;
    browser.reads("Nothing was denied since the start.").await;
    // Denied while somebody looks: it comes by itself.
    assert_eq!(server.limited(&[("api_key", "key_acme_1")]).await, Code::OverLimit);
    browser.reads("acme · per-customer: used 6 of 5").await;
    assert_eq!(server.limited(&[("nobody", "knows")]).await, Code::Ok);

    browser.click("Unmatched").await;
    browser.reads("matches nothing at the top of the domain").await;

    browser.click("Explain").await;
    browser.reads("Descriptors, one a line").await;
    let text = browser.client.find(Locator::Css("textarea")).await.unwrap();
    text.send_keys("api_key=key_acme_1").await.unwrap();
    browser.client.find(Locator::Css("button[type=submit]")).await.unwrap().click().await.unwrap();
    browser.reads("OVER_LIMIT is what the next such call is answered").await;
    browser.reads("6 of 5").await;

    browser.click("Subjects").await;
    browser.reads("2 of 2").await;
    browser.click("acme").await;
    browser.reads("per-customer: 5 per year").await;
    browser.reads("6 used · 0 left").await;
    browser.click("Reset usage").await;
    browser.client.accept_alert().await.unwrap();
    browser.reads("0 used · 5 left").await;
    assert_eq!(server.limited(&[("api_key", "key_acme_1")]).await, Code::Ok);
    browser.reads("1 used · 4 left").await;

    browser.click("Rules").await;
    browser.reads("4 of 4 rules").await;
    let find = browser.client.find(Locator::Css("input[type=search]")).await.unwrap();
    find.send_keys("strangers").await.unwrap();
    browser.reads("1 of 4 rules").await;
    browser.client.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_a_policy_is_shown_with_its_place_and_what_clients_send_is_shown_as_text() {
    let server = Server::with(shop(), &[]);
    let hostile = "<img src=x onerror=document.title='taken'>";
    server.limited(&[("remote_address", hostile)]).await;
    server.limited(&[("remote_address", hostile)]).await;
    assert_eq!(server.limited(&[("remote_address", hostile)]).await, Code::OverLimit);
    let browser = Browser::start(SIZES[1], "dark").await;
    browser.open(&server, "denials").await;
    browser.reads("onerror=document.title").await;
    assert_eq!(
        browser.script("return document.images.length + document.title").await,
        json!("0Denials · Spillway")
    );

    std::fs::write(server.config.path().join("shop.yaml"), "domain: shop\ndescriptor: []\n").unwrap();
    browser.click("Configuration").await;
    browser.reads("A newer configuration is refused for these mistakes").await;
    browser.reads("shop.yaml:2:1").await;
    browser.reads("did you mean `descriptors`").await;
    browser.reads("configuration refused").await;
    // On a telephone nothing runs out of the page, and nothing is said to the console.
    for view in [
        "overview",
        "rules",
        "denials",
        "unmatched",
        "explain",
        "subjects",
        "subjects/shop/acme",
        "configuration",
    ] {
        browser.open(&server, view).await;
        browser.reads("configuration refused").await;
        let wide = "const it = document.documentElement; return it.scrollWidth - it.clientWidth";
        assert_eq!(browser.script(wide).await, json!(0), "{view}");
    }
    browser.client.close().await.unwrap();
}
