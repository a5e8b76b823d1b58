//! A bridge of scripted images and files, and components built from their crates, for tests of frontends and of the runtime.

mod bridge;
mod guest;

pub use bridge::FakeBridge;
pub use guest::component;
