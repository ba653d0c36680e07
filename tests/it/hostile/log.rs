//! A log that nobody reads, that has gone or that is full: the server serves on.

use std::fs;
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use super::POLICY;
use crate::support::reserved::Reserved;
use crate::support::{PATIENCE, Process, command, directory, metric};

/// A server whose log goes wherever a test has it go, so that its ports must be known before.
struct Server {
    process: Process,
    grpc: SocketAddr,
    http: SocketAddr,
    _reserved: [Reserved; 2],
}

impl Server {
    fn logging_to(config: &Path, log: impl Into<Stdio>) -> Self {
        let reserved = [Reserved::new(), Reserved::new()];
        let [grpc, http] = reserved.each_ref().map(|reserved| reserved.address);
        let (to_grpc, to_http) = (grpc.to_string(), http.to_string());
        let mut command = command(&["serve", "--grpc-addr", &to_grpc, "--http-addr", &to_http, "--config"]);
        let process = Process::of(command.arg(config).stdout(Stdio::null()).stderr(log));
        let server = Self { process, grpc, http, _reserved: reserved };
        server.until("it is ready", |server| server.get("/ready").starts_with("HTTP/1.1 200"));
        server
    }

    /// An answer of the HTTP port, empty when it cannot be had.
    fn get(&self, path: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(self.http) {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let _ = stream.read_to_string(&mut answer);
        }
        answer
    }

    fn metric(&self, name: &str) -> u64 {
        metric(self.http, name)
    }

    fn until(&self, what: &str, mut is: impl FnMut(&Self) -> bool) {
        let asked = tokio::time::Instant::now();
        while !is(self) {
            assert!(asked.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
            std::thread::yield_now();
        }
    }

    /// A client that does not speak HTTP/2 and waits for the end of its connection.
    fn is_spoken_to_wrongly(&self) {
        let mut stream = TcpStream::connect(self.grpc).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }

    /// Its gRPC port answers the first bytes of a good client with its own settings.
    fn answers(&self) {
        let mut stream = TcpStream::connect(self.grpc).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let settings = super::raw::settings(&[]);
        stream.write_all(&[super::raw::PREFACE, &settings].concat()).unwrap();
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(head[3], super::raw::SETTINGS);
    }

    /// Asks for the end, and tells its exit code.
    fn ends(mut self) -> Option<i32> {
        let id = self.process.0.id().to_string();
        assert!(std::process::Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
        let asked = tokio::time::Instant::now();
        loop {
            if let Some(status) = self.process.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(asked.elapsed() < PATIENCE, "it does not end");
            std::thread::yield_now();
        }
    }
}

/// Reads what is written from now on until it has seen `text`.
fn read_until(log: &mut BufReader<PipeReader>, text: &str) -> String {
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the log ended before `{text}`");
    }
    line
}

#[test]
fn a_log_whose_reader_has_gone_stops_nothing() {
    let config = directory(&[("policy.yaml", POLICY)]);
    let (reader, writer) = std::io::pipe().unwrap();
    let server = Server::logging_to(config.path(), writer);
    drop(reader);
    for _ in 0..4 {
        server.is_spoken_to_wrongly();
    }
    server.until("lines are dropped", |server| server.metric("spillway_log_lines_dropped_total") > 0);
    server.answers();
    // A change is still read, and another after it.
    for rules in [3, 4] {
        let more = "\n  - {key: new, rate_limit: {unit: day, requests_per_unit: 1}}"
            .replace("new", &format!("new{rules}"));
        let text = fs::read_to_string(config.path().join("policy.yaml")).unwrap() + &more;
        fs::write(config.path().join("policy.yaml"), text).unwrap();
        server.until("the change is in force", |server| server.metric("spillway_rules") == rules);
    }
    assert_eq!(server.ends(), Some(0));
}

#[test]
fn a_full_disk_under_the_log_stops_nothing() {
    let config = directory(&[("policy.yaml", POLICY)]);
    let server = Server::logging_to(config.path(), fs::File::create("/dev/full").unwrap());
    server.is_spoken_to_wrongly();
    server.answers();
    assert!(server.metric("spillway_log_lines_dropped_total") > 0);
    assert_eq!(server.ends(), Some(0));
}

#[test]
fn a_pipe_that_nobody_reads_stops_nothing() {
    let config = directory(&[("policy.yaml", POLICY)]);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let server = Server::logging_to(config.path(), writer.try_clone().unwrap());
    // Another writer fills the pipe, as a program that shares it may.
    std::thread::spawn(move || while writer.write_all(&[b'x'; 4096]).is_ok() {});
    server.until("a line waits for a reader", |server| {
        server.is_spoken_to_wrongly();
        server.metric("spillway_connections_ended_total") > 100
    });
    server.answers();
    assert_eq!(server.ends(), Some(0), "with its reader still there");
    drop(reader);
}

#[test]
fn clients_cannot_fill_the_log_and_probes_are_not_reported() {
    let config = directory(&[("policy.yaml", POLICY)]);
    let (reader, writer) = std::io::pipe().unwrap();
    let server = Server::logging_to(config.path(), writer);
    let mut log = BufReader::new(reader);
    read_until(&mut log, "ready");
    let asked = tokio::time::Instant::now();
    for _ in 0..200 {
        drop(TcpStream::connect(server.grpc).unwrap());
        server.is_spoken_to_wrongly();
    }
    assert_eq!(server.metric("spillway_connections_ended_total"), 200, "a probe is not counted");
    let seconds = asked.elapsed().as_secs() + 1;
    assert_eq!(server.ends(), Some(0));
    let rest: Vec<_> =
        log.lines().map(Result::unwrap).filter(|line| line.contains("connection ended")).collect();
    assert!(!rest.is_empty() && rest.len() as u64 <= seconds, "{} lines in {seconds} s", rest.len());
    assert!(rest.iter().all(|line| line.contains("peer=127.0.0.1:")), "{rest:?}");
}

#[test]
fn a_log_file_that_may_grow_no_more_stops_nothing() {
    let config = directory(&[("policy.yaml", POLICY)]);
    let path = config.path().join("spillway.log");
    let log = fs::File::create(&path).unwrap();
    let reserved = [Reserved::new(), Reserved::new()];
    let [grpc, http] = reserved.each_ref().map(|reserved| reserved.address);
    let mut limited = Command::new("prlimit");
    limited.args([
        "--fsize=2048:2048",
        env!("CARGO_BIN_EXE_spillway"),
        "serve",
        "--grpc-addr",
        &grpc.to_string(),
    ]);
    limited.args(["--http-addr", &http.to_string(), "--config"]).arg(config.path());
    let process = Process::of(limited.stdout(Stdio::null()).stderr(log));
    let server = Server { process, grpc, http, _reserved: reserved };
    server.until("it is ready", |server| server.get("/ready").starts_with("HTTP/1.1 200"));
    // Each reload is a line.
    for n in 0..50 {
        let pid = server.process.0.id().to_string();
        assert!(Command::new("kill").args(["-s", "HUP", &pid]).status().unwrap().success());
        server.until("it is read", |server| server.metric("spillway_config_loads_total") > n + 1);
    }
    assert_eq!(fs::metadata(&path).unwrap().len(), 2_048);
    assert!(server.metric("spillway_log_lines_dropped_total") > 0);
}
