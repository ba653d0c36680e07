//! Sentinels are asked where the master is: whenever a connection is to be made, and once in a while afterwards.
//!
//! Nobody waits for them who has a connection: they are asked aside. One is passed over that does not answer, knows no such master, or
//! names a server that cannot be reached or is no master.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionInfo, Value};
use tokio::time::timeout;

use super::failure::Failure;
use super::options::{RedisOptions, address};

/// How long one sentinel may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_millis(300);

/// A server as sentinels name it.
pub(super) type Named = (String, u16);

/// Which sentinel named the master that was found last: it is asked first.
#[derive(Debug, Default)]
pub(super) struct Sentinels(AtomicUsize);

impl Sentinels {
    /// The numbers of the sentinels, in the order in which they are to be asked.
    pub(super) fn in_order(&self, options: &RedisOptions) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.0.load(Ordering::Relaxed), options.servers.len());
        (0..count).map(move |number| (first + number) % count)
    }

    /// The master is where this one says.
    pub(super) fn was_right(&self, number: usize) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// Whether another server is the master now than the one that is used: most of the sentinels that answer name it, two at least of
    /// several, or one of them does and the one that is used is not well. A single one may have been cut off from the others, and name
    /// a master of before.
    pub(super) async fn name_another(&self, options: &RedisOptions, used: &Named, is_well: bool) -> bool {
        let asked = (0..options.servers.len()).map(|number| master(options, number));
        let named = join_all(asked).await.into_iter().enumerate();
        let named: Vec<(usize, Named)> =
            named.filter_map(|(number, named)| Some((number, named.ok()?))).collect();
        let votes = |of: &Named| named.iter().filter(|(_, named)| named == of).count();
        let enough = options.servers.len().min(2).max(named.len() / 2 + 1);
        let by_most = named.iter().find(|(_, of)| votes(of) >= enough);
        if let Some((number, of)) = by_most {
            self.was_right(*number);
            if of != used {
                return true;
            }
        }
        !is_well && named.iter().any(|(_, of)| of != used)
    }
}

/// Where the master is, as that sentinel says; else why it does not.
pub(super) async fn master(options: &RedisOptions, number: usize) -> Result<Named, String> {
    let sentinel = &options.servers[number];
    let why = match timeout(ANSWERS_WITHIN, ask(options, sentinel)).await {
        Ok(Ok(Some(master))) => return Ok(master),
        Ok(Ok(None)) => format!("knows no master `{}`", options.master),
        Ok(Err(failure)) => failure.to_string(),
        Err(_) => format!("did not answer within {} ms", ANSWERS_WITHIN.as_millis()),
    };
    Err(format!("`{}`: {why}", address(sentinel.addr())))
}

async fn ask(options: &RedisOptions, sentinel: &ConnectionInfo) -> Result<Option<Named>, Failure> {
    let client = options.client_of_sentinel(sentinel).map_err(|error| Failure::unusable(&error))?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWERS_WITHIN))
        .set_response_timeout(Some(ANSWERS_WITHIN));
    let failed = |error| Failure::of(&error);
    let mut connection =
        client.get_multiplexed_async_connection_with_config(&config).await.map_err(failed)?;
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("get-master-addr-by-name").arg(&options.master);
    ask.query_async(&mut connection).await.map_err(failed)
}

/// Makes sure that a server is a master: sentinels learn of a change a little later than it happens.
pub(super) async fn is_master(connection: &mut MultiplexedConnection) -> Result<(), Failure> {
    let role: Vec<Value> =
        redis::cmd("ROLE").query_async(connection).await.map_err(|error| Failure::of(&error))?;
    let role = role.first().and_then(|role| redis::from_redis_value_ref::<String>(role).ok());
    match role.as_deref() {
        Some("master") => Ok(()),
        role => {
            let role = role.unwrap_or("nothing").to_owned();
            Err(Failure::unreachable(format!(
                "the sentinels name it as the master, and it says that it is `{role}`"
            )))
        }
    }
}
