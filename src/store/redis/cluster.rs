//! What is known of a cluster. It is asked aside: nobody waits for it but who comes before anything is known.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionInfo, Value};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::failure::Failure;
use super::options::{RedisOptions, address, host};
use super::slots::{SlotMap, slot_of};
use super::{Shared, secret};

/// How long one server may take to tell.
const ANSWERS_WITHIN: Duration = Duration::from_millis(500);
/// How long is waited before it is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// None before the secret is known that its counters' keys are made under.
    map: ArcSwapOption<SlotMap>,
    asking: Mutex<Option<Asking>>,
}

type Told = watch::Receiver<Option<Result<(), Failure>>>;

#[derive(Debug)]
struct Asking {
    since: Instant,
    told: Told,
}

impl Cluster {
    pub(super) fn map(&self) -> Option<Arc<SlotMap>> {
        self.map.load_full()
    }

    /// A server said that a slot is at another one.
    pub(super) fn moved(&self, slot: u16, server: &(String, u16)) {
        self.map.rcu(|map| {
            map.as_ref().map(|map| {
                let mut map = SlotMap::clone(map);
                map.give(slot, server.clone());
                Arc::new(map)
            })
        });
    }
}

/// Has the cluster asked for its slots, unless it was a moment ago: something has failed.
pub(super) fn ask(shared: &Arc<Shared>) -> Told {
    ask_unless_within(PAUSE, shared)
}

/// Has the cluster asked for its slots, unless it was in the last `pause`.
pub(super) fn ask_unless_within(pause: Duration, shared: &Arc<Shared>) -> Told {
    let mut asking = shared.cluster.asking.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(Asking { since, told }) = &*asking
        // Whoever asked may have ended before there was an answer.
        && (told.borrow().is_none() && told.has_changed().is_ok() || since.elapsed() < pause)
    {
        return told.clone();
    }
    let (tell, told) = watch::channel(None);
    *asking = Some(Asking { since: Instant::now(), told: told.clone() });
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let _ = tell.send(Some(learn(&shared).await));
    });
    told
}

/// The slots, once they are known.
pub(super) async fn slots(shared: &Arc<Shared>) -> Result<Arc<SlotMap>, Failure> {
    if let Some(map) = shared.cluster.map() {
        return Ok(map);
    }
    let mut told = ask(shared);
    let answer = told.wait_for(Option::is_some).await.ok().and_then(|told| told.clone());
    if let Some(Err(failure)) = answer {
        return Err(failure);
    }
    shared.cluster.map().ok_or_else(|| Failure::unreachable("the cluster was not asked to the end".into()))
}

/// Learns the slots from the first server that tells them and is not cut off from the others, and the secret from the one that has
/// it. Where all are cut off, the first one is believed.
async fn learn(shared: &Shared) -> Result<(), Failure> {
    let options = &shared.options;
    let known = shared.cluster.map();
    let servers =
        known.iter().flat_map(|map| map.servers()).map(|(host, port)| options.server_at(host, *port));
    let servers: Vec<ConnectionInfo> = servers.chain(options.servers.iter().cloned()).collect();
    let mut told = Vec::new();
    let mut cut_off = None;
    for server in servers {
        let named = address(server.addr());
        let why = match timeout(ANSWERS_WITHIN, slots_of(options, server)).await {
            Ok(Ok((map, Health::CutOff))) => {
                cut_off.get_or_insert(map);
                "it says that the cluster is down".to_owned()
            }
            Ok(Ok((map, Health::Well))) => {
                let learnt = timeout(ANSWERS_WITHIN, share_secret(shared, &map)).await;
                let learnt = learnt.unwrap_or_else(|_| {
                    let within = ANSWERS_WITHIN.as_millis();
                    Err(Failure::unreachable(format!(
                        "the server with the secret did not answer within {within} ms"
                    )))
                });
                // Once it is known, the other servers can go on without the one that has it.
                if !shared.knows_secret() {
                    learnt?;
                }
                shared.cluster.map.store(Some(Arc::new(map)));
                return Ok(());
            }
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => format!("did not answer within {} ms", ANSWERS_WITHIN.as_millis()),
        };
        let why = format!("`{named}`: {why}");
        if !told.contains(&why) {
            told.push(why);
        }
    }
    if let Some(map) = cut_off
        && shared.knows_secret()
    {
        shared.cluster.map.store(Some(Arc::new(map)));
        return Ok(());
    }
    Err(Failure::unreachable(format!("no server of the cluster tells its slots ({})", told.join("; "))))
}

/// How a server of a cluster says the cluster is.
enum Health {
    Well,
    /// Too many of the others are away. It tells slots all the same, and does nothing that it is asked for.
    CutOff,
}

async fn slots_of(options: &RedisOptions, server: ConnectionInfo) -> Result<(SlotMap, Health), Failure> {
    let asked = host(server.addr());
    let mut connection = connection(options, server).await?;
    let failed = |error| Failure::of(&error);
    let ranges = redis::cmd("CLUSTER").arg("SLOTS").query_async::<Vec<Value>>(&mut connection).await;
    let map = SlotMap::read(&ranges.map_err(failed)?, &asked);
    let map = map.ok_or_else(|| Failure::unreachable("it knows of no slots".into()))?;
    // Who may not be asked that is believed.
    let state = redis::cmd("CLUSTER").arg("INFO").query_async::<String>(&mut connection).await;
    let is_down = state.is_ok_and(|state| state.contains("cluster_state:fail"));
    Ok((map, if is_down { Health::CutOff } else { Health::Well }))
}

async fn share_secret(shared: &Shared, map: &SlotMap) -> Result<(), Failure> {
    let slot = slot_of(secret::key(&shared.options).as_bytes());
    let Some((host, port)) = map.server_of(slot) else {
        return Err(Failure::Refused(format!(
            "CLUSTERDOWN no server has the slot {slot}, where the secret is"
        )));
    };
    let mut connection = connection(&shared.options, shared.options.server_at(host, *port)).await?;
    secret::share(shared, &mut connection).await
}

async fn connection(
    options: &RedisOptions,
    server: ConnectionInfo,
) -> Result<MultiplexedConnection, Failure> {
    let client = options.client(server).map_err(|error| Failure::unusable(&error))?;
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let connected = client.get_multiplexed_async_connection_with_config(&config).await;
    connected.map_err(|error| Failure::of(&error))
}
