//! YAML text → values with the place of each one. Policies are read as a [`Tree`], subjects files as a stream of
//! [`Token`]s; anchors, aliases and the bounds on what they may repeat are here, for both.
//!
//! Invariant: the memory and the time that a text costs are proportional to its length plus a constant (see
//! [`Budget`]), and nothing here recurses, so no text decides how deep the stack gets.

mod budget;
mod events;
mod expanded;
mod grouped;
mod hint;
mod invisible;
mod tags;
mod tree;

pub(crate) use events::{BYTE_ORDER_MARK, Span, SyntaxError, is_break};
pub(crate) use expanded::{Expanded, Token};
pub(crate) use grouped::Grouped;
pub(crate) use invisible::{Invisible, invisible, unseen_in};
pub(crate) use tree::{Items, Kind, Node, Pairs, Tree};

use budget::Budget;
