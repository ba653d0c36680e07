//! Configuration that changes while the server runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{self, Fingerprint, Options};
use crate::engine::Engine;
use crate::store::Store;
use crate::telemetry::{ConfigLoaded, ConfigRefused, ConfigWarned, Metrics};

/// How often files are looked at. Asking beats being told: it is the same on every file system and through every link.
const LOOK: Duration = Duration::from_secs(1);

/// Files that a policy was read from.
#[derive(Clone, Debug)]
pub struct Watched {
    /// What was named on the command line.
    pub path: PathBuf,
    /// How files are put together.
    pub options: Options,
    /// What they looked like before they were read.
    pub seen: Fingerprint,
}

/// Publishes what the files say whenever they change, as soon as they have looked the same twice: a file that is just
/// being written is let finish. A set of files with a mistake changes nothing; the mistakes are logged, once.
pub(super) async fn follow<S: Store, C: Clock>(
    watched: Watched,
    engine: Arc<Engine<S, C>>,
    metrics: Arc<Metrics>,
) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let watched = Arc::new(watched);
    let (mut loaded, mut before) = (watched.seen, watched.seen);
    loop {
        ticks.tick().await;
        let (engine, metrics, watched) = (Arc::clone(&engine), Arc::clone(&metrics), Arc::clone(&watched));
        // On a thread that serves nobody: a large policy takes its time.
        let looked = tokio::task::spawn_blocking(move || {
            let now = Fingerprint::of(&watched.path);
            if now != loaded && now == before {
                load(&watched, &engine, &metrics);
                return (now, now);
            }
            (loaded, now)
        });
        match looked.await {
            Ok(next) => (loaded, before) = next,
            // Loading met an internal error, which its panic told: what is in force stays, and the next change is read.
            Err(_) => loaded = before,
        }
    }
}

fn load<S: Store, C: Clock>(watched: &Watched, engine: &Engine<S, C>, metrics: &Metrics) {
    match config::load(&[&watched.path], watched.options.clone()) {
        Ok(loaded) => {
            if !loaded.warnings.is_empty() {
                ConfigWarned { warnings: config::render(&loaded.warnings, false) }.emit();
            }
            ConfigLoaded { files: loaded.files.len(), rules: loaded.policy.rules() }.emit(metrics);
            engine.publish(loaded.policy);
        }
        Err(diagnostics) => ConfigRefused { mistakes: config::render(&diagnostics, false) }.emit(metrics),
    }
}
