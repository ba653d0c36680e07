//! The thread of the admin port. What operators ask takes its time there, and no worker waits for it.

use std::sync::Arc;
use std::thread;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use super::certificates::Certificates;
use super::http;
use super::slots::Slots;
use crate::admin::{AdminParts, admin_router};
use crate::clock::Clock;
use crate::store::Store;
use crate::telemetry::{AdminAway, Metrics, TaskEnded};

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct AdminThread {
    /// What it waits for.
    _running: oneshot::Sender<()>,
}

impl AdminThread {
    /// Starts it. Without it the server goes on, and says so.
    pub(super) fn start<S: Store, C: Clock>(
        listener: TcpListener,
        certificates: Option<Arc<Certificates>>,
        most_connections: usize,
        parts: AdminParts<S, C>,
    ) -> Self {
        let (running, ended) = oneshot::channel::<()>();
        let metrics = Arc::clone(&parts.metrics);
        let address = listener.local_addr();
        let started = listener.into_std().and_then(|listener| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            thread::Builder::new().name("admin".to_owned()).spawn(move || {
                let serving = serve(listener, certificates, most_connections, parts, Arc::clone(&metrics));
                LocalSet::new().block_on(&runtime, async {
                    tokio::select! {
                        // The server has ended, whether it says so or not.
                        _ = ended => {}
                        () = serving => TaskEnded { what: "the admin port", is_restarted: false }.emit(&metrics),
                    }
                });
                // What still reads a configuration is not waited for.
                runtime.shutdown_background();
            })
        });
        if let (Err(error), Ok(address)) = (started, address) {
            AdminAway { address, error: &error.to_string() }.emit();
        }
        Self { _running: running }
    }
}

async fn serve<S: Store, C: Clock>(
    listener: std::net::TcpListener,
    certificates: Option<Arc<Certificates>>,
    most_connections: usize,
    parts: AdminParts<S, C>,
    metrics: Arc<Metrics>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let slots = Slots::new(most_connections, http::IN_USE, metrics.admin_connections());
    let router = admin_router(parts);
    http::serve(Arc::new(listener), router, slots, metrics, "the admin port", certificates).await;
}
