//! The page of the admin port in a real browser: what it shows is what the test itself caused.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::ratelimit::config::ratelimit::v3::RateLimitUnit;
use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tempfile::TempDir;

use crate::admin::{Server, shop};
use crate::support::ads::{Ads, config, hourly, limited};
use crate::support::tls::{Authority, Good};
use crate::support::{PATIENCE, programs};

/// Wide as a desk's screen, and narrow as a telephone's.
const SIZES: [(u32, u32); 2] = [(1400, 900), (390, 844)];

/// The views of the page.
const VIEWS: [&str; 10] = [
    "overview",
    "rules",
    "keys",
    "denials",
    "unmatched",
    "explain",
    "subjects",
    "subjects/shop/acme",
    "configuration",
    "state",
];

/// A headless Chromium.
struct Browser {
    driver: Driver,
    client: Client,
}

/// What starts it, and ends it however a test ends.
struct Driver {
    process: Child,
    profile: TempDir,
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // The browser is a process group of its own, and outlives its driver.
        for browser in with_profile(self.profile.path()) {
            let _ = Command::new("kill").args(["-s", "KILL", &browser.to_string()]).status();
        }
    }
}

/// The processes that were started with a profile, which no others have.
fn with_profile(profile: &Path) -> Vec<u32> {
    let profile = format!("--user-data-dir={}", profile.display());
    let has_it = |process: &u32| {
        let command = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).any(|argument| argument == profile.as_bytes())
    };
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(has_it).collect()
}

impl Browser {
    async fn start((width, height): (u32, u32), scheme: &str) -> Self {
        let found = programs(&["chromium", "chromedriver"]);
        let (chromium, driver) = (&found[0], &found[1]);
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut start = Command::new(driver);
        start.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = Driver { process: start.spawn().unwrap(), profile: tempfile::tempdir().unwrap() };
        let mut capabilities = Capabilities::new();
        let options = json!({
            "binary": chromium,
            "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                     format!("--user-data-dir={}", driver.profile.path().display()),
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
                return Self { driver, client };
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

    /// Clicks the button of the view that is called so.
    async fn press(&self, text: &str) {
        let xpath = format!("//main//button[normalize-space(.) = \"{text}\"]");
        self.client.find(Locator::XPath(&xpath)).await.unwrap().click().await.unwrap();
    }

    /// Types a text instead of what is in a field.
    async fn fill(&self, field: &str, text: &str) {
        let field = self.client.find(Locator::Css(field)).await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
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

    // A limit of their own: asked for, refused with its reason, asked for again.
    for (value, reads) in
        [("many", "per_year is many, which is no whole number"), ("9", "per_year is 9 now.")]
    {
        browser.fill("#attribute", "per_year").await;
        browser.fill("#value", value).await;
        browser.press("Change").await;
        browser.client.accept_alert().await.unwrap();
        browser.reads(reads).await;
    }
    browser.reads("1 used · 8 left").await;
    browser.reads("Forgotten when Spillway ends").await;
    assert_eq!(server.limited(&[("api_key", "key_acme_1")]).await, Code::Ok);
    browser.reads("2 used · 7 left").await;
    // What is probably not meant is made, and told.
    browser.fill("#attribute", "per_yaer").await;
    browser.fill("#value", "9").await;
    browser.press("Change").await;
    browser.client.accept_alert().await.unwrap();
    browser.reads("Warning: no limit uses the attribute per_yaer").await;
    browser.reads("did you mean per_year?").await;
    browser.click("Configuration").await;
    browser.reads("per_year: 5 → per_year: 9").await;

    browser.click("Keys").await;
    browser.reads("subject=acme").await;
    browser.reads("Most denied").await;

    browser.click("Explain").await;
    browser.reads("Descriptors, one a line").await;
    let line = json!({"status": 429, "domain": "shop", "subject": "acme", "descriptors": [{"entries": ["api_key=…"]}]});
    browser.fill("textarea", &line.to_string()).await;
    browser.press("Explain").await;
    browser.reads("OK is what the next such call is answered").await;
    browser.reads("2 of 9").await;

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
    browser.reads("did you mean descriptors?").await;
    browser.reads("configuration refused").await;
    // On a telephone nothing runs out of the page, and nothing is said to the console.
    for view in VIEWS {
        browser.open(&server, view).await;
        browser.reads("configuration refused").await;
        let wide = "const it = document.documentElement; return it.scrollWidth - it.clientWidth";
        assert_eq!(browser.script(wide).await, json!(0), "{view}");
    }
    browser.client.close().await.unwrap();
}

/// A server with all that the page has a view of: limits in files and by xDS, and a certificate that is to be renewed.
fn with_everything(authority: &Authority, ads: &Ads) -> Server {
    authority.issue("server", "gateway.example", Good::Days(8));
    authority.revoke("revoked", &["mallory"]);
    let xds = format!("http://{}", ads.address);
    let files = ["server.pem", "server.key", "ca.pem", "revoked.pem"].map(|name| authority.path(name));
    let [certificate, key, ca, revoked] = files.each_ref().map(String::as_str);
    let tls = [
        "--grpc-tls-cert",
        certificate,
        "--grpc-tls-key",
        key,
        "--grpc-tls-client-ca",
        ca,
        "--grpc-tls-crl",
        revoked,
    ];
    Server::with(shop(), &[&["--xds", &xds][..], &tls].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_replica_says_what_a_control_plane_sent_and_which_certificate_expires() {
    let (authority, mut ads) = (Authority::new(), Ads::start());
    ads.set(&[hourly("sent", "key", 2)]);
    let server = with_everything(&authority, &ads);
    let browser = Browser::start(SIZES[0], "light").await;
    browser.open(&server, "overview").await;
    // Something is to be looked at: a certificate.
    browser.reads("State 1").await;
    browser.click("State").await;
    for text in [
        "version 1, 1 resource",
        "1 put in force, 0 refused",
        "gRPC port 7 days left",
        "gateway.example",
        "CN=authority of a test",
        "next list due 2124-01-01 00:00:00 UTC",
    ] {
        browser.reads(text).await;
    }
    ads.set(&[config("sent", vec![limited("key", "", RateLimitUnit::Unknown, 2)])]);
    browser.reads("last set refused").await;
    browser.reads("unknown unit UNKNOWN").await;
    browser.reads(&format!("xds:{}/sent-config:6:11", ads.address)).await;
    browser.reads("1 put in force, 1 refused").await;
    browser.reads("State 2").await;

    std::fs::write(authority.path("server.key"), "no key").unwrap();
    browser.reads("new files refused").await;
    browser.reads("server.key").await;
    drop(ads);
    browser.reads("not connected").await;
    browser.client.close().await.unwrap();
}

/// Writes pictures of every view into the directory that `SPILLWAY_PICTURES` names, for somebody to look at.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it is for the eye"]
#[expect(clippy::disallowed_methods, reason = "where pictures go is not for the code to say")]
async fn pictures_of_every_view() {
    let into = std::env::var("SPILLWAY_PICTURES").expect("`SPILLWAY_PICTURES` names a directory");
    let (authority, mut ads) = (Authority::new(), Ads::start());
    ads.set(&[hourly("sent", "key", 2)]);
    let (over_tls, server) = (with_everything(&authority, &ads), Server::start());
    ads.set(&[config("sent", vec![limited("key", "", RateLimitUnit::Unknown, 2)])]);
    ads.refused().await;
    let asks = async || {
        for customer in ["key_acme_1", "key_acme_1", "key_other_1"] {
            server.limited(&[("api_key", customer), ("path", "/leads")]).await;
            server.limited(&[("remote_address", "192.0.2.7")]).await;
        }
        server.limited(&[("api_key", "key_acme_1"), ("pth", "/leads")]).await;
    };
    for (size, scheme) in SIZES.into_iter().flat_map(|size| [(size, "light"), (size, "dark")]) {
        // High enough for all of each view.
        let browser = Browser::start((size.0, 2_000), scheme).await;
        for view in VIEWS {
            browser.open(if view == "state" { &over_tls } else { &server }, view).await;
            // Four ticks, with something in each.
            for _ in 0..4 {
                asks().await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            if view == "explain" {
                browser.fill("textarea", "api_key=key_acme_1, path=/leads").await;
                browser.press("Explain").await;
                browser.reads("The next one that passes").await;
            }
            let name = format!("{into}/{}-{}-{scheme}.png", view.replace('/', "-"), size.0);
            std::fs::write(name, browser.client.screenshot().await.unwrap()).unwrap();
        }
        browser.client.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_fails_leaves_no_browser() {
    let browser = Browser::start(SIZES[0], "light").await;
    let profile = browser.driver.profile.path().to_owned();
    assert!(!with_profile(&profile).is_empty());
    // As a test that fails does it: nothing is closed.
    drop(browser);
    for _ in 0..100 {
        if with_profile(&profile).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it runs on: {:?}", with_profile(&profile));
}
