//! A real cluster of three: counters of one client stay together, those of one request that do not are given back where another one
//! refuses, and servers that are killed or hand slots over are left.

use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use spillway::algorithm::{Algorithm, Charge, Mode, Outcomes, Share};
use spillway::model::{CellKey, Hits, Timestamp};
use spillway::store::{RedisSession, RedisStore, Session, Store, StoreError};
use tokio::time::Instant;

use super::failures::{charge, recovered, run};
use crate::support::PATIENCE;
use crate::support::cluster::Cluster;
use crate::support::proxy::settle;

/// Three counters, one at each server: the slots of `{0000}`, `{0001}` and the like are found by trying.
fn counters(cluster: &Cluster) -> [CellKey; 3] {
    let slot = |tag: u64| -> u16 {
        let key = format!("{{{tag:04x}}}");
        redis::from_redis_value(cluster.servers[0].ask(&["CLUSTER", "KEYSLOT", &key]).unwrap()).unwrap()
    };
    let at = |server| (0..200).find(|tag| Cluster::owner(slot(*tag)) == server).unwrap();
    [0, 1, 2].map(|server| CellKey { high: at(server) << 48 | 7, low: 9 })
}

fn of(key: CellKey, limit: u64, hits: Hits) -> Charge {
    let mut charge = Charge { key, ..charge(hits) };
    charge.share.limit = limit;
    charge
}

fn open(cluster: &Cluster) -> RedisStore {
    RedisStore::open(&format!("{}?timeout=1000ms", cluster.url())).unwrap()
}

fn ask<'a>(
    session: &'a RedisSession,
    charges: &'a [Charge],
) -> impl Future<Output = Result<Outcomes, StoreError>> + 'a {
    session.apply(Mode::AllOrNothing, charges, Timestamp::EPOCH, Instant::now() + PATIENCE)
}

async fn used(session: &RedisSession, key: CellKey) -> u64 {
    ask(session, &[of(key, 1_000, Hits::Look)]).await.unwrap()[0].unwrap().used
}

#[test]
fn where_one_slot_refuses_the_others_give_back() {
    let cluster = Cluster::start();
    let [a, b, c] = counters(&cluster);
    run(async {
        let session = open(&cluster).session();
        let charges = [of(a, 10, Hits::ONE), of(b, 2, Hits::ONE), of(c, 10, Hits::ONE)];
        for n in 1..=2 {
            let outcomes = ask(&session, &charges).await.unwrap();
            assert!(
                outcomes.iter().all(|outcome| outcome.is_some_and(|told| told.admitted && told.used == n))
            );
        }
        let outcomes = ask(&session, &charges).await.unwrap();
        let told: Vec<_> =
            outcomes.iter().flatten().map(|told| (told.admitted, told.used, told.remaining)).collect();
        assert_eq!(told, [(true, 2, 8), (false, 2, 0), (true, 2, 8)]);
        assert_eq!([used(&session, a).await, used(&session, b).await, used(&session, c).await], [2, 2, 2]);
    });
}

/// A bucket takes no more hits than it has room for, and gives no more back: else a client that is refused elsewhere would empty it.
#[test]
fn a_bucket_gives_back_what_it_took_of_a_refused_attempt_and_no_more() {
    let cluster = Cluster::start();
    let [a, b, _] = counters(&cluster);
    run(async {
        let session = open(&cluster).session();
        let hour = Duration::from_secs(3_600);
        let bucket = |hits, stage| {
            let plain = of(b, 3, hits);
            let algorithm = Algorithm::token_bucket(3 * hour, 3);
            Charge { share: Share { algorithm, count_denied: true, stage, ..plain.share }, ..plain }
        };
        let first = of(a, 1, Hits::ONE);
        let in_order = async |charges: &[Charge]| {
            let until = Instant::now() + PATIENCE;
            session.apply(Mode::InOrder, charges, Timestamp::EPOCH, until).await.unwrap()
        };
        assert!(in_order(&[first]).await[0].unwrap().admitted);
        assert_eq!(in_order(&[bucket(Hits::charge(2), 0)]).await[0].unwrap().used, 2);
        for _ in 0..2 {
            let refused = in_order(&[first, bucket(Hits::charge(3), 1)]).await;
            assert!(!refused[0].unwrap().admitted && refused[1].is_none(), "{refused:?}");
            settle().await;
            assert_eq!(in_order(&[bucket(Hits::Look, 0)]).await[0].unwrap().used, 2);
        }
        assert!(!in_order(&[bucket(Hits::charge(2), 0)]).await[0].unwrap().admitted, "one hit is left");
    });
}

/// Many at a time, each of whose requests is charged to three servers: the smallest limit is reached, and never exceeded.
#[test]
fn no_more_than_the_limit_passes_whatever_is_given_back() {
    let cluster = Cluster::start();
    let [a, b, c] = counters(&cluster);
    run(async {
        let stores = [open(&cluster), open(&cluster)];
        let sessions = stores.each_ref().map(Store::session);
        let mut passed = 0;
        for _ in 0..20 {
            let charges = [of(a, 50, Hits::ONE), of(b, 40, Hits::ONE), of(c, 60, Hits::ONE)];
            let asked = (0..10).map(|n| ask(&sessions[n % 2], &charges));
            for outcomes in join_all(asked).await {
                passed += u64::from(outcomes.unwrap().iter().flatten().all(|told| told.admitted));
            }
        }
        settle().await;
        assert_eq!(passed, 40);
        for key in [a, b, c] {
            assert_eq!(used(&sessions[0], key).await, 40, "what was refused was given back");
        }
    });
}

#[test]
fn a_request_that_is_given_up_leaves_all_of_it_or_nothing() {
    let cluster = Cluster::start();
    let [a, b, c] = counters(&cluster);
    run(async {
        let session = open(&cluster).session();
        let charges = [of(a, 100, Hits::ONE), of(b, 100, Hits::ONE), of(c, 100, Hits::ONE)];
        ask(&session, &charges).await.unwrap();
        for turns in 0..40 {
            let given_up = async {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                _ = ask(&session, &charges) => {}
                () = given_up => {}
            }
            settle().await;
            let found = [used(&session, a).await, used(&session, b).await, used(&session, c).await];
            assert!(found.iter().all(|used| *used == found[0]), "after {turns} turns: {found:?}");
        }
    });
}

#[test]
fn replicas_share_one_secret_and_counters_of_one_client_are_in_one_slot() {
    let cluster = Cluster::start();
    run(async {
        let [first, second] = [open(&cluster), open(&cluster)];
        first.ready().await.unwrap();
        second.ready().await.unwrap();
        assert_eq!(first.secret().get(), second.secret().get());
        let session = first.session();
        let [one, other] = [1, 2].map(|low| of(CellKey { high: 5 << 48, low }, 10, Hits::ONE));
        // One script, which a server only runs when all of its keys are in one slot.
        let outcomes = ask(&session, &[one, other]).await.unwrap();
        assert_eq!(outcomes.iter().flatten().map(|told| told.used).collect::<Vec<_>>(), [1, 1]);
    });
}

#[test]
fn a_slot_that_is_handed_over_is_followed_also_while_it_is_on_its_way() {
    let cluster = Cluster::start();
    let [a, ..] = counters(&cluster);
    run(async {
        let session = open(&cluster).session();
        let charges = [of(a, 100, Hits::ONE)];
        assert_eq!(ask(&session, &charges).await.unwrap()[0].unwrap().used, 1);
        let key = format!("spillway:{{{:04x}}}{:016x}{:016x}", a.high >> 48, a.high, a.low);
        let slot = cluster.servers[0].ask(&["CLUSTER", "KEYSLOT", &key]).unwrap();
        let slot = redis::from_redis_value::<u16>(slot).unwrap().to_string();
        let (from, to) = (&cluster.servers[0], &cluster.servers[1]);
        to.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &cluster.id(0)]).unwrap();
        from.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &cluster.id(1)]).unwrap();
        assert_eq!(ask(&session, &charges).await.unwrap()[0].unwrap().used, 2, "it is still there");
        let port = to.address.port().to_string();
        from.ask(&["MIGRATE", "127.0.0.1", &port, &key, "0", "1000"]).unwrap();
        assert_eq!(ask(&session, &charges).await.unwrap()[0].unwrap().used, 3, "it is on its way");
        for server in [to, from] {
            server.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &cluster.id(1)]).unwrap();
        }
        assert_eq!(ask(&session, &charges).await.unwrap()[0].unwrap().used, 4, "it is at the other server");
        assert_eq!(ask(&session, &charges).await.unwrap()[0].unwrap().used, 5);
    });
}

#[test]
fn a_server_that_is_killed_takes_only_its_own_counters_with_it() {
    let mut cluster = Cluster::start();
    let [a, b, c] = counters(&cluster);
    run(async {
        let session = open(&cluster).session();
        let charges = [of(a, 100, Hits::ONE), of(b, 100, Hits::ONE), of(c, 100, Hits::ONE)];
        ask(&session, &charges).await.unwrap();
        cluster.servers[1].kill();
        for _ in 0..10 {
            assert!(ask(&session, &charges).await.is_err());
        }
        settle().await;
        for key in [a, c] {
            assert_eq!(used(&session, key).await, 1, "what the others have counted is given back");
        }
        cluster.servers[1].restart();
        let begun = Instant::now();
        while ask(&session, &charges).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "it does not recover");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(used(&session, a).await, 2);
    });
}

#[test]
fn a_cluster_that_is_down_at_the_start_is_told_and_found() {
    let mut cluster = Cluster::start();
    cluster.servers.iter_mut().for_each(crate::support::valkey::Valkey::kill);
    run(async {
        let store = open(&cluster);
        let wrong = store.ready().await.unwrap_err();
        let why = std::error::Error::source(&wrong).unwrap().to_string();
        assert!(why.starts_with("no server of the cluster tells its slots (`127.0.0.1:"), "{why}");
        cluster.servers.iter_mut().for_each(crate::support::valkey::Valkey::restart);
        let session = super::failures::session(&cluster.url());
        assert_eq!(recovered(&session, Hits::ONE).await, 1);
    });
}
