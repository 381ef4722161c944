//! Replies from a script.
