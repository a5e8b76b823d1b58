//! A bridge of scripted images and files, components built from their crates, and guests that say anything, for tests of frontends and
//! of the runtime.

mod bridge;
mod guest;

pub use bridge::FakeBridge;
pub use guest::component;

pub use crate::v0_1::anything;
