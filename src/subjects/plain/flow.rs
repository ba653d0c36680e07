//! Collections in brackets.

use super::{Kind, Open, Plain};
use crate::yaml::Token;

impl Plain<'_> {
    /// A bracket opens.
    pub(super) fn flow(&mut self) -> Option<()> {
        let kind = if self.byte() == Some(b'{') { Kind::Braces } else { Kind::Brackets };
        let column = self.open.last().map_or(0, |open| open.column);
        self.begin(Open { kind, column }, self.here())?;
        self.at += 1;
        Some(())
    }

    /// One entry of the innermost flow with the comma after it, or what closes the flow.
    pub(super) fn flow_entry(&mut self) -> Option<()> {
        let kind = self.open.last()?.kind;
        self.flow_space()?;
        let close = if kind == Kind::Braces { b'}' } else { b']' };
        if self.byte() == Some(close) {
            self.ready.push_back((Token::End, self.here()));
            self.open.pop();
            self.at += 1;
            return match self.open.last() {
                Some(Open { kind: Kind::Braces | Kind::Brackets, .. }) => self.comma(),
                _ => self.rest_of_line(),
            };
        }
        if kind == Kind::Braces {
            let key = self.scalar()?;
            let after = &self.text.as_bytes()[self.at..];
            let adjacent = matches!(key.0, Token::Scalar { plain: false, .. }) && after.starts_with(b":");
            if !adjacent && !after.starts_with(b": ") {
                return None;
            }
            self.key(key)?;
            self.spaces();
        }
        if let Some(b'{' | b'[') = self.byte() {
            return self.flow();
        }
        let value = self.scalar()?;
        self.ready.push_back(value);
        self.comma()
    }

    /// A comma, unless the flow is closed instead.
    fn comma(&mut self) -> Option<()> {
        self.flow_space()?;
        match self.byte()? {
            b',' => self.at += 1,
            b'}' | b']' => {}
            _ => return None,
        }
        Some(())
    }

    /// Spaces, line breaks and comments. Lines of a flow inside a block are further right than the block.
    fn flow_space(&mut self) -> Option<()> {
        let in_block = self.open.first().is_some_and(|open| matches!(open.kind, Kind::Mapping | Kind::List));
        let (start, line) = (self.at, self.line);
        self.spaces();
        while self.line_ends(self.at > start) {
            self.end_line()?;
            self.spaces();
            if self.at == self.text.len() {
                return None;
            }
        }
        let right = self.open.last().is_some_and(|open| self.column() > open.column);
        (right || self.line == line || !in_block).then_some(())
    }
}
