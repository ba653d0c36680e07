//! A real Valkey, started on a free port and ended with the test.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use super::{PATIENCE, Process};

/// A running `valkey-server`.
pub(crate) struct Valkey {
    process: Process,
    pub(crate) address: SocketAddr,
    settings: Vec<String>,
    directory: TempDir,
}

impl Valkey {
    /// A server that keeps nothing on disk, with more settings.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let settings: Vec<String> = settings.iter().map(|&word| word.to_owned()).collect();
        // In memory if there is such a file system: no test is about the disk's speed.
        let shared = Path::new("/dev/shm");
        let directory = if shared.is_dir() { TempDir::new_in(shared) } else { TempDir::new() }.unwrap();
        // A port that is free now may be taken until the server asks for it.
        for _ in 0..5 {
            let port = free(settings.iter().any(|word| word == "--cluster-enabled"));
            if let Some(process) = run(port, &settings, &directory) {
                return Self { process, address: port, settings, directory };
            }
        }
        panic!("no valkey-server would start");
    }

    /// A sentinel with that file, which it writes to.
    pub(crate) fn start_sentinel(file: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        for _ in 0..5 {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            std::fs::write(file, format!("port {}\nbind 127.0.0.1\n{text}", address.port())).unwrap();
            let settings = vec![file.to_str().unwrap().to_owned(), "--sentinel".to_owned()];
            let mut command = Command::new(binary());
            command.args(&settings).current_dir(directory.path());
            if let Some(process) = started(&mut command, address) {
                return Self { process, address, settings, directory };
            }
        }
        panic!("no sentinel would start");
    }

    /// What a store is opened with.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}/", self.address)
    }

    /// What the server answers to a command.
    pub(crate) fn ask(&self, words: &[&str]) -> redis::RedisResult<redis::Value> {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection_with_timeout(PATIENCE)?;
        redis::cmd(words[0]).arg(&words[1..]).query(&mut connection)
    }

    /// Sends a signal by name, as `kill` does.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Ends it at once; what it kept is gone.
    pub(crate) fn kill(&mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }

    /// Starts it again, on the same port.
    pub(crate) fn restart(&mut self) {
        self.process = run(self.address, &self.settings, &self.directory).unwrap();
    }
}

/// A port that is free now. Servers of a cluster listen on a second one, which is by 10,000 larger.
fn free(has_second: bool) -> SocketAddr {
    for _ in 0..100 {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let second = address.port().checked_add(10_000);
        if !has_second || second.is_some_and(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return address;
        }
    }
    panic!("no port is free");
}

/// Starts a server and waits until it takes connections; `None` if it ended instead.
fn run(address: SocketAddr, settings: &[String], directory: &TempDir) -> Option<Process> {
    let mut command = Command::new(binary());
    command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", ""]);
    command.args(["--dir", directory.path().to_str().unwrap()]).args(settings);
    started(&mut command, address)
}

pub(super) fn started(command: &mut Command, address: SocketAddr) -> Option<Process> {
    let mut process = Process::of(command.stdout(Stdio::null()));
    for _ in 0..PATIENCE.as_millis() / 5 {
        if let Ok(stream) = TcpStream::connect(address) {
            // Another test's server may have taken the port meanwhile.
            return is_of(stream, process.0.id()).then_some(process);
        }
        if process.0.try_wait().unwrap().is_some() {
            return None;
        }
        pause(Duration::from_millis(5));
    }
    panic!("valkey-server takes no connections");
}

/// Whether the server at the other end is this process, as far as it says.
fn is_of(mut stream: TcpStream, process: u32) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    stream.write_all(b"INFO server\r\n").unwrap();
    let mut answer = [0; 4_096];
    let length = stream.read(&mut answer).unwrap_or_default();
    let answer = String::from_utf8_lossy(&answer[..length]);
    let said = answer.lines().find_map(|line| line.strip_prefix("process_id:"));
    said.is_none_or(|said| said == process.to_string())
}

#[expect(clippy::disallowed_methods, reason = "another process is waited for")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// The program, found once.
fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let found = Command::new("python3").arg("envoy/valkey.py").stderr(Stdio::inherit()).output();
        let found = found.unwrap();
        assert!(found.status.success(), "there is no valkey-server, and none could be had");
        String::from_utf8(found.stdout).unwrap().trim().into()
    })
}
