//! A real trio of sentinels that fails over. Counting goes on at the new master, and what is asked meanwhile is answered in time.

use std::time::Duration;

use spillway::model::Hits;
use spillway::store::{RedisSession, RedisStore};
use tempfile::TempDir;
use tokio::time::Instant;

use super::failures::{ask, recovered, run, session, used};
use crate::support::PATIENCE;
use crate::support::proxy::settle;
use crate::support::sentinel::{MASTER, Trio, until};
use crate::support::valkey::Valkey;

/// Asks again and again until so many were counted since the first one failed; tells how many were counted meanwhile.
async fn count_on(session: &RedisSession) -> u64 {
    let begun = Instant::now();
    let (mut has_failed, mut counted) = (false, 0);
    while begun.elapsed() < PATIENCE {
        match ask(session, Hits::ONE).await {
            Ok(_) if has_failed => return counted + 1,
            Ok(_) => counted += 1,
            Err(_) => has_failed = true,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it does not recover");
}

#[test]
fn counting_goes_on_at_the_new_master_when_one_is_killed() {
    let mut trio = Trio::start();
    run(async {
        let store = RedisStore::open(&trio.url()).unwrap();
        store.ready().await.unwrap();
        let secret = store.secret().get();
        let session = session(&trio.url());
        for n in 1..=5 {
            assert_eq!(ask(&session, Hits::ONE).await.unwrap(), n);
        }
        settle().await; // the replica has them, too
        trio.servers[0].kill();
        let counted = count_on(&session).await;
        let at_the_replica = format!("{:?}", trio.servers[1].ask(&["ROLE"]).unwrap());
        assert!(at_the_replica.contains("master"), "{at_the_replica}");
        assert_eq!(used(&session).await, 5 + counted);
        store.ready().await.unwrap();
        assert_eq!(store.secret().get(), secret, "replicas go on with the same keys");
    });
}

#[test]
fn a_master_that_stands_still_or_steps_down_is_left() {
    let trio = Trio::start();
    run(async {
        let session = session(&trio.url());
        assert_eq!(ask(&session, Hits::ONE).await.unwrap(), 1);
        settle().await;
        trio.servers[0].signal("STOP");
        let counted = count_on(&session).await;
        trio.servers[0].signal("CONT");
        assert_eq!(used(&session).await, 1 + counted);

        // The old master follows the new one, and takes over from it.
        until("the old master follows", || {
            format!("{:?}", trio.servers[0].ask(&["INFO", "replication"])).contains("master_link_status:up")
        });
        until("the failover begins", || trio.sentinels[0].ask(&["SENTINEL", "FAILOVER", MASTER]).is_ok());
        until("the other one is the master", || {
            format!("{:?}", trio.servers[0].ask(&["ROLE"])).contains("master")
        });
        let before = recovered(&session, Hits::Look).await;
        assert_eq!(recovered(&session, Hits::ONE).await, before + 1);
    });
}

#[test]
fn a_sentinel_that_is_down_or_knows_no_such_master_is_passed_over() {
    let ignorant = Valkey::start(&[]);
    let trio = Trio::start();
    run(async {
        let hosts = format!("127.0.0.1:1,{},{}", ignorant.address, trio.sentinels[0].address);
        let session = session(&format!("redis-sentinel://{hosts}/?master={MASTER}"));
        assert_eq!(recovered(&session, Hits::ONE).await, 1);

        let store = RedisStore::open(&format!("redis-sentinel://{hosts}/?master=other")).unwrap();
        let wrong = store.ready().await.unwrap_err();
        let why = std::error::Error::source(&wrong).unwrap().to_string();
        let expected = format!("`{}`: knows no master `other`)", trio.sentinels[0].address);
        assert!(
            why.starts_with("no sentinel says where the master is (`127.0.0.1:1`: ")
                && why.ends_with(&expected),
            "{why}"
        );
        let at = format!("the counter store at `other as sentinels say at {hosts}` cannot be reached");
        assert_eq!(wrong.to_string(), at);
    });
}

/// Sentinels may have a password of their own, and name a server that is no master any more.
#[test]
fn sentinels_have_their_own_password_and_are_not_believed_blindly() {
    let master = Valkey::start(&[]);
    let (host, port) = (master.address.ip().to_string(), master.address.port().to_string());
    let replica = Valkey::start(&["--replicaof", &host, &port]);
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("s.conf");
    let text = format!(
        "requirepass geheim\nsentinel monitor {MASTER} {host} {} 1\nsentinel down-after-milliseconds {MASTER} 60000\n",
        replica.address.port()
    );
    std::fs::write(&file, text).unwrap();
    let sentinel = Valkey::start_sentinel(&file);
    run(async {
        let url = format!("redis-sentinel://{}/?master={MASTER}", sentinel.address);
        let why = |url: String| async move {
            let wrong = RedisStore::open(&url).unwrap().ready().await.unwrap_err();
            std::error::Error::source(&wrong).unwrap().to_string()
        };
        let told = why(url.clone()).await;
        assert!(told.contains("NOAUTH"), "{told}");
        let told = why(format!("{url}&sentinel_auth=geheim")).await;
        assert_eq!(told, "the sentinels name it as the master, and it says that it is `slave`");
        replica.ask(&["REPLICAOF", "NO", "ONE"]).unwrap();
        let session = session(&format!("{url}&sentinel_auth=geheim"));
        assert_eq!(recovered(&session, Hits::ONE).await, 1);
    });
}

/// A sentinel that names that server whatever becomes of it: it was cut off from the others.
fn sentinel_of(server: &Valkey, files: &TempDir) -> Valkey {
    let (ip, port) = (server.address.ip(), server.address.port());
    let file = files.path().join(format!("{port}-{}.conf", std::fs::read_dir(files.path()).unwrap().count()));
    let text =
        format!("sentinel monitor {MASTER} {ip} {port} 9\nsentinel down-after-milliseconds {MASTER} 60000\n");
    std::fs::write(&file, text).unwrap();
    Valkey::start_sentinel(&file)
}

#[test]
fn a_sentinel_that_names_a_dead_server_or_a_replica_is_passed_over() {
    let (mut dead, master) = (Valkey::start(&[]), Valkey::start(&[]));
    let (host, port) = (master.address.ip().to_string(), master.address.port().to_string());
    let replica = Valkey::start(&["--replicaof", &host, &port]);
    let files = tempfile::tempdir().unwrap();
    let sentinels = [&dead, &replica, &master].map(|server| sentinel_of(server, &files));
    dead.kill();
    run(async {
        let hosts = sentinels.each_ref().map(|sentinel| sentinel.address.to_string()).join(",");
        let session = session(&format!("redis-sentinel://{hosts}/?master={MASTER}"));
        assert_eq!(recovered(&session, Hits::ONE).await, 1);
        assert!(format!("{:?}", master.ask(&["KEYS", "*"])).contains("spillway:"));
    });
}

/// The one that is asked first names a server that takes itself for the master, and most of the others know better.
#[test]
fn what_most_sentinels_name_is_the_master() {
    let (old, master) = (Valkey::start(&[]), Valkey::start(&[]));
    let files = tempfile::tempdir().unwrap();
    let sentinels = [&old, &master, &master].map(|server| sentinel_of(server, &files));
    run(async {
        let hosts = sentinels.each_ref().map(|sentinel| sentinel.address.to_string()).join(",");
        let session = session(&format!("redis-sentinel://{hosts}/?master={MASTER}"));
        assert_eq!(recovered(&session, Hits::ONE).await, 1);
        let (begun, counted) = (Instant::now(), |server: &Valkey| {
            format!("{:?}", server.ask(&["KEYS", "*"])).contains("spillway:00000")
        });
        while !counted(&master) {
            assert!(begun.elapsed() < PATIENCE, "it is not found");
            let _ = ask(&session, Hits::ONE).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // And it is used from then on.
        let before = recovered(&session, Hits::Look).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(recovered(&session, Hits::ONE).await, before + 1);
    });
}
