//! What decides that a text or a pair is worth learning from.

pub mod disjoint;
pub mod gates;
pub mod judge;
pub mod pair;
pub mod similar;
