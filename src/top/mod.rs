//! `spillway top`: what a running server does, in a terminal, once a second.

mod exposition;
mod reading;
mod screen;
mod source;

use std::io;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event};
use tokio::time::Instant;

use self::screen::Screen;
use self::source::look;

/// The time after which keys are looked for again.
const KEYS: Duration = Duration::from_millis(50);

/// Shows what the server whose HTTP port is at `address` does, with a look each `interval`, until somebody quits.
///
/// # Errors
///
/// When the terminal cannot be written to or read from. A server that is not there is shown, and tried again.
pub fn run(address: &str, interval: Duration) -> io::Result<()> {
    let (stop, stopped) = channel::<()>();
    let (send, looks) = channel();
    let of_thread = address.to_owned();
    // It looks for itself: nobody waits for a server that does not answer before a key is heard.
    std::thread::Builder::new().name("top".to_owned()).spawn(move || {
        loop {
            if send.send(look(&of_thread)).is_err()
                || stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout)
            {
                return;
            }
        }
    })?;
    // This restores the terminal also where something panics.
    let mut terminal = ratatui::try_init()?;
    let mut screen = Screen::new(address);
    let shown = loop {
        while let Ok(look) = looks.try_recv() {
            screen.take(look, Instant::now());
        }
        if let Err(error) = terminal.draw(|frame| screen.draw(frame)) {
            break Err(error);
        }
        match event::poll(KEYS).and_then(|is_there| is_there.then(event::read).transpose()) {
            Ok(Some(Event::Key(key))) if key.is_press() && screen.press(key) => break Ok(()),
            Ok(_) => {}
            Err(error) => break Err(error),
        }
    };
    drop(stop);
    ratatui::try_restore()?;
    shown
}
