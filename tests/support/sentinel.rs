//! A real master, its replica, and three sentinels that watch them.

use std::time::Duration;

use tempfile::TempDir;

use super::PATIENCE;
use super::valkey::{Valkey, pause};

/// What sentinels know the master by.
pub(crate) const MASTER: &str = "counters";

/// Servers that fail over.
pub(crate) struct Trio {
    /// The master at first, and its replica.
    pub(crate) servers: [Valkey; 2],
    pub(crate) sentinels: Vec<Valkey>,
    _files: TempDir,
}

impl Trio {
    /// Starts all of them, and waits until a failover can succeed.
    pub(crate) fn start() -> Self {
        let master = Valkey::start(&["--repl-diskless-sync-delay", "0"]);
        let (host, port) = (master.address.ip().to_string(), master.address.port().to_string());
        let replica = Valkey::start(&["--replicaof", &host, &port, "--repl-diskless-sync-delay", "0"]);
        until("the replica follows", || {
            let info = format!("{:?}", replica.ask(&["INFO", "replication"]));
            info.contains("master_link_status:up")
        });
        let files = tempfile::tempdir().unwrap();
        let sentinels: Vec<Valkey> = (0..3)
            .map(|number| {
                let path = files.path().join(format!("{number}.conf"));
                let text = format!(
                    "sentinel monitor {MASTER} {host} {port} 2\n\
                     sentinel down-after-milliseconds {MASTER} 300\n\
                     sentinel failover-timeout {MASTER} 2000\n"
                );
                std::fs::write(&path, text).unwrap();
                Valkey::start_sentinel(&path)
            })
            .collect();
        for sentinel in &sentinels {
            until("a sentinel knows the others and the replica", || {
                let replicas = format!("{:?}", sentinel.ask(&["SENTINEL", "replicas", MASTER]));
                let others = format!("{:?}", sentinel.ask(&["SENTINEL", "sentinels", MASTER]));
                // A replica whose link is seen to be up, and that has been heard from.
                replicas.contains("\"ok\"")
                    && !replicas.contains("handshake")
                    && others.matches("runid").count() == 2
            });
        }
        Self { servers: [master, replica], sentinels, _files: files }
    }

    /// What a store is opened with.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|one| one.address.to_string()).collect();
        format!("redis-sentinel://{}/?master={MASTER}", hosts.join(","))
    }
}

/// Waits, within bounds, until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..4 * PATIENCE.as_millis() / 20 {
        if is_so() {
            return;
        }
        pause(Duration::from_millis(20));
    }
    panic!("it never came to be: {what}");
}
