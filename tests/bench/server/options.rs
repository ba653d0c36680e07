//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::sample::Times;

/// What to measure, and how thoroughly.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) rounds: usize,
    pub(crate) times: Times,
    /// For each point of the plot.
    pub(crate) plot_times: Times,
    pub(crate) plain: Option<PathBuf>,
    /// All, when empty.
    rows: Vec<String>,
}

impl Options {
    /// Nothing when it was not `cargo bench` that called.
    pub(crate) fn read(arguments: Vec<String>) -> Result<Option<Self>, String> {
        let times = |measured| Times {
            warm_up: Duration::from_millis(measured / 5),
            measured: Duration::from_millis(measured),
        };
        let mut options =
            Self { rounds: 7, times: times(750), plot_times: times(400), plain: None, rows: Vec::new() };
        options.plain =
            std::env::var_os("SPILLWAY_BARE_PLAIN").filter(|path| !path.is_empty()).map(PathBuf::from);
        let mut called_by_cargo = false;
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("`{argument}` needs a value"));
            match argument.as_str() {
                "--bench" => called_by_cargo = true,
                "--quick" => {
                    (options.rounds, options.times, options.plot_times) = (2, times(250), times(100));
                }
                "--rows" => options.rows = value()?.split(',').map(str::to_owned).collect(),
                "--plain" => options.plain = Some(value()?.into()),
                _ => return Err(format!("unknown argument `{argument}`")),
            }
        }
        Ok(called_by_cargo.then_some(options))
    }

    pub(crate) fn wants(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|wanted| wanted == row)
    }
}
