//! What a user of the server has to be allowed, as README lists it: with exactly that, everything works, and what is missing is told.

use std::time::Duration;

use spillway::algorithm::{Algorithm, Charge, Mode, Share};
use spillway::model::{CellKey, Hits, Timestamp};
use spillway::store::{RedisSession, RedisStore, Session, Store};
use tokio::time::Instant;

use super::failures::{ask, charge, recovered, refused, run, session, used};
use crate::support::PATIENCE;
use crate::support::cluster::Cluster;
use crate::support::sentinel::{MASTER, Trio};
use crate::support::valkey::Valkey;

/// The commands and keys in README behind `after`, up to the next backtick.
fn listed(after: &str) -> Vec<String> {
    let readme =
        std::fs::read_to_string("README.md").unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, list) = readme.split_once(after).unwrap_or_else(|| panic!("README does not say `{after}`"));
    list.split('`').next().unwrap().split(' ').map(str::to_owned).collect()
}

fn everywhere() -> Vec<String> {
    listed("With an ACL its user needs `")
}

/// Makes that user, who may do nothing but what is listed.
fn allow(server: &Valkey, name: &str, listed: &[String]) {
    let words = ["ACL", "SETUSER", name, "reset", "on", ">p", "-@all"];
    let words: Vec<&str> = words.into_iter().chain(listed.iter().map(String::as_str)).collect();
    server.ask(&words).unwrap();
}

/// Everything that a store is asked for: each algorithm, whatever is counted of it, with what both scripts do.
async fn everything(session: &RedisSession) {
    let window = Duration::from_secs(3_600);
    let start = Timestamp::from_secs(1_800_000_000);
    let algorithms = [
        Algorithm::aligned(window),
        Algorithm::anchored(window),
        Algorithm::period(start, start.plus(40_000 * window)),
        Algorithm::sliding_window(window),
        Algorithm::token_bucket(window, 5),
    ];
    for (number, algorithm) in (0..).zip(algorithms) {
        for count_denied in [false, true] {
            for hits in [Hits::Look, Hits::ONE, Hits::charge(4), Hits::ONE, Hits::refund(1), Hits::refund(9)]
            {
                let plain = charge(hits);
                let share = Share { algorithm, limit: 5, count_denied, ..plain.share };
                let key = CellKey { high: 7, low: number * 2 + u64::from(count_denied) };
                let asked = [Charge { key, share, ..plain }];
                let deadline = Instant::now() + PATIENCE;
                session.apply(Mode::AllOrNothing, &asked, Timestamp::EPOCH, deadline).await.unwrap();
            }
        }
    }
}

fn open(url: &str) -> RedisSession {
    let separator = if url.contains('?') { '&' } else { '?' };
    RedisStore::open(&format!("{url}{separator}timeout=2000ms")).unwrap().session()
}

#[test]
fn a_user_needs_few_permissions_and_what_is_missing_is_told() {
    let server = Valkey::start(&[]);
    let address = server.address;
    let user = |name: &str, without: &[&str]| {
        let listed: Vec<_> =
            everywhere().into_iter().filter(|word| !without.contains(&word.as_str())).collect();
        allow(&server, name, &listed);
        format!("redis://{name}:p@{address}/")
    };
    run(async {
        let url = user("enough", &[]);
        everything(&open(&url)).await;
        assert_eq!(ask(&session(&url), Hits::ONE).await.unwrap(), 1);
        refused(ask(&session(&user("no-set", &["+set", "+setrange"])), Hits::ONE).await, "permission");
        refused(ask(&session(&user("no-script", &["+evalsha"])), Hits::ONE).await, "NOPERM");
        assert_eq!(used(&session(&server.url())).await, 1);
    });
}

#[test]
fn behind_sentinels_it_asks_for_its_role_too() {
    let trio = Trio::start();
    let more = listed("behind sentinels `");
    for server in &trio.servers {
        allow(server, "ann", &[everywhere(), more.clone()].concat());
        allow(server, "bob", &everywhere());
    }
    let url = |user: &str| trio.url().replace("://", &format!("://{user}:p@"));
    run(async {
        everything(&open(&url("ann"))).await;
        let charges = [charge(Hits::ONE)];
        let deadline = Instant::now() + PATIENCE;
        let refused = open(&url("bob")).apply(Mode::Each, &charges, Timestamp::EPOCH, deadline).await;
        assert!(refused.is_err(), "{MASTER} does not tell its role: {refused:?}");
    });
}

#[test]
fn in_a_cluster_it_asks_for_slots_too() {
    let cluster = Cluster::start();
    for server in &cluster.servers {
        allow(server, "ann", &[everywhere(), listed("in a cluster `")].concat());
    }
    let url = cluster.url().replace("://", "://ann:p@");
    run(async {
        let session = open(&url);
        everything(&session).await;
        super::moved::follow_a_slot(&cluster, &session).await;
        assert_eq!(recovered(&super::failures::session(&url), Hits::ONE).await, 1);
    });
}
