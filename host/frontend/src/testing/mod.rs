//! A bridge of scripted images and files, components built from their crates, and guests that say anything, for tests of frontends and
//! of the runtime.

mod bridge;
mod guest;

pub use bridge::FakeBridge;
pub use guest::component;

pub use crate::v0_1::anything;

/// Makes an instance of a component and takes it away again, without calling it.
///
/// # Errors
/// When it cannot be instantiated within the limits.
pub async fn instantiate(frontend: &crate::WasmFrontend) -> Result<(), crate::Error> {
    frontend.instantiate(std::sync::Arc::new(FakeBridge::new())).await
}
