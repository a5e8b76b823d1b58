//! `Definition` bytes to [`crate::Graph`] and back, with validation and limits.
