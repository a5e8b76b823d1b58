//! The Dockerfile frontend as a component. Its exports stand here, so that another component can be built on the library.

pintle_sdk::frontend!(dockerfile::Dockerfile);
