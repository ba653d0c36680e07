//! The five published APIs' own Spillway, in this process: it goes by a clock that tests set, so windows of 15 minutes
//! and times to the second can be seen through a real Envoy without waiting.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spillway::app::{self, Bounds, Listeners};
use spillway::clock::ManualClock;
use spillway::config::{self, Options};
use spillway::engine::Scratch;
use spillway::limiter::Limiter;
use spillway::model::{Descriptor, Entry, Hits, Request, Timestamp};
use spillway::store::MemoryStore;
use spillway::telemetry::Metrics;
use tokio::runtime::Runtime;

use crate::client::{Answer, send_to_host};
use crate::gateway::Gateway;

/// A Spillway with the policies of `config/`.
pub(crate) struct Published {
    limiter: Arc<Limiter<MemoryStore, Arc<ManualClock>>>,
    clock: Arc<ManualClock>,
    pub(crate) grpc: SocketAddr,
    /// There is one clock: whoever sets it is alone.
    turn: Mutex<()>,
    /// Serves as long as it is there.
    _runtime: Runtime,
}

impl Published {
    /// Serves until it is dropped.
    pub(crate) fn start() -> Self {
        let loaded = config::load(&["config"], Options::default());
        let policy = loaded.unwrap_or_else(|mistakes| panic!("{}", config::render(&mistakes, false))).policy;
        let clock = Arc::new(ManualClock::default());
        let limiter = Arc::new(Limiter::new(policy, MemoryStore::default(), Arc::clone(&clock)));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let anywhere = "127.0.0.1:0".parse().unwrap();
        let listeners = runtime.block_on(Listeners::bind(anywhere, anywhere)).unwrap();
        let grpc = listeners.grpc.local_addr().unwrap();
        let served = Arc::clone(&limiter);
        runtime.spawn(async {
            let ended = app::serve(
                served,
                Arc::new(Metrics::default()),
                None,
                listeners,
                Bounds::default(),
                Duration::ZERO,
                std::future::pending(),
            );
            panic!("the server ended: {:?}", ended.await);
        });
        Self { limiter, clock, grpc, turn: Mutex::new(()), _runtime: runtime }
    }
}

/// A test's turn at one API, which begins at a time of its choice. Tests differ in their keys and addresses, or in
/// their time, so it does not matter who had the turn before.
pub(crate) struct Turn<'g> {
    gateway: &'g Gateway,
    api: &'static str,
    start: Timestamp,
    _alone: MutexGuard<'g, ()>,
}

impl<'g> Turn<'g> {
    pub(crate) fn at(gateway: &'g Gateway, api: &'static str, start: Timestamp) -> Self {
        let published = &gateway.published;
        // Who fails in its turn has told why; the next one may go on.
        let alone = published.turn.lock().unwrap_or_else(PoisonError::into_inner);
        published.clock.set(start);
        Self { gateway, api, start, _alone: alone }
    }

    /// From here on it is `since_start`.
    pub(crate) fn now(&self, since_start: Duration) {
        self.gateway.published.clock.set(self.start.plus(since_start));
    }

    /// A request to the API, through Envoy.
    pub(crate) fn ask(&self, from: &str, request_line: &str, headers: &[&str]) -> Answer {
        self.ask_with_body(from, request_line, headers, "")
    }

    pub(crate) fn ask_with_body(
        &self,
        from: &str,
        request_line: &str,
        headers: &[&str],
        body: &str,
    ) -> Answer {
        let door = self.gateway.door("gateway");
        // As browsers and curl write it, with the port.
        let host = format!("{}.localhost:{}", self.api, door.port());
        let headers: Vec<_> = headers.iter().map(|header| header.as_bytes()).collect();
        send_to_host(&host, from, door, request_line, &headers, body)
    }

    /// Charges `hits` to a descriptor, as many requests before would have done.
    pub(crate) fn charge(&self, entries: &[(&str, &str)], hits: u64) {
        let published = &self.gateway.published;
        let entries =
            entries.iter().map(|(key, value)| Entry { key: key.as_bytes(), value: value.as_bytes() });
        let descriptor = Descriptor { entries: entries.collect(), hits: Hits::charge(hits), limit: None };
        let request =
            Request { domain: self.api.as_bytes(), descriptors: [descriptor].into_iter().collect() };
        let policy = published.limiter.engine.policy();
        let verdict = published.limiter.worker().decide_now(Scratch::default(), &policy, &request).unwrap();
        assert!(!verdict.over_limit, "the charge was refused: {verdict:?}");
    }
}
