//! Real replicas of Spillway on one real Valkey, and what happens to them.

use std::net::SocketAddr;
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::support::proxy::{Proxy, Way};
use crate::support::sentinel::Trio;
use crate::support::valkey::Valkey;
use crate::support::{Spillway, command, directory, metric};

/// What happens in the middle of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// One replica is ended at once, and started again.
    ReplicaKilled,
    /// Redis is ended at once, and started again with nothing.
    RedisEmptied,
    /// Redis is ended at once, and started again with what it appended to its file before each answer.
    RedisRestarted,
    /// One replica is cut off from Redis for a while.
    Partition,
    /// Redis stands still for a while.
    Stall,
    /// The master that sentinels know is ended at once. Its replica takes over, and may lack what was counted last.
    Failover,
}

impl Fault {
    pub(crate) const ALL: [Self; 7] = [
        Self::None,
        Self::ReplicaKilled,
        Self::RedisEmptied,
        Self::RedisRestarted,
        Self::Partition,
        Self::Stall,
        Self::Failover,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::ReplicaKilled => "a replica is killed and started again",
            Self::RedisEmptied => "Redis is killed and starts empty",
            Self::RedisRestarted => "Redis is killed and starts from its file",
            Self::Partition => "a replica is cut off",
            Self::Stall => "Redis stands still",
            Self::Failover => "sentinels fail over to another Redis",
        }
    }

    /// What the server is started with.
    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::RedisRestarted => &["--appendonly", "yes", "--appendfsync", "always"],
            _ => &[],
        }
    }
}

/// What the replicas share.
enum Shared {
    One(Valkey),
    Watched(Trio),
}

impl Shared {
    /// The server that has the counters at first.
    fn server(&mut self) -> &mut Valkey {
        match self {
            Self::One(server) => server,
            Self::Watched(trio) => &mut trio.servers[0],
        }
    }

    fn url(&self, through: Option<SocketAddr>) -> String {
        match self {
            Self::One(server) => format!("redis://{}/?", through.unwrap_or(server.address)),
            Self::Watched(trio) => format!("{}&", trio.url()),
        }
    }
}

/// The replicas, and the server that they share.
pub(crate) struct Fleet {
    fault: Fault,
    shared: Shared,
    /// The first replica's way there, where it may be cut off.
    way: Option<Proxy>,
    replicas: Vec<Spillway>,
    replicas_told: String,
    of_killed: Option<WithoutRedis>,
    leases: bool,
    config: TempDir,
}

impl Fleet {
    /// So many replicas that enforce `policy`. Proxies run on the caller's runtime.
    pub(crate) fn start(fault: Fault, replicas: usize, leases: bool, policy: &str, runtime: &Handle) -> Self {
        let mut shared = match fault {
            Fault::Failover => Shared::Watched(Trio::start()),
            _ => Shared::One(Valkey::start(fault.settings())),
        };
        let address = shared.server().address;
        let way = (fault == Fault::Partition).then(|| runtime.block_on(Proxy::to(address)));
        let config = directory(&[("policy.yaml", policy)]);
        let mut fleet = Self {
            fault,
            shared,
            way,
            replicas: Vec::new(),
            replicas_told: replicas.to_string(),
            of_killed: None,
            leases,
            config,
        };
        for replica in 0..replicas {
            let started = fleet.replica(replica, "127.0.0.1:0");
            fleet.replicas.push(started);
        }
        fleet
    }

    fn replica(&self, number: usize, grpc: &str) -> Spillway {
        let through = self.way.as_ref().filter(|_| number == 0).map(|way| way.address);
        let lease = if self.leases { "on" } else { "off" };
        let store = format!("{}lease={lease}", self.shared.url(through));
        let mut serve =
            command(&["serve", "--grpc-addr", grpc, "--http-addr", "127.0.0.1:0", "--store", &store]);
        Spillway::running(serve.args(["--replicas", &self.replicas_told, "--config"]).arg(self.config.path()))
    }

    /// Where the replicas are.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.replicas.iter().map(|replica| format!("http://{}", replica.grpc)).collect()
    }

    /// What each replica decided on without Redis.
    pub(crate) fn without_redis(&self) -> Vec<WithoutRedis> {
        self.of_killed.into_iter().chain(self.replicas.iter().map(WithoutRedis::of)).collect()
    }

    /// The fault begins.
    pub(crate) fn break_something(&mut self) {
        match self.fault {
            Fault::None => {}
            Fault::ReplicaKilled => {
                self.of_killed = Some(WithoutRedis::of(&self.replicas[0]));
                self.replicas[0].signal("KILL");
                self.replicas[0].wait();
            }
            Fault::RedisEmptied | Fault::RedisRestarted | Fault::Failover => self.shared.server().kill(),
            Fault::Partition => self.cut(Way::Stalled),
            Fault::Stall => self.shared.server().signal("STOP"),
        }
    }

    /// It ends.
    pub(crate) fn mend_it(&mut self) {
        match self.fault {
            // Sentinels mend it themselves.
            Fault::None | Fault::Failover => {}
            Fault::ReplicaKilled => {
                let address = self.replicas[0].grpc.to_string();
                self.replicas[0] = self.replica(0, &address);
            }
            Fault::RedisEmptied | Fault::RedisRestarted => self.shared.server().restart(),
            Fault::Partition => self.cut(Way::Open),
            Fault::Stall => self.shared.server().signal("CONT"),
        }
    }

    fn cut(&self, way: Way) {
        if let Some(proxy) = &self.way {
            proxy.set(way);
        }
    }
}

/// Calls that a replica decided on without Redis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WithoutRedis {
    /// Of `local` limits.
    pub(crate) counted: u64,
    /// Of `closed` ones.
    pub(crate) refused: u64,
}

impl WithoutRedis {
    fn of(replica: &Spillway) -> Self {
        let calls = |what: &str| metric(replica.http, &format!("spillway_{what}_without_store_total"));
        Self { counted: calls("counted"), refused: calls("refused") }
    }
}

/// When a fault begins and ends, and when the run does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) breaks: Duration,
    pub(crate) mended: Duration,
    pub(crate) ends: Duration,
}
