//! A slot that is handed over to another server of a cluster: its counters are found before, meanwhile and afterwards, and what was counted
//! there is given back where it is by then.

use std::time::Duration;

use spillway::algorithm::{Charge, Mode};
use spillway::model::{CellKey, Hits, Timestamp};
use spillway::store::{LeasedStore, RedisSession, RedisStore, Session, Store};
use tokio::time::Instant;

use super::cluster::{ask, counters, of, open, used};
use super::failures::run;
use crate::support::PATIENCE;
use crate::support::cluster::Cluster;
use crate::support::proxy::{Proxy, Way};

#[test]
fn a_slot_that_is_handed_over_is_followed_also_while_it_is_on_its_way() {
    let cluster = Cluster::start();
    run(async { follow_a_slot(&cluster, &open(&cluster).session()).await });
}

/// Hands a slot over, and finds its counter all the time.
pub(super) async fn follow_a_slot(cluster: &Cluster, session: &RedisSession) {
    let [a, ..] = counters(cluster);
    let charges = [of(a, 100, Hits::ONE)];
    let count = async || ask(session, &charges).await.unwrap()[0].unwrap().used;
    assert_eq!(count().await, 1);
    let hand = Hand::over(cluster, a);
    assert_eq!(count().await, 2, "it is still there");
    hand.migrate(a);
    assert_eq!(count().await, 3, "it is on its way");
    hand.end();
    assert_eq!(count().await, 4, "it is at the other server");
    assert_eq!(count().await, 5);
}

/// Where the keys of a slot are while it is handed over: some here, some there.
#[test]
fn a_request_whose_keys_are_parted_on_their_way_waits_for_them() {
    let cluster = Cluster::start();
    let [a, ..] = counters(&cluster);
    let other = CellKey { low: 10, ..a };
    run(async {
        let session = open(&cluster).session();
        let both = [of(a, 100, Hits::ONE), of(other, 100, Hits::ONE)];
        ask(&session, &both).await.unwrap();
        let hand = Hand::over(&cluster, a);
        hand.migrate(a);
        // Sent together, these two are parted as well. Each is found alone.
        let (one, another) = tokio::join!(ask(&session, &both[..1]), ask(&session, &both[1..]));
        assert_eq!([one, another].map(|told| told.unwrap()[0].unwrap().used), [2, 2]);
        let moved = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            hand.migrate(other);
        };
        let (told, ()) = tokio::join!(ask(&session, &both), moved);
        assert_eq!(told.unwrap().iter().flatten().map(|told| told.used).collect::<Vec<_>>(), [3, 3]);
        hand.end();
        let told = ask(&session, &both).await.unwrap();
        assert_eq!(told.iter().flatten().map(|told| told.used).collect::<Vec<_>>(), [4, 4]);
    });
}

/// A counter that is new is at neither server while its slot is handed over, which may take minutes.
#[test]
fn a_new_counter_is_counted_while_its_slot_is_handed_over() {
    let cluster = Cluster::start();
    let [a, ..] = counters(&cluster);
    let new = CellKey { low: 10, ..a };
    run(async {
        let session = open(&cluster).session();
        ask(&session, &[of(a, 100, Hits::ONE)]).await.unwrap();
        let hand = Hand::over(&cluster, a);
        let both = [of(a, 4, Hits::ONE), of(new, 100, Hits::ONE)];
        let used = async || {
            let told = ask(&session, &both).await.unwrap();
            told.iter().flatten().map(|told| (told.admitted, told.used)).collect::<Vec<_>>()
        };
        assert_eq!(used().await, [(true, 2), (true, 1)], "the one is here still");
        hand.migrate(a);
        assert_eq!(used().await, [(true, 3), (true, 2)], "both are there");
        let newer = CellKey { low: 11, ..a };
        let three = [of(a, 4, Hits::ONE), of(newer, 100, Hits::ONE)];
        let told = ask(&session, &three).await.unwrap();
        assert_eq!(told.iter().flatten().map(|told| told.used).collect::<Vec<_>>(), [4, 1]);
        assert_eq!(used().await, [(false, 4), (true, 2)], "and what is counted of a refusal is given back");
        hand.end();
        assert_eq!(used().await, [(false, 4), (true, 2)]);
    });
}

/// A slot that is handed over from the first server to the second one.
struct Hand<'a> {
    cluster: &'a Cluster,
    slot: String,
}

impl<'a> Hand<'a> {
    fn over(cluster: &'a Cluster, counter: CellKey) -> Self {
        let slot = cluster.servers[0].ask(&["CLUSTER", "KEYSLOT", &Self::key(counter)]).unwrap();
        let slot = redis::from_redis_value::<u16>(slot).unwrap().to_string();
        cluster.servers[1].ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &cluster.id(0)]).unwrap();
        cluster.servers[0].ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &cluster.id(1)]).unwrap();
        Self { cluster, slot }
    }

    fn key(counter: CellKey) -> String {
        format!("spillway:{{{:04x}}}{:016x}{:016x}", counter.high >> 48, counter.high, counter.low)
    }

    fn migrate(&self, counter: CellKey) {
        let port = self.cluster.servers[1].address.port().to_string();
        let key = Self::key(counter);
        self.cluster.servers[0].ask(&["MIGRATE", "127.0.0.1", &port, &key, "0", "1000"]).unwrap();
    }

    fn end(&self) {
        for server in [1, 0] {
            let id = self.cluster.id(1);
            self.cluster.servers[server].ask(&["CLUSTER", "SETSLOT", &self.slot, "NODE", &id]).unwrap();
        }
    }
}

/// How far a slot is on its way.
#[derive(Clone, Copy, Debug)]
enum Handed {
    /// The first counter is there, and another one is not.
    InPart,
    /// Both are there.
    OnItsWay,
    /// It is there.
    Over,
}

impl Handed {
    const ALL: [Self; 3] = [Self::InPart, Self::OnItsWay, Self::Over];

    /// Hands the slot of both counters over as far as that.
    fn hand(self, cluster: &Cluster, [first, other]: [CellKey; 2]) {
        let hand = Hand::over(cluster, first);
        hand.migrate(first);
        if !matches!(self, Self::InPart) {
            hand.migrate(other);
        }
        if matches!(self, Self::Over) {
            hand.end();
        }
    }
}

/// The request was refused at another server, and its hits were on their way back when the slot moved.
#[test]
fn hits_of_a_refused_request_are_given_back_where_their_slot_is_by_then() {
    for handed in Handed::ALL {
        let cluster = Cluster::start();
        let [a, b, _] = counters(&cluster);
        let other = CellKey { low: 10, ..a };
        run(async {
            let near = open(&cluster).session();
            assert_eq!(ask(&near, &[of(b, 1, Hits::ONE)]).await.unwrap()[0].unwrap().used, 1);
            let way = Proxy::to(cluster.servers[0].address).await;
            let port = way.address.port().to_string();
            cluster.servers[0].ask(&["CONFIG", "SET", "cluster-announce-port", &port]).unwrap();
            let url = format!("redis-cluster://{}/?timeout=5000ms", cluster.servers[0].address);
            let far = RedisStore::open(&url).unwrap().session();
            let both = [of(a, 10, Hits::charge(3)), of(other, 10, Hits::charge(4))];
            ask(&far, &both).await.unwrap();
            let told = ask(&far, &[both[0], both[1], of(b, 1, Hits::ONE)]).await.unwrap();
            assert!(!told[2].unwrap().admitted);
            way.set(Way::Stalled);
            assert_eq!([used(&near, a).await, used(&near, other).await], [6, 8], "not given back yet");
            handed.hand(&cluster, [a, other]);
            way.set(Way::Open);
            let begun = Instant::now();
            loop {
                let found = [used(&near, a).await, used(&near, other).await];
                if found == [3, 4] {
                    break;
                }
                assert!(begun.elapsed() < PATIENCE, "{found:?} are counted, {handed:?}");
            }
        });
    }
}

#[test]
fn a_lease_is_given_back_where_its_slot_is_by_then() {
    for (handed, ends) in Handed::ALL.into_iter().flat_map(|handed| [(handed, false), (handed, true)]) {
        let cluster = Cluster::start();
        let [a, ..] = counters(&cluster);
        run(async {
            let leased = LeasedStore::new(open(&cluster), 1);
            let session = leased.session();
            let until = || Instant::now() + Duration::from_secs(1);
            let now = Timestamp::from_secs(1_800_000_000);
            let other = CellKey { low: 10, ..a };
            let with = |key, hits| -> [Charge; 1] { [of(key, 1_000, hits)] };
            for key in [a, other] {
                for _ in 0..50 {
                    let asked = with(key, Hits::ONE);
                    if session.apply_now(Mode::Each, &asked, now).is_none() {
                        session.apply(Mode::Each, &asked, now, until()).await.unwrap();
                    }
                }
            }
            let plain = open(&cluster).session();
            assert!(leased.unspent() > 0);
            assert_eq!(used(&plain, a).await + used(&plain, other).await, 100 + leased.unspent());
            handed.hand(&cluster, [a, other]);
            if ends {
                leased.give_back(now, until()).await.unwrap();
            } else {
                for key in [a, other] {
                    session.apply(Mode::Each, &with(key, Hits::Look), now, until()).await.unwrap();
                }
            }
            assert_eq!(leased.unspent(), 0);
            let begun = Instant::now();
            loop {
                let found = [used(&plain, a).await, used(&plain, other).await];
                if found == [50, 50] {
                    break;
                }
                assert!(begun.elapsed() < PATIENCE, "{found:?} are counted, {handed:?}, {ends}");
            }
        });
    }
}
