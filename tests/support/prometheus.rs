//! A real Prometheus, started on a free port and ended with the test.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{PATIENCE, Process};

/// The time between two looks at whether something has come true.
const AGAIN: Duration = Duration::from_millis(50);

/// `promtool` or `prometheus`.
pub(crate) fn program(name: &str) -> PathBuf {
    let mut find = Command::new("python3");
    let found = find.args(["tests/support/promtool.py", name]).stderr(Stdio::inherit()).output().unwrap();
    assert!(found.status.success(), "there is no {name}, and none could be had");
    String::from_utf8(found.stdout).unwrap().trim().into()
}

/// A running `prometheus`, which looks at its targets four times a second.
pub(crate) struct Prometheus {
    _process: Process,
    address: SocketAddr,
    _directory: TempDir,
}

impl Prometheus {
    /// One that scrapes targets, each with its job. Returns when it has scraped all of them.
    pub(crate) async fn scraping(targets: &[(&str, SocketAddr)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut jobs: Vec<&str> = targets.iter().map(|(job, _)| *job).collect();
        jobs.dedup();
        let mut config =
            String::from("global: {scrape_interval: 250ms, scrape_timeout: 250ms}\nscrape_configs:\n");
        for job in jobs {
            let of_job = targets.iter().filter(|(of, _)| *of == job);
            let of_job: Vec<_> = of_job.map(|(_, address)| format!("'{address}'")).collect();
            let of_job = of_job.join(", ");
            writeln!(config, "- {{job_name: {job}, static_configs: [{{targets: [{of_job}]}}]}}").unwrap();
        }
        fs::write(directory.path().join("prometheus.yml"), config).unwrap();
        let prometheus = Self::in_directory(directory).await;
        let all_are_up = format!("sum(up) == {}", targets.len());
        prometheus.until(&all_are_up, None, |found| !found.is_empty()).await;
        prometheus
    }

    async fn in_directory(directory: TempDir) -> Self {
        let program = program("prometheus");
        // A port that is free now may be taken until the server asks for it.
        for _ in 0..5 {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let mut command = Command::new(&program);
            command
                .arg(format!("--config.file={}", directory.path().join("prometheus.yml").display()))
                .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
                .arg(format!("--web.listen-address={address}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut process = Process::of(&mut command);
            let until = Instant::now() + PATIENCE;
            while Instant::now() < until && process.0.try_wait().unwrap().is_none() {
                if TcpStream::connect(address).is_ok() && get(address, "/-/ready").starts_with("HTTP/1.1 200")
                {
                    return Self { _process: process, address, _directory: directory };
                }
                sleep(AGAIN).await;
            }
        }
        panic!("no prometheus would start");
    }

    /// The values that an expression has now, or at a time in seconds since 1970; without those that are no numbers.
    pub(crate) fn query(&self, expression: &str, time: Option<u64>) -> Vec<f64> {
        let mut path = String::from("/api/v1/query?query=");
        for byte in expression.bytes() {
            write!(path, "%{byte:02x}").unwrap();
        }
        if let Some(time) = time {
            write!(path, "&time={time}").unwrap();
        }
        let answer = get(self.address, &path);
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {answer}"));
        assert_eq!(body["status"], "success", "{expression}: {body}");
        let value =
            |series: &Value| series["value"][1].as_str()?.parse().ok().filter(|v: &f64| v.is_finite());
        body["data"]["result"].as_array().unwrap().iter().filter_map(value).collect()
    }

    /// Asks again and again until the values are as they should be.
    pub(crate) async fn until(
        &self,
        expression: &str,
        time: Option<u64>,
        as_expected: impl Fn(&[f64]) -> bool,
    ) {
        let until = Instant::now() + PATIENCE;
        let mut found = self.query(expression, time);
        while !as_expected(&found) {
            assert!(Instant::now() < until, "{expression} is {found:?}");
            sleep(AGAIN).await;
            found = self.query(expression, time);
        }
    }
}

/// An answer that is not in chunks, as HTTP/1.0 has none.
fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.replacen("HTTP/1.0", "HTTP/1.1", 1)
}
