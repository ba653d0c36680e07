//! What is counted of a refused request is taken back later, when others have counted and given back in the same counter.

use std::cell::Cell;
use std::iter;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use spillway::algorithm::{Algorithm, Charge, Mode, Share};
use spillway::model::{CellKey, Hits, Outcome, Timestamp};
use spillway::store::{CountedBy, RedisOptions, RedisSession, RedisStore, Session, Store};
use tokio::time::Instant;

use super::super::plain::Plain;
use super::cluster::{counters, of};
use super::failures::run;
use crate::support::PATIENCE;
use crate::support::cluster::Cluster;
use crate::support::proxy::{Proxy, Way};

const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const WINDOW: Duration = Duration::from_secs(3_600);

/// A request to two servers, of which one refuses. What the other one has counted is taken back once the way to it is open.
struct Refused {
    _cluster: Cluster,
    way: Proxy,
    far: RedisSession,
    near: RedisSession,
    /// A counter that is full, at the one server.
    full: Charge,
    /// A sliding window, at the other one.
    sliding: Charge,
}

impl Refused {
    async fn new() -> Self {
        let cluster = Cluster::start();
        let [a, b, _] = counters(&cluster);
        let way = Proxy::to(cluster.servers[1].address).await;
        let session = |port: u16| {
            let announce = ["CONFIG", "SET", "cluster-announce-port", &port.to_string()];
            cluster.servers[1].ask(&announce).unwrap();
            let url = format!("redis-cluster://{}/?timeout=5000ms", cluster.servers[1].address);
            let mut options = RedisOptions::read(&url).unwrap();
            options.clock = CountedBy::Caller;
            RedisStore::with(options).unwrap().session()
        };
        let (full, plain) = (of(a, 1, Hits::ONE), of(b, 10, Hits::ONE));
        let algorithm = Algorithm::sliding_window(WINDOW);
        let sliding = Charge { share: Share { algorithm, ..plain.share }, ..plain };
        let far = session(way.address.port());
        assert!(ask(&far, &[full, sliding], START).await.unwrap().admitted);
        let near = session(cluster.servers[1].address.port());
        // Both scripts are known to the server from now on.
        assert_eq!(ask(&near, &[with(sliding, Hits::Look)], START).await.unwrap().used, 1);
        Self { _cluster: cluster, way, far, near, full, sliding }
    }

    /// Counts these hits of `sliding`, which are to be taken back, and stalls the way.
    async fn count(&self, sliding: Charge, now: Timestamp) -> Outcome {
        let told = ask(&self.far, &[self.full, sliding], now).await.unwrap();
        self.way.set(Way::Stalled);
        told
    }

    /// The counter once they are taken back: this comes on the same way behind that.
    async fn look(&self, sliding: Charge, now: Timestamp) -> Outcome {
        self.way.set(Way::Open);
        ask(&self.far, &[with(sliding, Hits::Look)], now).await.unwrap()
    }
}

fn with(charge: Charge, hits: Hits) -> Charge {
    Charge { share: Share { hits, ..charge.share }, ..charge }
}

/// What the last of `charges` is told.
async fn ask(session: &RedisSession, charges: &[Charge], now: Timestamp) -> Option<Outcome> {
    session.apply(Mode::AllOrNothing, charges, now, Instant::now() + PATIENCE).await.unwrap().pop().unwrap()
}

/// Others may count a hit of a sliding window before one is given back. Theirs leaves the window when it would have, and not earlier.
#[test]
fn a_sliding_window_gives_back_its_own_hits_and_not_the_newest_ones() {
    // Stamps that are more than a second ahead of the clock are not believed.
    const LATER: Duration = Duration::from_millis(1_500);
    run(async {
        let refused = Refused::new().await;
        let (sliding, later) = (refused.sliding, START.plus(LATER));
        let told = refused.count(with(sliding, Hits::charge(2)), START.plus(LATER / 2)).await;
        assert_eq!(told.used, 1, "as it is once they are given back");
        assert_eq!(ask(&refused.near, &[sliding], later).await.unwrap().used, 4, "not given back yet");
        let found = refused.look(sliding, later).await;
        assert_eq!((found.used, found.reset_after + LATER, found.full_after), (2, WINDOW, WINDOW));

        // What a request itself gives back are the newest hits.
        let free = Charge { share: Share { limit: 10, ..refused.full.share }, ..refused.full };
        assert_eq!(ask(&refused.near, &[free, with(sliding, Hits::refund(1))], later).await.unwrap().used, 1);
        let found = refused.look(sliding, later).await;
        assert_eq!((found.used, found.full_after + LATER), (1, WINDOW));
    });
}

/// What others ask for, and how many microseconds later than the one before.
fn others() -> impl Strategy<Value = Vec<(u64, Hits)>> {
    let hits = prop_oneof![3 => (1..4_u64).prop_map(Hits::charge), 1 => (1..5_u64).prop_map(Hits::refund)];
    prop::collection::vec((1..100_000_u64, hits), 0..6)
}

/// Whatever others count and give back before hits are taken back: at no time fewer of theirs count than if these had never been, so that no
/// more is admitted than the limit.
#[test]
fn what_is_taken_back_takes_no_hits_of_others_with_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = runtime.block_on(Refused::new());
    let key = refused.sliding.key;
    let number = Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let checked = runner.run(&(others(), 1..5_u64, others()), |(before, own, after)| {
        number.set(number.get() + 1);
        let sliding = Charge { key: CellKey { low: number.get(), ..key }, ..refused.sliding };
        let (mut plain, mut now, mut ends) = (Plain::default(), START, Vec::new());
        runtime.block_on(async {
            let mut of_others = async |history: Vec<(u64, Hits)>, now: &mut Timestamp| {
                for (later, hits) in history {
                    *now = now.plus(Duration::from_micros(later));
                    let asked = with(sliding, hits);
                    if ask(&refused.near, &[asked], *now).await.unwrap().admitted {
                        plain.apply(Mode::Each, &[asked], *now);
                    }
                    ends.push(now.plus(WINDOW));
                }
            };
            of_others(before, &mut now).await;
            now = now.plus(Duration::from_micros(1));
            refused.count(with(sliding, Hits::charge(own)), now).await;
            of_others(after, &mut now).await;
            for at in iter::once(now).chain(ends) {
                let found = refused.look(sliding, at).await.used;
                let told = plain.apply(Mode::Each, &[with(sliding, Hits::Look)], at);
                let expected = told[0].unwrap().used;
                prop_assert!(found >= expected, "{found} of {expected} count after {:?}", at.since(START));
            }
            Ok(())
        })
    });
    checked.unwrap_or_else(|wrong| panic!("{wrong}"));
}
