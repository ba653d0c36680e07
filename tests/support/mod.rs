//! The real program, started on free ports and ended with the test.

pub(crate) mod ads;
pub(crate) mod cluster;
pub(crate) mod collector;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod reserved;
pub(crate) mod sentinel;
pub(crate) mod stores;
pub(crate) mod tls;
pub(crate) mod valkey;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;

/// The longest that any one thing may take before a test calls it a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A process that ends with its owner.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn of(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running `spillway serve`.
pub(crate) struct Spillway {
    process: Process,
    log: Receiver<String>,
    pub(crate) seen: Vec<String>,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    /// Kept until the process has ended.
    config: Option<TempDir>,
}

impl Spillway {
    /// Serves one policy, on ports of the system's choice, once it says that it is ready.
    pub(crate) fn serving(policy: &str) -> Self {
        let config = directory(&[("policy.yaml", policy)]);
        let mut spillway = Self::start(config.path(), "127.0.0.1:0");
        spillway.config = Some(config);
        spillway
    }

    /// Serves `config`, with gRPC on `grpc`.
    pub(crate) fn start(config: &Path, grpc: &str) -> Self {
        Self::running(
            command(&["serve", "--grpc-addr", grpc, "--http-addr", "127.0.0.1:0", "--config"]).arg(config),
        )
    }

    /// Serves `config` with so many file descriptors, on ports of the system's choice.
    pub(crate) fn start_with_descriptors(config: &Path, descriptors: &str) -> Self {
        let serve = serve();
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--nofile={descriptors}:{descriptors}")).arg(serve.get_program());
        limited.args(serve.get_args()).arg(config);
        for (name, value) in serve.get_envs() {
            match value {
                Some(value) => limited.env(name, value),
                None => limited.env_remove(name),
            };
        }
        Self::running(&mut limited)
    }

    /// Runs a command that serves, and waits until it says that it is ready.
    pub(crate) fn running(command: &mut Command) -> Self {
        let mut spillway = Self::listening(command);
        spillway.log_line("ready");
        spillway
    }

    /// The same, but it may not be ready yet.
    pub(crate) fn listening(command: &mut Command) -> Self {
        let mut process = Process::of(command.stderr(Stdio::piped()));
        let (send, log) = channel();
        let stderr = BufReader::new(process.0.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let mut spillway =
            Self { process, log, seen: Vec::new(), grpc: nowhere(), http: nowhere(), config: None };
        spillway.grpc = address(&spillway.log_line("listening for gRPC"));
        spillway.http = address(&spillway.log_line("listening for HTTP"));
        spillway
    }

    /// Keeps a directory until the process has ended.
    pub(crate) fn keeping(mut self, config: TempDir) -> Self {
        self.config = Some(config);
        self
    }

    /// Waits for a log line with `text` in it.
    pub(crate) fn log_line(&mut self, text: &str) -> String {
        // In a build without optimization a large policy takes long, and other tests take the cores.
        while let Ok(line) = self.log.recv_timeout(3 * PATIENCE) {
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
        panic!("no log line with `{text}`; there were:\n{}", self.seen.join("\n"));
    }

    /// The log line with `text` in it, which may have come already.
    pub(crate) fn has_logged(&mut self, text: &str) -> String {
        let seen = self.seen.iter().find(|line| line.contains(text)).cloned();
        seen.unwrap_or_else(|| self.log_line(text))
    }

    /// How many lines the log has so far.
    pub(crate) fn lines_so_far(&mut self) -> usize {
        self.seen.extend(self.log.try_iter());
        self.seen.len()
    }

    /// The process, as the system knows it.
    pub(crate) fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// Sends a signal by name, as `kill` does.
    pub(crate) fn signal(&self, name: &str) {
        let killed = Command::new("kill").args(["-s", name, &self.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        // The log ends when the process does.
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        self.process.0.wait().unwrap()
    }
}

/// What the HTTP port answers; as much as it says before it hangs up.
pub(crate) fn get(http: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A number of `/metrics`.
pub(crate) fn metric(http: SocketAddr, name: &str) -> u64 {
    let text = get(http, "/metrics");
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no `{name}` in:\n{text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// The paths of programs that Debian has, which are installed where they are missing.
pub(crate) fn programs(names: &[&str]) -> Vec<String> {
    let mut find = Command::new("python3");
    let found = find.arg("tests/support/debian.py").args(names).stderr(Stdio::inherit()).output().unwrap();
    assert!(found.status.success(), "{names:?} cannot be had");
    String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The program that serves on free ports what the path that is to be added says.
pub(crate) fn serve() -> Command {
    let any = "127.0.0.1:0";
    command(&["serve", "--grpc-addr", any, "--http-addr", any, "--config"])
}

/// The program under envoyproxy/ratelimit's name, by a link in `directory`, with none of this environment's settings.
pub(crate) fn ratelimit(directory: &Path) -> Command {
    let link = directory.join("ratelimit");
    symlink(env!("CARGO_BIN_EXE_spillway"), &link).unwrap();
    let mut called = Command::new(link);
    for (name, _) in command(&[]).get_envs() {
        called.env_remove(name);
    }
    called
}

/// The program with `args`, and none of this environment's own settings for it.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spillway"));
    command.args(args);
    let ours = |name: &str| {
        let peer = [
            "HOST",
            "PORT",
            "LOG_LEVEL",
            "LOG_FORMAT",
            "MERGE_DOMAIN_CONFIG",
            "SHADOW_MODE",
            "QUOTA_MODE",
            "NEAR_LIMIT_RATIO",
            "RESPONSE_DYNAMIC_METADATA",
            "NO_COLOR",
            "BACKEND_TYPE",
            "CONFIG_TYPE",
            "FORCE_START_WITHOUT_INITIAL_CONFIG",
            "HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED",
            "DISABLE_STATS",
            "EXTRA_TAGS",
        ];
        let prefixes = [
            "SPILLWAY_",
            "CONFIG_GRPC_XDS_",
            "XDS_CLIENT_",
            "RUNTIME_",
            "GRPC_",
            "LIMIT_",
            "REDIS_",
            "MEMCACHE_",
            "USE_",
            "STATS",
            "DEBUG_",
            "TRACING_",
            "OTEL_",
        ];
        peer.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(ours) {
            command.env_remove(name);
        }
    }
    // One port for all of them would be in use.
    if args.first() == Some(&"serve") {
        command.env("SPILLWAY_ADMIN_ADDR", "off");
    }
    command
}

/// A directory with these files in it.
pub(crate) fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// From a line for people, or for programs.
pub(crate) fn address(line: &str) -> SocketAddr {
    let (_, rest) = line
        .split_once("address=")
        .or_else(|| line.split_once("\"address\":\""))
        .unwrap_or_else(|| panic!("no address in `{line}`"));
    let address = rest.split([' ', '"']).next().unwrap();
    // A Unix socket has none.
    if address.starts_with("unix:") { nowhere() } else { address.parse().unwrap() }
}
