//! A real cluster of three masters.

use spillway::algorithm::{Charge, Mode, Outcomes};
use spillway::model::{Hits, Timestamp};
use spillway::store::{Answers, RedisSession, RedisStore, Session, Statistics, Store, StoreError};
use tokio::time::Instant;

use super::sentinel::until;
use super::valkey::Valkey;

/// Three servers that each have a third of the slots, and maybe a fourth that follows one of them.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Valkey>,
}

const SETTINGS: [&str; 6] =
    ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no"];

impl Cluster {
    /// Starts them, and waits until each knows of all.
    pub(crate) fn start() -> Self {
        let servers: Vec<Valkey> = (0..3).map(|_| Valkey::start(&SETTINGS)).collect();
        let ranges = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        for (number, (server, (first, last))) in servers.iter().zip(ranges).enumerate() {
            server.ask(&["CLUSTER", "ADDSLOTSRANGE", first, last]).unwrap();
            server.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).unwrap();
        }
        let port = servers[0].address.port().to_string();
        for server in &servers[1..] {
            server.ask(&["CLUSTER", "MEET", "127.0.0.1", &port]).unwrap();
        }
        for server in &servers {
            until("the cluster is whole", || {
                let info = format!("{:?}", server.ask(&["CLUSTER", "INFO"]));
                info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
            });
        }
        Self { servers }
    }

    /// Adds a server that follows that one, and waits until it would take over.
    pub(crate) fn follow(&mut self, master: usize) {
        let replica = Valkey::start(&[&SETTINGS[..], &["--repl-diskless-sync-delay", "0"]].concat());
        let (port, id) = (self.servers[0].address.port().to_string(), self.id(master));
        replica.ask(&["CLUSTER", "MEET", "127.0.0.1", &port]).unwrap();
        until("the new server knows the others", || replica.ask(&["CLUSTER", "REPLICATE", &id]).is_ok());
        until("it follows", || {
            let info = format!("{:?}", replica.ask(&["INFO", "replication"]));
            info.contains("role:slave") && info.contains("master_link_status:up")
        });
        for server in &self.servers {
            until("all know that it follows", || {
                let nodes = format!("{:?}", server.ask(&["CLUSTER", "NODES"]));
                nodes.contains(&format!("slave {id}"))
            });
        }
        self.servers.push(replica);
    }

    /// What a store is opened with.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> = self.servers.iter().map(|one| one.address.to_string()).collect();
        format!("redis-cluster://{}/", hosts.join(","))
    }

    /// The server's id in the cluster.
    pub(crate) fn id(&self, server: usize) -> String {
        redis::from_redis_value(self.servers[server].ask(&["CLUSTER", "MYID"]).unwrap()).unwrap()
    }

    /// Gives all slots of one server to another one, without what is in them.
    pub(crate) fn hand_over(&self, from: usize, to: usize) {
        self.servers[from].ask(&["FLUSHALL"]).unwrap();
        // Else what the one still says that it has could be believed until it hears of it.
        self.servers[to].ask(&["CLUSTER", "BUMPEPOCH"]).unwrap();
        let id = self.id(to);
        // Whoever gets them has to know of it first.
        for server in [to, from].into_iter().chain((0..3).filter(|other| ![to, from].contains(other))) {
            let client = redis::Client::open(self.servers[server].url()).unwrap();
            let mut pipeline = redis::pipe();
            for slot in (0..16_384).filter(|slot| Self::owner(*slot) == from) {
                pipeline.cmd("CLUSTER").arg("SETSLOT").arg(slot).arg("NODE").arg(&id).ignore();
            }
            let told = pipeline.query::<()>(&mut client.get_connection().unwrap());
            // One without slots follows another server as soon as it hears of it.
            assert!(told.is_ok() || server == from, "{told:?}");
        }
    }

    /// The server that has that slot at first.
    pub(crate) fn owner(slot: u16) -> usize {
        [0..=5_460, 5_461..=10_922, 10_923..=16_383].iter().position(|slots| slots.contains(&slot)).unwrap()
    }
}

/// Where counters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slots {
    /// All of them in one slot.
    One,
    /// Each where its key is. Requests are refused whose answers may be others than in memory.
    Many,
}

/// Whether answers in several slots may be others: what a request itself gives back is given back after all slots have admitted it,
/// and a later charge of the same counter is asked while the first one is counted.
fn differs(charges: &[Charge]) -> bool {
    let has = |is: fn(&Charge) -> bool| charges.iter().any(is);
    let (asks, gives_back) = (
        has(|charge| !matches!(charge.share.hits, Hits::Refund(_))),
        has(|charge| matches!(charge.share.hits, Hits::Refund(_))),
    );
    let shares = |charge: &Charge| charges.iter().filter(|other| other.key == charge.key).count() > 1;
    asks && gives_back || charges.iter().any(shares)
}

/// Counters in a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) store: RedisStore,
    pub(crate) slots: Slots,
}

/// Its session.
#[derive(Debug)]
pub(crate) struct KeptSession {
    session: RedisSession,
    slots: Slots,
}

impl Store for Kept {
    type Session = KeptSession;

    fn session(&self) -> KeptSession {
        KeptSession { session: self.store.session(), slots: self.slots }
    }

    fn statistics(&self) -> Statistics {
        self.store.statistics()
    }
}

impl Session for KeptSession {
    const ANSWERS: Answers = Answers::Later;

    async fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Outcomes, StoreError> {
        let mut charges = charges.to_vec();
        if self.slots == Slots::One {
            for charge in &mut charges {
                charge.key.high &= u64::MAX >> 16;
            }
        } else if charges.len() > 1 && differs(&charges) {
            return Err(StoreError::Refused { reason: "it is not the same in several slots".to_owned() });
        }
        self.session.apply(mode, &charges, now, deadline).await
    }
}
