//! The servers that are measured: each a process of its own, started when it is first asked for.

use std::collections::HashMap;
use std::error::Error;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use tempfile::TempDir;

use crate::calls::{Keys, Shape};
use crate::closed::{Closed, Load, Until};
use crate::cores::Cores;
use crate::http2::Answer;
use crate::support::valkey::Valkey;
use crate::support::{PATIENCE, Process, command, directory};
use crate::{bare, policies, verify};

/// A server, by what is special about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Tonic with its defaults, built like Spillway.
    Bare,
    /// The same built with Cargo's defaults.
    BarePlain,
    ThreeLimits,
    /// The same, on two cores.
    TwoWorkers,
    /// All its limits are used up.
    Refusing,
    OneRule,
    ManyRules,
    FixedWindow,
    TokenBucket,
    /// Its windows last seconds.
    Expiring,
    /// A limit for each day, which is kept on a disk where there is one.
    DailyInMemory,
    DailyOnDisk,
    /// The same in a Valkey.
    DailyShared,
}

/// How many keys exist where many are asked for, and where very many are.
pub(crate) const MANY_KEYS: u64 = 100_000;
pub(crate) const VERY_MANY_KEYS: u64 = 1_000_000;
/// How many have a limit for each day.
pub(crate) const DAILY_KEYS: u64 = 1_000;

/// A running server.
pub(crate) struct Server {
    process: Process,
    /// Kept so that the server can go on writing.
    log: Mutex<Receiver<String>>,
    /// Kept until the process has ended.
    config: Option<TempDir>,
    store: Option<TempDir>,
    shared: Option<Valkey>,
    pub(crate) grpc: SocketAddr,
    http: Option<SocketAddr>,
}

impl Server {
    pub(crate) fn id(&self) -> u32 {
        self.process.0.id()
    }

    fn spillway(policy: &str) -> Result<Self, Box<dyn Error>> {
        Self::spillway_with(policy, &[])
    }

    /// With its counters in a new directory of the system's for temporary files; `TMPDIR` names another.
    fn spillway_on_disk(policy: &str) -> Result<Self, Box<dyn Error>> {
        let store = TempDir::new()?;
        let url = format!("disk:{}", store.path().display());
        // The first charge of a counter waits for the disk, however long it takes.
        let mut server = Self::spillway_with(policy, &["--store-timeout", "5s", "--store", &url])?;
        server.store = Some(store);
        Ok(server)
    }

    /// With its counters in a Valkey of its own, which is where the load is.
    fn spillway_shared(policy: &str, cores: &Cores) -> Result<Self, Box<dyn Error>> {
        cores.load()?;
        let valkey = Valkey::start(&[]);
        cores.servers(1)?;
        // Each is answered, however busy the Valkey is.
        let options = ["--store-timeout", "5s", "--store", &format!("{}?timeout=5000ms", valkey.url())];
        let mut server = Self::spillway_with(policy, &options)?;
        server.shared = Some(valkey);
        Ok(server)
    }

    fn spillway_with(policy: &str, options: &[&str]) -> Result<Self, Box<dyn Error>> {
        let config = directory(&[("policy.yaml", policy)]);
        let mut serve =
            command(&["serve", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--config"]);
        serve.arg(config.path()).args(options);
        let mut server = Self::start(&mut serve)?;
        server.http = Some(address(&server.log_line("listening for HTTP")?)?);
        server.log_line("ready")?;
        server.config = Some(config);
        Ok(server)
    }

    fn start(command: &mut Command) -> Result<Self, Box<dyn Error>> {
        let mut process = Process::of(command.stdin(Stdio::piped()).stderr(Stdio::piped()));
        let (send, log) = channel();
        let stderr = BufReader::new(process.0.stderr.take().ok_or("no standard error")?);
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self {
            process,
            log: Mutex::new(log),
            config: None,
            store: None,
            shared: None,
            grpc: nowhere,
            http: None,
        };
        server.grpc = address(&server.log_line("listening for gRPC")?)?;
        Ok(server)
    }

    fn log_line(&self, text: &str) -> Result<String, Box<dyn Error>> {
        let mut seen = Vec::new();
        let log = self.log.lock().map_err(|_| "the log's reader panicked")?;
        while let Ok(line) = log.recv_timeout(PATIENCE) {
            if line.contains(text) {
                return Ok(line);
            }
            seen.push(line);
        }
        Err(format!("no log line with `{text}`; there were:\n{}", seen.join("\n")).into())
    }

    /// What Spillway says of itself.
    pub(crate) fn scrape(&self) -> Result<String, Box<dyn Error>> {
        let mut socket = TcpStream::connect(self.http.ok_or("only Spillway counts")?)?;
        // Of HTTP/1.1 a long text would come in chunks.
        socket.write_all(b"GET /metrics HTTP/1.0\r\nhost: spillway\r\n\r\n")?;
        let mut text = String::new();
        socket.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Has Spillway load its policy anew, which says the same, and waits until that is in force.
    pub(crate) fn reload(&self) -> Result<(), Box<dyn Error>> {
        let path = self.config.as_ref().ok_or("it has no policy")?.path().join("policy.yaml");
        let mut file = OpenOptions::new().append(true).open(path)?;
        writeln!(file, "# Loaded anew.")?;
        drop(file);
        self.log_line("rules_before=").map(drop)
    }

    /// How many counters Spillway says that it has.
    pub(crate) fn counters(&self) -> Result<u64, Box<dyn Error>> {
        let text = self.scrape()?;
        let count = text.lines().find_map(|line| line.strip_prefix("spillway_counters "));
        Ok(count.ok_or("no metric spillway_counters")?.trim().parse()?)
    }

    /// Asks for `count` keys in turn, so that their counters exist.
    pub(crate) fn fill(&self, shape: &Shape, count: u64, expected: Answer) -> io::Result<()> {
        let load = Load { connections: 4, in_flight: 32 };
        let keys = Keys::InTurn { first: 0 };
        Closed::open(self.grpc, load, shape, keys, expected)?.run(Until::Calls(count)).map(drop)
    }
}

fn address(line: &str) -> Result<SocketAddr, Box<dyn Error>> {
    let (_, rest) = line.split_once("address=").ok_or_else(|| format!("no address in `{line}`"))?;
    Ok(rest.split_whitespace().next().unwrap_or_default().parse()?)
}

/// Those that run.
pub(crate) struct Servers {
    cores: Cores,
    plain: Option<PathBuf>,
    running: HashMap<Kind, Server>,
}

impl Servers {
    pub(crate) fn new(cores: Cores, plain: Option<PathBuf>) -> Self {
        Self { cores, plain, running: HashMap::new() }
    }

    pub(crate) fn has_plain(&self) -> bool {
        self.plain.is_some()
    }

    /// The server of this kind, with the keys that it is to have.
    pub(crate) fn get(&mut self, kind: Kind) -> Result<&Server, Box<dyn Error>> {
        if !self.running.contains_key(&kind) {
            let server = self.start(kind).map_err(|error| format!("{kind:?}: {error}"))?;
            self.running.insert(kind, server);
        }
        Ok(&self.running[&kind])
    }

    fn start(&mut self, kind: Kind) -> Result<Server, Box<dyn Error>> {
        let never = 1_000_000_000;
        self.cores.servers(if kind == Kind::TwoWorkers { 2 } else { 1 })?;
        let server = match kind {
            Kind::Bare => Server::start(Command::new(std::env::current_exe()?).arg(bare::ARGUMENT)),
            Kind::BarePlain => {
                let plain = self.plain.as_ref().ok_or("there is no plain build")?;
                Server::start(Command::new(plain).arg(bare::ARGUMENT))
            }
            Kind::ThreeLimits | Kind::TwoWorkers => Server::spillway(&policies::three_limits(never)),
            Kind::Refusing => Server::spillway(&policies::three_limits(1)),
            Kind::OneRule => Server::spillway(&policies::rules(50..51, 500..501)),
            Kind::ManyRules => Server::spillway(&policies::rules(0..100, 0..1000)),
            Kind::FixedWindow => Server::spillway(&policies::one_limit("per: 1h")),
            Kind::TokenBucket => {
                Server::spillway(&policies::one_limit("per: 1h, algorithm: token_bucket, burst: 1000000000"))
            }
            Kind::Expiring => Server::spillway(&policies::one_limit("per: 3s")),
            Kind::DailyInMemory => Server::spillway(&policies::one_limit("per: 1d")),
            Kind::DailyOnDisk => Server::spillway_on_disk(&policies::one_limit("per: 1d")),
            Kind::DailyShared => Server::spillway_shared(&policies::one_limit("per: 1d"), &self.cores),
        };
        self.cores.load()?;
        let server = server?;
        match kind {
            Kind::Bare | Kind::BarePlain => verify::answer(&server, &policies::LEADS, verify::CONSTANT)?,
            Kind::OneRule | Kind::ManyRules => {
                verify::answer(&server, &policies::ONE_OF_MANY, verify::ALLOWED)?;
                server.fill(&policies::ONE_OF_MANY, MANY_KEYS, Answer::Ok)?;
                if kind == Kind::ManyRules {
                    server.fill(&policies::EACH_OF_MANY, MANY_KEYS, Answer::Ok)?;
                }
            }
            Kind::Refusing => {
                server.fill(&policies::LEADS, MANY_KEYS, Answer::Ok)?;
                verify::answer(&server, &policies::LEADS, verify::REFUSED)?;
            }
            Kind::ThreeLimits | Kind::TwoWorkers => {
                server.fill(&policies::LEADS, MANY_KEYS, Answer::Ok)?;
                verify::answer(&server, &policies::LEADS, verify::ALLOWED)?;
            }
            Kind::DailyInMemory | Kind::DailyOnDisk | Kind::DailyShared => {
                server.fill(&policies::LEADS, DAILY_KEYS, Answer::Ok)?;
            }
            // Those whose memory is measured are filled by who measures it.
            Kind::FixedWindow | Kind::TokenBucket | Kind::Expiring => {
                verify::answer(&server, &policies::LEADS, verify::ALLOWED)?;
            }
        }
        Ok(server)
    }
}
