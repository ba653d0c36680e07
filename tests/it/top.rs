//! `spillway top` in a real terminal, that of `tmux`.

use std::process::{Command, Output};
use std::time::Duration;

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use tokio::time::{Instant, sleep};

use crate::rls::{channel, descriptor, request};
use crate::support::{PATIENCE, Spillway, command, programs};

/// A terminal of 80 columns and 24 lines, with a server of its own, which ends with the test.
struct Terminal {
    socket: String,
    directory: tempfile::TempDir,
}

impl Terminal {
    fn running(words: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("tmux").to_str().unwrap().to_owned();
        let terminal = Self { socket, directory };
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", words]);
        terminal
    }

    fn tmux(&self, words: &[&str]) -> Output {
        let mut tmux = Command::new(&programs(&["tmux"])[0]);
        tmux.args(["-u", "-S", &self.socket]).args(words).env("TERM", "xterm-256color");
        let done = tmux.output().unwrap_or_else(|error| panic!("cannot run tmux; install it: {error}"));
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        done
    }

    /// Waits until the screen is as it should be.
    async fn until(&self, as_expected: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let screen = self.tmux(&["capture-pane", "-p"]).stdout;
            let screen = String::from_utf8(screen).unwrap();
            if as_expected(&screen) {
                return screen;
            }
            assert!(Instant::now() < until, "{screen}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-S", &self.socket, "kill-server"]).output();
        let _ = &self.directory;
    }
}

const POLICY: &str = "
domain: d
descriptors:
  - {key: few, rate_limit: {name: few, unit: year, requests_per_unit: 1}}
  - {key: many, rate_limit: {name: many, unit: year, requests_per_unit: 1000000}}
";

// Requests go on while the test waits for `tmux`.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn rates_move_in_a_terminal_and_keys_sort_filter_and_quit() {
    let spillway = Spillway::serving(POLICY);
    // A shell stays behind, to see what it leaves of the screen.
    let top = env!("CARGO_BIN_EXE_spillway");
    let terminal =
        Terminal::running(&format!("{top} top {} --interval 100ms; echo left; cat", spillway.http));
    terminal.until(|screen| screen.contains("REFUSED/s▼") && screen.contains("many")).await;

    let mut client = RateLimitServiceClient::new(channel(&spillway).await);
    let traffic = tokio::spawn(async move {
        loop {
            for key in ["few", "many"] {
                client.should_rate_limit(request(vec![descriptor(&[(key, "1")])])).await.unwrap();
            }
            sleep(Duration::from_millis(5)).await;
        }
    });
    // What refuses comes first, with nothing left; the busy one is well.
    let few = |line: &str| line.starts_with('d') && line.contains("few") && line.contains(" 0.0 %");
    let well = |line: &str| line.contains("many") && line.contains("100.0 %");
    terminal.until(|screen| screen.lines().nth(5).is_some_and(few) && screen.lines().any(well)).await;
    terminal.tmux(&["send-keys", "/", "man"]);
    terminal.until(|screen| screen.contains("filter: man") && !screen.contains("few")).await;
    terminal.tmux(&["send-keys", "Enter", "s"]);
    terminal.until(|screen| screen.contains("HITS/s▼")).await;
    traffic.abort();

    drop(spillway);
    terminal.until(|screen| screen.contains("NO ANSWER")).await;
    terminal.tmux(&["send-keys", "q"]);
    let left = terminal.until(|screen| screen.contains("left")).await;
    assert!(!left.contains("REFUSED/s"), "the screen is as it was before: {left}");
}

#[test]
fn without_a_terminal_it_says_where_the_numbers_are() {
    let ended = command(&["top"]).output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("`top` needs a terminal; the same numbers are on /metrics"), "{said}");
}
