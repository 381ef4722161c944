//! The HTTP layer in this process, over a store that is written here.
