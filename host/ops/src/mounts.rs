//! Mounts of an exec op.
