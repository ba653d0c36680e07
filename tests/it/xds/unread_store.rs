//! A set without mistakes beside files whose subjects the store cannot tell the changes of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spillway::clock::SystemClock;
use spillway::config::{self, Options, Sources};
use spillway::control::{Publisher, Reporting};
use spillway::limiter::Limiter;
use spillway::store::{MemoryStore, Record, RecordKind, Records, Statistics, Store, StoreError};
use spillway::telemetry::Metrics;
use spillway::xds::{Followed, XdsServer, follow};
use tokio::task::JoinHandle;

use crate::support::PATIENCE;
use crate::support::ads::{Ads, hourly};

/// Counters in memory beside records in a file that can be read or not.
#[derive(Clone, Debug, Default)]
struct OnDisk {
    counters: MemoryStore,
    has_failed: Arc<AtomicBool>,
}

impl OnDisk {
    fn why(&self) -> Option<String> {
        self.has_failed.load(Ordering::Relaxed).then(|| "the disk is full".to_owned())
    }
}

impl Store for OnDisk {
    type Session = MemoryStore;

    fn session(&self) -> MemoryStore {
        self.counters.clone()
    }

    fn statistics(&self) -> Statistics {
        self.counters.statistics()
    }

    fn records(&self) -> Option<Arc<dyn Records>> {
        Some(Arc::new(self.clone()))
    }

    fn failure(&self) -> Option<String> {
        self.why()
    }
}

impl Records for OnDisk {
    fn each(&self, _: RecordKind, _: &str, _: &mut dyn FnMut(&str, &[u8])) -> Result<(), StoreError> {
        self.flush()
    }

    fn apply(&self, _: Vec<Record>) -> Result<(), StoreError> {
        self.flush()
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.why().map_or(Ok(()), |reason| Err(StoreError::Refused { reason }))
    }
}

/// Who asks a control plane, and what is in force.
struct Asking {
    store: OnDisk,
    limiter: Arc<Limiter<OnDisk, SystemClock>>,
    follows: JoinHandle<()>,
}

impl Asking {
    /// Asks `ads` while the store cannot be read.
    fn of(ads: &Ads) -> Self {
        let policy = "{domain: shop, subjects: s.yaml, descriptors: [{key: k, subject: k}]}";
        let files = Sources::in_memory([("d.yaml", policy)], [("s.yaml", "subjects: [{id: a}]")]);
        let policy = config::compile(&files, Options::default()).unwrap().policy;
        let store = OnDisk::default();
        store.has_failed.store(true, Ordering::Relaxed);
        let limiter = Arc::new(Limiter::new(policy, store.clone(), SystemClock::default()));
        let publisher = Arc::new(Publisher::new(Arc::clone(&limiter)));
        publisher.begin_remotes(["plane"], Some(files));
        let server = XdsServer {
            name: "plane".to_owned(),
            host: ads.address.ip().to_string(),
            port: ads.address.port(),
            tls: None,
            node_id: "n".to_owned(),
            node_metadata: Vec::new(),
            headers: Vec::new(),
            pauses: (Duration::from_millis(100), Duration::from_secs(1)),
            longest_response: 1 << 20,
        };
        let (options, reporting) = (Options::default(), Reporting::default());
        let followed = Followed { servers: vec![server.clone()], options, reporting };
        let follows = tokio::spawn(follow(server, followed, publisher, Arc::new(Metrics::default())));
        Self { store, limiter, follows }
    }

    /// The disk has room again.
    fn recovers(&self) {
        self.store.has_failed.store(false, Ordering::Relaxed);
    }

    fn has(&self, domain: &str) -> bool {
        self.limiter.engine.policy().domain(domain.as_bytes()).is_some()
    }

    async fn until_it_has(&self, domain: &str) {
        let has = async {
            while !self.has(domain) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, has).await.unwrap();
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.follows.abort();
    }
}

/// A control plane that has heard that a set is refused need not send it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_that_waits_for_the_store_is_put_in_force_when_it_can_be_read_and_accepted_then() {
    let mut ads = Ads::sending_once();
    ads.set(&[hourly("eg", "key", 2)]);
    let asking = Asking::of(&ads);
    let (_, why) = ads.refused().await;
    assert!(why.contains("the store cannot say how: ") && why.contains("the disk is full"), "{why}");
    assert!(!asking.has("eg"));
    asking.recovers();
    asking.until_it_has("eg").await;
    ads.accepted().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_put_in_force_while_its_control_plane_is_away_as_well() {
    let mut ads = Ads::sending_once();
    ads.set(&[hourly("eg", "key", 2)]);
    let asking = Asking::of(&ads);
    ads.refused().await;
    drop(ads);
    asking.recovers();
    asking.until_it_has("eg").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_set_takes_the_place_of_one_that_waits() {
    let mut ads = Ads::sending_once();
    ads.set(&[hourly("older", "key", 2)]);
    let asking = Asking::of(&ads);
    ads.refused().await;
    ads.set(&[hourly("newer", "key", 2)]);
    ads.request(|request| request.response_nonce == "nonce-1").await;
    asking.recovers();
    asking.until_it_has("newer").await;
    ads.accepted().await;
    assert!(!asking.has("older"));
}
