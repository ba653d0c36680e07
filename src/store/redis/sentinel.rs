//! Sentinels are asked where the master is: whenever a connection is to be made, and once in a while afterwards.
//!
//! Nobody waits for them who has a connection: they are asked aside. One that does not answer or knows no such master is passed over.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionInfo, Value};
use tokio::time::timeout;

use super::failure::Failure;
use super::options::{RedisOptions, address};

/// How long one sentinel may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_millis(300);

/// A server as sentinels name it.
pub(super) type Named = (String, u16);

/// The sentinel that answered last, which is asked first.
#[derive(Debug, Default)]
pub(super) struct Sentinels(AtomicUsize);

impl Sentinels {
    /// Where the master is, as the first sentinel says that knows it.
    pub(super) async fn master(&self, options: &RedisOptions) -> Result<Named, Failure> {
        let count = options.servers.len();
        let first = self.0.load(Ordering::Relaxed);
        let mut told = Vec::new();
        for number in (0..count).map(|number| (first + number) % count) {
            let sentinel = &options.servers[number];
            let why = match timeout(ANSWERS_WITHIN, ask(options, sentinel)).await {
                Ok(Ok(Some(master))) => {
                    self.0.store(number, Ordering::Relaxed);
                    return Ok(master);
                }
                Ok(Ok(None)) => format!("knows no master `{}`", options.master),
                Ok(Err(failure)) => failure.to_string(),
                Err(_) => format!("did not answer within {} ms", ANSWERS_WITHIN.as_millis()),
            };
            told.push(format!("`{}`: {why}", address(sentinel.addr())));
        }
        let told = told.join("; ");
        Err(Failure::unreachable(format!("no sentinel says where the master is ({told})")))
    }
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
