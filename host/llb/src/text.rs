//! The readable form of a graph.
