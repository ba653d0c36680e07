//! What is on the screen, and what keys change of it.

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table, TableState};
use tokio::time::Instant;

use super::reading::{Rates, Reading, RuleRate};
use super::source::Look;

/// Lines for the busiest keys, with their title.
const HEAVY: u16 = 5;

/// What rules are sorted by. The first of them is what is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Refused,
    Hits,
    Near,
    Headroom,
    Name,
}

const SORTS: [Sort; 5] = [Sort::Refused, Sort::Hits, Sort::Near, Sort::Headroom, Sort::Name];

impl Sort {
    fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Hits => "hits",
            Self::Near => "near",
            Self::Headroom => "headroom",
            Self::Name => "name",
        }
    }

    fn apply(self, rules: &mut [&RuleRate]) {
        rules.sort_by(|one, other| {
            let order = match self {
                Self::Refused => other.refused.total_cmp(&one.refused),
                Self::Hits => other.hits.total_cmp(&one.hits),
                Self::Near => other.near.total_cmp(&one.near),
                // Least first; rules that nobody asks for have all of it.
                Self::Headroom => one.headroom.unwrap_or(2.0).total_cmp(&other.headroom.unwrap_or(2.0)),
                Self::Name => std::cmp::Ordering::Equal,
            };
            let by_hits = || other.hits.total_cmp(&one.hits);
            let order = if self == Self::Name { order } else { order.then_with(by_hits) };
            order.then_with(|| one.name.cmp(&other.name))
        });
    }
}

/// The whole screen.
#[derive(Debug)]
pub(super) struct Screen {
    address: String,
    last: Option<(Reading, Instant)>,
    rates: Option<Rates>,
    /// Why there was no last look.
    error: Option<String>,
    sort: Sort,
    filter: String,
    is_typing: bool,
    selected: TableState,
}

impl Screen {
    pub(super) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            last: None,
            rates: None,
            error: None,
            sort: Sort::Refused,
            filter: String::new(),
            is_typing: false,
            selected: TableState::new(),
        }
    }

    /// Takes a look that was made `now`.
    pub(super) fn take(&mut self, look: Look, now: Instant) {
        match look {
            Ok(reading) => {
                if let Some((before, then)) = &self.last {
                    self.rates = Some(Rates::between(before, &reading, now.duration_since(*then)));
                }
                self.last = Some((reading, now));
                self.error = None;
            }
            Err(error) => self.error = Some(error.to_string()),
        }
    }

    /// Does what a key says. Whether that is to quit.
    pub(super) fn press(&mut self, key: KeyEvent) -> bool {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return key.code == KeyCode::Char('c');
        }
        match key.code {
            KeyCode::Esc if self.is_typing || !self.filter.is_empty() => {
                self.filter.clear();
                self.is_typing = false;
            }
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Backspace if self.is_typing => {
                self.filter.pop();
            }
            KeyCode::Char(char) if self.is_typing => self.filter.push(char),
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('s') => {
                let at = SORTS.iter().position(|sort| *sort == self.sort).unwrap_or_default();
                self.sort = SORTS[(at + 1) % SORTS.len()];
            }
            KeyCode::Down | KeyCode::Char('j') => self.selected.select_next(),
            KeyCode::Up | KeyCode::Char('k') => self.selected.select_previous(),
            KeyCode::PageDown => self.selected.scroll_down_by(10),
            KeyCode::PageUp => self.selected.scroll_up_by(10),
            KeyCode::Home => self.selected.select_first(),
            _ => {}
        }
        false
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let heavy = self.last.as_ref().is_some_and(|(reading, _)| !reading.heavy().is_empty());
        let rows = [
            Constraint::Length(4),
            Constraint::Min(3),
            Constraint::Length(if heavy { HEAVY } else { 0 }),
            Constraint::Length(1),
        ];
        let [head, rules, keys, foot] = Layout::vertical(rows).areas(frame.area());
        frame.render_widget(Paragraph::new(self.head()), head);
        self.draw_rules(frame, rules);
        if let Some((reading, _)) = &self.last {
            frame.render_widget(Paragraph::new(busiest(reading)), keys);
        }
        frame.render_widget(Paragraph::new(self.foot()), foot);
    }

    fn head(&self) -> Vec<Line<'_>> {
        let mut first = vec![Span::styled("spillway ", Style::new().bold()), Span::raw(&self.address)];
        let Some((reading, _)) = &self.last else {
            let why = self.error.as_deref().unwrap_or("looking");
            first.push(Span::styled(format!("  {why}"), alarm(self.error.is_some())));
            return vec![Line::from(first)];
        };
        let mut flag = |is_set: bool, text: &str| {
            if is_set {
                first.push(Span::styled(format!("  {text}"), alarm(true)));
            }
        };
        let is = |name: &str| reading.sum(name) > 0.0;
        flag(self.error.is_some(), &format!("NO ANSWER: {}", self.error.as_deref().unwrap_or_default()));
        flag(!is("spillway_ready"), "NOT READY");
        flag(is("spillway_draining"), "DRAINING");
        flag(is("spillway_shadow_mode"), "SHADOW MODE: NOTHING IS REFUSED");
        flag(is("spillway_config_stale"), "NEW CONFIGURATION REFUSED");
        flag(is("spillway_store_breakers_open"), "STORE AWAY");
        let none = Rates::default();
        let rates = self.rates.as_ref().unwrap_or(&none);
        let p99 = rates.p99.map_or("-".to_owned(), milliseconds);
        let unlimited =
            Span::styled(format!("unlimited {}/s", number(rates.unlimited)), alarm(rates.unlimited > 0.0));
        let errors = Span::styled(
            format!("store errors {}/s", number(rates.store_errors)),
            alarm(rates.store_errors > 0.0),
        );
        let share = if rates.requests > 0.0 { rates.refused / rates.requests } else { 0.0 };
        vec![
            Line::from(first),
            Line::from(vec![
                Span::raw(format!(
                    "requests {}/s  refused {}/s ({})  ",
                    number(rates.requests),
                    number(rates.refused),
                    percent(share)
                )),
                unlimited,
            ]),
            Line::from(vec![Span::raw(format!("p99 {p99}  over 20 ms {}  ", percent(rates.late))), errors]),
            Line::from(format!(
                "counters {}  connections {}  memory {} MiB",
                whole(reading.sum("spillway_counters")),
                whole(reading.sum("spillway_connections_open")),
                number(reading.sum("process_resident_memory_bytes") / 1_048_576.0),
            )),
        ]
    }

    fn draw_rules(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let filter = self.filter.to_lowercase();
        let all = self.rates.as_ref().map_or(&[][..], |rates| &rates.rules);
        let mut rules: Vec<&RuleRate> = all
            .iter()
            .filter(|rule| format!("{} {}", rule.name.0, rule.name.1).to_lowercase().contains(&filter))
            .collect();
        self.sort.apply(&mut rules);
        let title = |sort: Sort, text: &str| {
            let mark = if sort == self.sort { "▼" } else { "" };
            Line::from(format!("{text}{mark}")).alignment(Alignment::Right)
        };
        let head = Row::new([
            Line::from(if self.sort == Sort::Name { "DOMAIN▼" } else { "DOMAIN" }),
            Line::from("RULE"),
            title(Sort::Hits, "HITS/s"),
            title(Sort::Refused, "REFUSED/s"),
            title(Sort::Near, "NEAR/s"),
            title(Sort::Headroom, "HEADROOM"),
        ]);
        let rows = rules.iter().map(|rule| {
            let right = |text: String| Line::from(text).alignment(Alignment::Right);
            let style = match rule {
                rule if rule.refused > 0.0 => Style::new().fg(Color::Red),
                rule if rule.near > 0.0 => Style::new().fg(Color::Yellow),
                _ => Style::new(),
            };
            Row::new([
                Line::from(plain(&rule.name.0)),
                Line::from(plain(&rule.name.1)),
                right(number(rule.hits)),
                right(number(rule.refused)),
                right(number(rule.near)),
                right(rule.headroom.map_or("-".to_owned(), percent)),
            ])
            .style(style)
        });
        let widths = [
            Constraint::Max(16),
            Constraint::Min(20),
            Constraint::Length(9),
            Constraint::Length(10),
            Constraint::Length(9),
            Constraint::Length(9),
        ];
        let table = Table::new(rows, widths)
            .header(head.style(Style::new().add_modifier(Modifier::REVERSED)))
            .row_highlight_style(Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED));
        frame.render_stateful_widget(table, area, &mut self.selected);
    }

    fn foot(&self) -> Line<'_> {
        if self.is_typing {
            return Line::from(format!("filter: {}▏  Enter keeps it, Esc clears it", plain(&self.filter)));
        }
        let filter = if self.filter.is_empty() {
            "/ filter".to_owned()
        } else {
            format!("/ filter: {}", plain(&self.filter))
        };
        Line::from(format!("q quit  s sort: {}  {filter}  ↑↓ scroll", self.sort.name()))
    }
}

/// The busiest keys, those with most hits first.
fn busiest(reading: &Reading) -> Vec<Line<'_>> {
    let keys = reading.heavy().iter().take(usize::from(HEAVY) - 1);
    let lines = keys.map(|heavy| {
        let (hits, refused) = (whole(heavy.hits), whole(heavy.refused));
        Line::from(format!("{hits:>9} {refused:>9}  {}  {}", plain(&heavy.rule), plain(&heavy.key)))
    });
    let title = Line::styled(
        "     HITS   REFUSED  BUSIEST KEYS of the last minutes",
        Style::new().add_modifier(Modifier::REVERSED),
    );
    std::iter::once(title).chain(lines).collect()
}

fn alarm(is_on: bool) -> Style {
    if is_on { Style::new().fg(Color::Red).bold() } else { Style::new() }
}

/// Without what a terminal would take for a command: names are the operator's own, but keys are what clients send.
fn plain(text: &str) -> String {
    text.replace(char::is_control, "·")
}

/// A rate, or a size: with a decimal where it is small.
fn number(value: f64) -> String {
    if value > 0.0 && value < 10.0 { format!("{value:.1}") } else { whole(value) }
}

/// A count, with thousands apart.
fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// A bound of the histogram: the time is less than that, as a rule.
fn milliseconds(seconds: f64) -> String {
    if seconds.is_finite() { format!("< {} ms", seconds * 1_000.0) } else { "> 1 s".to_owned() }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    /// What `/metrics` says after a time with such hits and refusals of two rules.
    fn reading(bulk: u32, search: u32, refused: u32) -> Reading {
        Reading::of(&format!(
            "spillway_ready 1\n\
             spillway_counters 3\n\
             spillway_connections_open{{port=\"grpc\"}} 2\n\
             spillway_requests_total{{domain=\"api\",code=\"ok\"}} {}\n\
             spillway_requests_total{{domain=\"api\",code=\"over_limit\"}} {refused}\n\
             spillway_rule_hits_total{{domain=\"api\",rule=\"bulk\"}} {bulk}\n\
             spillway_rule_over_limit_total{{domain=\"api\",rule=\"bulk\"}} {refused}\n\
             spillway_rule_hits_total{{domain=\"api\",rule=\"search\"}} {search}\n\
             spillway_heavy_hitter_hits{{domain=\"api\",rule=\"bulk\",key=\"ip=\x1b[31m10.0.0.1\"}} 900\n\
             spillway_heavy_hitter_refused{{domain=\"web\",rule=\"bulk\",key=\"ip=\x1b[31m10.0.0.1\"}} 70\n\
             spillway_heavy_hitter_refused{{domain=\"api\",rule=\"bulk\",key=\"ip=\x1b[31m10.0.0.1\"}} 200\n\
             spillway_heavy_hitter_hits{{domain=\"api\",rule=\"search\",key=\"ip=10.0.0.2\"}} 7\n",
            bulk + search - refused
        ))
    }

    fn screen() -> Screen {
        let mut screen = Screen::new("127.0.0.1:8080");
        let begun = Instant::now();
        screen.take(Ok(reading(0, 0, 0)), begun);
        screen.take(Ok(reading(1_000, 20_000, 250)), begun + Duration::from_secs(1));
        screen
    }

    fn drawn(screen: &mut Screen) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let lines = buffer.content().chunks(80);
        lines
            .map(|line| {
                line.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned()
            })
            .collect()
    }

    fn press(screen: &mut Screen, text: &str) {
        for char in text.chars() {
            assert!(!screen.press(KeyEvent::from(KeyCode::Char(char))));
        }
    }

    #[test]
    fn rates_of_all_and_of_each_rule_fit_on_80_by_24() {
        let lines = drawn(&mut screen());
        assert_eq!(lines[0], "spillway 127.0.0.1:8080");
        assert_eq!(lines[1], "requests 21,000/s  refused 250/s (1.2 %)  unlimited 0/s");
        assert_eq!(lines[3], "counters 3  connections 2  memory 0 MiB");
        assert!(lines[4].starts_with("DOMAIN") && lines[4].contains("REFUSED/s▼"), "{lines:#?}");
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&lines[5]), ["api", "bulk", "1,000", "250", "0", "75.0", "%"]);
        assert_eq!(words(&lines[6]), ["api", "search", "20,000", "0", "0", "100.0", "%"]);
        assert!(
            lines[19].contains("900       200  bulk  ip=·[31m10.0.0.1"),
            "no key commands a terminal: {lines:#?}"
        );
        assert!(lines[20].contains("        7         0  search  ip=10.0.0.2"), "{lines:#?}");
        assert_eq!(lines[23], "q quit  s sort: refused  / filter  ↑↓ scroll");
    }

    #[test]
    fn rules_are_sorted_and_filtered_as_one_types() {
        let mut screen = screen();
        press(&mut screen, "s");
        let lines = drawn(&mut screen);
        assert!(lines[5].contains("search") && lines[6].contains("bulk"), "{lines:#?}");
        press(&mut screen, "/BUq");
        assert!(drawn(&mut screen)[23].starts_with("filter: BUq▏"));
        screen.press(KeyEvent::from(KeyCode::Backspace));
        screen.press(KeyEvent::from(KeyCode::Enter));
        let lines = drawn(&mut screen);
        assert!(lines[5].contains("bulk") && lines[6].is_empty(), "{lines:#?}");
        assert!(!screen.press(KeyEvent::from(KeyCode::Esc)), "it clears the filter first");
        assert!(drawn(&mut screen)[6].contains("bulk"));
        assert!(screen.press(KeyEvent::from(KeyCode::Char('q'))));
    }

    #[test]
    fn a_server_that_does_not_answer_is_said_and_the_last_numbers_stay() {
        let refused = || Err(io::Error::other("connection refused"));
        let mut screen = Screen::new("127.0.0.1:8080");
        screen.take(refused(), Instant::now());
        assert_eq!(drawn(&mut screen)[0], "spillway 127.0.0.1:8080  connection refused");
        let mut screen = self::screen();
        screen.take(refused(), Instant::now());
        let lines = drawn(&mut screen);
        assert_eq!(lines[0], "spillway 127.0.0.1:8080  NO ANSWER: connection refused");
        assert!(lines[5].contains("bulk"));
    }

    #[test]
    fn what_an_operator_must_not_miss_is_in_the_first_line() {
        let mut screen = Screen::new("a:1");
        let text = "spillway_ready 1\nspillway_config_stale 1\nspillway_store_breakers_open 2\n";
        screen.take(Ok(Reading::of(text)), Instant::now());
        assert_eq!(drawn(&mut screen)[0], "spillway a:1  NEW CONFIGURATION REFUSED  STORE AWAY");
    }
}
