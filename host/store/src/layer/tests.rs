//! Layers go through tar and back.
