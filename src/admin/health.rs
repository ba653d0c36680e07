//! Whether this process should be sent traffic.

use std::sync::atomic::{AtomicBool, Ordering};

/// Not ready at first, ready once everything is up, and not ready again from the first signal to stop.
#[derive(Debug, Default)]
pub struct Health(AtomicBool);

impl Health {
    /// Says it.
    pub fn set_ready(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether to send traffic here.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
