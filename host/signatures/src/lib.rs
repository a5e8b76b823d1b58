//! Signatures of what lies in registries and layouts, as sigstore's cosign makes them: with a key ([`Key`]), or with a certificate that
//! says who somebody was when they signed ([`Identity`]), for which a trust root vouches ([`Root`]). All is checked with what is at hand:
//! nothing here speaks to anybody.
#![forbid(unsafe_code)]

mod cosign;
mod identity;
mod key;
mod root;
mod signature;
mod statement;

pub use identity::Identity;
pub use key::Key;
pub use root::{Root, Signer};
pub use signature::{Payload, Signature};

/// The largest signature, or payload, that is read, in bytes.
pub const BYTES_MAX: u64 = 1 << 20;
/// The most signatures of one manifest that are looked at.
pub const SIGNATURES_MAX: usize = 16;
