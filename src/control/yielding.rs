//! Threads for work that takes long and that nobody waits for: compiling a policy of 100,000 rules takes a second of a core.

use std::io;
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// How much nicer such a thread is than those of the process: it gets a third of what a worker gets that wants the same core. Were it
/// much nicer, a reload would take minutes on a machine that others keep busy.
const NICENESS: i32 = 5;

/// Does `work` on a thread of its own that gives way to workers, where the system has such threads. An error if there is no thread to
/// be had, or if the work panicked, which is logged then.
pub async fn yielding<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    // For what waits for a store.
    let runtime = Handle::current();
    thread::Builder::new().name("reload".to_owned()).spawn(move || {
        let _entered = runtime.enter();
        give_way();
        // Whoever asked may be gone.
        let _ = done.send(work());
    })?;
    result.await.map_err(|_| io::Error::other("internal error (bug)"))
}

/// Linux gives each thread a priority; elsewhere it would be that of the process.
#[cfg(target_os = "linux")]
fn give_way() {
    // Where it is refused the work is done all the same.
    let own = rustix::process::getpriority_process(None);
    let _ = own.and_then(|own| rustix::process::setpriority_process(None, own + NICENESS));
}

#[cfg(not(target_os = "linux"))]
fn give_way() {
    let _ = NICENESS;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn the_work_gives_way_and_the_thread_that_asks_does_not() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        assert_eq!(yielding(nice).await.unwrap(), (before + NICENESS).min(19));
        assert_eq!(nice(), before);
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let failed: io::Result<()> = yielding(|| panic!("on purpose")).await;
        assert_eq!(failed.unwrap_err().to_string(), "internal error (bug)");
    }
}
