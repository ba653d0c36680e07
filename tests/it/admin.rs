//! The admin port of the real program: what operators see there, what they change, and who is let in.

mod changes;
mod document;
mod guard;
mod hostile;
mod reads;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use serde_json::Value;
use tempfile::TempDir;

use crate::rls::{channel, descriptor, request};
use crate::support::{PATIENCE, Spillway, command, directory};

pub(super) const SHOP: &str = "
domain: shop
subjects: shop.subjects.yaml
headers: {emit: always, dialect: ratelimit-delta}
descriptors:
  - key: api_key
    subject: api_key
    rate_limit: {name: per-customer, requests_per_unit: {attribute: per_year}, unit: year}
    descriptors:
      - key: path
        value: /leads
        rate_limit: {name: leads, unit: year, requests_per_unit: 3}
      - key: user
        rate_limit: {name: per-user, unit: year, requests_per_unit: 9, count_by: [subject, user]}
  - key: remote_address
    rate_limit: {name: strangers, unit: year, requests_per_unit: 2}
";
pub(super) const SUBJECTS: &str = "
subjects:
  - id: acme
    attributes: {plan: growth, per_year: 5}
    credentials: [{kind: api_key, value: key_acme_1}]
  - id: other
    attributes: {plan: scale, per_year: 7}
    credentials: [{kind: api_key, value: key_other_1}]
";

/// A running server with an admin port.
pub(crate) struct Server {
    pub(super) spillway: Spillway,
    pub(crate) admin: SocketAddr,
    pub(super) config: TempDir,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) status: u16,
    /// In lower case.
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(super) fn shop() -> TempDir {
    directory(&[("shop.yaml", SHOP), ("shop.subjects.yaml", SUBJECTS)])
}

impl Server {
    pub(super) fn start() -> Self {
        Self::with(shop(), &[])
    }

    pub(crate) fn with(config: TempDir, arguments: &[&str]) -> Self {
        let spillway = Spillway::running(&mut serving(config.path(), arguments));
        let line = spillway.seen.iter().find(|line| line.contains("listening for admin"));
        let (_, address) = line.expect("it listens").split_once("address=").unwrap();
        Self { admin: address.trim().parse().unwrap(), spillway, config }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        ask(self.admin, "GET", path, &[], "")
    }

    pub(super) fn post(&self, path: &str, body: &str) -> Answer {
        ask(self.admin, "POST", path, &[], body)
    }

    /// With the header that changes need.
    pub(super) fn change(&self, method: &str, path: &str, body: &str) -> Answer {
        ask(self.admin, method, path, &["X-Spillway-Change: 1"], body)
    }

    /// Asks for a change, and goes before it is answered. The server has begun with it.
    pub(super) fn ask_and_go(&self, path: &str, body: &str) {
        let (admin, length) = (self.admin, body.len());
        let mut stream = TcpStream::connect(admin).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {admin}\r\nX-Spillway-Change: 1\r\nContent-Length: {length}"
        );
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        // One thread serves the port, so the other request has come by then.
        assert_eq!(self.get("/api/v1/config").status, 200);
    }

    /// Asks as Envoy does, and says what is answered.
    pub(super) async fn limited(&self, entries: &[(&str, &str)]) -> Code {
        self.limited_in("shop", entries).await
    }

    pub(super) async fn limited_in(&self, domain: &str, entries: &[(&str, &str)]) -> Code {
        let mut client = RateLimitServiceClient::new(channel(&self.spillway).await);
        let mut request = request(vec![descriptor(entries)]);
        domain.clone_into(&mut request.domain);
        client.should_rate_limit(request).await.unwrap().into_inner().overall_code()
    }
}

pub(super) fn serving(config: &Path, arguments: &[&str]) -> Command {
    let any = "127.0.0.1:0";
    let mut serving = command(&["serve", "--grpc-addr", any, "--http-addr", any]);
    if !arguments.contains(&"--admin-addr") {
        serving.args(["--admin-addr", any]);
    }
    serving.args(arguments).arg("--config").arg(config);
    serving
}

pub(super) fn ask(admin: SocketAddr, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    let host = if headers.iter().any(|header| header.starts_with("Host:")) {
        String::new()
    } else {
        format!("Host: {admin}\r\n")
    };
    let headers: Vec<_> = headers.iter().flat_map(|header| [*header, "\r\n"]).collect();
    let headers = headers.concat();
    let length = body.len();
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server that has refused it reads the rest no more.
    let _ = write!(
        stream,
        "{method} {path} HTTP/1.1\r\n{host}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8(text).unwrap();
    let (head, body) =
        text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {method} {path}: {text}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}
